"""Trace: one version of a registered model, and all that is recorded about it, wherever it lies."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flows.lineage.link import CHANGED, GONE, OK
from ml.errors import PackagingError, UsageError
from ml.package import MANIFEST
from tasks.ledger import Ledger
from tasks.settings import Settings
from tasks.storage.content_store import Store, find_damage
from tasks.tracking import connection, registry, run_history
from tasks.tracking.registry import DATA, ModelVersion
from tasks.tracking.run_history import Remembered

# What the facts of a run that was decided always tell.
TOLD = ("asked", "data", "leaderboard", "source", "split", "stages", "test", "validate", "versions")


@dataclass(frozen=True)
class Folder:
    """A recorded folder, and whether it still is what its digest says; no path where it cannot be used."""

    status: str
    why: str = ""
    path: Path | None = None

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; empty where there is none to use."""
        return {**json.loads((self.path / name).read_bytes())} if self.path else {}

    @property
    def manifest(self) -> dict[str, Any]:
        return self.json(MANIFEST)


@dataclass(frozen=True)
class Trace:
    """A version as MLflow's registry has it; everything else is looked up from there, and nothing is written."""

    settings: Settings
    client: connection.Client
    case: str
    data: str
    version: ModelVersion
    champion: int | None

    @cached_property
    def ledger(self) -> list[dict[str, Any]]:
        """All decisions about this name, oldest first."""
        return Ledger(self.settings.ledger, self.version.name).entries()

    @cached_property
    def decision(self) -> dict[str, Any] | None:
        """The line that decided about this version."""
        return next((line for line in self.ledger if line.get("version") == self.version.number), None)

    @cached_property
    def run(self) -> Remembered | None:
        """The run that made this version."""
        version = self.version
        return run_history.maker(self.client, version.name, version.run_id, version.digest)

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """Empty where they are gone, or are not all there."""
        known = (self.run and self.run.facts) or {}
        return known if set(TOLD) <= set(known) else {}

    @cached_property
    def stages(self) -> dict[str, dict[str, Any]]:
        return {line["stage"]: line for line in self.facts.get("stages", [])}

    @cached_property
    def package(self) -> Folder:
        """The registered package, it and the code beside it held against their digests."""
        if registry.download(self.client, self.version) is None:
            number = str(self.version.number)
            where = self.client.get_model_version_download_uri(self.version.name, number)
            return Folder(GONE, f"nothing in {where}, where MLflow has it")
        try:
            return Folder(OK, path=registry.download_verified(self.client, self.version) / "data" / DATA)
        except PackagingError as refused:
            return Folder(CHANGED, f"expected {refused.expected}; got {refused.got}")

    def held(self, digest: str) -> Folder:
        """The object of the store with this content."""
        return _whole([folder for folder, manifest in self._objects if manifest.get("digest") == digest])

    def golden(self) -> Folder:
        """The rows on which this version had to prove itself, and its answers."""
        about = {"model": self.version.digest}
        return _whole([folder for folder, manifest in self._objects if manifest.get("facts") == about])

    @cached_property
    def _objects(self) -> list[tuple[Path, dict[str, Any]]]:
        return list(Store(self.settings.home.resolve() / "store").objects())


def _whole(folders: list[Path]) -> Folder:
    """The first without a fault: equal content may lie in several objects."""
    found = next((folder for folder in folders if not find_damage(folder)), None)
    if found:
        return Folder(OK, path=found)
    return Folder(CHANGED, "damaged in the store") if folders else Folder(GONE, "not in the store")


def trace(case: str, data: str, number: int | None, settings: Settings) -> Trace:
    """The version of this number, or the champion. Raises UsageError where there is none."""
    name = f"{case}.{data}"
    # Asking a database that is not there would make one.
    there = settings.tracking_uri or (settings.home / "mlflow.db").exists()
    client = connection.connect(settings) if there else None
    known = registry.versions(client, name) if client else {}
    if not client or not known:
        raise UsageError(
            f"a registered version of {name}",
            "none",
            f"see `steward data` for names, or run `steward run {case} --data {data}` first",
        )
    champion = registry.champion(client, name)
    holder = champion.number if champion else None
    wanted = number if number is not None else holder
    if wanted is None or wanted not in known:
        numbers = ", ".join(map(str, sorted(known)))
        got = "no champion" if wanted is None else f"version {wanted}"
        raise UsageError(f"a version of {name} ({numbers})", got, "name one of them")
    return Trace(settings, client, case, data, known[wanted], holder)

"""One version of a registered model, with everything that is recorded about it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flows.lineage.step import MISSING, MODIFIED, OK
from ml.errors import PackagingError, UsageError
from ml.package import MANIFEST
from tasks.ledger import Ledger
from tasks.settings import Settings
from tasks.storage.content_store import Store, find_damage
from tasks.tracking import connection, registry, run_history
from tasks.tracking.registry import PACKAGE_FOLDER, ModelVersion
from tasks.tracking.run_history import RecordedRun

# Facts that every run with a verdict has recorded.
REQUIRED_FACTS = (
    "params",
    "data",
    "leaderboard",
    "source",
    "split",
    "stages",
    "evaluation",
    "validate",
    "versions",
)


@dataclass(frozen=True)
class VerifiedFolder:
    """A recorded folder compared with its digest; `path` is None where it cannot be used."""

    status: str
    reason: str = ""
    path: Path | None = None

    def json(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the folder; empty where the folder cannot be used."""
        return {**json.loads((self.path / name).read_bytes())} if self.path else {}

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the folder; empty where the folder cannot be used."""
        return self.json(MANIFEST)


@dataclass(frozen=True)
class ModelVersionRecord:
    """A version in MLflow's registry; everything else is looked up from there, read-only."""

    settings: Settings
    client: connection.Client
    case: str
    data: str
    version: ModelVersion
    champion: int | None

    @cached_property
    def ledger(self) -> list[dict[str, Any]]:
        """All decisions about this model name, oldest first."""
        return Ledger(self.settings.ledger_dir, self.version.name).entries()

    @cached_property
    def decision(self) -> dict[str, Any] | None:
        """The ledger entry that decided about this version."""
        return next((entry for entry in self.ledger if entry.get("version") == self.version.number), None)

    @cached_property
    def run(self) -> RecordedRun | None:
        """The run that registered this version."""
        version = self.version
        return run_history.registering_run(self.client, version.name, version.run_id, version.digest)

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """The facts of the run; empty where the file is missing or incomplete."""
        facts: Mapping[str, Any] = (self.run and self.run.facts) or {}
        return facts if set(REQUIRED_FACTS) <= set(facts) else {}

    @cached_property
    def stages(self) -> dict[str, dict[str, Any]]:
        """The recorded stages by name, in the order in which they ended."""
        return {entry["stage"]: entry for entry in self.facts.get("stages", [])}

    @cached_property
    def package(self) -> VerifiedFolder:
        """The registered package, compared with its digest and that of its code."""
        if registry.download(self.client, self.version) is None:
            number = str(self.version.number)
            uri = self.client.get_model_version_download_uri(self.version.name, number)
            return VerifiedFolder(MISSING, f"no files at {uri}, the location in MLflow")
        try:
            folder = registry.download_verified(self.client, self.version)
            return VerifiedFolder(OK, path=folder / "data" / PACKAGE_FOLDER)
        except PackagingError as error:
            return VerifiedFolder(MODIFIED, f"expected {error.expected}; got {error.got}")

    def stored_object(self, digest: str) -> VerifiedFolder:
        """Find the object of the content store with this content digest."""
        return _first_intact(
            [folder for folder, manifest in self._objects if manifest.get("digest") == digest]
        )

    def golden_rows(self) -> VerifiedFolder:
        """Find the rows on which the packaging gate tested this version, with its predictions."""
        facts = {"model": self.version.digest}
        return _first_intact([folder for folder, manifest in self._objects if manifest.get("facts") == facts])

    @cached_property
    def _objects(self) -> list[tuple[Path, dict[str, Any]]]:
        return list(Store(self.settings.state_dir.resolve() / "store").objects())


def _first_intact(folders: list[Path]) -> VerifiedFolder:
    # Several objects may have equal content; one undamaged copy is enough.
    intact = next((folder for folder in folders if not find_damage(folder)), None)
    if intact:
        return VerifiedFolder(OK, path=intact)
    if folders:
        return VerifiedFolder(MODIFIED, "damaged in the store")
    return VerifiedFolder(MISSING, "not in the store")


def find_model_version(case: str, data: str, number: int | None, settings: Settings) -> ModelVersionRecord:
    """Find a version by its number, or the champion for None. Raises UsageError where there is none."""
    name = f"{case}.{data}"
    # Connecting to a database that does not exist would create it.
    has_database = settings.tracking_uri or (settings.state_dir / "mlflow.db").exists()
    client = connection.connect(settings) if has_database else None
    existing = registry.list_versions(client, name) if client else {}
    if not client or not existing:
        raise UsageError(
            f"a registered version of {name}",
            "none",
            f"see `steward data` for names, or run `steward run {case} --data {data}` first",
        )
    champion = registry.get_champion(client, name)
    champion_number = champion.number if champion else None
    wanted = number if number is not None else champion_number
    if wanted is None or wanted not in existing:
        numbers = ", ".join(map(str, sorted(existing)))
        got = "no champion" if wanted is None else f"version {wanted}"
        raise UsageError(f"a version of {name} ({numbers})", got, "name one of them")
    return ModelVersionRecord(settings, client, case, data, existing[wanted], champion_number)

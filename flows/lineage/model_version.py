"""One version of a registered model, with everything that is recorded about it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pandas as pd

from flows.lineage.step import MISSING, MODIFIED, OK
from ml.errors import PackagingError, StoredResultError, UsageError
from ml.package import read_contract, verify
from tasks.ledger import Ledger, read_state
from tasks.settings import Settings
from tasks.storage.content_store import Store
from tasks.storage.object_folder import count_rows, find_damage, read_manifest, read_table
from tasks.tracking import connection, registry, run_history
from tasks.tracking.model_folder import PACKAGE_PATH
from tasks.tracking.model_record import model_record
from tasks.tracking.registry import ModelVersion
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
    """A recorded folder compared with its digest; `path` is None, and `manifest` empty, where it cannot be used."""

    status: str
    reason: str = ""
    path: Path | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VerifiedPackage(VerifiedFolder):
    """A registered package, with its contract as it was verified."""

    contract: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VerifiedResult(VerifiedFolder):
    """An object of the content store; its tables are verified again when they are read."""

    def table(self, name: str) -> pd.DataFrame:
        """Read a table. Raises StoredResultError."""
        assert self.path
        return read_table(self.path, read_manifest(self.path), name)

    def row_count(self, name: str) -> int:
        """Count the rows of a table. Raises StoredResultError."""
        assert self.path
        return count_rows(self.path, read_manifest(self.path), name)


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
    def ledger_problems(self) -> tuple[str, ...]:
        """What is wrong with the ledger, compared with the head that MLflow holds."""
        name = self.version.name
        record = model_record(self.client, name, self.settings, read_only=True)
        return read_state(Ledger(self.settings.ledger_dir, name), record).problems

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
    def package(self) -> VerifiedPackage:
        """The registered package; the whole model is compared with the digests in the ledger, else with MLflow's."""
        location = registry.artifact_location(self.client, self.version)
        if not registry.artifacts_exist(self.client, self.version):
            return VerifiedPackage(MISSING, f"no files at {location}, the location in MLflow")
        model_ledger = Ledger(self.settings.ledger_dir, self.version.name)
        digests = model_ledger.find_model_digests(self.version.number) or self.version.digests
        try:
            with registry.verified_copy(self.client, self.version, digests) as folder:
                manifest, _ = verify(folder / PACKAGE_PATH, digests.package)
                contract = read_contract(folder / PACKAGE_PATH, digests.package)
        except PackagingError as error:
            return VerifiedPackage(MODIFIED, f"expected {error.expected}; got {error.got}")
        path = Path(unquote(urlparse(location).path)) / PACKAGE_PATH
        return VerifiedPackage(OK, path=path, manifest=manifest, contract=contract)

    def stored_object(self, digest: str) -> VerifiedResult:
        """Find the object of the content store with this content digest."""
        return _first_intact(
            [folder for folder, manifest in self._objects if manifest.get("digest") == digest]
        )

    def golden_rows(self) -> VerifiedResult:
        """Find the rows on which the packaging gate tested this version, with its predictions."""
        facts = {"model": self.version.digest}
        return _first_intact([folder for folder, manifest in self._objects if manifest.get("facts") == facts])

    @cached_property
    def _objects(self) -> list[tuple[Path, dict[str, Any]]]:
        return list(Store(self.settings.state_dir.resolve() / "store").objects())


def _first_intact(folders: list[Path]) -> VerifiedResult:
    # Several objects may have equal content; one undamaged copy is enough.
    for folder in folders:
        with suppress(StoredResultError):
            if not find_damage(folder):
                return VerifiedResult(OK, path=folder, manifest=dict(read_manifest(folder)))
    if folders:
        return VerifiedResult(MODIFIED, "damaged in the store")
    return VerifiedResult(MISSING, "not in the store")


def find_model_version(case: str, data: str, number: int | None, settings: Settings) -> ModelVersionRecord:
    """Find a version by its number, or the champion for None. Raises UsageError where there is none."""
    name = f"{case}.{data}"
    # Connecting to a database that does not exist would fail.
    has_database = settings.tracking_uri or (settings.state_dir / "mlflow.db").exists()
    client = connection.connect_read_only(settings) if has_database else None
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

"""What maintenance must keep: everything that an alias, the ledger or an active run needs."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ml.errors import UsageError
from tasks.ledger import Ledger
from tasks.ledger_chain import ACCEPTED, Entry
from tasks.locks import run_lock
from tasks.settings import Settings
from tasks.tracking import connection, run_history
from tasks.tracking.registry import ModelVersion, RegisteredVersion

# Not every command that uses the store holds a run lock; clocks of two machines, or of one that was reset, differ.
CLOCK_MARGIN = timedelta(hours=1)


@dataclass(frozen=True)
class LedgerReferences:
    """What the ledgers refer to: versions that were ever champion, all versions, runs. A version is (model, number)."""

    champions: frozenset[tuple[str, int]]
    versions: frozenset[tuple[str, int]]
    runs: frozenset[str]


@dataclass(frozen=True)
class RequiredObjects:
    """Digests that the store must keep, ids of the runs that MLflow must keep, and of those in Prefect.

    `files` are the digests of source files.
    """

    digests: frozenset[str]
    runs: frozenset[str]
    flow_runs: frozenset[str]
    files: frozenset[str]


def ledger_references(settings: Settings) -> LedgerReferences:
    """Collect everything that any entry of any ledger refers to.

    Champions before a ledger was accepted may be lost, with the database that they were in.
    """
    names = sorted(path.stem for path in settings.ledger_dir.glob("*.jsonl"))
    ledgers = {name: Ledger(settings.ledger_dir, name).entries() for name in names}
    current = {name: _since_acceptance(entries) for name, entries in ledgers.items()}
    return LedgerReferences(
        _versions(current, "before", "champion"),
        _versions(ledgers, "before", "champion", "version"),
        frozenset(
            str(entry["run_id"]) for entries in ledgers.values() for entry in entries if entry.get("run_id")
        ),
    )


def _since_acceptance(entries: list[Entry]) -> list[Entry]:
    starts = [number for number, entry in enumerate(entries) if entry["verdict"] == ACCEPTED]
    return entries[starts[-1] :] if starts else entries


def _versions(ledgers: Mapping[str, list[Entry]], *fields: str) -> frozenset[tuple[str, int]]:
    return frozenset(
        (name, int(entry[field]))
        for name, entries in ledgers.items()
        for entry in entries
        for field in fields
        if entry.get(field) is not None
    )


def undecided_versions(
    registered: Iterable[RegisteredVersion], references: LedgerReferences, before: datetime
) -> list[ModelVersion]:
    """List versions created before an instant without alias and ledger entry: their run died before the decision."""
    return [
        item.version
        for item in registered
        if not item.has_alias
        and (item.version.name, item.version.number) not in references.versions
        and item.created < before
    ]


def required_objects(
    client: connection.Client,
    registered: Collection[RegisteredVersion],
    references: LedgerReferences,
    referenced_reports: frozenset[str],
) -> RequiredObjects:
    """Collect what the registered versions and the runs of the ledgers depend on.

    `referenced_reports` are runs whose report is shown where inputs are unchanged: the runs are kept, their stored
    results need not be. Raises UsageError where the record of a champion is missing: other records may be missing too.
    """
    versions = {(item.version.name, item.version.number): item.version for item in registered}
    champions = {key for key, item in zip(versions, registered, strict=True) if item.has_alias}
    champions |= references.champions
    missing = sorted(champions - set(versions))
    if missing:
        raise _missing_record(f"version {missing[0][1]} of {missing[0][0]}")
    runs = {version.run_id for version in versions.values()} | references.runs
    # Where a run was killed between registration and decision, the run that resumed it has the facts.
    makers = (run_history.registering_run(client, v.name, v.run_id, v.digest) for v in versions.values())
    runs |= {maker.run_id for maker in makers if maker}
    digests = {version.digest for version in versions.values()}
    flow_runs, files = set(), set()
    champion_runs = {versions[key].run_id: f"the run of version {key[1]} of {key[0]}" for key in champions}
    for run_id in runs | referenced_reports:
        run = run_history.read_run(client, run_id)
        if run is None or run.facts is None:
            # A run that was killed right after its decision wrote no facts.
            if run_id in champion_runs and (run is None or run.status == "FINISHED"):
                raise _missing_record(champion_runs[run_id])
            continue
        if run_id in runs:
            # The recorded object, or if it was computed again since, the one with the same content.
            digests |= {entry[k] for entry in run.facts["stages"] for k in ("object", "digest") if k in entry}
            files |= {*run.facts.get("source", {}).get("origin", {}).get("files", {}).values()}
        flow_runs.add(run.tags.get("prefect.flow_run_id", ""))
    return RequiredObjects(
        frozenset(digests), frozenset(runs | referenced_reports), frozenset(flow_runs), frozenset(files)
    )


def _missing_record(subject: str) -> UsageError:
    return UsageError(
        f"{subject} with its facts in MLflow, as the ledger and the registry name it",
        "none",
        "set STEWARD_TRACKING_URI to the database that belongs to this state directory, or restore it;"
        " nothing was deleted",
    )


def other_active_runs(settings: Settings, lock_id: str | None = None) -> list[dict[str, Any]]:
    """List the metadata of active runs, without the run that holds the lock `lock_id`."""
    return [metadata for metadata in run_lock.active_runs(settings) if metadata["id"] != lock_id]


def protected_since(settings: Settings, lock_id: str | None = None) -> datetime:
    """Return the instant since which everything used is kept: no other active run started before it.

    Where a run has not recorded its start yet, everything is kept.
    """
    others = other_active_runs(settings, lock_id)
    if any("started" not in metadata for metadata in others):
        return datetime.fromtimestamp(0, UTC)
    started = [datetime.fromisoformat(metadata["started"]) for metadata in others]
    return min([datetime.now(UTC), *started]) - CLOCK_MARGIN

"""Delete what is past its retention from MLflow, the content store and Prefect."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL

from flows.housekeeping import prefect_runs
from flows.housekeeping.dead_runs import DeadRun, find_dead_runs
from flows.housekeeping.ledgers import require_intact_ledgers
from flows.housekeeping.reconciliation import reconcile_dead_runs
from flows.housekeeping.retention import (
    RequiredObjects,
    ledger_references,
    other_active_runs,
    protected_since,
    required_objects,
    undecided_versions,
)
from flows.recording import prefect_run
from flows.recording.process_locks import flow_run_lock
from flows.temporary_server import local_flow, secured_temporary_server
from ml.errors import UsageError
from tasks.data_access.extracts import expired_extracts
from tasks.error_boundary import redact_errors
from tasks.locks.model_lock import LockTimeoutError, model_lock
from tasks.settings import Settings, load
from tasks.storage import garbage_collection
from tasks.storage.garbage_collection import StoredObject
from tasks.tracking import connection, registry, run_history
from tasks.tracking.registry import ModelVersion

log = logging.getLogger("steward")


@dataclass(frozen=True)
class DeletedObject:
    """One thing that was or would be deleted. `bytes` counts files; 0 for rows of a database."""

    kind: str
    name: str
    bytes: int
    reason: str


@dataclass
class MaintenanceReport:
    """What maintenance did or would do; bytes of the store afterwards, and by which databases became smaller."""

    dry_run: bool
    reconciled: list[str] = field(default_factory=list)
    deleted: list[DeletedObject] = field(default_factory=list)
    store_bytes: int = 0
    database_bytes: int = 0

    @property
    def freed_bytes(self) -> int:
        """Bytes of files and databases together."""
        return sum(item.bytes for item in self.deleted) + self.database_bytes

    def totals(self) -> list[dict[str, Any]]:
        """Count number and bytes of each kind."""
        kinds = dict.fromkeys(item.kind for item in self.deleted)
        sizes = {kind: [item.bytes for item in self.deleted if item.kind == kind] for kind in kinds}
        return [{"kind": kind, "number": len(found), "bytes": sum(found)} for kind, found in sizes.items()]


@dataclass(frozen=True)
class _Context:
    """What the steps of one maintenance share. `lock_id` is that of its own run lock, None for a preview."""

    client: connection.Client
    server: SyncPrefectClient
    settings: Settings
    report: MaintenanceReport
    lock_id: str | None = None

    @property
    def store(self) -> Path:
        return self.settings.state_dir.resolve() / "store"

    @property
    def oldest_run(self) -> datetime:
        return datetime.now(UTC) - timedelta(days=self.settings.runs_days)

    def add(self, kind: str, name: str, size: int, reason: str) -> None:
        self.report.deleted.append(DeletedObject(kind, name, size, reason))


@local_flow("maintenance", prefect_run.current_run_name)
@redact_errors
def maintenance(dry_run: bool = False) -> MaintenanceReport:
    """Delete what is past its retention; never what an alias, the ledger or an active run needs.

    Args:
        dry_run: Only report what would be deleted.
    """
    prefect_run.add_tags(prefect_run.TAG)
    report = preview(load()) if dry_run else _maintain(load())
    verb = "would free" if dry_run else "freed"
    summary = f"{verb} {report.freed_bytes:,} bytes; the store: {report.store_bytes:,}"
    create_table_artifact(report.totals(), key="maintenance", description=summary)
    log.info("maintenance: %s", summary)
    return report


def preview(settings: Settings) -> MaintenanceReport:
    """Report what maintenance would do now, without changing anything."""
    client = connection.connect_read_only(settings)
    report = MaintenanceReport(True, _corrections(find_dead_runs(client, settings)))
    with prefect_server() as server:
        _clean_up(_Context(client, server, settings, report))
    return report


def _maintain(settings: Settings) -> MaintenanceReport:
    settings.create_state_dir()
    with (
        flow_run_lock(settings, "maintenance", "all") as lock,
        model_lock(settings, "maintenance", timeout_seconds=0),
        prefect_server() as server,
    ):
        client = connection.connect(settings)
        report = MaintenanceReport(False, _corrections(reconcile_dead_runs(client, settings)))
        _clean_up(_Context(client, server, settings, report, lock.identity))
        if not other_active_runs(settings, lock.identity):
            report.database_bytes = connection.vacuum_database(settings)
    return report


def _clean_up(context: _Context) -> None:
    """Delete in an order in which a kill between two steps leaves nothing without what it depends on.

    A preview takes the same path without deleting. Raises LedgerError: a ledger says what is still needed.
    """
    require_intact_ledgers(context.settings, context.client)
    protected = protected_since(context.settings, context.lock_id)
    objects = garbage_collection.list_objects(context.store)
    # Where inputs are unchanged, users are shown the report of the last decision: an artifact of its run.
    referenced = frozenset(Path(item.report).parent.parent.name for item in objects if item.report)
    required = _delete_versions(context, referenced)
    _delete_runs(context, required)
    _delete_objects(context, objects, required, protected)
    _delete_extracts(context, required, protected)
    _delete_flow_runs(context, required)


def _delete_versions(context: _Context, referenced_reports: frozenset[str]) -> RequiredObjects:
    """Delete versions without a decision; return what the remaining ones need."""
    client, settings = context.client, context.settings
    registered, references = registry.list_all_versions(client), ledger_references(settings)
    old = undecided_versions(registered, references, context.oldest_run)

    def required_without(versions: list[ModelVersion]) -> RequiredObjects:
        kept = [item for item in registered if item.version not in versions]
        return required_objects(client, kept, references, referenced_reports)

    required = required_without(old)
    deleted = [version for version in old if context.report.dry_run or _delete_version(context, version)]
    for version in deleted:
        context.add("version", f"{version.name} version {version.number}", 0, "no alias, no decision")
    return required if len(deleted) == len(old) else required_without(deleted)


def _delete_version(context: _Context, version: ModelVersion) -> bool:
    """Delete a version unless a run of its model is active: that run may be about to decide about it."""
    client, settings = context.client, context.settings
    try:
        with model_lock(settings, version.name, timeout_seconds=0):
            references = ledger_references(settings)
            registered = registry.list_all_versions(client)
            if version not in undecided_versions(registered, references, context.oldest_run):
                return False
            registry.delete_version(client, version)
            return True
    except LockTimeoutError:
        return False


def _delete_runs(context: _Context, required: RequiredObjects) -> None:
    """Delete MLflow runs past their retention."""
    for run in run_history.runs_ended_before(context.client, context.oldest_run):
        if run.run_id in required.runs:
            continue
        size = run_history.artifact_bytes(context.client, run.run_id)
        if not context.report.dry_run:
            run_history.delete_run(context.client, run.run_id)
        context.add("run", f"{run.run_id} {run.case} {run.name}", size, _age(run.ended, context.settings))


def _delete_objects(
    context: _Context, objects: list[StoredObject], required: RequiredObjects, protected: datetime
) -> None:
    """Delete unneeded results of the store by age, then by size, and what killed processes left."""
    settings, store = context.settings, context.store
    oldest = _nanoseconds(datetime.now(UTC) - timedelta(days=settings.store_days))
    max_bytes = int(settings.store_gigabytes * 1e9)
    expired = garbage_collection.expired_objects(
        objects, required.digests, _nanoseconds(protected), oldest, max_bytes
    )
    orphaned = garbage_collection.orphaned_files(store, _nanoseconds(protected))
    if not context.report.dry_run:
        orphaned = garbage_collection.delete_orphaned_files(store, orphaned)
        expired = garbage_collection.delete_objects(store, expired)
    for file in orphaned:
        context.add("orphaned", str(file.path.relative_to(store)), file.size_bytes, "a process was killed")
    for item in expired:
        last_used = f"last used {datetime.fromtimestamp(item.last_used / 1e9, UTC):%Y-%m-%d}"
        too_old = item.last_used < oldest
        limit = f"{settings.store_days:g} days" if too_old else f"{settings.store_gigabytes:g} GB"
        context.add("result", item.name, item.size_bytes, f"{last_used}, over {limit}")
    total = sum(item.size_bytes for item in objects)
    context.report.store_bytes = total - sum(item.size_bytes for item in expired)


def _delete_extracts(context: _Context, required: RequiredObjects, protected: datetime) -> None:
    """Delete what came from databases and from Python, where no model needs it."""
    days = context.settings.store_days
    oldest = min(datetime.now(UTC) - timedelta(days=days), protected)
    for extract in expired_extracts(context.store, required.files, _nanoseconds(oldest)):
        if not context.report.dry_run:
            extract.path.unlink(missing_ok=True)
        context.add("extract", extract.path.name, extract.size_bytes, f"last used over {days:g} days ago")


def _delete_flow_runs(context: _Context, required: RequiredObjects) -> None:
    """Delete Prefect flow runs past their retention, except those that a kept MLflow run refers to."""
    for run in prefect_runs.runs_ended_before(context.server, context.oldest_run):
        if str(run.id) not in required.flow_runs:
            if not context.report.dry_run:
                prefect_runs.delete(context.server, run.id)
            context.add("flow run", f"{run.id} {run.name}", 0, _age(run.ended, context.settings))


@contextmanager
def prefect_server() -> Iterator[SyncPrefectClient]:
    """Connect to Prefect's server, or the one that Prefect starts where none is named. Raises UsageError."""
    try:
        with secured_temporary_server(), get_client(sync_client=True) as server:
            server.hello()
            yield server
    except httpx.HTTPError as error:
        raise UsageError(
            f"a Prefect server at {PREFECT_API_URL.value() or 'a free port'}",
            type(error).__name__,
            "start it (make up), or unset PREFECT_API_URL",
        ) from error


def _corrections(runs: Iterable[DeadRun]) -> list[str]:
    return [f"{run.case} on {run.data}: {run.correction}" for run in runs]


def _age(ended: datetime, settings: Settings) -> str:
    return f"ended {ended:%Y-%m-%d}, over {settings.runs_days:g} days"


def _nanoseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1e9)

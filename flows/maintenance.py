"""Maintenance: what is no longer needed goes, from MLflow, the content store and Prefect."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from flows.housekeeping import prefect_runs as flow_runs
from flows.housekeeping.dead_runs import Stray, reap, stray
from flows.housekeeping.retention import Needed, at_work, decided, needed, spared_since, undecided
from ml.errors import UsageError
from tasks.locks.model_lock import LockTimeoutError, model_lock
from tasks.locks.run_lock import RunLock
from tasks.settings import Settings, load
from tasks.storage import garbage_collection
from tasks.tracking import connection, registry, run_history
from tasks.tracking.registry import ModelVersion

log = logging.getLogger("steward")


@dataclass(frozen=True)
class Gone:
    """One thing that went, or would go. `bytes` of files; 0 for what only is in a database."""

    kind: str
    name: str
    bytes: int
    why: str


@dataclass
class Housekeeping:
    """What maintenance did, or would do, in bytes: of the store afterwards, of databases made smaller, of all."""

    dry_run: bool
    put_right: list[str] = field(default_factory=list)
    gone: list[Gone] = field(default_factory=list)
    store_bytes: int = 0
    database_bytes: int = 0

    @property
    def freed_bytes(self) -> int:
        return sum(one.bytes for one in self.gone) + self.database_bytes

    def totals(self) -> list[dict[str, Any]]:
        """Number and bytes of each kind of thing."""
        kinds = dict.fromkeys(one.kind for one in self.gone)
        of = {kind: [one for one in self.gone if one.kind == kind] for kind in kinds}
        return [{"what": k, "number": len(v), "bytes": sum(one.bytes for one in v)} for k, v in of.items()]


@flow(name="maintenance", persist_result=False)
def maintenance(dry_run: bool = False) -> Housekeeping:
    """Take away what is past its retention; never what an alias, the ledger or a run at work needs.

    Args:
        dry_run: Only say what would go.
    """
    done = survey(load()) if dry_run else _maintain(load())
    said = (
        f"{'would free' if dry_run else 'freed'} {done.freed_bytes:,} bytes; the store: {done.store_bytes:,}"
    )
    create_table_artifact(done.totals(), key="maintenance", description=said)
    log.info("maintenance: %s", said)
    return done


def survey(settings: Settings) -> Housekeeping:
    """What maintenance would do now; nothing is changed."""
    client = connection.look(settings)
    done = Housekeeping(True, _told(stray(client, settings)))
    with prefect_server() as server:
        _tidy(client, server, settings, done)
    return done


def _maintain(settings: Settings) -> Housekeeping:
    settings.prepare()
    client = connection.connect(settings)
    own = str(flow_run.id or uuid4())
    presence = RunLock(settings, own, {"case": "maintenance", "data": "all"})
    with presence, model_lock(settings, "maintenance", timeout_seconds=0), prefect_server() as server:
        done = Housekeeping(False, _told(reap(client, settings)))
        _tidy(client, server, settings, done, own)
        if not at_work(settings, own):
            done.database_bytes = connection.compact(settings)
    return done


def _tidy(
    client: connection.Client,
    server: SyncPrefectClient,
    settings: Settings,
    done: Housekeeping,
    own: str | None = None,
) -> None:
    """All of it, in an order in which a kill between two steps leaves nothing that is needed without what it needs.

    A dry run goes the same way and leaves out the taking.
    """
    before = datetime.now(UTC) - timedelta(days=settings.runs_days)
    spared = spared_since(settings, own)
    store = settings.home.resolve() / "store"
    known = garbage_collection.objects(store)
    # Where nothing is new, people are shown the report of the last decision, which lies in the artifacts of its run.
    shown = frozenset(Path(one.report).parent.parent.name for one in known if one.report)
    must = _versions(client, settings, done, before, shown)
    _runs(client, settings, done, before, must)
    _store(store, known, settings, done, must, spared)
    _flow_runs(server, settings, done, before, must)


def _versions(
    client: connection.Client, settings: Settings, done: Housekeeping, before: datetime, shown: frozenset[str]
) -> Needed:
    """Versions that nobody ever decided about; what all others need."""
    known, named = registry.registered_versions(client), decided(settings)
    old = undecided(known, named, before)
    must = needed(client, [one for one in known if one.version not in old], named, shown)
    gone = [one for one in old if done.dry_run or _unregister(client, settings, one, before)]
    for one in gone:
        done.gone.append(Gone("version", f"{one.name} version {one.number}", 0, "no alias, no decision"))
    if len(gone) < len(old):
        must = needed(client, [one for one in known if one.version not in gone], named, shown)
    return must


def _unregister(
    client: connection.Client, settings: Settings, version: ModelVersion, before: datetime
) -> bool:
    """Whether it went. Not while a run of its model is at work: that one may be about to decide about it."""
    try:
        with model_lock(settings, version.name, timeout_seconds=0):
            if version not in undecided(registry.registered_versions(client), decided(settings), before):
                return False
            registry.unregister(client, version)
            return True
    except LockTimeoutError:
        return False


def _runs(
    client: connection.Client, settings: Settings, done: Housekeeping, before: datetime, must: Needed
) -> None:
    """MLflow runs past retention."""
    for one in run_history.past(client, before):
        if one.run_id in must.runs:
            continue
        weight = run_history.weight(client, one.run_id)
        if not done.dry_run:
            run_history.purge(client, one.run_id)
        done.gone.append(
            Gone("run", f"{one.run_id} {one.case} {one.name}", weight, _ended(one.ended, settings))
        )


def _store(
    store: Path,
    known: list[garbage_collection.Object],
    settings: Settings,
    done: Housekeeping,
    must: Needed,
    spared: datetime,
) -> None:
    """Results that nobody needs, by age, then by size; what killed processes left."""
    expired = _nanoseconds(datetime.now(UTC) - timedelta(days=settings.store_days))
    maximum = int(settings.store_gigabytes * 1e9)
    going = garbage_collection.doomed(known, must.digests, _nanoseconds(spared), expired, maximum)
    left = garbage_collection.leftovers(store, _nanoseconds(spared))
    if not done.dry_run:
        left, going = garbage_collection.clear(store, left), garbage_collection.sweep(store, going)
    for one in left:
        done.gone.append(
            Gone("left over", str(one.path.relative_to(store)), one.bytes, "a process was killed")
        )
    for result in going:
        unused = f"last used {datetime.fromtimestamp(result.used / 1e9, UTC):%Y-%m-%d}"
        limit = (
            f"{settings.store_days:g} days" if result.used < expired else f"{settings.store_gigabytes:g} GB"
        )
        done.gone.append(Gone("result", result.name, result.bytes, f"{unused}, over {limit}"))
    done.store_bytes = sum(one.bytes for one in known) - sum(one.bytes for one in going)


def _flow_runs(
    server: SyncPrefectClient, settings: Settings, done: Housekeeping, before: datetime, must: Needed
) -> None:
    """Prefect flow runs past retention, but none that a run points to which stays in MLflow for good."""
    for one in flow_runs.past(server, before):
        if str(one.id) not in must.flow_runs:
            if not done.dry_run:
                flow_runs.delete(server, one.id)
            done.gone.append(Gone("flow run", f"{one.id} {one.name}", 0, _ended(one.ended, settings)))


@contextmanager
def prefect_server() -> Iterator[SyncPrefectClient]:
    """Prefect's server, or the one that Prefect starts where none is named. Raises UsageError where it is away."""
    try:
        with get_client(sync_client=True) as server:
            server.hello()
            yield server
    except httpx.HTTPError as error:
        raise UsageError(
            f"a Prefect server at {PREFECT_API_URL.value() or 'a port of its own'}",
            type(error).__name__,
            "start it (make up), or unset PREFECT_API_URL",
        ) from error


def _told(strays: Iterable[Stray]) -> list[str]:
    return [f"{one.case} on {one.data}: {one.done}" for one in strays]


def _ended(when: datetime, settings: Settings) -> str:
    return f"ended {when:%Y-%m-%d}, over {settings.runs_days:g} days"


def _nanoseconds(when: datetime) -> int:
    return int(when.timestamp() * 1e9)

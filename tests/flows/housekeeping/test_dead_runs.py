"""A run is dead only for the state directory that it belongs to, and only if no process may hold its lock."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker
from prefect.states import Running

from flows.housekeeping import open_task_runs
from flows.housekeeping.dead_runs import find_dead_runs
from flows.housekeeping.reconciliation import reconcile_dead_runs
from tasks.locks import run_lock
from tasks.locks.run_lock import STATE_DIR_TAG, RunLock
from tasks.settings import Settings, load
from tasks.tracking import connection
from tasks.tracking.run import MlflowRun, start_run
from tasks.tracking.run_history import run_status
from tests.guard import GUARD

# Unique on this machine: the lock of a living process is searched for in all of them.
RUN_ID = f"run-{uuid4()}"

HOLD_LOCK = "import sys; file = open(sys.argv[1]); print('open', flush=True); sys.stdin.readline()"


@pytest.fixture
def shared(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Settings, Settings]:
    """Two state directories on one tracking server."""
    shutil.copy(empty_database, tmp_path / "shared.db")
    monkeypatch.setenv("STEWARD_TRACKING_URI", f"sqlite:///{tmp_path / 'shared.db'}")
    return load(state_dir=tmp_path / "one"), load(state_dir=tmp_path / "two")


def start(settings: Settings, identity: str) -> MlflowRun:
    settings.state_dir.mkdir(exist_ok=True)
    tags = {run_lock.LOCK_TAG: identity, "steward.case": "fintech-risk"}
    return start_run(connection.connect(settings), settings, "fintech-risk", identity, tags, [])


def test_two_state_directories_on_one_server_leave_each_others_runs_alone(
    shared: tuple[Settings, Settings], prefect_api: str
) -> None:
    one, two = shared
    with RunLock(one, RUN_ID, {}):
        living, dead = start(one, RUN_ID), start(two, f"{RUN_ID}-2")
        assert [run.mlflow_run_id for run in find_dead_runs(living.client, two)] == [dead.run_id]
        assert find_dead_runs(living.client, one) == []
        reconcile_dead_runs(living.client, two)
        assert [run_status(living.client, run.run_id) for run in (living, dead)] == ["RUNNING", "KILLED"]


def test_a_copy_of_a_state_directory_leaves_the_runs_of_the_original_alone(
    shared: tuple[Settings, Settings], prefect_api: str
) -> None:
    one, two = shared
    with RunLock(one, RUN_ID, {}):
        living = start(one, RUN_ID)
        shutil.copytree(one.state_dir, two.state_dir)
        assert [lock["id"] for lock in run_lock.dead_runs(two)] == [RUN_ID]
        assert find_dead_runs(living.client, two) == reconcile_dead_runs(living.client, two) == []
        assert run_status(living.client, living.run_id) == "RUNNING"


def test_a_run_of_an_earlier_release_is_not_ended_where_it_may_belong_elsewhere(
    shared: tuple[Settings, Settings], prefect_api: str
) -> None:
    one, two = shared
    run = start(one, RUN_ID)
    run.client.delete_tag(run.run_id, STATE_DIR_TAG)
    assert reconcile_dead_runs(run.client, one) == reconcile_dead_runs(run.client, two) == []
    assert run_status(run.client, run.run_id) == "RUNNING"


def test_a_run_of_an_earlier_release_in_its_own_database_is_ended_unless_it_lives(
    home: Path, prefect_api: str
) -> None:
    run = start(load(), RUN_ID)
    run.client.delete_tag(run.run_id, STATE_DIR_TAG)
    # Its lock file was deleted, or is in a folder that this state directory was copied from.
    lock = home.parent / f"{RUN_ID}.lock"
    lock.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    process.stdout.readline()
    assert reconcile_dead_runs(run.client, load()) == []
    process.communicate("\n")
    assert [dead.correction for dead in reconcile_dead_runs(run.client, load())] == ["in MLflow KILLED"]


@pytest.fixture
def server(prefect_api: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def test_subflows_of_a_dead_run_crash_with_their_tasks(home: Path, server: SyncPrefectClient) -> None:
    """A process that dies in the task of a subflow: all states are RUNNING, and the lock is that of the parent."""

    @task
    def step() -> None:
        """Do nothing."""

    @flow
    def child() -> str:
        step()
        return str(FlowRunContext.get().flow_run.id)  # type: ignore[union-attr]

    @flow
    def parent() -> tuple[str, str]:
        return str(FlowRunContext.get().flow_run.id), child()  # type: ignore[union-attr]

    ids = [UUID(identity) for identity in parent()]
    settings = load()
    for run_id in ids:
        server.set_flow_run_state(run_id, Running(), force=True)
    lock = RunLock(settings, str(ids[0]), {"case": "fintech-risk"})
    lock.acquire()
    lock.abandon()
    EventsWorker.drain_all(timeout=GUARD)
    reconcile_dead_runs(connection.connect(settings), settings)
    states = [server.read_flow_run(run_id).state_type for run_id in ids]
    assert [state and state.value for state in states] == ["CRASHED", "CRASHED"]
    assert [task for run_id in ids for task in open_task_runs.open_task_runs(server, run_id)] == []


def test_open_tasks_of_flow_runs_that_ended_a_while_ago_are_ended(
    home: Path, server: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An automation, or a person in the UI, ended the flow run; its task runs stay as they were."""
    run_id: list[UUID] = []

    @task
    def step() -> None:
        run_id.append(FlowRunContext.get().flow_run.id)  # type: ignore[union-attr]

    flow(name="fintech-risk")(lambda: step())()
    EventsWorker.drain_all(timeout=GUARD)
    filters = FlowRunFilter(id=FlowRunFilterId(any_=run_id))
    while not (tasks := server.read_task_runs(flow_run_filter=filters)):
        pass
    server.set_task_run_state(tasks[0].id, Running(), force=True)
    assert run_id[0] not in open_task_runs.ended_runs_with_open_tasks(server)  # it may still be reported
    monkeypatch.setattr(open_task_runs, "MAX_DELAY", timedelta(0))
    assert open_task_runs.ended_runs_with_open_tasks(server)[run_id[0]] == "COMPLETED"
    settings = load()
    reconcile_dead_runs(connection.connect(settings), settings)
    (ended,) = server.read_task_runs(flow_run_filter=filters)
    assert (ended.state_type and ended.state_type.value) == "COMPLETED"

"""`steward up` ends runs that are killed while it is running."""

from pathlib import Path
from uuid import uuid4

from prefect.client.orchestration import get_client

from operate.local_stack.run_monitor import LOOK_INTERVAL, RECONCILE_INTERVAL, RunMonitor
from tasks.locks.run_lock import LOCK_TAG, RunLock, dead_runs
from tasks.settings import load
from tasks.tracking import connection
from tasks.tracking.run import start_run
from tasks.tracking.run_history import run_status

# Unique on this machine: the lock of a living process is searched for in all of them.
RUN_ID = f"run-{uuid4()}"


def test_a_run_that_is_seen_dead_twice_is_ended(home: Path, prefect_api: str) -> None:
    settings = load()
    client = connection.connect(settings)
    run = start_run(client, settings, "fintech-risk", "killed", {LOCK_TAG: RUN_ID}, [])
    lock = RunLock(settings, RUN_ID, {"case": "fintech-risk", "mlflow_run_id": run.run_id})
    lock.acquire()
    statuses = []
    with get_client(sync_client=True) as server:
        monitor = RunMonitor(settings, server)
        monitor.look()
        assert monitor.seen == set()
        lock.abandon()
        for _ in range(2):
            monitor.next_look = 0.0
            monitor.look()
            statuses.append(run_status(client, run.run_id))
    # The worker gets the time between two looks to report the end of its runs by itself.
    assert statuses == ["RUNNING", "KILLED"]
    assert dead_runs(settings) == []


def test_a_run_is_ended_within_a_minute() -> None:
    assert 2 * LOOK_INTERVAL < 60
    assert RECONCILE_INTERVAL <= 60

"""The next command on a state directory ends the runs that were killed."""

from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

import steward
from tasks.locks.run_lock import LOCK_TAG, RunLock, dead_runs
from tasks.settings import load
from tasks.tracking import connection
from tasks.tracking.run import MlflowRun, start_run
from tasks.tracking.run_history import run_status

# Unique on this machine: the lock of a living process is searched for in all of them.
RUN_ID = f"run-{uuid4()}"


@pytest.fixture
def killed_run(home: Path, contracts: Path, prefect_api: str) -> MlflowRun:
    settings = load()
    client = connection.connect(settings)
    run = start_run(client, settings, "fintech-risk", "killed", {LOCK_TAG: RUN_ID}, [])
    lock = RunLock(settings, RUN_ID, {"case": "fintech-risk", "mlflow_run_id": run.run_id})
    lock.acquire()
    lock.abandon()
    return run


@pytest.mark.parametrize(
    "command",
    [
        "champion fintech-risk --history",
        "score fintech-risk --data none.csv --out scores.parquet",
        "validate fintech-risk",
    ],
)
def test_each_command_ends_killed_runs(killed_run: MlflowRun, command: str) -> None:
    CliRunner().invoke(steward.app, command)
    assert run_status(killed_run.client, killed_run.run_id) == "KILLED"
    assert dead_runs(load()) == []


def test_a_preview_changes_nothing(killed_run: MlflowRun) -> None:
    done = CliRunner().invoke(steward.app, "maintain --dry-run")
    assert "to repair  fintech-risk on : in MLflow KILLED" in done.output
    assert run_status(killed_run.client, killed_run.run_id) == "RUNNING"

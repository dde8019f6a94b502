"""Runs that end in every way: Prefect, its task runs, MLflow and its child runs get true and final states."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterName

from flows.housekeeping.reconciliation import FAILURE_MESSAGE, reconcile_dead_runs
from tasks.settings import Settings
from tasks.tracking import connection

# Its fixtures take long, and would be made by each worker.
pytestmark = pytest.mark.xdist_group("reconciliation")

ROOT = Path(__file__).resolve().parents[3]

# One run after another on one state directory, each in a forked process that ends at another point. Each run
# reconciles the one before it and reuses its results.
RUNS = """
import os, resource, signal, sys, traceback
from dataclasses import replace
from pathlib import Path
from mlflow import MlflowClient
import steward
from flows import fintech_risk
from flows.pipeline import run
from flows.temporary_server import LocalFlow
from flows.use_case import RunParameters
from ml.evaluation.quality_gate import QualityThresholds
from ml.tabular.constant import Constant
from operate.console import console_logging
from operate.killed_runs import recorded_command
from tasks.locks.run_lock import RUNS, RunLock
from tasks.settings import load
import jinja2, matplotlib.figure, mlflow.pyfunc
# A shell in the background ignores it, and its children do too.
signal.signal(signal.SIGINT, signal.default_int_handler)
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store

case = replace(
    fintech_risk.CASE, candidates={"constant": Constant()}, thresholds=QualityThresholds(min_primary=0.5)
)

SIGNALS = {"terminated in a task": signal.SIGTERM, "interrupted in a task": signal.SIGINT}

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def fill_disk():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))

def then(function, action, when=lambda *_, **__: True):
    def wrapped(*arguments, **options):
        result = function(*arguments, **options)
        if when(*arguments, **options):
            action()
        return result
    return wrapped

def is_key(path, target):
    return "/store/keys/" in str(target)

def prepare(point):
    if point == "killed in a task":
        Path.replace = then(Path.replace, kill, is_key)
    elif point in SIGNALS:
        Path.replace = then(Path.replace, lambda: os.kill(os.getpid(), SIGNALS[point]), is_key)
    elif point == "killed before its lock":
        acquire = RunLock.acquire
        RunLock.acquire = lambda lock: kill() if lock.folder.name == RUNS else acquire(lock)
    elif point == "disk full":
        Path.replace = then(Path.replace, fill_disk, is_key)
    elif point == "killed in a child run":
        MlflowClient.create_run = then(
            MlflowClient.create_run, kill, lambda *_, **options: "mlflow.parentRunId" in options["tags"]
        )
    elif point == "killed after the decision":
        os.fsync = then(os.fsync, kill, lambda file: "/ledger/" in os.readlink(f"/proc/self/fd/{file}"))
    elif point == "killed after the last write":
        MlflowClient.set_terminated = then(
            MlflowClient.set_terminated, kill,
            lambda client, run_id, status: status == "FINISHED"
            and "mlflow.parentRunId" not in client.get_run(run_id).data.tags,
        )

for point in sys.argv[1:]:
    child = os.fork()
    if not child:
        code = 1
        try:
            prepare(point)
            train = LocalFlow(lambda: run(case, RunParameters()), name=case.name, flow_run_name=point)
            with console_logging(), recorded_command("run"):
                code = steward._run_case(case.name, train, {})[1]
            from prefect.events.worker import EventsWorker
            EventsWorker.drain_all(timeout=1200)
        except KeyboardInterrupt:
            code = 130
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
EXIT_CODES = {
    "killed in a task": -signal.SIGKILL,
    "terminated in a task": -signal.SIGTERM,
    "interrupted in a task": 130,
    "killed before its lock": -signal.SIGKILL,
    "disk full": 1,
    "killed in a child run": -signal.SIGKILL,
    "killed after the decision": -signal.SIGKILL,
    "killed after the last write": -signal.SIGKILL,
}


@dataclass(frozen=True)
class Recorded:
    """What Prefect and MLflow show of one run; `run` is the parent run in MLflow, if any."""

    state: str
    message: str
    tasks: list[str]
    run: Any
    children: list[str]


@pytest.fixture(scope="module")
def ended_runs(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path, prefect_api: str
) -> dict[str, Any]:
    """End a run at each point, reconcile, and return the exit codes, stderr and what is recorded by point."""
    folder = tmp_path_factory.mktemp("ended")
    home, contract = folder / "home", folder / "contracts" / "fintech_risk" / "simulated.json"
    home.mkdir()
    shutil.copy(empty_database, home / "mlflow.db")
    text = json.loads((ROOT / "expectations" / "fintech_risk" / "simulated.json").read_text())
    text["meta"]["read"]["rows"] = 1500
    contract.parent.mkdir(parents=True)
    contract.write_text(json.dumps(text))
    environment = {
        "STEWARD_HOME": str(home),
        "STEWARD_CONTRACTS": str(folder / "contracts"),
        # As set by the command line before it imports Prefect.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUNS, *EXIT_CODES],
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    settings = Settings(state_dir=home)
    client = connection.connect(settings)
    reconciled = reconcile_dead_runs(client, settings)
    codes = [int(line) for line in done.stdout.splitlines() if line.lstrip("-").isdigit()]
    return {
        "codes": dict(zip(EXIT_CODES, codes, strict=True)),
        "stderr": done.stderr,
        "reconciled": reconciled,
        "again": reconcile_dead_runs(client, settings),
        "locks": [path for name in ("running", "commands") for path in (home / name).iterdir()],
        **{point: recorded(point, client) for point in EXIT_CODES},
    }


def recorded(point: str, client: connection.Client) -> Recorded:
    with get_client(sync_client=True) as server:
        name = FlowRunFilter(name=FlowRunFilterName(any_=[point]))
        (flow_run,) = server.read_flow_runs(flow_run_filter=name)
        tasks = server.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id])))
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    parents = [r for r in runs if r.data.tags.get("prefect.flow_run_id") == str(flow_run.id)]
    ids = {run.info.run_id for run in parents}
    children = [r.info.status for r in runs if r.data.tags.get("mlflow.parentRunId") in ids]
    assert flow_run.state
    return Recorded(
        flow_run.state.type.value,
        flow_run.state.message or "",
        [task.state_type.value for task in tasks if task.state_type],
        parents[0] if parents else None,
        children,
    )


def test_each_run_ended_as_planned_and_no_lock_is_left(ended_runs: dict[str, Any]) -> None:
    assert ended_runs["codes"] == EXIT_CODES, ended_runs["stderr"]
    assert ended_runs["locks"] == []
    assert [run.correction for run in ended_runs["reconciled"]] == ["in Prefect COMPLETED"]
    assert ended_runs["again"] == []


@pytest.mark.parametrize("point", [point for point in EXIT_CODES if point != "killed before its lock"])
def test_every_task_run_and_child_run_is_final(ended_runs: dict[str, Any], point: str) -> None:
    run = ended_runs[point]
    assert run.tasks
    assert set(run.tasks) <= {"COMPLETED", "FAILED", "CRASHED"}
    assert set(run.children) <= {"FINISHED", "FAILED", "KILLED"}


def test_a_run_killed_in_a_task_has_crashed_with_that_task(ended_runs: dict[str, Any]) -> None:
    run = ended_runs["killed in a task"]
    assert (run.state, run.run.info.status) == ("CRASHED", "KILLED")
    assert run.tasks.count("CRASHED") == 1


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        ("terminated in a task", "cancelled by a request to end (SIGTERM)"),
        ("interrupted in a task", "cancelled by Ctrl-C (SIGINT)"),
    ],
)
def test_a_run_that_is_asked_to_end_is_cancelled(ended_runs: dict[str, Any], point: str, reason: str) -> None:
    run = ended_runs[point]
    assert (run.state, run.message) == ("CANCELLED", f"Steward: {reason}")
    tags = run.run.data.tags
    assert (run.run.info.status, tags["steward.verdict"], tags["steward.reason"]) == (
        "KILLED",
        "cancelled",
        reason,
    )
    assert run.tasks.count("CRASHED") == 1


def test_a_run_killed_before_its_lock_is_found_by_its_command(ended_runs: dict[str, Any]) -> None:
    run = ended_runs["killed before its lock"]
    assert (run.state, run.tasks, run.run) == ("CRASHED", [], None)


def test_child_runs_of_a_killed_run_are_killed(ended_runs: dict[str, Any]) -> None:
    run = ended_runs["killed in a child run"]
    assert (run.state, run.run.info.status, run.children) == ("CRASHED", "KILLED", ["KILLED"])


def test_a_run_killed_after_its_decision_is_killed_and_names_the_ledger_entry(
    ended_runs: dict[str, Any],
) -> None:
    run = ended_runs["killed after the decision"]
    assert (run.state, run.run.info.status) == ("CRASHED", "KILLED")
    assert run.run.data.tags["steward.verdict"] == "killed"
    assert run.run.data.tags["steward.reason"].endswith("its decision is entry 1 of the ledger: promote")


def test_a_run_that_had_written_everything_has_finished(ended_runs: dict[str, Any]) -> None:
    run = ended_runs["killed after the last write"]
    assert (run.state, run.run.info.status) == ("COMPLETED", "FINISHED")
    assert run.message.startswith("Steward: the run had finished")
    assert run.run.data.tags["steward.verdict"] == "keep_champion"
    assert set(run.tasks) == {"COMPLETED"}


def test_a_run_that_can_write_nothing_fails_without_a_traceback(ended_runs: dict[str, Any]) -> None:
    run = ended_runs["disk full"]
    assert (run.state, run.run.info.status) == ("FAILED", "FAILED")
    tags = run.run.data.tags
    assert (tags["steward.verdict"], tags["steward.reason"]) == ("stopped", FAILURE_MESSAGE)
    (message,) = [line for line in ended_runs["stderr"].splitlines() if line.startswith("fintech-risk: ")]
    assert message.startswith("fintech-risk: unexpected MlflowException at tasks/tracking/run.py:")
    assert message.endswith("(STEWARD_DEBUG=1 shows its text and traceback here)")
    assert "Traceback" not in ended_runs["stderr"]

"""A run that was stopped after any stage is resumed there, and both UIs show the true state of each run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName

from tasks.settings import load
from tasks.tracking import connection, registry

ROOT = Path(__file__).resolve().parents[2]

# One run after another, each in a forked process, so that the libraries are imported once. The first is not disturbed,
# in a state directory of its own. Each of the others is stopped right after its next durable write: a stage's result in
# the store, a version in the registry, an entry in the ledger. Earlier writes do not count, so each run gets one step
# further; the last one completes.
RUNS = """
import gc, os, resource, signal, sys, traceback
from contextlib import closing
from dataclasses import replace
from pathlib import Path
import psycopg2
from mlflow import MlflowClient
from prefect import flow
from flows import ecommerce_recommendation, fintech_risk, health_prediction
from flows.use_case import RunParameters
from flows.pipeline import run
from ml.evaluation.quality_gate import QualityThresholds
from ml.tabular.gradient_boosting import GradientBoosting
from ml.recommenders.item_knn import ItemKNN
from ml.recommenders.popularity import Popularity
from ml.tabular.constant import Constant
import implicit, jinja2, lightgbm, matplotlib.figure, mlflow.pyfunc, sklearn.linear_model
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store

name, ending, flow_name, undisturbed = sys.argv[1:]
two = {"constant": Constant(), "trees": GradientBoosting(max_rounds=30)}
cases = {
    "fintech": replace(fintech_risk.CASE, candidates=two),
    "hospital": replace(health_prediction.CASE, candidates=two),
    "shop": replace(ecommerce_recommendation.CASE, candidates={"popularity": Popularity(), "kNN": ItemKNN()}),
}
# With few rows, calibration is random: the quality gate is not tested here.
case = replace(cases[name], thresholds=QualityThresholds(min_primary=0.0))

def set_database_open(is_open):
    # Open or close the MLflow database to connections; closing also ends the existing ones.
    with closing(psycopg2.connect(os.environ["ADMIN_DATABASE"])) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {is_open}")
            if not is_open:
                cursor.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

def stop():
    if ending == "lost database":
        set_database_open(False)
    elif ending == "out of memory":
        # The next allocation exceeds the limit.
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 2**28
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        bytearray(2**30)
    else:
        os.kill(os.getpid(), getattr(signal, ending))

def then_stop(function, when=lambda *_: True):
    def wrapped(*arguments, **options):
        result = function(*arguments, **options)
        if when(*arguments):
            stop()
        return result
    return wrapped

def run_once(stopped):
    if stopped:
        Path.replace = then_stop(Path.replace, lambda path, target: "/store/keys/" in str(target))
        os.fsync = then_stop(os.fsync, lambda file: "/ledger/" in os.readlink(f"/proc/self/fd/{file}"))
        MlflowClient.create_model_version = then_stop(MlflowClient.create_model_version)
    flow(name=flow_name)(lambda: run(case, RunParameters()))()

# What the processes share is not searched for garbage in each of them.
gc.freeze()
for number in range(21):
    child = os.fork()
    if not child:
        try:
            if not number:
                # Also without the database that is lost.
                os.environ.update(STEWARD_HOME=undisturbed)
                os.environ.pop("STEWARD_TRACKING_URI", None)
                flow_name = "undisturbed"
            run_once(stopped=number > 0)
        except BaseException as error:
            traceback.print_exc()
            # Exit without waiting for threads of the failed run.
            os._exit(1)
        from prefect.events.worker import EventsWorker
        EventsWorker.drain_all(timeout=1200)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status, flush=True)
    if not number:
        continue
    if ending == "lost database":
        set_database_open(True)
    if status == 0:
        break
"""


def run_until_completed(case: str, ending: str, home: Path, name: str, undisturbed: Path) -> list[int]:
    """Return the exit codes of the runs that were stopped, negative for a signal.

    The first run, in `undisturbed`, and the last one, in `home`, completed.
    """
    environment = {**os.environ, "STEWARD_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", RUNS, case, ending, name, str(undisturbed)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    codes = [int(line) for line in done.stdout.splitlines() if line.lstrip("-").isdigit()]
    assert len(codes) > 1, done.stderr[-3000:]
    assert (codes[0], codes[-1]) == (0, 0), done.stderr[-3000:]
    return codes[1:-1]


def recorded_results(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return everything that must not depend on a kill: digests of stages and model, metrics, decisions."""
    monkeypatch.setenv("STEWARD_HOME", str(home))
    client = connection.connect(load())
    experiments = [e.experiment_id for e in client.search_experiments()]
    finished = client.search_runs(
        experiments, "attributes.status = 'FINISHED' and tags.`steward.verdict` != ''"
    )
    assert len(finished) == 1
    artifacts = Path(finished[0].info.artifact_uri.removeprefix("file://"))
    facts = json.loads((artifacts / "facts.json").read_text())
    champion = registry.get_champion(client, name)
    assert champion is not None
    ledger = [json.loads(line) for line in (home / "ledger" / f"{name}.jsonl").read_text().splitlines()]
    return {
        "stages": {line["stage"]: line["digest"] for line in facts["stages"]},
        "package": facts["package"]["digest"],
        "champion": (champion.number, champion.digest),
        "value": facts["evaluation"]["value"],
        "decisions": [(line["line"], line["verdict"], line["champion"]) for line in ledger],
        "partial files": [str(p) for p in (home / "store").rglob(".writing-*")],
    }


def shown_states(home: Path, flow_name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Return the sorted states in MLflow (of flows, of candidates) and in Prefect, and the remaining lock files."""
    monkeypatch.setenv("STEWARD_HOME", str(home))
    client = connection.connect(load())
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    with get_client(sync_client=True) as prefect:
        flows = FlowFilter(name=FlowFilterName(any_=[flow_name]))
        states = [str(r.state_type and r.state_type.value) for r in prefect.read_flow_runs(flow_filter=flows)]
    return {
        "MLflow": sorted(r.info.status for r in runs if "mlflow.parentRunId" not in r.data.tags),
        "candidates": sorted({r.info.status for r in runs if "mlflow.parentRunId" in r.data.tags}),
        "Prefect": sorted(states),
        "locks": [str(p) for p in (home / "running").iterdir()],
    }


# The exit code of each ending and its states in MLflow and Prefect, set by the process itself or by the next run.
ENDINGS = {
    "SIGKILL": (-signal.SIGKILL, {"KILLED"}, {"CRASHED"}),
    "SIGTERM": (-signal.SIGTERM, {"KILLED"}, {"CRASHED"}),
    "out of memory": (1, {"FAILED"}, {"FAILED"}),
    "lost database": (1, {"FAILED"}, {"FAILED"}),
}
# The champion's name, the number of durable steps, and the number of them that end a run when the database is lost:
# between two writes to MLflow a run makes several steps, of which only the first ends it then.
CASES = {
    # source, validate, summarize, split, two fits, leaderboard, evaluation, verified package, golden rows, registry,
    # ledger, what was outcome
    "fintech": ("fintech-risk.simulated", 13, 10),
    "hospital": ("health-prediction.simulated", 13, 10),
    # the same with two refits
    "shop": ("ecommerce-recommendation.simulated", 15, 10),
}
# The combinations of every test run; `make matrix` runs all of them.
EACH_ONCE = {("fintech", "SIGKILL")}


@pytest.mark.parametrize(
    ("case", "ending"),
    [
        pytest.param(case, ending, marks=[] if (case, ending) in EACH_ONCE else [pytest.mark.matrix])
        for case in CASES
        for ending in ENDINGS
    ],
)
def test_a_run_stopped_at_every_step_gives_the_same_results_and_true_states(
    case: str,
    ending: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    home: Path,
    contracts: Path,
    prefect_api: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, all_steps, seen = CASES[case]
    steps = seen if ending == "lost database" else all_steps
    flow_name = f"{case} {ending}"
    if ending == "lost database":
        postgres: Callable[[str], str] = request.getfixturevalue("postgres")
        monkeypatch.setenv("ADMIN_DATABASE", postgres("postgres"))
        monkeypatch.setenv("STEWARD_TRACKING_URI", postgres(case))
    undisturbed = tmp_path / "undisturbed"
    codes = run_until_completed(case, ending, home, flow_name, undisturbed)
    assert len(codes) == steps
    assert set(codes) == {ENDINGS[ending][0]}

    shown = shown_states(home, flow_name, monkeypatch)
    assert shown["locks"] == []
    # A run that ended before it reached MLflow is shown in Prefect alone.
    *in_mlflow, finished = sorted(shown["MLflow"], key="FINISHED".__eq__)
    *in_prefect, completed = sorted(shown["Prefect"], key="COMPLETED".__eq__)
    assert (finished, completed) == ("FINISHED", "COMPLETED")
    assert (len(in_mlflow), len(in_prefect)) == (steps, steps)
    assert set(in_mlflow) == ENDINGS[ending][1]
    assert set(in_prefect) == ENDINGS[ending][2]
    assert shown["candidates"] == ["FINISHED"]

    results = recorded_results(home, name, monkeypatch)
    monkeypatch.delenv("STEWARD_TRACKING_URI", raising=False)
    expected = recorded_results(undisturbed, name, monkeypatch)
    assert results == expected
    assert expected["decisions"] == [(1, "promote", 1)]
    assert expected["partial files"] == []

"""A run that came to its end after any stage goes on where it stopped, and both UIs say truly how each one ended."""

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

# One run after another, each in a forked process of its own, so that the libraries are imported once. Each comes to its
# end right after the next thing that it makes durable: a stage's result in the store, a version in the registry, a line
# in the ledger. What was there before does not count, so each run gets one step further; the last one lives.
RUNS = """
import os, resource, signal, sys, traceback
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
from ml.tabular.constant import Prior
import implicit, jinja2, lightgbm, matplotlib.figure, mlflow.pyfunc, sklearn.linear_model
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store

name, how, flow_name = sys.argv[1:]
two = {"prior": Prior(), "trees": GradientBoosting(max_rounds=30)}
cases = {
    "fintech": replace(fintech_risk.CASE, candidates=two),
    "hospital": replace(health_prediction.CASE, candidates=two),
    "shop": replace(ecommerce_recommendation.CASE, candidates={"popularity": Popularity(), "kNN": ItemKNN()}),
}
# Few rows are calibrated by luck alone: what is tested here is not the quality gate.
case = replace(cases[name], thresholds=QualityThresholds(minimum=0.0))

def doors(is_open):
    # PostgreSQL lets nobody into MLflow's database, and puts out who is in it; or lets them in again.
    with closing(psycopg2.connect(os.environ["DOORS"])) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {is_open}")
            if not is_open:
                cursor.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

def end():
    if how == "lost database":
        doors(False)
    elif how == "out of memory":
        # What comes next wants more memory than there is.
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 2**28
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        bytearray(2**30)
    else:
        os.kill(os.getpid(), getattr(signal, how))

def then_end(function, when=lambda *_: True):
    def wrapped(*arguments, **options):
        result = function(*arguments, **options)
        if when(*arguments):
            end()
        return result
    return wrapped

def once():
    if how != "live":
        Path.replace = then_end(Path.replace, lambda path, target: "/store/keys/" in str(target))
        os.fsync = then_end(os.fsync, lambda file: "/ledger/" in os.readlink(f"/proc/self/fd/{file}"))
        MlflowClient.create_model_version = then_end(MlflowClient.create_model_version)
    flow(name=flow_name)(lambda: run(case, RunParameters()))()

for _ in range(20):
    child = os.fork()
    if not child:
        try:
            once()
        except BaseException as error:
            traceback.print_exc()
            # As Python ends, without waiting for the threads of what failed.
            os._exit(1)
        from prefect.events.worker import EventsWorker
        EventsWorker.drain_all(timeout=10)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status, flush=True)
    if how == "lost database":
        doors(True)
    if status == 0:
        break
"""


def run_until_one_lives(case: str, how: str, home: Path, name: str = "undisturbed") -> list[int]:
    """The exit codes of the runs, negative for a signal; 0 is the last."""
    environment = {**os.environ, "STEWARD_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", RUNS, case, how, name]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    codes = [int(line) for line in done.stdout.splitlines() if line.lstrip("-").isdigit()]
    assert codes, done.stderr[-3000:]
    assert codes[-1] == 0, done.stderr[-3000:]
    return codes


def what_it_came_to(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Digests of every stage and of the model, and the champion's figure: what must not depend on a kill."""
    monkeypatch.setenv("STEWARD_HOME", str(home))
    client = connection.connect(load())
    experiments = [e.experiment_id for e in client.search_experiments()]
    finished = client.search_runs(
        experiments, "attributes.status = 'FINISHED' and tags.`steward.verdict` != ''"
    )
    assert len(finished) == 1
    artifacts = Path(finished[0].info.artifact_uri.removeprefix("file://"))
    facts = json.loads((artifacts / "facts.json").read_text())
    champion = registry.champion(client, name)
    assert champion is not None
    ledger = [json.loads(line) for line in (home / "ledger" / f"{name}.jsonl").read_text().splitlines()]
    return {
        "stages": {line["stage"]: line["digest"] for line in facts["stages"]},
        "package": facts["package"]["digest"],
        "champion": (champion.number, champion.digest),
        "value": facts["test"]["value"],
        "decisions": [(line["line"], line["verdict"], line["champion"]) for line in ledger],
        "half written": [str(p) for p in (home / "store").rglob(".writing-*")],
    }


def how_they_ended(home: Path, flow_name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Every state that MLflow and Prefect show, sorted: of the runs of flows, of candidates, of flow runs."""
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
        "present": [str(p) for p in (home / "running").iterdir()],
    }


# The exit code of each end, and what it is called in MLflow and in Prefect: by the process where it could still say so,
# and by the next run where it could not.
ENDS = {
    "SIGKILL": (-signal.SIGKILL, {"KILLED"}, {"CRASHED"}),
    "SIGTERM": (-signal.SIGTERM, {"KILLED"}, {"CRASHED"}),
    "out of memory": (1, {"FAILED"}, {"FAILED"}),
    "lost database": (1, {"FAILED"}, {"FAILED"}),
}
# The champion's name, and how many durable steps there are; then how many of them are ends where the database is lost:
# MLflow hears of fits when all are made, so that a run that lost it with the first one makes the second one too.
CASES = {
    # source, validate, split, two fits, golden rows, registry, ledger, what was decided
    "fintech": ("fintech-risk.simulated", 9, 8),
    "hospital": ("health-prediction.simulated", 9, 8),
    # source, validate, split, two fits, two refits, golden rows, registry, ledger, what was decided
    "shop": ("ecommerce-recommendation.simulated", 11, 9),
}
# What every run of the tests can afford; all of them are run by `make matrix`.
EACH_ONCE = {("fintech", "SIGKILL"), ("shop", "out of memory")}


@pytest.mark.parametrize(
    ("case", "how"),
    [
        pytest.param(case, how, marks=[] if (case, how) in EACH_ONCE else [pytest.mark.matrix])
        for case in CASES
        for how in ENDS
    ],
)
def test_ended_at_every_boundary_comes_to_the_same_and_is_shown_truly(
    case: str,
    how: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    home: Path,
    contracts: Path,
    prefect_api: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, all_steps, seen = CASES[case]
    steps = seen if how == "lost database" else all_steps
    flow_name = f"{case} {how}"
    if how == "lost database":
        postgres: Callable[[str], str] = request.getfixturevalue("postgres")
        monkeypatch.setenv("DOORS", postgres("postgres"))
        monkeypatch.setenv("STEWARD_TRACKING_URI", postgres(case))
    *codes, _ = run_until_one_lives(case, how, home, flow_name)
    assert len(codes) == steps
    assert set(codes) == {ENDS[how][0]}

    shown = how_they_ended(home, flow_name, monkeypatch)
    assert shown["present"] == []
    # A run that ended before it reached MLflow is shown in Prefect alone.
    *in_mlflow, finished = sorted(shown["MLflow"], key="FINISHED".__eq__)
    *in_prefect, completed = sorted(shown["Prefect"], key="COMPLETED".__eq__)
    assert (finished, completed) == ("FINISHED", "COMPLETED")
    assert (len(in_mlflow), len(in_prefect)) == (steps, steps)
    assert set(in_mlflow) == ENDS[how][1]
    assert set(in_prefect) == ENDS[how][2]
    assert shown["candidates"] == ["FINISHED"]

    found = what_it_came_to(home, name, monkeypatch)
    monkeypatch.delenv("STEWARD_TRACKING_URI", raising=False)
    undisturbed = tmp_path / "undisturbed"
    assert run_until_one_lives(case, "live", undisturbed) == [0]
    expected = what_it_came_to(undisturbed, name, monkeypatch)
    assert found == expected
    assert expected["decisions"] == [(1, "promote", 1)]
    assert expected["half written"] == []

"""Run eight flows at once: nothing is lost, one champion each, a ledger without gaps, and no locked database."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.settings import load
from tasks.tracking import connection, registry

ROOT = Path(__file__).resolve().parents[2]
# Five runs for one champion, with two seeds, and three for others. The libraries are imported once; the forked
# processes start together.
EIGHT_RUNS = """
import gc, json, os, sys
from dataclasses import replace
from flows import ecommerce_recommendation, fintech_risk, health_prediction
from flows.training_flow import training_flow
from prefect.events.worker import EventsWorker

def quick_flow(case, left_out):
    # The candidates that take long are left out and budgets are short, to save time.
    candidates = {name: candidate for name, candidate in case.candidates.items() if name not in left_out}
    return training_flow(replace(case, candidates=candidates))

fintech_risk = quick_flow(fintech_risk.CASE, ["ensemble"])
health_prediction = quick_flow(health_prediction.CASE, ["ensemble"])
slow = ["EASE", "ALS", "reranker", "reranker with transformer"]
ecommerce_recommendation = quick_flow(ecommerce_recommendation.CASE, slow)
# What the processes share is not searched for garbage in each of them.
gc.freeze()
flows = [(fintech_risk, 0)] * 3 + [(fintech_risk, 1)] * 2 + [(health_prediction, 0)] * 2
flows += [(ecommerce_recommendation, 0)]
start, signal = os.pipe()
children = []
for flow, seed in flows:
    child = os.fork()
    if not child:
        os.close(signal)
        os.read(start, 1)
        outcome = flow(seed=seed, time_budget=2)
        EventsWorker.drain_all(timeout=1200)
        print(json.dumps([outcome.champion, outcome.verdict, outcome.reused]), flush=True)
        os._exit(0)
    children.append(child)
os.close(signal)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


@pytest.mark.parametrize("store", [pytest.param("sqlite", marks=pytest.mark.matrix), "postgresql"])
def test_eight_flows_at_once(
    store: str,
    home: Path,
    contracts: Path,
    prefect_api: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if store == "postgresql":
        database: Callable[[str], str] = request.getfixturevalue("postgres")
        monkeypatch.setenv("STEWARD_TRACKING_URI", database("at_once"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EIGHT_RUNS],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == [str([0] * 8)], done.stderr[-5000:]
    assert "database is locked" not in done.stdout + done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
    assert len(outcomes) == 8

    client = connection.connect(load())
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert Counter(r.info.status for r in parents) == {"FINISHED": 8}
    assert {r.info.status for r in runs} == {"FINISHED"}
    for case, times, fits in (
        ("fintech-risk", 5, 2),
        ("health-prediction", 2, 1),
        ("ecommerce-recommendation", 1, 1),
    ):
        name = f"{case}.simulated"
        results = [(verdict, reused) for model, verdict, reused in outcomes if model == name]
        assert len(results) == times
        # Of the runs with one seed, one trained and the others reused its results.
        assert sum(not any(stage.startswith("train") for stage in reused) for _, reused in results) == fits
        ledger = [json.loads(line) for line in (home / "ledger" / f"{name}.jsonl").read_text().splitlines()]
        assert [entry["line"] for entry in ledger] == list(range(1, len(ledger) + 1))
        previous = [None, *(entry["champion"] for entry in ledger[:-1])]
        assert [entry["before"] for entry in ledger] == previous
        assert sum(verdict == "promote" for verdict, _ in results) == sum(
            entry["verdict"] == "promote" for entry in ledger
        )
        champion = registry.get_champion(client, name)
        assert champion is not None
        assert champion.number == ledger[-1]["champion"]
        # One version for each model, not one for each run.
        assert len(client.search_model_versions(f"name = '{name}'")) == len(ledger) <= fits
    assert list((home / "running").iterdir()) == []

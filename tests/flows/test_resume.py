"""A run that is killed after any stage goes on where it stopped, and ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks import registry, tracking
from tasks.settings import load

ROOT = Path(__file__).resolve().parents[2]

# The child kills itself right after the next thing that it makes durable: a stage's result in the store, a version in
# the registry, or a line in the ledger. What was there before does not count, so each run gets one step further.
CHILD = """
import os, signal, sys
from pathlib import Path
from dataclasses import replace

def then_die(function, when=lambda *_: True):
    def wrapped(*arguments, **options):
        result = function(*arguments, **options)
        if when(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return wrapped

if sys.argv[2] == "die":
    Path.replace = then_die(Path.replace, lambda path, target: "/store/keys/" in str(target))
    os.fsync = then_die(os.fsync, lambda file: "/ledger/" in os.readlink(f"/proc/self/fd/{file}"))
    from mlflow import MlflowClient
    MlflowClient.create_model_version = then_die(MlflowClient.create_model_version)

from flows import ecommerce_recommendation, fintech_risk
from flows.pipeline import Asked, run
from ml.gates import Gates
from ml.gbm import GradientBoosting
from ml.item_knn import ItemKNN
from ml.popularity import Popularity
from ml.prior import Prior
from prefect import flow

cases = {
    "fintech": replace(fintech_risk.CASE, candidates={"prior": Prior(), "trees": GradientBoosting(max_rounds=30)}),
    "shop": replace(ecommerce_recommendation.CASE, candidates={"popularity": Popularity(), "kNN": ItemKNN()}),
}
# Few rows are calibrated by luck alone: what is tested here is not the quality gate.
case = replace(cases[sys.argv[1]], gates=Gates(minimum=0.0))
flow(name=case.name)(lambda: run(case, Asked()))()
"""


def run_child(case: str, die: bool, home: Path) -> tuple[int, str]:
    environment = {**os.environ, "STEWARD_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", CHILD, case, "die" if die else "live"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr[-3000:]


def what_it_came_to(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Digests of every stage and of the model, and the champion's figure: what must not depend on a kill."""
    monkeypatch.setenv("STEWARD_HOME", str(home))
    client = tracking.connect(load())
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


@pytest.mark.parametrize(
    ("case", "name", "kills"),
    [
        # source, validate, split, two fits, golden rows, registry, ledger
        ("fintech", "fintech-risk.simulated", 8),
        # source, validate, split, two fits, two refits, golden rows, registry, ledger
        ("shop", "ecommerce-recommendation.simulated", 10),
    ],
)
def test_killed_at_every_boundary_ends_as_undisturbed(
    case: str,
    name: str,
    kills: int,
    tmp_path: Path,
    home: Path,
    contracts: Path,
    prefect_api: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    survived = 0
    while (ended := run_child(case, die=True, home=home))[0] != 0:
        assert ended[0] == -signal.SIGKILL, ended[1]
        survived += 1
        assert survived <= kills
    assert survived == kills

    undisturbed = tmp_path / "undisturbed"
    assert run_child(case, die=False, home=undisturbed)[0] == 0
    expected = what_it_came_to(undisturbed, name, monkeypatch)
    assert what_it_came_to(home, name, monkeypatch) == expected
    assert expected["decisions"] == [(1, "promote", 1)]
    assert expected["half written"] == []

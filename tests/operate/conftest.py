"""One home in which champions were made; tests of lineage and reproduction look at it from all sides."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import steward

ROOT = Path(__file__).resolve().parents[2]
# Mixtures of less, for the sake of time; whoever trains again takes the members from what is recorded.
SMALLER = """
from dataclasses import replace
from flows import fintech_risk, health_prediction
from ml.ensemble.stacked_ensemble import Ensemble
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from ml.ensemble.presets import Preset
two = {"logistic": Linear(bins=4), "trees": GradientBoosting(max_rounds=20)}
small = Ensemble(presets=(Preset(rows=float("inf"), folds=2, repeats=1, members=two),))
for module in (fintech_risk, health_prediction):
    module.CASE = replace(module.CASE, candidates={**module.CASE.candidates, "ensemble": small})
"""
# Dies as soon as the version is registered, before anything is decided about it.
KILLED = """
import os, signal
from mlflow import MlflowClient
create = MlflowClient.create_model_version
def create_and_die(*arguments, **options):
    create(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
MlflowClient.create_model_version = create_and_die
health_prediction.health_prediction()
"""
Ask = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, migrated: Path, prefect_api: str) -> Path:
    """A folder with home/, contracts/ and loans.csv, from which version 1 of fintech-risk is, and version 2 as of June.

    The other cases are simulated: health-prediction by a run that was killed after it had registered its model, and
    the one that resumed it; `brief` without time to train.
    """
    from flows import fintech_risk, health_prediction
    from flows.ecommerce_recommendation import ecommerce_recommendation
    from ml.simulators import SIMULATORS

    folder = tmp_path_factory.mktemp("champions")
    (folder / "home").mkdir()
    shutil.copy(migrated, folder / "home" / "mlflow.db")
    for case, name, rows in (
        ("fintech-risk", "simulated", 1500),
        ("health-prediction", "simulated", 1500),
        ("ecommerce-recommendation", "simulated", 3000),
        ("ecommerce-recommendation", "brief", 3000),
    ):
        stem = case.replace("-", "_")
        contract = json.loads((ROOT / "expectations" / stem / "simulated.json").read_text())
        contract["name"] = f"{case}.{name}"
        contract["meta"]["read"]["rows"] = rows
        path = folder / "contracts" / stem / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(contract))
    loans = SIMULATORS["lender"](1500, 0).rows
    loans.loc[[3, 5, 8], "age"] = -1
    loans.to_csv(folder / "loans.csv", index=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEWARD_HOME", str(folder / "home"))
        patch.setenv("STEWARD_CONTRACTS", str(folder / "contracts"))
        for module in (fintech_risk, health_prediction):
            patch.setattr(module, "CASE", module.CASE)  # to be put back
        exec(SMALLER)
        of = {"data": str(folder / "loans.csv"), "contract": "simulated"}
        assert fintech_risk.fintech_risk(**of).verdict == "promote"
        assert fintech_risk.fintech_risk(**of, as_of=datetime(2025, 6, 1)).version == 1
        killed = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SMALLER + KILLED],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
        assert health_prediction.health_prediction().verdict == "promote"
        assert ecommerce_recommendation().verdict == "promote"
        assert ecommerce_recommendation(data="brief", budget=1e-9).verdict == "promote"
    return folder


@pytest.fixture
def champions(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, with its home and its contracts as those of this process."""
    monkeypatch.setenv("STEWARD_HOME", str(made / "home"))
    monkeypatch.setenv("STEWARD_CONTRACTS", str(made / "contracts"))
    return made


@pytest.fixture(scope="session")
def ask() -> Ask:
    """The exit code of a command and the object that it prints; what it raises comes through."""

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        done = CliRunner().invoke(steward.app, [*arguments, "--json"])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, json.loads(done.stdout)

    return run

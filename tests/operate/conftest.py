"""A state directory with champions, shared by the tests of lineage and reproduction."""

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
# A smaller ensemble, to save time. Reproduction takes its members from the recorded parameters.
SMALL_ENSEMBLE = """
from dataclasses import replace
from flows import fintech_risk, health_prediction
from flows.training_flow import training_flow
from ml.ensemble.stacked_ensemble import Ensemble
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from ml.ensemble.presets import Preset
members = {"logistic": Linear(max_bins=4), "trees": GradientBoosting(max_rounds=20)}
small = Ensemble(presets=(Preset(max_rows=float("inf"), folds=2, repeats=1, members=members),))
for module in (fintech_risk, health_prediction):
    module.CASE = replace(module.CASE, candidates={**module.CASE.candidates, "ensemble": small})
    setattr(module, module.__name__.rpartition(".")[2], training_flow(module.CASE))
"""
# Kills its process after the version is registered and before the verdict.
KILLED_RUN = """
import os, signal
from mlflow import MlflowClient
create = MlflowClient.create_model_version
def create_and_kill(*arguments, **options):
    create(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
MlflowClient.create_model_version = create_and_kill
health_prediction.health_prediction()
"""
RunCommand = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="session")
def trained_champions(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path, prefect_api: str
) -> Path:
    """Create a folder with home/, contracts/ and loans.csv, from which fintech-risk has version 1, and 2 as of June.

    The other cases use simulated data. The run of health-prediction was killed after it registered its model, and
    resumed. The data set `brief` of ecommerce-recommendation had no time for a second candidate.
    """
    from flows import fintech_risk, health_prediction
    from flows.ecommerce_recommendation import ecommerce_recommendation
    from ml.simulators import SIMULATORS

    folder = tmp_path_factory.mktemp("champions")
    (folder / "home").mkdir()
    shutil.copy(empty_database, folder / "home" / "mlflow.db")
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
        # Restored at the end.
        for module, flow in ((fintech_risk, "fintech_risk"), (health_prediction, "health_prediction")):
            patch.setattr(module, "CASE", module.CASE)
            patch.setattr(module, flow, getattr(module, flow))
        exec(SMALL_ENSEMBLE)
        source = {"data": str(folder / "loans.csv"), "contract": "simulated"}
        assert fintech_risk.fintech_risk(**source).verdict == "promote"
        assert fintech_risk.fintech_risk(**source, as_of=datetime(2025, 6, 1)).version == 1
        killed = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SMALL_ENSEMBLE + KILLED_RUN],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
        assert health_prediction.health_prediction().verdict == "promote"
        assert ecommerce_recommendation().verdict == "promote"
        assert ecommerce_recommendation(data="brief", time_budget=1e-9).verdict == "promote"
    return folder


@pytest.fixture
def champions(trained_champions: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return that folder, with its state directory and contracts set for this process."""
    monkeypatch.setenv("STEWARD_HOME", str(trained_champions / "home"))
    monkeypatch.setenv("STEWARD_CONTRACTS", str(trained_champions / "contracts"))
    return trained_champions


@pytest.fixture(scope="session")
def run_command() -> RunCommand:
    """Return a function that runs a command with --json, for its exit code and JSON; exceptions are raised."""

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        done = CliRunner().invoke(steward.app, [*arguments, "--json"])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, json.loads(done.stdout)

    return run

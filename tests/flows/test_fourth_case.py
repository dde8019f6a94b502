"""Add a fourth use case: one flow file, one contract, one deployment and one row of the README."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
FLOW = '''"""Predict the cost of a claim."""

from flows.training_flow import training_flow
from flows.use_case import UseCase
from ml.evaluation.numeric_evaluator import NumericEvaluator
from ml.evaluation.quality_gate import QualityThresholds
from ml.tabular.constant import Constant
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from tasks.split import split_rows

CASE = UseCase(
    name="claim-size",
    question="How much will this claim cost?",
    split=split_rows,
    candidates={
        "mean": Constant("numeric"),
        "ridge": Linear("numeric"),
        "LightGBM": GradientBoosting("numeric"),
    },
    evaluator=NumericEvaluator(),
    thresholds=QualityThresholds(min_primary=0.1, bounded="r2"),
)


claim_size = training_flow(CASE)
'''
CONTRACT = {
    "name": "claim-size.claims",
    "expectations": [
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "cost", "min_value": 0},
            "meta": {"action": "quarantine", "reason": "a claim costs something"},
        }
    ],
    "meta": {
        "schema_version": 2,
        "description": "Made-up claims.",
        "licence": "Apache-2.0",
        "read": {
            "files": ["claims.csv"],
            "columns": {"claim": "category", "kind": "category", "size": "number", "cost": "number"},
        },
        "roles": {"target": {"column": "cost"}, "id": "claim"},
    },
}
DEPLOYMENT = """  - name: claim-size
    entrypoint: flows.claim_size.claim_size
    description: How much will this claim cost?
    parameters: {data: claims}
    <<: *each
"""


def test_a_fourth_use_case_runs(tmp_path: Path, home: Path, prefect_api: str) -> None:
    copy = tmp_path / "copy"
    skip = shutil.ignore_patterns(".venv", ".git", "mlruns", "tests", "*.egg-info", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=skip)
    (copy / "flows" / "claim_size.py").write_text(FLOW)
    (copy / "expectations" / "claim_size").mkdir()
    (copy / "expectations" / "claim_size" / "claims.json").write_text(json.dumps(CONTRACT))
    with (copy / "prefect.yaml").open("a") as deployments:
        deployments.write(DEPLOYMENT)
    data = tmp_path / "data" / "claims"
    data.mkdir(parents=True)
    draws = np.random.default_rng(0)
    claims = pd.DataFrame({"kind": draws.choice(["fire", "water"], 2000), "size": draws.gamma(2, 2, 2000)})
    claims["cost"] = claims["size"] * np.where(claims["kind"] == "fire", 3, 1) + draws.normal(
        0, 1, 2000
    ).clip(-3)
    claims.insert(0, "claim", [f"C{n}" for n in range(2000)])
    claims.assign(cost=claims["cost"].clip(0)).to_csv(data / "claims.csv", index=False)

    environment = {**os.environ, "STEWARD_DATA_DIR": str(data.parent), "PYTHONPATH": str(copy)}
    command = [sys.executable, "steward.py", "run", "claim-size", "--data", "claims", "--json"]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    outcome = json.loads(line)
    assert (outcome["case"], outcome["verdict"], outcome["version"]) == ("claim-size", "promote", 1)
    assert outcome["metric"] == "rmse"
    # The noise of 1 is the best that a model can reach; bins of sizes add to it.
    assert 0.8 < outcome["value"] < 1.6 < 3 < outcome["baseline"]
    assert outcome["rows"] == 2000
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr

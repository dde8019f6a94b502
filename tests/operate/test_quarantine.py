"""`steward quarantine`: a refused batch is listed, exported, repaired and released, and then passes the contract."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect import flow
from typer.testing import CliRunner

import steward
from flows import fintech_risk
from flows.pipeline import run as run_pipeline
from flows.pipeline import validate_only
from flows.use_case import RunParameters
from ml.errors import UsageError
from ml.simulators import SIMULATORS
from ml.simulators.faults import faulty_table
from ml.tabular.constant import Constant


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(
        steward.app, ["quarantine", "fintech-risk", *arguments], catch_exceptions=False
    )
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.mark.usefixtures("prefect_api", "home", "contracts")
def test_rows_of_a_refused_batch_are_repaired_and_released(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="with rows in quarantine; got none so far"):
        run()
    damaged = faulty_table(SIMULATORS["lender"](300, 0).rows, "lender", "shifted-decimal", 0)
    damaged.to_parquet(tmp_path / "loans.parquet")
    params = RunParameters(data=str(tmp_path / "loans.parquet"), contract="simulated")
    case = replace(fintech_risk.CASE, candidates={"constant": Constant()})
    assert flow(name=case.name)(lambda: run_pipeline(case, params))(return_state=True).is_failed()

    (batch,) = json.loads(run("--json"))
    listed: dict[str, Any] = {key: batch[key] for key in ("verdict", "rows", "contract")}
    assert listed == {"verdict": "rejected", "rows": 300, "contract": "fintech-risk.simulated"}
    (rule,) = batch["rules"]
    assert rule["rule"] == "column_values_to_be_between(loan_amount)"
    text = run()
    assert f"{batch['quarantined']} of 300 rows" in text
    assert "column_values_to_be_between(loan_amount)" in text

    exported = tmp_path / "rows.csv"
    assert "--release" in run("--run", batch["run_id"][:6], "--export", str(exported))
    assert exported.stat().st_mode & 0o077 == 0
    cells = pd.read_csv(exported)
    assert len(cells) == batch["quarantined"]
    assert str(cells["application_id"][0]) in run("--rows", "1")
    with pytest.raises(UsageError, match="one run of"):
        run("--run", "nothing", "--rows", "1")
    with pytest.raises(UsageError, match="together"):
        run("--release", str(exported))

    out = tmp_path / "repaired.parquet"
    assert "0 repaired rows pass" in run("--release", str(exported), "--out", str(out), code=3)
    assert not out.exists()
    cells.assign(loan_amount=cells["loan_amount"] / 100).to_csv(exported, index=False)
    text = run("--release", str(exported), "--out", str(out))
    assert text.startswith(f"{len(cells)} repaired rows pass the rules; 0 violations remain\n")
    assert text.endswith(f"    steward run fintech-risk --data {out} --contract simulated\n")
    facts = validate_only("fintech-risk", str(out), "simulated")
    assert (facts["rows"], facts["quarantined"]) == (300, 0)

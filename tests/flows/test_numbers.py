"""Predict an amount with the use case of applicants: from a table to scores with intervals, with a known best error."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from steward import contract, run, score

pytestmark = pytest.mark.xdist_group("champions")

NOISE = 40.0


def loans(rows: int, seed: int) -> pd.DataFrame:
    """Draw loans whose amount is linear in their features but for normal noise of a known size."""
    draws = np.random.default_rng(seed)
    income, region = draws.normal(3000, 500, rows), draws.choice(["north", "south"], rows)
    frame = pd.DataFrame({"income": income.round(2), "region": region, "sex": draws.choice(["f", "m"], rows)})
    amount = 0.2 * income + np.where(region == "north", 100.0, 0.0) + draws.normal(0, NOISE, rows)
    return frame.assign(age=draws.integers(18, 80, rows), amount=amount.round(2))


def test_an_amount_is_predicted_with_its_interval(tmp_path: Path, home: Path, prefect_api: str) -> None:
    draft = contract(loans(2500, 0), "fintech-risk", to=tmp_path / "amounts.json", target="amount")
    outcome = run("fintech-risk", loans(2500, 0), draft, time_budget=4)
    assert (outcome.verdict, outcome.metric) == ("promote", "rmse")
    facts = json.loads(next(home.glob("artifacts/fintech-risk/*/artifacts/facts.json")).read_text())
    assert [entry["candidate"] for entry in facts["leaderboard"]][:2] == ["mean", "ridge regression"]
    evaluation = facts["evaluation"]
    # No model has smaller errors than the noise; the mean has those of the features too.
    assert 0.9 * NOISE < evaluation["value"] < 1.25 * NOISE
    assert evaluation["baseline"]["value"] > 2 * NOISE
    assert evaluation["low"] < evaluation["value"] < evaluation["high"]
    assert evaluation["metrics"]["interval_coverage"] == pytest.approx(0.9, abs=0.05)
    assert {group["group"] for group in evaluation["groups"] if group["column"] == "sex"} == {"f", "m"}
    assert any(
        check["check"] == "lower limit of r2 at least" and check["passed"] for check in facts["checks"]
    )
    page = next(home.glob("artifacts/fintech-risk/*/artifacts/report.html")).read_text()
    assert "Half of the predictions are within" in page
    assert "Mean error by group" in page

    new = loans(300, 1)
    scores = score("fintech-risk", new.drop(columns="amount"), "amounts")
    assert {"prediction", "lower", "upper"} <= set(scores)
    errors = new["amount"].to_numpy() - scores["prediction"].to_numpy()
    assert np.sqrt((errors**2).mean()) < 1.3 * NOISE
    inside = new["amount"].between(scores["lower"], scores["upper"]).mean()
    assert inside == pytest.approx(0.9, abs=0.07)

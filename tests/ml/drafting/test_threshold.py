"""A number above which the class is positive: what the draft says about it, and how a wrong number is answered."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import steward
from ml.data.casting import TEXT_DTYPE
from ml.drafting.columns import Column, describe_columns
from ml.drafting.draft import Draft
from ml.drafting.request import CaseKind, DraftRequest
from ml.drafting.threshold import parse_threshold, threshold_target
from ml.errors import UsageError
from operate.contract import draft_cells
from tasks.validate import apply_contract

HEALTH = CaseKind("health-prediction", numbers=True)


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({c: frame[c].map(str, na_action="ignore").astype(TEXT_DTYPE) for c in frame.columns})


def column(*values: object) -> Column:
    (found,) = describe_columns({"x": pd.Series([str(v) for v in values], dtype=TEXT_DTYPE)})
    return found


def people(rows: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    bmi = rng.normal(29, 5, rows).round(1)
    bmi[:20] = 0
    return pd.DataFrame(
        {
            "age": rng.integers(18, 80, rows),
            "glucose": (80 + bmi + rng.normal(0, 9, rows)).round(1),
            "sex": rng.choice(["m", "f"], rows),
            "bmi": bmi,
        }
    )


def drafted(frame: pd.DataFrame, case: CaseKind = HEALTH, **given: object) -> Draft:
    return draft_cells(cells(frame), DraftRequest(case, "people", {"files": ["a.csv"]}, **given))  # type: ignore[arg-type]


def test_numbers_above_the_given_one_are_a_class() -> None:
    frame = people()
    draft = drafted(frame, target="bmi", above=30.0)
    roles = draft.contract.roles
    assert (roles.target, roles.target_kind, roles.above) == ("bmi", "binary", 30)
    assert draft.source["meta"]["roles"]["target"] == {"column": "bmi", "above": 30}
    assert (draft.contract.read.columns["bmi"], draft.contract.split.by) == ("number", "stratified")
    (point,) = [p for p in draft.proposals if p.place == "roles.target.above"]
    above = int((frame["bmi"] > 30).sum())
    assert point.reason == f"{above} of 600 numbers ({above / 600:.1%}) are above 30"
    assert not point.review
    # 0 is no body mass index: these rows are not among those below the number.
    facts = apply_contract(cells(frame), draft.contract).facts
    assert facts["excluded"] == 20


@pytest.mark.parametrize(("above", "got"), [(99.0, "no"), (-1.0, "every"), (float("nan"), "no")])
def test_a_number_that_divides_nothing_is_answered_with_quantiles(above: float, got: str) -> None:
    message = (
        rf"'x', whose quantiles are 5 % 2, 25 % 6, 50 % 11, 75 % 16, 95 % 20; got {above:g}, and {got} number"
    )
    with pytest.raises(UsageError, match=message):
        threshold_target(column(*range(1, 22)), above)


def test_few_rows_of_a_class_are_asked_about_and_grades_with_names_of_codes_are_numbers() -> None:
    found, kind, point = threshold_target(column(*[1, 2, 3] * 30), 2.0)
    assert (found, kind) == ({"column": "x", "above": 2}, "integer")
    assert point.review
    assert "30 rows are few" in point.reason
    # Two values are a category, and numbers all the same.
    assert threshold_target(column(*["0.5", "1.5"] * 30), 1.0)[1] == "number"


def test_columns_without_numbers_and_contradictions_are_refused() -> None:
    for name, above, rest in (("sex", 1.0, {}), ("bmi", 30.0, {"positive": ("20",)})):
        with pytest.raises(UsageError, match="--above"):
            drafted(people(), target=name, above=above, **rest)
    dates = people().assign(seen=pd.date_range("2024-01-01", periods=600).strftime("%Y-%m-%d"))
    with pytest.raises(UsageError, match="the type time"):
        drafted(dates, target="seen", above=30.0)
    with pytest.raises(UsageError, match="several classes"):
        drafted(people(), CaseKind("symptom-triage", several_classes=True), target="bmi", above=30.0)
    with pytest.raises(UsageError, match="which reads logs"):
        drafted(people(), CaseKind("ecommerce-recommendation", is_log=True), above=30.0)
    with pytest.raises(UsageError, match="a number; got 'many'"):
        parse_threshold("many")


def test_amounts_below_zero_are_no_faults_of_the_target() -> None:
    frame = people().assign(gain=np.random.default_rng(1).normal(size=600))
    draft = drafted(frame, target="gain", above=0.5)
    assert not [rule for rule in draft.rules if rule.columns == ("gain",)]


def test_the_command_takes_the_number_and_a_review_can_choose_another(tmp_path: Path) -> None:
    data, path, other = tmp_path / "people.csv", tmp_path / "c.json", tmp_path / "d.json"
    people().to_csv(data, index=False)
    arguments = ["contract", str(data), "--case", "health-prediction", "--target", "bmi"]
    result = CliRunner().invoke(
        steward.app, [*arguments, "--above", "30", "-o", str(path)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert json.loads(path.read_text())["meta"]["roles"]["target"]["above"] == 30
    # Without the option it is a number to predict, which is asked about after the rows without one.
    answers = "l\nc\n99\nc\n25.5\n" + "l\n" * 20
    review = [*arguments, "--review", "-o", str(other)]
    result = CliRunner().invoke(steward.app, review, input=answers, catch_exceptions=False)
    assert "whose quantiles are" in result.output
    assert json.loads(other.read_text())["meta"]["roles"]["target"]["above"] == 25.5

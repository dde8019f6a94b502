"""The quality gate, and verdicts on challengers."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import special

from ml.contract.parser import parse
from ml.data.dataset import Dataset
from ml.errors import QualityGateError
from ml.evaluation.evaluator import BinaryEvaluator
from ml.evaluation.looks import UNKNOWN, Look, look_level
from ml.evaluation.numeric_evaluator import NumericEvaluator
from ml.evaluation.quality_gate import LATENCY_CHECK, QualityThresholds
from ml.evaluation.ranking_evaluator import RankingEvaluator
from tasks.ledger import INCONCLUSIVE, KEEP_CHAMPION, PROMOTE, Verdict
from tasks.promote import (
    FIRST_LOOK,
    LOSS_MARGIN,
    MIN_UNITS,
    Demands,
    compare_with_champion,
    lead_on_validation,
    quality_gate,
    too_few_rows,
)
from tasks.split import split_histories


def dataset(rows: int = 400) -> Dataset:
    truth = pd.Series(np.arange(rows) % 2, dtype="float64")
    return Dataset(pd.DataFrame({"x": truth}), truth, np.arange(rows, dtype=np.uint64))


def predictions(test: Dataset, noise: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"probability": 1 / (1 + np.exp(-test.truth - noise * rng.normal(size=len(test.truth))))}
    )


def compare(test: Dataset, challenger: float, champion: float, left_out: int = 0) -> Verdict:
    """Compare models by the noise in their predictions."""
    return compare_with_champion.fn(
        BinaryEvaluator(), test, predictions(test, challenger), predictions(test, champion), left_out
    )


def test_a_better_challenger_is_promoted() -> None:
    verdict = compare(dataset(), 0.3, 3.0)
    assert verdict.verdict == PROMOTE
    assert verdict.difference
    assert verdict.difference["low"] > 0
    assert (verdict.units, verdict.reason[:25]) == (400, "better than the champion ")
    assert "ROC AUC, 400 units; look 1 on these rows, level 0.013, a new recipe" in verdict.reason
    assert verdict.look == {**asdict(FIRST_LOOK), "confidence": FIRST_LOOK.confidence}
    assert verdict.loss
    assert verdict.loss["high"] < 0


def test_a_worse_challenger_is_not_promoted() -> None:
    verdict = compare(dataset(), 3.0, 0.3)
    assert (verdict.verdict, verdict.reason[:23]) == (KEEP_CHAMPION, "worse than the champion")


@pytest.mark.parametrize(("challenger", "verdict"), [(0.5, PROMOTE), (1.5, KEEP_CHAMPION)])
def test_of_numbers_the_smaller_errors_win(challenger: float, verdict: str) -> None:
    rng = np.random.default_rng(0)
    truth = pd.Series(rng.normal(size=400))
    test = Dataset(pd.DataFrame({"x": truth}), truth, np.arange(400, dtype=np.uint64))
    models = [
        pd.DataFrame({"prediction": truth + noise * rng.normal(size=400)}) for noise in (challenger, 1.0)
    ]
    decided = compare_with_champion.fn(NumericEvaluator(), test, *models, 0)
    assert (decided.verdict, decided.loss) == (verdict, None)
    assert decided.difference
    assert decided.difference["value"] == pytest.approx(1.0 - challenger, abs=0.15)
    assert "RMSE, 400 units" in decided.reason


def test_a_later_look_needs_more() -> None:
    """What would suffice at the first look does not after a hundred, and the reason says so."""
    test = dataset(100)
    challenger, champion = predictions(test, 2.8), predictions(test, 3.0)
    late = Look(100, look_level(True, UNKNOWN, {UNKNOWN: 99}), is_new_recipe=True, unrecorded=0)
    first, last = (
        compare_with_champion.fn(BinaryEvaluator(), test, challenger, champion, 0, Demands(look))
        for look in (FIRST_LOOK, late)
    )
    assert (first.verdict, last.verdict) == (PROMOTE, KEEP_CHAMPION)
    assert first.difference
    assert last.difference
    assert first.difference["value"] == last.difference["value"] > 0 > last.difference["low"]
    assert "look 100 on these rows" in last.reason
    assert last.reason.endswith(
        "it would have sufficed at the first look: bring rows that have not judged yet"
    )


def test_a_challenger_without_a_lead_on_validation_rows_is_not_compared_on_test_rows() -> None:
    """Its advantage on the test rows, which would suffice, has no part in the decision."""
    test, valid, evaluator = dataset(), dataset(300), BinaryEvaluator()
    better, worse = predictions(test, 0.3), predictions(test, 3.0)
    lead = lead_on_validation(evaluator, valid, predictions(valid, 3.0), predictions(valid, 0.3))
    assert (lead["units"], lead["p_value"] > 0.99, lead["value"] < 0) == (300, True, True)
    behind = Demands(None, validation=lead)
    verdict = compare_with_champion.fn(evaluator, test, better, worse, 0, behind)
    assert (verdict.verdict, verdict.difference, verdict.look) == (KEEP_CHAMPION, None, None)
    assert verdict.validation == lead
    assert verdict.reason.startswith("not ahead of the champion on validation rows: -0.")
    assert verdict.reason.endswith("; not compared on the test rows, which saves the look")
    # Test rows that cannot decide are named first.
    few = compare_with_champion.fn(evaluator, test, better, worse, 4000, behind)
    assert few.verdict == INCONCLUSIVE
    same = lead_on_validation(evaluator, valid, predictions(valid, 3.0), predictions(valid, 3.0))
    assert same["p_value"] == 0.5


def test_a_lead_has_half_of_the_two_sided_p_value() -> None:
    valid, evaluator = dataset(300), BinaryEvaluator()
    first, second = predictions(valid, 2.5), predictions(valid, 3.0)
    difference = evaluator.paired_difference(valid, first, second)
    ahead = lead_on_validation(evaluator, valid, first, second)
    behind = lead_on_validation(evaluator, valid, second, first)
    assert difference.value > 0
    assert ahead["p_value"] == pytest.approx(difference.p_value / 2)
    assert ahead["p_value"] + behind["p_value"] == pytest.approx(1.0)


def test_validation_rows_that_the_champion_was_fitted_to_show_no_lead() -> None:
    reason = too_few_rows(dataset(0), 300, "validation")
    assert reason == (
        "the champion was trained on 300 of 300 validation rows (100.0%), which leaves out more than 20%"
    )
    assert too_few_rows(dataset(300), 0, "validation") == ""


def test_a_better_ranking_with_a_larger_log_loss_is_not_promoted() -> None:
    """All log odds are too high by .45, which no ranking shows."""
    test = dataset(4000)
    noise = np.random.default_rng(1).normal(size=(2, 4000))
    better, worse = (2 * test.truth - 1 + 0.9 * noise[0]), (2 * test.truth - 1 + noise[0] + 0.4 * noise[1])
    champion = pd.DataFrame({"probability": 1 / (1 + np.exp(-1.7 * worse))})
    calibrated = pd.DataFrame({"probability": 1 / (1 + np.exp(-2.4 * better))})
    shifted = pd.DataFrame({"probability": 1 / (1 + np.exp(-2.4 * better - 1.5))})
    verdict = compare_with_champion.fn(BinaryEvaluator(), test, calibrated, champion, 0)
    assert verdict.verdict == PROMOTE
    refused = compare_with_champion.fn(BinaryEvaluator(), test, shifted, champion, 0)
    assert refused.verdict == KEEP_CHAMPION
    assert refused.difference == verdict.difference
    assert refused.reason.startswith("its log loss may be larger than the champion's by ")
    losses = BinaryEvaluator().log_losses(test, champion)
    assert losses is not None
    assert refused.loss
    assert refused.loss["margin"] == pytest.approx(LOSS_MARGIN * losses.mean())
    assert refused.loss["high"] > refused.loss["margin"]


def test_a_challenger_that_harms_a_group_is_not_promoted() -> None:
    test = dataset(4000)
    group = np.where(np.arange(4000) // 2 % 4 == 0, "minority", "majority")
    test = replace(test, metadata=pd.DataFrame({"sex": group}, test.frame.index))
    noise = np.random.default_rng(2).normal(size=4000)
    # Both are calibrated: the log odds of a score of this spread.
    spread = np.where(group == "minority", 3.0, 0.3)
    challenger = pd.DataFrame({"probability": special.expit((test.truth - 0.5 + spread * noise) / spread**2)})
    champion = pd.DataFrame({"probability": special.expit(test.truth - 0.5 + noise)})
    verdicts = [
        compare_with_champion.fn(BinaryEvaluator(), test, challenger, champion, 0, demands)
        for demands in (Demands(), Demands(sensitive=("sex",), max_group_harm=0.03))
    ]
    assert [verdict.verdict for verdict in verdicts] == [PROMOTE, KEEP_CHAMPION]
    assert "roc_auc of sex=minority below that of the champion by at most 0.03: 0." in verdicts[1].reason
    assert verdicts[1].reason.count("sex=") == 1
    assert verdicts[1].groups
    checks = {check["group"]: check for check in verdicts[1].groups["checks"]}
    assert {name: check["passed"] for name, check in checks.items()} == {"minority": False, "majority": True}
    assert checks["minority"]["detectable"] > 0.03


def test_groups_that_are_too_small_to_be_compared_are_named(caplog: pytest.LogCaptureFixture) -> None:
    test = dataset(400)
    group = np.where(np.arange(400) < 40, "few", "many")
    test = replace(test, metadata=pd.DataFrame({"sex": group}, test.frame.index))
    prediction = pd.DataFrame({"probability": special.expit(test.truth - 0.5)})
    demands = Demands(sensitive=("sex",), max_group_harm=0.03)
    verdict = compare_with_champion.fn(BinaryEvaluator(), test, prediction, prediction, 0, demands)
    assert verdict.groups
    assert verdict.groups["note"] == "1 of 2 groups not evaluated: sex=few (fewer than 100 units)"
    assert verdict.groups["note"] in caplog.text


def test_equal_predictions_keep_the_champion() -> None:
    verdict = compare(dataset(), 1.0, 1.0)
    assert (verdict.verdict, verdict.reason[:11]) == (KEEP_CHAMPION, "no better t")
    assert verdict.difference
    assert verdict.difference["value"] == 0


def test_an_advantage_that_is_not_significant_keeps_the_champion() -> None:
    """The challenger is better on average, on too few rows."""
    verdict = compare(dataset(MIN_UNITS), 3.0, 3.1)
    assert verdict.verdict == KEEP_CHAMPION
    assert verdict.difference
    assert verdict.difference["low"] <= 0


def test_too_few_units_are_inconclusive() -> None:
    """Units are counted, not rows."""
    verdict = compare(dataset(MIN_UNITS - 1), 0.3, 3.0)
    assert (verdict.verdict, verdict.units, verdict.difference) == (INCONCLUSIVE, MIN_UNITS - 1, None)
    rows = dataset(400)
    grouped = Dataset(rows.frame, rows.truth, rows.units // 10)
    assert compare(grouped, 0.3, 3.0).verdict == INCONCLUSIVE
    assert compare(dataset(MIN_UNITS), 0.1, 9.0).verdict == PROMOTE


def test_a_test_dataset_with_one_target_value_is_inconclusive() -> None:
    rows = dataset()
    verdict = compare(rows.take(np.flatnonzero(rows.truth == 1)), 0.3, 3.0)
    assert (verdict.verdict, verdict.units) == (INCONCLUSIVE, 200)
    assert "the same target value" in verdict.reason


@pytest.mark.parametrize("rows", [400, 40])
def test_the_reason_counts_rows_that_the_champion_was_trained_on(rows: int) -> None:
    assert "; 7 rows left out that the champion was trained on" in compare(dataset(rows), 1.0, 1.0, 7).reason
    assert "left out" not in compare(dataset(rows), 1.0, 1.0).reason


def test_a_comparison_without_a_fifth_of_the_rows_is_inconclusive() -> None:
    """Also of a model that is better on the rows that are left, with whole confidence."""
    verdict = compare(dataset(400), 0.3, 3.0, 101)
    assert (verdict.verdict, verdict.difference) == (INCONCLUSIVE, None)
    assert "the champion was trained on 101 of 501 test rows (20.2%)" in verdict.reason
    assert compare(dataset(400), 0.3, 3.0, 100).verdict == PROMOTE


def test_recommendations_are_compared_by_user() -> None:
    users = pd.Series([f"U{n}" for n in range(80)], dtype="str")
    frame = pd.DataFrame({"user": users, "items": [[]] * 80, "times": [[]] * 80})
    test = Dataset(frame, pd.Series([["a"]] * 80, dtype=object), np.arange(80, dtype=np.uint64))

    def recommend(item: str) -> pd.DataFrame:
        return pd.DataFrame({"user": users, "rank": 1, "item": item, "score": 1.0})

    better = compare_with_champion.fn(RankingEvaluator(), test, recommend("a"), recommend("b"), 0)
    worse = compare_with_champion.fn(RankingEvaluator(), test, recommend("b"), recommend("a"), 0)
    assert (better.verdict, worse.verdict) == (PROMOTE, KEEP_CHAMPION)


SHOP = {
    "schema_version": 2,
    "read": {"files": ["x.csv"], "columns": {"user": "category", "item": "category", "at": "time"}},
    "roles": {"user": "user", "item": "item", "time": "at", "allow_repeat_recommendations": True},
    "split": {"by": "time"},
}


def purchases() -> pd.DataFrame:
    """Simulate 10 weeks of 100 users: 80 buy their own item every week, 20 buy the novelty of the week."""
    users, weeks = np.tile(np.arange(100), 10), np.repeat(np.arange(10), 100)
    items = [f"own-{u}" if u < 80 else f"novelty-{w}" for u, w in zip(users, weeks, strict=True)]
    rows = {"user": [f"U{u}" for u in users], "item": items}
    at = pd.Timestamp("2024-01-01") + pd.to_timedelta(weeks, "W") + pd.to_timedelta(users, "min")
    return pd.DataFrame({**rows, "at": at}).astype({"user": "str", "item": "str"})


def test_users_who_buy_again_count_where_items_return() -> None:
    """A model for the few who always buy something else is not promoted over one for those who buy again."""
    contract = parse({"name": "toy.shop", "expectations": [], "meta": SHOP})
    datasets, _ = split_histories(purchases(), contract)
    test, evaluator = datasets["test"], RankingEvaluator()
    # The champion was trained on all events before the test.
    rows = evaluator.rows_not_trained_on(test, evaluator.training_keys(datasets["train_valid"]))
    assert len(rows) == len(test.frame) == 100
    buys_again = test.frame.assign(item=test.frame["items"].str[-1], rank=1, score=1.0)
    buys_new = buys_again.assign(item=test.truth.str[0]).query("item.str.startswith('novelty')")
    verdict = compare_with_champion.fn(evaluator, test, buys_new, buys_again, 0)
    assert (verdict.verdict, verdict.units) == (KEEP_CHAMPION, 100)
    assert verdict.reason.startswith("worse than the champion")
    # One that was trained on the test events as well is not compared on them.
    both = {"items": test.frame["items"] + test.truth, "times": test.frame["times"] + test.truth_times}
    all_events = replace(test, frame=test.frame.assign(**both))
    assert not len(evaluator.rows_not_trained_on(test, evaluator.training_keys(all_events)))


EVALUATION: Any = {
    "primary": "roc_auc",
    "low": 0.8,
    "high": 0.88,
    "metrics": {"roc_auc": 0.85, "calibration_error": 0.03},
    "intervals": {"calibration_error": {"low": 0.02}},
    "groups": [],
}


def test_the_quality_gate_returns_all_checks() -> None:
    checks = quality_gate.fn(
        QualityThresholds(min_primary=0.8, max_calibration_error=0.02), EVALUATION, 1.0, 2.0
    )
    assert [c["check"] for c in checks] == [
        "lower limit of roc_auc at least",
        "calibration error beyond chance at most",
        "size in MB at most",
        LATENCY_CHECK,
    ]
    assert all(c["passed"] for c in checks)


def test_a_slow_model_is_warned_about_and_not_stopped() -> None:
    checks = quality_gate.fn(QualityThresholds(min_primary=0.8, max_latency=1.0), EVALUATION, 1.0, 2.0)
    assert [check["check"] for check in checks if not check["passed"]] == [LATENCY_CHECK]


def test_a_quality_error_has_all_checks() -> None:
    with pytest.raises(
        QualityGateError, match=r"ROC AUC at least 0.9; size in MB at most 1; got 0.8; 2"
    ) as error:
        quality_gate.fn(QualityThresholds(min_primary=0.9, max_megabytes=1.0), EVALUATION, 2.0, 2.0)
    assert [c["passed"] for c in error.value.facts["checks"]] == [False, False, True]


def test_too_few_test_rows_are_named_as_such() -> None:
    """A good model of a small table and a bad one of a large table are refused for different reasons."""
    with pytest.raises(QualityGateError, match=r"got 0.8 \(too few test rows to tell\)"):
        quality_gate.fn(QualityThresholds(min_primary=0.82), EVALUATION, 1.0, 2.0)
    with pytest.raises(QualityGateError, match=r"got 0.8;"):
        quality_gate.fn(QualityThresholds(min_primary=0.89), EVALUATION, 1.0, 2.0)


def test_few_units_of_one_class_are_inconclusive() -> None:
    """The normal interval of a difference of two AUCs is too narrow with few positives."""
    rows = dataset()
    positive = np.flatnonzero(rows.truth == 1)
    few = np.concatenate([positive[:19], np.flatnonzero(rows.truth == 0)])
    verdict = compare(rows.take(few), 0.3, 3.0)
    assert verdict.verdict == INCONCLUSIVE
    assert "19 units of the rarer class to compare on, fewer than 20" in verdict.reason
    assert compare(rows, 0.3, 3.0).verdict != INCONCLUSIVE

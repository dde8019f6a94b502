"""Intervals of single predictions: they agree with MAPIE, and cover new rows as often as they say."""

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.data.decisions import THIRDS, add_decisions, decide_row, half_widths, third_of
from ml.evaluation.numeric_evaluator import NumericEvaluator
from ml.evaluation.prediction_intervals import MIN_ROWS_OF_A_THIRD, choose_half_widths, covered, half_width


@pytest.mark.parametrize(("rows", "coverage"), [(11, 0.9), (39, 0.95), (100, 0.9), (333, 0.8)])
def test_half_width_agrees_with_mapie(rows: int, coverage: float) -> None:
    from mapie.regression import SplitConformalRegressor
    from sklearn.linear_model import LinearRegression

    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows + 50, 1))
    y = 2 * x[:, 0] + rng.standard_t(3, rows + 50)
    model = LinearRegression().fit(x[:50], y[:50])
    reference = SplitConformalRegressor(model, confidence_level=coverage, prefit=True)
    intervals = reference.conformalize(x[50:], y[50:]).predict_interval(x[:5])[1]
    half = half_width(y[50:] - model.predict(x[50:]), coverage)
    np.testing.assert_allclose(intervals[:, 1, 0] - intervals[:, 0, 0], 2 * half)


def test_few_rows_give_the_largest_error() -> None:
    assert half_width(np.array([1.0, -5.0, 2.0]), 0.9) == 5.0


def test_new_rows_are_inside_as_often_as_wanted() -> None:
    """By exchangeability the coverage is that or, with 99 rows for 90 %, at most a hundredth more."""
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        errors = rng.standard_t(3, (2, 99))
        shares.append(covered(errors[1], np.zeros(99), half_width(errors[0], 0.9)).mean())
    assert np.mean(shares) == pytest.approx(0.9, abs=0.01)


def draw(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw predictions, and errors that grow with them: by hardly anything for the lowest, tenfold for the highest."""
    rng = np.random.default_rng(seed)
    prediction = rng.uniform(0, 10, rows)
    return prediction, rng.normal(size=rows) * (0.5 + prediction)


def test_each_third_has_the_half_width_of_mapie_for_its_rows() -> None:
    from mapie.regression import SplitConformalRegressor
    from sklearn.linear_model import LinearRegression

    prediction, errors = draw(600, 0)
    decision = choose_half_widths(errors, prediction, 0.9)
    third = third_of(prediction, decision)
    assert third is not None
    assert np.bincount(third).tolist() == [200, 200, 200]
    assert prediction[third == 0].max() <= decision["low_until"] < prediction[third == 1].min()
    model = LinearRegression().fit(prediction[:, None], prediction)
    for number, name in enumerate(THIRDS):
        rows = prediction[third == number][:, None]
        reference = SplitConformalRegressor(model, confidence_level=0.9, prefit=True)
        intervals = reference.conformalize(rows, rows[:, 0] + errors[third == number]).predict_interval(
            rows[:1]
        )[1]
        assert intervals[0, 1, 0] - intervals[0, 0, 0] == pytest.approx(2 * decision[f"half_width_{name}"])
    assert decision["half_width_low"] < decision["half_width"] < decision["half_width_high"]


def test_new_rows_are_inside_as_often_as_wanted_in_each_third() -> None:
    """With one width for all, nearly every row of the lowest third is inside, and too few of the highest."""
    shares, alike = np.zeros((300, 3)), np.zeros((300, 3))
    for seed in range(300):
        (prediction, errors), (new, new_errors) = draw(300, seed), draw(300, 1000 + seed)
        decision = choose_half_widths(errors, prediction, 0.9)
        third = third_of(new, decision)
        for width, found in ((half_widths(new, decision), shares), (decision["half_width"], alike)):
            inside = covered(new + new_errors, new, width)
            found[seed] = [inside[third == number].mean() for number in range(3)]
    assert shares.mean(axis=0) == pytest.approx([0.9] * 3, abs=0.015)
    assert alike.mean(axis=0)[0] > 0.98
    assert alike.mean(axis=0)[2] < 0.8


@pytest.mark.parametrize("prediction", [np.arange(3.0 * MIN_ROWS_OF_A_THIRD - 1), np.repeat([1.0, 2.0], 400)])
def test_few_rows_or_few_predictions_have_one_width(prediction: np.ndarray) -> None:
    errors = np.random.default_rng(0).normal(size=len(prediction))
    decision = choose_half_widths(errors, prediction, 0.9)
    assert decision == {"half_width": half_width(errors, 0.9)}
    assert third_of(prediction, decision) is None
    assert set(half_widths(prediction, decision)) == {decision["half_width"]}


def test_rows_get_the_interval_of_their_third_and_metrics_say_its_coverage() -> None:
    prediction, errors = draw(600, 0)
    decision = choose_half_widths(errors, prediction, 0.9)
    frame = pd.DataFrame({"prediction": prediction})
    decided = add_decisions(frame, decision)
    np.testing.assert_allclose(decided["upper"] - decided["lower"], 2 * half_widths(prediction, decision))
    for row in (0, 1, 2, 3):
        assert decide_row(prediction[row], decision) == decided[["lower", "upper"]].iloc[row].to_dict()
    units = np.arange(600, dtype=np.uint64)
    dataset = Dataset(pd.DataFrame(index=frame.index), pd.Series(prediction + errors), units)
    metrics = NumericEvaluator().metrics(dataset, frame, decision)
    inside = (errors + prediction).clip(decided["lower"], decided["upper"]) == errors + prediction
    third = third_of(prediction, decision)
    for number, name in enumerate(THIRDS):
        assert metrics[f"interval_coverage_{name}"] == pytest.approx(inside[third == number].mean())
        assert metrics[f"interval_width_{name}"] == 2 * decision[f"half_width_{name}"]
    assert metrics["interval_coverage"] == pytest.approx(inside.mean())
    assert metrics["interval_width"] == pytest.approx((decided["upper"] - decided["lower"]).mean())
    assert NumericEvaluator().decision(dataset, frame) == pytest.approx(decision)

"""Regression metrics: known answers by hand, and errors."""

import numpy as np
import pytest

from ml.evaluation.binary_metrics import UndefinedMetricError
from ml.evaluation.regression_metrics import compute_regression_metrics, mae, median_error, r2, rmse


def test_metrics_by_hand() -> None:
    truth, prediction = np.array([1.0, 2.0, 6.0]), np.array([2.0, 2.0, 4.0])
    assert compute_regression_metrics(truth, prediction) == pytest.approx(
        {"rmse": (5 / 3) ** 0.5, "mae": 1.0, "median_error": 1.0, "r2": 1 - 5 / 14}
    )


def test_the_mean_has_r2_of_zero() -> None:
    truth = np.array([1.0, 2.0, 6.0])
    assert r2(truth, np.full(3, truth.mean())) == pytest.approx(0.0)
    assert [f(truth, truth) for f in (r2, rmse, mae, median_error)] == [1.0, 0.0, 0.0, 0.0]


def test_r2_of_a_constant_truth_is_undefined() -> None:
    with pytest.raises(UndefinedMetricError, match="got 2 rows"):
        r2(np.ones(2), np.array([1.0, 2.0]))


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [([], [], "shape"), ([1.0], [1.0, 2.0], "align"), ([1.0, np.inf], [1.0, np.nan], "got 2 missing")],
)
def test_invalid_input_is_rejected(truth: list[float], prediction: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rmse(np.array(truth), np.array(prediction))

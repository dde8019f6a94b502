"""Intervals of single predictions: they agree with MAPIE, and cover new rows as often as they say."""

import numpy as np
import pytest

from ml.evaluation.prediction_intervals import covered, half_width


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

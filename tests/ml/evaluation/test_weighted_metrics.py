"""Weighted metrics: agreement with the unweighted metrics of repeated rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.evaluation.binary_metrics import UndefinedMetricError, compute_binary_metrics
from ml.evaluation.regression_metrics import compute_regression_metrics
from ml.evaluation.weighted_metrics import WeightedBinaryMetrics, WeightedRegressionMetrics

ROWS = st.integers(2, 40)


@st.composite
def weighted_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Draw truths, probabilities (ties, 0 and 1 among them), weights that are not all 0, and a threshold."""
    rows = draw(ROWS)
    truth = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=rows, max_size=rows))
    probabilities = st.one_of(st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.floats(0, 1))
    probability = draw(st.lists(probabilities, min_size=rows, max_size=rows))
    weights = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows).filter(any))
    threshold = draw(st.one_of(st.floats(0, 1), st.sampled_from(probability)))
    return np.array(truth), np.array(probability), np.array(weights), threshold


@settings(max_examples=150, deadline=None)
@given(weighted_rows())
def test_binary_metrics_are_those_of_repeated_rows(
    sample: tuple[np.ndarray, np.ndarray, np.ndarray, float],
) -> None:
    truth, probability, weights, threshold = sample
    computed = WeightedBinaryMetrics(truth, probability, threshold)(weights)
    rows = np.repeat(np.arange(len(truth)), weights)
    try:
        expected = compute_binary_metrics(truth[rows], probability[rows], threshold)
    except UndefinedMetricError:
        if not truth[rows].any():
            assert {name for name, value in computed.items() if np.isnan(value)} == {
                "recall",
                "f1",
                "average_precision",
            }
        return
    for name, value in computed.items():
        assert value == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name
    assert set(expected) - set(computed) == {"roc_auc", "gini", "ks", "lift", "calibration_error"}


@settings(max_examples=80, deadline=None)
@given(ROWS, st.integers(0, 2**32 - 1))
def test_regression_metrics_are_those_of_repeated_rows(n_rows: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, prediction = generator.normal(100.0, 3.0, size=(2, n_rows))
    weights = generator.multinomial(n_rows, np.full(n_rows, 1 / n_rows))
    rows = np.repeat(np.arange(n_rows), weights)
    computed = WeightedRegressionMetrics(truth, prediction)(weights)
    if np.ptp(truth[rows]) == 0:
        return
    expected = compute_regression_metrics(truth[rows], prediction[rows])
    assert computed == pytest.approx({name: expected[name] for name in computed}, rel=1e-6)
    assert set(expected) - set(computed) == {"median_error"}


def test_r2_of_a_constant_truth_is_nan() -> None:
    truth, prediction = np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 2.0])
    computed = WeightedRegressionMetrics(truth, prediction)(np.array([2, 1, 0]))
    assert np.isnan(computed["r2"])
    assert computed["rmse"] == pytest.approx((1 / 3) ** 0.5)

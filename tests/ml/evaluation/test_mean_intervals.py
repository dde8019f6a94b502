"""Intervals of means: agreement with SciPy, coverage by simulation, known answers, errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ml.evaluation.binary_metrics import UndefinedMetricError
from ml.evaluation.confidence_intervals import Difference
from ml.evaluation.mean_intervals import (
    cross_validation_difference,
    cross_validation_interval,
    mean_difference,
    mean_interval,
    share_interval,
)


def test_mean_difference_agrees_with_scipy() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 25))
    difference, expected = mean_difference(a, b), stats.ttest_rel(a, b)
    assert difference.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))
    of_paired_values = mean_interval(a - b)
    assert (of_paired_values.low, of_paired_values.high) == pytest.approx((difference.low, difference.high))


def test_units_of_equal_size_have_the_interval_of_their_means() -> None:
    values = np.random.default_rng(1).normal(size=(12, 5)) + np.arange(12)[:, None]
    clustered = mean_interval(values.ravel(), units=np.repeat(np.arange(12), 5))
    of_means = mean_interval(values.mean(axis=1))
    assert (clustered.value, clustered.low, clustered.high) == pytest.approx(
        (of_means.value, of_means.low, of_means.high)
    )


@pytest.mark.parametrize(("ones", "rows"), [(1990, 2000), (700, 1000), (3, 900)])
def test_share_interval_agrees_with_scipy_for_many_rows(ones: int, rows: int) -> None:
    values = np.append(np.ones(ones), np.zeros(rows - ones))
    expected = stats.binomtest(ones, rows).proportion_ci(0.95, method="wilson")
    interval = share_interval(values)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=0.01)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_share_interval_stays_within_0_and_1(share: float) -> None:
    interval = share_interval(np.full(30, share))
    assert 0.0 <= interval.low <= interval.value == share <= interval.high <= 1.0
    assert interval.high - interval.low == pytest.approx(1 - 1 / (1 + 2.045**2 / 30), abs=1e-3)


def test_share_interval_has_nominal_coverage_for_patients_with_several_rows() -> None:
    rng, units = np.random.default_rng(5), np.repeat(np.arange(40), 3)
    covered = 0
    for _ in range(1000):
        chance = rng.beta(9.0, 1.0, 40)
        values = (rng.random(120) < chance[units]).astype(np.float64)
        interval = share_interval(values, units)
        covered += interval.low <= 0.9 <= interval.high
    assert 0.93 <= covered / 1000 <= 0.97


def test_constant_differences_have_exact_p_values() -> None:
    a = np.array([0.1, 0.2, 0.3, 0.4])
    assert mean_difference(a, a) == Difference(0.0, 0.0, 0.0, 1.0)
    # All four better by as much: of the 16 sign flips, 2 are as far from 0.
    assert mean_difference(a + 0.1, a).p_value == 1 / 8


tables = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 6)), min_size=4, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(tables, st.booleans())
def test_mean_differences_are_antisymmetric(rows: list[tuple[int, int, int]], clustered: bool) -> None:
    a, b, units = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    units[:4] = [7, 8, 9, 10]
    forward = mean_difference(a, b, units if clustered else None)
    backward = mean_difference(b, a, units if clustered else None)
    assert forward.value == pytest.approx(-backward.value)
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low))
    assert forward.p_value == pytest.approx(backward.p_value)
    assert 0.0 <= forward.p_value <= 1.0
    assert forward.low <= forward.high


def test_cross_validation_difference_agrees_with_a_calculation_by_hand() -> None:
    # s² = 0.0001, times 1/3 + 1/2; t of 2 degrees of freedom: 4.302653 for 95 %, and p = 1 - t / sqrt(t² + 2).
    a, b = np.array([0.71, 0.73, 0.72]), np.full(3, 0.70)
    difference = cross_validation_difference(a, b, test_per_train=0.5)
    error = (0.0001 * (1 / 3 + 1 / 2)) ** 0.5
    assert difference.value == pytest.approx(0.02)
    limits = (0.02 - 4.302653 * error, 0.02 + 4.302653 * error)
    assert (difference.low, difference.high) == pytest.approx(limits)
    t = 0.02 / error
    assert difference.p_value == pytest.approx(1 - t / (t**2 + 2) ** 0.5)
    interval = cross_validation_interval(a - b, test_per_train=0.5)
    assert (interval.low, interval.high) == pytest.approx((difference.low, difference.high))


def test_splits_that_all_differ_by_the_same_amount_have_p_values_of_zero_or_one() -> None:
    a = np.array([0.5, 0.25, 0.75])
    assert cross_validation_difference(a, a, 0.5) == Difference(0.0, 0.0, 0.0, 1.0)
    assert cross_validation_difference(a + 0.125, a, 0.5) == Difference(0.125, 0.125, 0.125, 0.0)


def test_clustered_mean_interval_has_nominal_coverage() -> None:
    generator = np.random.default_rng(7)
    units = np.repeat(np.arange(25), 4)
    samples = (generator.normal(size=25)[units] + generator.normal(size=100) for _ in range(300))
    intervals = [mean_interval(values, units) for values in samples]
    assert 0.92 <= np.mean([interval.low <= 0.0 <= interval.high for interval in intervals]) <= 0.98


def test_cross_validation_interval_has_nominal_coverage_and_the_uncorrected_one_has_not() -> None:
    """Three folds, three times, of values with a mean of 0: nine means of one and the same table."""
    generator = np.random.default_rng(0)

    def fold_means() -> np.ndarray:
        table = generator.normal(size=60)
        return np.concatenate([generator.permutation(table).reshape(3, 20).mean(axis=1) for _ in range(3)])

    tables = [fold_means() for _ in range(300)]
    uncorrected = [mean_interval(values) for values in tables]
    corrected = [cross_validation_interval(values, 20 / 40) for values in tables]
    uncorrected_coverage, corrected_coverage = (
        np.mean([interval.low <= 0.0 <= interval.high for interval in intervals])
        for intervals in (uncorrected, corrected)
    )
    assert uncorrected_coverage < 0.85
    assert corrected_coverage >= 0.92


def test_invalid_input_is_rejected() -> None:
    values = np.array([0.0, 0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="one unit per row"):
        mean_interval(values, units=np.arange(3))
    with pytest.raises(ValueError, match="finite values"):
        mean_interval(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="expected pairs"):
        mean_difference(values, values[:3])
    with pytest.raises(ValueError, match="expected pairs"):
        cross_validation_difference(values, values[:3], 0.5)
    for ratio in (0.0, -0.5, float("nan")):
        with pytest.raises(ValueError, match="above 0"):
            cross_validation_interval(values, ratio)
    with pytest.raises(UndefinedMetricError, match="at least two units"):
        cross_validation_interval(np.ones(1), 0.5)
    for too_few in (np.empty(0), np.ones(1)):
        with pytest.raises(UndefinedMetricError, match="at least two units"):
            mean_interval(too_few)

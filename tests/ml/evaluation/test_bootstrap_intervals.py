"""Bootstrap and calibration intervals: agreement with SciPy, coverage by simulation, known answers, errors."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ml.evaluation.binary_metrics import UndefinedMetricError, calibration_error, roc_auc
from ml.evaluation.bootstrap_intervals import (
    bootstrap_difference,
    bootstrap_intervals,
    calibration_interval,
)
from ml.evaluation.confidence_intervals import Difference, Interval


def of_counts(statistic: Callable[[np.ndarray], float]) -> Callable[[np.ndarray], float]:
    """Turn a statistic of row positions into one of row counts, by repeating the positions."""

    def counted(counts: np.ndarray) -> float:
        try:
            return float(statistic(np.repeat(np.arange(len(counts)), counts)))
        except UndefinedMetricError:
            return float("nan")

    return counted


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float], units: np.ndarray, seed: int, resamples: int
) -> Interval:
    """Compute `bootstrap_intervals` of one statistic of row positions."""
    counted = of_counts(statistic)
    return bootstrap_intervals(lambda counts: {"name": counted(counts)}, units, seed, resamples)["name"]


def test_bootstrap_agrees_with_scipy() -> None:
    values = np.random.default_rng(2).exponential(size=300)
    interval = bootstrap_interval(lambda rows: values[rows].mean(), np.arange(300, dtype=np.uint64), 0, 4000)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(9)
    ).confidence_interval
    assert interval.value == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=0.015)


def test_all_rows_of_a_unit_are_drawn_together() -> None:
    units = np.array([5, 9, 5, 7, 9, 9], dtype=np.uint64)
    calls: list[np.ndarray] = []

    def record(rows: np.ndarray) -> float:
        calls.append(rows)
        return 0.0

    bootstrap_interval(record, units, seed=0, resamples=200)
    *resamples, all_rows = calls
    np.testing.assert_array_equal(all_rows, np.arange(6))
    for rows in resamples:
        times_drawn = np.bincount(rows, minlength=6)
        by_unit = [set(times_drawn[units == unit]) for unit in (5, 7, 9)]
        assert all(len(times) == 1 for times in by_unit)
        assert sum(times.pop() for times in by_unit) == 3
    assert np.mean([len(rows) for rows in resamples]) == pytest.approx(6, abs=0.4)


def test_seed_determines_the_bootstrap() -> None:
    values, units = np.random.default_rng(3).normal(size=50), np.arange(50) // 2

    def interval(seed: int) -> Interval:
        return bootstrap_interval(lambda rows: float(np.median(values[rows])), units, seed, resamples=100)

    assert interval(1) == interval(1) != interval(2)


def test_bootstrap_difference_is_paired() -> None:
    values = np.random.default_rng(4).normal(size=100) * 100
    units = np.arange(100)
    mean = of_counts(lambda rows: values[rows].mean())
    higher = of_counts(lambda rows: (values[rows] + 1).mean())
    difference = bootstrap_difference(higher, mean, units, 0, 199)
    assert (difference.value, difference.low, difference.high) == pytest.approx((1, 1, 1))
    assert difference.p_value == 2 / 200
    assert bootstrap_difference(mean, mean, units, 0, 199) == Difference(0.0, 0.0, 0.0, 1.0)


tables = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 6)), min_size=4, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(tables)
def test_bootstrap_differences_are_antisymmetric(rows: list[tuple[int, int, int]]) -> None:
    a, b, units = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    units[:4] = [7, 8, 9, 10]

    def mean_a(counts: np.ndarray) -> float:
        return float(counts @ a / counts.sum())

    def mean_b(counts: np.ndarray) -> float:
        return float(counts @ b / counts.sum())

    forward = bootstrap_difference(mean_a, mean_b, units, 1, 40)
    backward = bootstrap_difference(mean_b, mean_a, units, 1, 40)
    assert forward.value == pytest.approx(-backward.value)
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low))
    assert forward.p_value == pytest.approx(backward.p_value)
    assert 0.0 <= forward.p_value <= 1.0
    assert forward.low <= forward.high


def test_resamples_without_a_value_are_left_out() -> None:
    truth, score = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.9, 0.2, 0.3, 0.1])
    interval = bootstrap_interval(
        lambda rows: roc_auc(truth[rows], score[rows]), np.arange(4), seed=0, resamples=200
    )
    assert interval.value == 0.75
    assert 0.0 <= interval.low < interval.high <= 1.0


@pytest.mark.parametrize(
    "statistic",
    [
        lambda rows: float("nan"),
        lambda rows: 1.0 if len(np.unique(rows)) == 20 else float("nan"),
        lambda rows: roc_auc(np.zeros(len(rows)), np.zeros(len(rows))),
    ],
    ids=["never", "hardly ever", "one class"],
)
def test_too_few_resamples_with_a_value_are_rejected(statistic: Callable[[np.ndarray], float]) -> None:
    with pytest.raises(ValueError, match="values; use more units"):
        bootstrap_interval(statistic, np.arange(20), seed=0, resamples=50)


def test_a_single_unit_is_rejected() -> None:
    truth = np.array([0.0, 0.0, 1.0, 1.0])
    with pytest.raises(UndefinedMetricError, match="at least two units, got 1"):
        bootstrap_interval(lambda rows: truth[rows].mean(), np.zeros(4), seed=0, resamples=10)


def coverage(interval: Callable[[np.random.Generator], Interval], true_value: float, times: int) -> float:
    """Compute the share of sampled intervals that contain the true value."""
    generator = np.random.default_rng(7)
    intervals = [interval(generator) for _ in range(times)]
    return float(np.mean([each.low <= true_value <= each.high for each in intervals]))


def test_clustered_bootstrap_interval_has_nominal_coverage() -> None:
    units = np.repeat(np.arange(60), 2)

    def interval(generator: np.random.Generator) -> Interval:
        values = generator.normal(size=60)[units] + generator.normal(size=120)
        seed = int(generator.integers(2**31))
        return bootstrap_interval(lambda rows: values[rows].mean(), units, seed, resamples=200)

    # The percentile interval is a little narrow.
    assert 0.9 <= coverage(interval, true_value=0.0, times=600) <= 0.97


def sample_calibrated(generator: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample truths from their own probabilities, of which seven in ten are rounded, so that many are tied."""
    probability = generator.beta(1, 4, size=rows)
    probability[: rows * 7 // 10] = np.round(probability[: rows * 7 // 10], 2)
    return (generator.random(rows) < probability).astype(np.float64), probability


@pytest.mark.parametrize(("rows", "max_false_alarms"), [(60, 0.15), (400, 0.1), (3000, 0.1)])
def test_a_calibrated_model_is_rarely_called_miscalibrated(rows: int, max_false_alarms: float) -> None:
    def interval(generator: np.random.Generator) -> Interval:
        truth, probability = sample_calibrated(generator, rows)
        return calibration_interval(truth, probability, np.arange(rows), seed=1, resamples=200)

    generator = np.random.default_rng(7)
    intervals = [interval(generator) for _ in range(200)]
    # One in twenty excludes 0, some more with six rows per bin; none excludes small errors.
    assert np.mean([interval.low > 0 for interval in intervals]) <= max_false_alarms
    assert max(interval.low for interval in intervals) < 0.05
    # The measured error is never 0, although the model is calibrated.
    assert min(interval.value for interval in intervals) > 0


def test_calibration_interval_has_nominal_coverage() -> None:
    # All probabilities are too high by .04, so that the gaps of all bins have one sign: the true error is .04.
    def interval(generator: np.random.Generator) -> Interval:
        true_probability = generator.uniform(0.2, 0.7, size=500)
        truth = (generator.random(500) < true_probability).astype(np.float64)
        return calibration_interval(truth, true_probability + 0.04, np.arange(500), seed=1, resamples=200)

    assert coverage(interval, true_value=0.04, times=150) >= 0.95


def test_a_percentile_bootstrap_would_call_a_calibrated_model_miscalibrated() -> None:
    """Show why the calibration error has an interval of its own."""
    truth, probability = sample_calibrated(np.random.default_rng(0), 400)
    percentile = bootstrap_interval(
        lambda rows: calibration_error(truth[rows], probability[rows]), np.arange(400), seed=1, resamples=100
    )
    assert percentile.low > 0.01
    assert calibration_interval(truth, probability, np.arange(400), seed=1).low == 0


def test_calibration_interval_over_units_is_wider_than_over_rows() -> None:
    truth, probability = sample_calibrated(np.random.default_rng(0), 300)
    copied_truth, copied_probability = np.repeat(truth, 5), np.repeat(probability, 5)
    over_units = calibration_interval(copied_truth, copied_probability, np.repeat(np.arange(300), 5), seed=0)
    over_rows = calibration_interval(copied_truth, copied_probability, np.arange(1500), seed=0)
    once = calibration_interval(truth, probability, np.arange(300), seed=0)
    assert (over_units.value, over_units.high) == pytest.approx((once.value, once.high), rel=1e-9)
    assert over_units.high > over_rows.high
    assert over_units.value == pytest.approx(calibration_error(truth, probability), rel=1e-12)

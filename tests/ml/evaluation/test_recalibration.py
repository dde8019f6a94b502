"""Calibration in the large and slope: agreement with scikit-learn, known answers, coverage, undefined values."""

import numpy as np
import pytest
from scipy import special

from ml.evaluation.binary_metrics import calibration_slope
from ml.evaluation.recalibration import INTERCEPT, SLOPE, recalibration_intervals


def sample(
    rows: int, seed: int = 0, shift: float = 0.0, factor: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Sample truths, and probabilities whose log odds are too high by `shift` and too extreme by `factor`."""
    generator = np.random.default_rng(seed)
    log_odds = generator.normal(size=rows)
    truth = (generator.random(rows) < special.expit(log_odds)).astype(float)
    return truth, special.expit(factor * log_odds + shift)


def test_the_slope_agrees_with_scikit_learn() -> None:
    for seed, factor in ((0, 1.0), (1, 3.0), (2, 0.2)):
        truth, probability = sample(500, seed, 0.3, factor)
        slope = recalibration_intervals(truth, probability)[SLOPE]
        assert slope.value == pytest.approx(calibration_slope(truth, probability), rel=1e-5)


def test_calibration_in_the_large_makes_the_means_equal() -> None:
    truth, probability = sample(400, 3, shift=-1.5)
    value = recalibration_intervals(truth, probability)[INTERCEPT].value
    assert special.expit(special.logit(probability) + value).mean() == pytest.approx(truth.mean())


def test_a_constant_probability_has_the_interval_of_a_share_and_no_slope() -> None:
    truth = np.repeat([0.0, 1.0], [300, 100])
    intervals = recalibration_intervals(truth, np.full(400, 0.5))
    assert set(intervals) == {INTERCEPT}
    interval = intervals[INTERCEPT]
    assert interval.value == pytest.approx(special.logit(0.25))
    error = 1 / np.sqrt(399 * 0.25 * 0.75)
    assert interval.high - interval.value == pytest.approx(1.9659 * error, rel=1e-4)


def test_shifted_and_extreme_log_odds_are_found() -> None:
    truth, probability = sample(4000, 4, shift=0.45)
    large = recalibration_intervals(truth, probability)[INTERCEPT]
    assert large.low < -0.45 < large.high < -0.3
    truth, probability = sample(4000, 5, factor=2.0)
    slope = recalibration_intervals(truth, probability)[SLOPE]
    assert slope.low < 0.5 < slope.high < 0.6


def test_copies_of_rows_in_the_same_unit_do_not_narrow_the_intervals() -> None:
    truth, probability = sample(80)
    once = recalibration_intervals(truth, probability)
    copied = recalibration_intervals(
        np.repeat(truth, 3), np.repeat(probability, 3), np.repeat(np.arange(80), 3)
    )
    for name, interval in once.items():
        assert (copied[name].low, copied[name].high) == pytest.approx((interval.low, interval.high))


def test_intervals_have_nominal_coverage() -> None:
    covered = np.zeros(2)
    for seed in range(300):
        intervals = recalibration_intervals(*sample(150, seed))
        covered += [
            intervals[INTERCEPT].low <= 0 <= intervals[INTERCEPT].high,
            intervals[SLOPE].low <= 1 <= intervals[SLOPE].high,
        ]
    assert (covered / 300 >= 0.92).all()


def test_values_that_are_not_finite_are_left_out() -> None:
    truth = np.repeat([0.0, 1.0], 20)
    assert recalibration_intervals(np.zeros(40), np.full(40, 0.2)) == {}
    assert set(recalibration_intervals(truth, 0.25 + 0.5 * truth)) == {INTERCEPT}
    # Probabilities of exactly 0 and 1 are clipped.
    wrong = truth.copy()
    wrong[[0, -1]] = [1.0, 0.0]
    assert set(recalibration_intervals(truth, wrong)) == {INTERCEPT, SLOPE}

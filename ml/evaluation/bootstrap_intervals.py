"""Confidence intervals by the bootstrap over resampling units, and of the calibration error.

Intervals are two-sided at `level`; `units` as in `ml.evaluation.confidence_intervals`. Fewer than two units raise
`UndefinedMetricError`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from scipy import stats

from ml.evaluation.binary_metrics import (
    CALIBRATION_BINS,
    UndefinedMetricError,
    assign_calibration_bins,
    validate_probabilities,
)
from ml.evaluation.confidence_intervals import Difference, Interval, unit_codes

# Resamples beyond a limit that make a percentile one.
MIN_TAIL = 10
# Functions of the number of times that each row is drawn, shape (rows,); NaN if undefined for these rows.
Statistic = Callable[[np.ndarray], float]
Statistics = Callable[[np.ndarray], Mapping[str, float]]


def bootstrap_intervals(
    statistics: Statistics, units: np.ndarray, seed: int, resamples: int = 1000, level: float = 0.95
) -> dict[str, Interval]:
    """Compute percentile bootstrap intervals (Efron, 1979) over units: all rows of a drawn unit are drawn with it.

    `units` (rows,) holds the unit of each row; all statistics see the same resamples. Resamples for which one is NaN
    are left out; UndefinedMetricError if that is more than half of them, or if it is NaN on all rows.
    """
    ones = np.ones(len(units), dtype=np.int64)
    draws = [statistics(counts) for counts in _resamples(units, seed, resamples)]
    return {
        name: Interval(value, *_percentile_limits(_defined(value, [draw[name] for draw in draws]), level))
        for name, value in statistics(ones).items()
    }


def bootstrap_difference(
    statistic_a: Statistic,
    statistic_b: Statistic,
    units: np.ndarray,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
) -> Difference:
    """Compute `bootstrap_intervals` of a - b, both on the same resamples.

    The p-value is twice the share of resamples on the rarer side of 0, counting one more (Davison and Hinkley, 1997),
    so never below 2 / (resamples + 1). Where the level leaves fewer than `MIN_TAIL` resamples beyond a limit, it is the
    outer one of the percentile and the normal limit, as percentiles far in the tail are those of all resamples.
    """

    def difference(counts: np.ndarray) -> float:
        return statistic_a(counts) - statistic_b(counts)

    value = difference(np.ones(len(units), dtype=np.int64))
    draws = _defined(value, [difference(counts) for counts in _resamples(units, seed, resamples)])
    low, high = _percentile_limits(draws, level)
    if (0.5 - level / 2.0) * len(draws) < MIN_TAIL:
        half = float(stats.norm.ppf(0.5 + level / 2.0) * draws.std())
        low, high = min(low, value - half), max(high, value + half)
    rarer = min(int((draws <= 0.0).sum()), int((draws >= 0.0).sum()))
    return Difference(value, low, high, min(1.0, 2.0 * (rarer + 1) / (len(draws) + 1)))


def calibration_interval(
    truth: np.ndarray,
    probability: np.ndarray,
    units: np.ndarray,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Compute the calibration error with an interval that corrects for its bias above 0.

    The error (`binary_metrics.calibration_error`) is a sum of absolute gaps, which chance alone makes larger than 0,
    and a percentile bootstrap larger again. By the triangle inequality the measured error of these bins is no further
    from the true one than the sum of the absolute deviations of the gaps, whose `level` quantile the bootstrap over
    units gives: the coverage is at least `level`, or a little less if bins have only a few rows. Errors as in
    `calibration_error` and `bootstrap_intervals`.
    """
    truth, probability = validate_probabilities(truth, probability)
    codes = unit_codes(units, len(truth))
    n_units, bins = int(codes.max(initial=-1)) + 1, CALIBRATION_BINS
    bin_index = assign_calibration_bins(probability, bins)
    gaps = np.bincount(codes * bins + bin_index, probability - truth, n_units * bins).reshape(n_units, bins)
    total = gaps.sum(axis=0)
    resampled = _resamples(np.arange(n_units), seed, resamples)
    deviations = [np.abs(counts @ gaps - total).sum() for counts in resampled]
    value, half = np.abs(total).sum() / len(truth), np.quantile(deviations, level) / len(truth)
    return Interval(float(value), max(float(value - half), 0.0), min(float(value + half), 1.0))


def _defined(value: float, draws: Sequence[float]) -> np.ndarray:
    """Select the draws that are not NaN; UndefinedMetricError if these are too few for an interval."""
    defined = np.array([draw for draw in draws if not np.isnan(draw)])
    if np.isnan(value) or 2 * len(defined) < max(len(draws), 1):
        raise UndefinedMetricError(
            f"expected a value on all rows and on half of {len(draws)} resamples, got {value} and "
            f"{len(defined)} values; use more units"
        )
    return defined


def _percentile_limits(draws: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.5 - level / 2.0, 0.5 + level / 2.0])
    return float(low), float(high)


def _resamples(units: np.ndarray, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Yield how often each row is drawn, (rows,), when as many units as there are are drawn with replacement."""
    codes = unit_codes(units, len(units))
    n_units = int(codes.max(initial=-1)) + 1
    if n_units < 2:
        raise UndefinedMetricError(f"expected at least two units, got {n_units}; use more rows")
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(generator.integers(n_units, size=n_units), minlength=n_units)[codes]

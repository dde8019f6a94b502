"""How uncertain a measure is, and a difference of two measures on the same rows.

Intervals are two-sided at `level`. `groups` (any labels, one per row) says which rows belong to one unit,
such as a patient; units are taken as independent, rows of a unit are not. Without it each row is a unit. A
truth of one class, or fewer units than a variance needs, raises `UndefinedMeasureError`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from ml.evaluation.binary_metrics import UndefinedMeasureError, calibration_bins, scored

# Of how often each row counts, shape (rows,); NaN where these rows have no value.
Statistic = Callable[[np.ndarray], float]
Statistics = Callable[[np.ndarray], Mapping[str, float]]


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence limits."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """An estimate of a - b, its confidence limits, and the two-sided p-value of no difference."""

    value: float
    low: float
    high: float
    p_value: float


def delong(
    truth: np.ndarray, scores: np.ndarray, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """AUCs of m scores on the same rows, shape (m,), and the covariance of these estimates, shape (m, m).

    `truth` (n,) holds 0 and 1, `scores` is (m, n) without NaN. DeLong, DeLong and Clarke-Pearson (1988) by
    the mid-ranks of Sun and Xu (2014), O(m n log n); with `groups`, the extension to clustered rows of
    Obuchowski (1997).

    Raises ValueError where shapes or values are not so; at least two units with positives and two with
    negatives are needed.
    """
    truth = np.asarray(truth, dtype=np.float64)
    placements = _placements(truth, np.asarray(scores, dtype=np.float64))
    return placements[:, truth == 1].mean(axis=1), _covariance(truth, placements, groups)


def auc_interval(
    truth: np.ndarray, score: np.ndarray, groups: np.ndarray | None = None, level: float = 0.95
) -> Interval:
    """AUC with DeLong's variance, symmetric on the log odds of the AUC, so that it stays within 0 and 1.

    At an AUC of exactly 0 or 1 that variance is 0; the inner limit is then the one of Newcombe (2006), method
    5, with units for rows. Errors as in `delong`.
    """
    truth = np.asarray(truth, dtype=np.float64)
    aucs, covariance = delong(truth, np.asarray(score)[None, :], groups)
    auc = float(aucs[0])
    if auc in (0.0, 1.0):
        units = _unit_codes(groups, len(truth))
        limit = _separated_limit(_count(units[truth == 1]), _count(units[truth == 0]), level)
        return Interval(auc, 0.0, 1.0 - limit) if auc == 0.0 else Interval(auc, limit, 1.0)
    half = _normal_quantile(level) * np.sqrt(covariance[0, 0]) / (auc * (1.0 - auc))
    low, high = special.expit(special.logit(auc) + np.array([-half, half]))
    return Interval(auc, float(low), float(high))


def auc_difference(
    truth: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    groups: np.ndarray | None = None,
    level: float = 0.95,
) -> Difference:
    """AUC of `a` minus AUC of `b` with DeLong's variance and a normal test.

    Where the AUCs differ but that variance is 0 (one separates the classes, the other does so too or is
    constant), the standard error comes from the limits of both intervals (Zou and Donner, 2008), as if they
    were independent. Errors as in `delong`.
    """
    truth = np.asarray(truth, dtype=np.float64)
    placements = _placements(truth, np.stack([a, b]).astype(np.float64))
    # The variance of the contrast itself is exactly 0 for equal scores; a + b - 2ab would round.
    contrast = placements[:1] - placements[1:]
    value = float(contrast[:, truth == 1].mean())
    half = _normal_quantile(level) * float(np.sqrt(_covariance(truth, contrast, groups)[0, 0]))
    if half == 0.0 and value != 0.0:
        better, worse = (a, b) if value > 0.0 else (b, a)
        above, below = (auc_interval(truth, score, groups, level) for score in (better, worse))
        half = float(np.hypot(above.value - above.low, below.high - below.value))
    low, high = max(value - half, -1.0), min(value + half, 1.0)
    p_value = 2.0 * stats.norm.sf(abs(value) / half * _normal_quantile(level)) if half else value == 0.0
    return Difference(value, low, high, float(p_value))


def mean_interval(values: np.ndarray, groups: np.ndarray | None = None, level: float = 0.95) -> Interval:
    """Mean over rows with Student's t; at least two units are needed.

    With `groups` the variance is that of the sums of a unit's deviations (Liang and Zeger, 1986), with one
    degree of freedom fewer than units. t rather than the bootstrap: no seed, and better cover of few units.
    """
    value, error, units = _mean_and_error(values, groups)
    half = error * float(stats.t.ppf(0.5 + level / 2.0, units - 1))
    return Interval(value, value - half, value + half)


def mean_difference(
    a: np.ndarray, b: np.ndarray, groups: np.ndarray | None = None, level: float = 0.95
) -> Difference:
    """Mean of a - b over rows: the interval of `mean_interval` and the paired t test that belongs to it.

    The test is exact for normal differences and nearly so for many units. Interval and p-value always agree
    on whether there is a difference, but for units that all differ by the same amount: t has no value there,
    and the p-value is that of the exact sign-flip test, 2^(1 - units) (Fisher, 1935).
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(
            f"expected pairs, got shapes {np.shape(a)} and {np.shape(b)}; score both on the same rows"
        )
    paired = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    value, error, units = _mean_and_error(paired, groups)
    half = error * float(stats.t.ppf(0.5 + level / 2.0, units - 1))
    if error:
        p_value = float(2.0 * stats.t.sf(abs(value) / error, units - 1))
    else:
        p_value = 2.0 ** (1 - units) if value else 1.0
    return Difference(value, value - half, value + half, p_value)


def resampled_interval(values: np.ndarray, test_per_train: float, level: float = 0.95) -> Interval:
    """Mean of a measure over the splits of repeated cross-validation, shape (splits,).

    The splits learn from overlapping rows, so their mean varies more than that of independent values: by
    (1/splits + `test_per_train`) of their variance, with Student's t of splits - 1 degrees of freedom (Nadeau and
    Bengio, 2003; for repeated folds Bouckaert and Frank, 2004). `test_per_train` is the number of test rows for each
    training row, 1 / (folds - 1) for folds. Raises ValueError where it is not above 0; errors as in `mean_interval`.
    """
    value, error, splits = _mean_and_error(values, None)
    half = (
        error * _resampling_factor(splits, test_per_train) * float(stats.t.ppf(0.5 + level / 2.0, splits - 1))
    )
    return Interval(value, value - half, value + half)


def resampled_difference(
    a: np.ndarray, b: np.ndarray, test_per_train: float, level: float = 0.95
) -> Difference:
    """Mean of a - b over the splits of repeated cross-validation: `resampled_interval`, and the test that fits it.

    Splits that all differ by the same amount have no t; the p-value is then 1 where that is 0, else 0.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(
            f"expected pairs, got shapes {np.shape(a)} and {np.shape(b)}; score both on the same splits"
        )
    paired = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    interval = resampled_interval(paired, test_per_train, level)
    value, error, splits = _mean_and_error(paired, None)
    error *= _resampling_factor(splits, test_per_train)
    p_value = float(2.0 * stats.t.sf(abs(value) / error, splits - 1)) if error else float(value == 0.0)
    return Difference(value, interval.low, interval.high, p_value)


def bootstrap_intervals(
    statistics: Statistics, units: np.ndarray, seed: int, resamples: int = 1000, level: float = 0.95
) -> dict[str, Interval]:
    """Percentile bootstrap (Efron, 1979) over units: all rows of a drawn unit come along.

    `units` (rows,) has the unit of each row; every statistic sees the same resamples. Those in which it is NaN are
    left out; UndefinedMeasureError where that is more than half of them, or where all rows have no value.
    """
    whole = np.ones(len(units), dtype=np.int64)
    draws = [statistics(counts) for counts in _resamples(units, seed, resamples)]
    return {
        name: Interval(value, *_limits(_defined(value, [draw[name] for draw in draws]), level))
        for name, value in statistics(whole).items()
    }


def calibration_interval(
    truth: np.ndarray,
    probability: np.ndarray,
    units: np.ndarray,
    seed: int,
    bins: int = 10,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """The calibration error of the bins of `classification.calibration_error`, give or take chance.

    The error is a sum of absolute gaps, which chance alone makes larger than 0, and a percentile bootstrap larger
    again. By the triangle inequality the measured error of these bins is no further from the true one than the sum of
    the absolute deviations of the gaps, whose `level` quantile the bootstrap over units gives: the cover is at
    least `level`, or a little less where bins have only a few rows. Errors as in `calibration_error` and
    `bootstrap_intervals`.
    """
    truth, probability = scored(truth, probability)
    codes = _unit_codes(units, len(truth))
    number = int(codes.max(initial=-1)) + 1
    bin_of = calibration_bins(probability, bins)
    gaps = np.bincount(codes * bins + bin_of, probability - truth, number * bins).reshape(number, bins)
    total = gaps.sum(axis=0)
    drawn = _resamples(np.arange(number), seed, resamples)
    deviations = [np.abs(counts @ gaps - total).sum() for counts in drawn]
    value, half = np.abs(total).sum() / len(truth), np.quantile(deviations, level) / len(truth)
    return Interval(float(value), max(float(value - half), 0.0), min(float(value + half), 1.0))


def bootstrap_difference(
    statistic_a: Statistic,
    statistic_b: Statistic,
    units: np.ndarray,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
) -> Difference:
    """`bootstrap_intervals` of a - b, both on the same resamples.

    The p-value is twice the share of resamples on the rarer side of 0, counting one more (Davison and
    Hinkley, 1997), so never below 2 / (resamples + 1).
    """

    def difference(counts: np.ndarray) -> float:
        return statistic_a(counts) - statistic_b(counts)

    value = difference(np.ones(len(units), dtype=np.int64))
    draws = _defined(value, [difference(counts) for counts in _resamples(units, seed, resamples)])
    low, high = _limits(draws, level)
    rarer = min(int((draws <= 0.0).sum()), int((draws >= 0.0).sum()))
    return Difference(value, low, high, min(1.0, 2.0 * (rarer + 1) / (len(draws) + 1)))


def _placements(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The structural components, shape (m, n), in the order of the rows.

    For a positive the share of negatives below it, for a negative that of positives above, ties as half.
    """
    if truth.ndim != 1 or scores.ndim != 2 or scores.shape[1] != len(truth) or np.isnan(scores).any():
        raise ValueError(
            f"expected truth (n,) and scores (m, n) without NaN, got {truth.shape} and {scores.shape} with "
            f"{int(np.isnan(scores).sum())} NaN; align the rows and check the model"
        )
    if not np.isin(truth, (0.0, 1.0)).all():
        raise ValueError("expected truth of 0 and 1, got other values; map the classes to 0 and 1")
    positive, negative = truth == 1, truth == 0
    if not (positive.any() and negative.any()):
        raise UndefinedMeasureError(
            f"expected both classes for an AUC, got {positive.sum()} positive and {negative.sum()} negative; "
            "use more rows"
        )
    placements: np.ndarray = stats.rankdata(scores, axis=1)
    placements[:, positive] -= stats.rankdata(scores[:, positive], axis=1)
    placements[:, negative] -= stats.rankdata(scores[:, negative], axis=1)
    placements[:, positive] /= negative.sum()
    placements[:, negative] = 1.0 - placements[:, negative] / positive.sum()
    return placements


def _covariance(truth: np.ndarray, placements: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Obuchowski's covariance of the means of `placements`, (m, m); DeLong's where each row is a unit."""
    positive, negative = truth == 1, truth == 0
    units = _unit_codes(groups, len(truth))
    deviations = placements - placements[:, positive].mean(axis=1, keepdims=True)
    u = _unit_sums(deviations * positive, units) / positive.sum()
    v = _unit_sums(deviations * negative, units) / negative.sum()
    with_positive, with_negative = _count(units[positive]), _count(units[negative])
    if min(with_positive, with_negative) < 2:
        raise UndefinedMeasureError(
            f"expected two units with positives and two with negatives, got {with_positive} and "
            f"{with_negative}; use more rows"
        )
    cross = u @ v.T
    covariance: np.ndarray = (
        _unbiased(with_positive) * (u @ u.T)
        + _unbiased(with_negative) * (v @ v.T)
        + _unbiased(int(units.max()) + 1) * (cross + cross.T)
    )
    return covariance


def _separated_limit(positives: int, negatives: int, level: float) -> float:
    """The lower limit at an AUC of 1: the AUC from which 1 is as far as `level` allows (Newcombe, 2006)."""
    z, half = _normal_quantile(level), (positives + negatives) / 2.0 - 1.0

    def excess(auc: float) -> float:  # (1 - auc)^2 - z^2 variance(auc), divided by its root at 1
        spread = auc * (1.0 + half * (1.0 - auc) / (2.0 - auc) + half * auc / (1.0 + auc))
        return 1.0 - auc - z**2 * spread / (positives * negatives)

    return float(optimize.brentq(excess, 0.0, 1.0))


def _mean_and_error(values: np.ndarray, groups: np.ndarray | None) -> tuple[float, float, int]:
    """The mean, its standard error (exactly 0 where only rounding differs), and the number of units."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(
            f"expected finite values of shape (rows,), got shape {values.shape}; drop missing rows"
        )
    codes = _unit_codes(groups, len(values))
    units = int(codes.max(initial=-1)) + 1
    if units < 2:
        raise UndefinedMeasureError(f"expected at least two units, got {units}; use more rows")
    value = float(values.mean())
    deviations = values - value
    if np.abs(deviations).max() <= 1e-12 * np.abs(values).max():
        return value, 0.0, units
    sums = _unit_sums(deviations[None, :], codes)[0] / len(values)
    return value, float(np.sqrt(_unbiased(units) * (sums @ sums))), units


def _resampling_factor(splits: int, test_per_train: float) -> float:
    """What the standard error of independent values is multiplied by."""
    if not test_per_train > 0.0:
        raise ValueError(
            f"expected test rows for each training row above 0, got {test_per_train}; give 1 / (folds - 1)"
        )
    return float(np.sqrt(1.0 + splits * test_per_train))


def _unit_codes(groups: np.ndarray | None, rows: int) -> np.ndarray:
    """Units numbered from 0, shape (rows,)."""
    if groups is None:
        return np.arange(rows)
    if np.shape(groups) != (rows,):
        raise ValueError(
            f"expected one group per row, shape {(rows,)}, got {np.shape(groups)}; align the rows"
        )
    return np.unique(groups, return_inverse=True)[1]


def _count(units: np.ndarray) -> int:
    return len(np.unique(units))


def _unit_sums(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(m, rows) summed to (m, units)."""
    return np.stack([np.bincount(codes, row) for row in values])


def _unbiased(units: int) -> float:
    return units / (units - 1.0)


def _normal_quantile(level: float) -> float:
    return float(stats.norm.ppf(0.5 + level / 2.0))


def _defined(value: float, draws: Sequence[float]) -> np.ndarray:
    """The draws that have a value; UndefinedMeasureError where these are too few to tell anything."""
    defined = np.array([draw for draw in draws if not np.isnan(draw)])
    if np.isnan(value) or 2 * len(defined) < max(len(draws), 1):
        raise UndefinedMeasureError(
            f"expected a value on all rows and on half of {len(draws)} resamples, got {value} and "
            f"{len(defined)} values; use more units"
        )
    return defined


def _limits(draws: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.5 - level / 2.0, 0.5 + level / 2.0])
    return float(low), float(high)


def _resamples(units: np.ndarray, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """How often each row counts when units are drawn with replacement, as many as there are."""
    codes = _unit_codes(units, len(units))
    number = int(codes.max(initial=-1)) + 1
    if number < 2:
        raise UndefinedMeasureError(f"expected at least two units, got {number}; use more rows")
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(generator.integers(number, size=number), minlength=number)[codes]

"""Confidence intervals of the ROC AUC and of differences of two AUCs, by DeLong's variance.

Intervals are two-sided at `level`; `units` as in `ml.evaluation.confidence_intervals`. A truth of one class, or fewer
units than a variance needs, raises `UndefinedMetricError`.
"""

import numpy as np
from scipy import optimize, special, stats

from ml.evaluation.binary_metrics import UndefinedMetricError
from ml.evaluation.confidence_intervals import (
    Difference,
    Interval,
    count_units,
    sum_by_unit,
    unbiased_factor,
    unit_codes,
)

# With fewer units of a class, the limits of an AUC allow for the error of the variance itself.
FEW_UNITS = 50


def delong_auc_covariance(
    truth: np.ndarray, scores: np.ndarray, units: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the AUCs of m scores on the same rows, shape (m,), and the covariance of these estimates, (m, m).

    `truth` (n,) holds 0 and 1, `scores` is (m, n) without NaN. DeLong, DeLong and Clarke-Pearson (1988) by the
    mid-ranks of Sun and Xu (2014), O(m n log n); with `units`, the extension to clustered rows of Obuchowski (1997).

    Raises ValueError for other shapes or values; at least two units with positives and two with negatives are needed.
    """
    truth = np.asarray(truth, dtype=np.float64)
    components = _structural_components(truth, np.asarray(scores, dtype=np.float64))
    return components[:, truth == 1].mean(axis=1), _covariance(truth, components, units)


def auc_interval(
    truth: np.ndarray, score: np.ndarray, units: np.ndarray | None = None, level: float = 0.95
) -> Interval:
    """Compute the AUC with DeLong's variance, symmetric on the log odds of the AUC, so that limits are in 0 to 1.

    The quantile is that of Student's t, as in `auc_difference`. With fewer than `FEW_UNITS` units of a class, DeLong's
    variance is too small near 0 and 1: each limit is then the outer one of DeLong's and of `newcombe_limits`. The first
    alone cover too rarely near 1, the second where the scores of positives spread more than those of negatives. Errors
    as in `delong_auc_covariance`.
    """
    truth = np.asarray(truth, dtype=np.float64)
    aucs, covariance = delong_auc_covariance(truth, np.asarray(score)[None, :], units)
    auc, variance = float(aucs[0]), float(covariance[0, 0])
    positives, negatives = _class_units(truth, units)
    low, high = auc, auc
    if variance > 0.0:
        quantile = stats.t.ppf(0.5 + level / 2.0, min(positives, negatives) - 1)
        half = quantile * np.sqrt(variance) / (auc * (1.0 - auc))
        low, high = special.expit(special.logit(auc) + np.array([-half, half]))
    # The AUC of a constant score is .5 for certain; where classes are separated, only Newcombe's limits have a width.
    if auc in (0.0, 1.0) or (variance > 0.0 and min(positives, negatives) < FEW_UNITS):
        inner = newcombe_limits(auc, positives, negatives, level)
        low, high = min(low, inner[0]), max(high, inner[1])
    return Interval(auc, float(low), float(high))


def newcombe_limits(auc: float, positives: int, negatives: int, level: float = 0.95) -> tuple[float, float]:
    """Compute the limits of Newcombe (2006, Statistics in Medicine 25, 559-573), method 5, from counts alone.

    A limit is the AUC from which the measured one is as far as `level` allows, by the variance that Hanley and McNeil
    (1982) give for exponential scores, with the mean number of units of a class for both numbers but one.
    """
    z, half = _normal_quantile(level), (positives + negatives) / 2.0 - 1.0

    def excess(limit: float) -> float:
        spread = 1.0 + half * (1.0 - limit) / (2.0 - limit) + half * limit / (1.0 + limit)
        return (limit - auc) ** 2 - z**2 * limit * (1.0 - limit) * spread / (positives * negatives)

    # Below 0 at the AUC itself and above 0 at 0 and 1.
    low = optimize.brentq(excess, 0.0, auc) if 0.0 < auc < 1.0 else 0.0
    high = optimize.brentq(excess, auc, 1.0) if 0.0 < auc < 1.0 else 1.0
    if auc in (0.0, 1.0):
        # One limit is the AUC itself, where there is a second root: it is divided out.
        limit = _separated_limit(positives, negatives, level)
        low, high = (limit, 1.0) if auc else (0.0, 1.0 - limit)
    return float(low), float(high)


def auc_difference(
    truth: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    units: np.ndarray | None = None,
    level: float = 0.95,
) -> Difference:
    """Compute the AUC of score `a` minus the AUC of score `b` with DeLong's variance and Student's t.

    The degrees of freedom are the units of the rarer class less one, of which the variance is mostly estimated: far in
    the tails, where levels are small, a normal test would promote twice too often with 20 positives of 2,000.

    If the AUCs differ but that variance is 0 (one separates the classes, the other does so too or is constant), the
    standard error comes from the limits of both intervals (Zou and Donner, 2008), as if they were independent. Errors
    as in `delong_auc_covariance`.
    """
    truth = np.asarray(truth, dtype=np.float64)
    components = _structural_components(truth, np.stack([a, b]).astype(np.float64))
    # The variance of the contrast itself is exactly 0 for equal scores; a + b - 2ab would round.
    contrast = components[:1] - components[1:]
    value = float(contrast[:, truth == 1].mean())
    error = float(np.sqrt(_covariance(truth, contrast, units)[0, 0]))
    degrees = min(_class_units(truth, units)) - 1
    quantile = float(stats.t.ppf(0.5 + level / 2.0, degrees))
    half = quantile * error
    if half == 0.0 and value != 0.0:
        better, worse = (a, b) if value > 0.0 else (b, a)
        upper, lower = (auc_interval(truth, score, units, level) for score in (better, worse))
        half = float(np.hypot(upper.value - upper.low, lower.high - lower.value))
    low, high = max(value - half, -1.0), min(value + half, 1.0)
    p_value = 2.0 * stats.t.sf(abs(value) / half * quantile, degrees) if half else value == 0.0
    return Difference(value, low, high, float(p_value))


def _structural_components(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Compute DeLong's structural components, shape (m, n), in the order of the rows.

    For a positive the share of negatives below it, for a negative that of positives above it, ties counting half.
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
        raise UndefinedMetricError(
            f"expected both classes for an AUC, got {positive.sum()} positive and {negative.sum()} negative; "
            "use more rows"
        )
    components: np.ndarray = stats.rankdata(scores, axis=1)
    components[:, positive] -= stats.rankdata(scores[:, positive], axis=1)
    components[:, negative] -= stats.rankdata(scores[:, negative], axis=1)
    components[:, positive] /= negative.sum()
    components[:, negative] = 1.0 - components[:, negative] / positive.sum()
    return components


def _covariance(truth: np.ndarray, components: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    """Compute Obuchowski's covariance of the means of `components`, (m, m); DeLong's if each row is a unit."""
    positive, negative = truth == 1, truth == 0
    codes = unit_codes(units, len(truth))
    deviations = components - components[:, positive].mean(axis=1, keepdims=True)
    u = sum_by_unit(deviations * positive, codes) / positive.sum()
    v = sum_by_unit(deviations * negative, codes) / negative.sum()
    with_positive, with_negative = count_units(codes[positive]), count_units(codes[negative])
    if min(with_positive, with_negative) < 2:
        raise UndefinedMetricError(
            f"expected two units with positives and two with negatives, got {with_positive} and "
            f"{with_negative}; use more rows"
        )
    cross = u @ v.T
    covariance: np.ndarray = (
        unbiased_factor(with_positive) * (u @ u.T)
        + unbiased_factor(with_negative) * (v @ v.T)
        + unbiased_factor(int(codes.max()) + 1) * (cross + cross.T)
    )
    return covariance


def _class_units(truth: np.ndarray, units: np.ndarray | None) -> tuple[int, int]:
    """Count the units with positives and those with negatives."""
    codes = unit_codes(units, len(truth))
    return count_units(codes[truth == 1]), count_units(codes[truth == 0])


def _separated_limit(positives: int, negatives: int, level: float) -> float:
    """Find the lower limit at an AUC of 1: the AUC from which 1 is as far as `level` allows (Newcombe, 2006)."""
    z, half = _normal_quantile(level), (positives + negatives) / 2.0 - 1.0

    def excess(auc: float) -> float:  # (1 - auc)^2 - z^2 variance(auc), divided by its root at 1
        spread = auc * (1.0 + half * (1.0 - auc) / (2.0 - auc) + half * auc / (1.0 + auc))
        return 1.0 - auc - z**2 * spread / (positives * negatives)

    return float(optimize.brentq(excess, 0.0, 1.0))


def _normal_quantile(level: float) -> float:
    return float(stats.norm.ppf(0.5 + level / 2.0))

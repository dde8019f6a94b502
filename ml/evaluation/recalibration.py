"""Calibration in the large and calibration slope of probabilities, with intervals over units (Cox, 1958).

Both are coefficients of a logistic regression of the truth on the log odds of the probability; `units` as in
`ml.evaluation.confidence_intervals`. Probabilities are clipped 2.2e-16 away from 0 and 1. Errors of intervals are those
of the sandwich estimator over units (Liang and Zeger, 1986), with Student's t of one degree of freedom less than there
are units.
"""

import numpy as np
from scipy import special, stats

from ml.evaluation.binary_metrics import UndefinedMetricError, validate_probabilities
from ml.evaluation.confidence_intervals import Interval, sum_by_unit, unbiased_factor, unit_codes

MAX_STEPS = 100
# The log odds to which the largest step of Newton's method is bounded, and where it has converged.
MAX_CHANGE, TOLERANCE = 2.0, 1e-10
INTERCEPT, SLOPE = "calibration_intercept", "calibration_slope"


def recalibration_intervals(
    truth: np.ndarray, probability: np.ndarray, units: np.ndarray | None = None, level: float = 0.95
) -> dict[str, Interval]:
    """Compute the `calibration_intercept` and the `calibration_slope`; one without a finite value is left out.

    The intercept is what must be added to all log odds for their mean to fit the truth: calibration in the large, 0 is
    ideal, above 0 the probabilities are too low. The slope is what log odds must be multiplied by, beside an intercept
    of its own: 1 is ideal, below 1 probabilities are too extreme. No value is finite for one class; the slope is not
    for a constant probability and for classes that do not overlap in probability.
    """
    truth, probability = validate_probabilities(truth, probability)
    epsilon = np.finfo(np.float64).eps
    log_odds = special.logit(np.clip(probability, epsilon, 1.0 - epsilon))
    ones, codes = np.ones_like(log_odds), unit_codes(units, len(truth))
    if truth.min() == truth.max():
        return {}
    intervals = {INTERCEPT: _coefficient_interval(truth, ones[None, :], log_odds, codes, level)}
    positives, negatives = log_odds[truth == 1.0], log_odds[truth == 0.0]
    if positives.min() < negatives.max() and positives.max() > negatives.min():
        columns = np.stack([ones, log_odds])
        intervals[SLOPE] = _coefficient_interval(truth, columns, 0.0 * log_odds, codes, level)
    return intervals


def _coefficient_interval(
    truth: np.ndarray, columns: np.ndarray, offset: np.ndarray, codes: np.ndarray, level: float
) -> Interval:
    """Fit a logistic regression on `columns` (coefficients, rows) beside an `offset`; return its last coefficient."""
    beta = np.zeros(len(columns))
    for _ in range(MAX_STEPS):
        fitted = special.expit(beta @ columns + offset)
        information = (columns * (fitted * (1.0 - fitted))) @ columns.T
        step = np.linalg.lstsq(information, columns @ (truth - fitted), rcond=None)[0]
        largest = float(np.abs(step).max())
        beta = beta + step * min(1.0, MAX_CHANGE / max(largest, TOLERANCE))
        if largest < TOLERANCE:
            break
    units = int(codes.max()) + 1
    if units < 2:
        raise UndefinedMetricError(f"expected at least two units, got {units}; use more rows")
    bread = np.linalg.pinv(information)
    scores = sum_by_unit(columns * (truth - fitted), codes)
    covariance = unbiased_factor(units) * bread @ (scores @ scores.T) @ bread
    value = float(beta[-1])
    half = float(stats.t.ppf(0.5 + level / 2.0, units - 1) * np.sqrt(covariance[-1, -1]))
    return Interval(value, value - half, value + half)

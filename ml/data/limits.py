"""Lower confidence limits of measures of how well columns predict a target; each is one-sided, at error rate `alpha`.

A gate that compares a limit with its bound does not mistake the noise of a small table for a fault.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import stats


def wilson_lower_limit(successes: np.ndarray | float, trials: np.ndarray | float, alpha: float) -> np.ndarray:
    """Compute the lower limit of a proportion (Wilson, 1927); arrays are taken elementwise; 0 without trials."""
    z2 = stats.norm.isf(alpha) ** 2
    n = np.maximum(np.asarray(trials, dtype=np.float64), 1e-300)
    p = np.asarray(successes, dtype=np.float64) / n
    centre = p + z2 / (2.0 * n)
    half = np.sqrt(z2 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)))
    return np.asarray(np.maximum((centre - half) / (1.0 + z2 / n), 0.0))


def balanced_accuracy_limits(
    true_positives: float, positives: float, true_negatives: float, negatives: float, alpha: float
) -> tuple[float, float]:
    """Return the balanced accuracy of a division into two classes, and its lower limit.

    The limit combines Wilson's limits of sensitivity and specificity (Zou and Donner, 2008).
    """
    sensitivity, specificity = true_positives / positives, true_negatives / negatives
    below = np.hypot(
        sensitivity - wilson_lower_limit(true_positives, positives, alpha),
        specificity - wilson_lower_limit(true_negatives, negatives, alpha),
    )
    value = (sensitivity + specificity) / 2.0
    return value, float(value - below / 2.0)


def auc_limits(auc: float, positives: int, negatives: int, alpha: float) -> tuple[float, float]:
    """Compute the lower and the upper limit of a ROC AUC, each at `alpha` (Newcombe, 2006, method 5).

    The limits are the AUCs from which `auc` is as far as `alpha` allows, with the variance of Hanley and McNeil (1982)
    for both classes of equal size. They also hold for few rows and at an AUC of 1.
    """
    z2, half = stats.norm.isf(alpha) ** 2, (positives + negatives) / 2.0 - 1.0

    def excess(theta: float) -> float:
        spread = 1.0 + half * (1.0 - theta) / (2.0 - theta) + half * theta / (1.0 + theta)
        return float((auc - theta) ** 2 - z2 * theta * (1.0 - theta) * spread / (positives * negatives))

    return _bisect(excess, 0.0, auc), 1.0 - _bisect(lambda theta: excess(1.0 - theta), 0.0, 1.0 - auc)


def correlation_lower_limit(correlation: float, rows: int, alpha: float) -> float:
    """Compute the lower limit of an absolute rank correlation (Bonett and Wright, 2000); -1 below ten rows."""
    if rows < 10:
        return -1.0
    size = min(abs(correlation), 1.0 - 1e-12)
    error = math.sqrt((1.0 + size**2 / 2.0) / (rows - 3))
    return math.tanh(math.atanh(size) - float(stats.norm.isf(alpha)) * error)


def _bisect(excess: Callable[[float], float], outside: float, inside: float) -> float:
    """Find where `excess` changes its sign from positive (at `outside`) to negative (just before `inside`)."""
    low, high = outside, inside
    for _ in range(60):
        middle = (low + high) / 2.0
        if excess(middle) > 0.0:
            low = middle
        else:
            high = middle
    return low

"""Estimates with the influence of each row, so that differences of any two of them have a standard error.

An estimate deviates from the truth by about the sum of the influences of its rows (Hampel, 1974; infinitesimal
jackknife). Differences of estimates have the differences of influences: of two models on the same rows, of two groups
of rows, and of both. The rows of a unit are summed, as they are not independent. For ROC AUC this is the variance of
DeLong, DeLong and Clarke-Pearson (1988), of which `ml.evaluation.auc_intervals` is an implementation of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import special

from ml.evaluation.binary_metrics import UndefinedMetricError

# Steps of Newton's method for a log odds shift; it converges in less than ten.
MAX_STEPS = 50


@dataclass(frozen=True)
class InfluenceEstimate:
    """An estimate with the influence of each row, shape (rows,), corrected for the number of units (Bessel).

    `degrees` are the degrees of freedom of its standard error: one less than the units, or those of the rarer class.
    """

    value: float
    influence: np.ndarray
    degrees: int

    def __sub__(self, other: Self) -> Self:
        degrees = min(self.degrees, other.degrees)
        return type(self)(self.value - other.value, self.influence - other.influence, degrees)

    def scatter(self, rows: np.ndarray, size: int) -> Self:
        """Place the influences at these positions among `size` rows; the other rows have none."""
        influence = np.zeros(size)
        influence[rows] = self.influence
        return type(self)(self.value, influence, self.degrees)

    def loss_from(self, reference: Self, is_relative: bool) -> Self:
        """Estimate how far this is below a reference, or which share of the reference that is.

        The reference only scales the share: a test whether it is above 0 is that of the difference. The error of a
        ratio itself would be far too small where few rows have a value above 0.
        """
        if not is_relative:
            return reference - self
        if not reference.value > 0.0:
            raise UndefinedMetricError(
                f"expected a reference above 0, got {reference.value:g}; use more rows"
            )
        difference = reference - self
        influence = difference.influence / reference.value
        return type(self)(difference.value / reference.value, influence, difference.degrees)

    def standard_error(self, codes: np.ndarray) -> float:
        """Compute the standard error over units; `codes` (rows,) numbers them from 0."""
        return float(np.sqrt(np.square(np.bincount(codes, self.influence)).sum()))


# The estimate of the rows at these positions, with their influences in the same order.
Measure = Callable[[np.ndarray], InfluenceEstimate]


@dataclass(frozen=True)
class RowMeasures:
    """What groups of rows are compared by.

    `primary` is the primary metric; `expected` is the value of it that the predictions themselves promise, from which
    the mix of cases in a group follows; None where predictions promise none. `certainty` has for each row whether an
    event happened and its predicted probability; `bias` is the mean error of predicted numbers, in standard deviations
    of the target. With `is_relative`, losses of the primary metric are shares of it.
    """

    primary: Measure
    expected: Measure | None = None
    certainty: tuple[np.ndarray, np.ndarray] | None = None
    is_relative: bool = False
    bias: Measure | None = None


def mean(values: np.ndarray, codes: np.ndarray) -> InfluenceEstimate:
    """Estimate the mean of values."""
    value = float(values.mean())
    units = len(np.unique(codes))
    return InfluenceEstimate(value, (values - value) / len(values) * _bessel(units, "rows"), units - 1)


def auc(label: np.ndarray, score: np.ndarray, codes: np.ndarray) -> InfluenceEstimate:
    """Estimate the chance that a positive scores above a negative, ties counting half.

    `label` is 0 or 1, or the probability that the row is positive: each row then counts as both, in these parts. With
    the predicted probabilities as labels and as scores, this is the AUC that a model would have if its probabilities
    were true: it depends on the mix of cases only (van Klaveren and others, 2016, model-based concordance).
    """
    positives, negatives = float(label.sum()), float(len(label) - label.sum())
    with_positive = len(np.unique(codes[label > 0.0]))
    with_negative = len(np.unique(codes[label < 1.0]))
    if min(with_positive, with_negative) < 2:
        raise UndefinedMetricError(
            f"expected two units of each class, got {with_positive} and {with_negative}; use more rows"
        )
    _, tie = np.unique(score, return_inverse=True)
    positive_at = np.bincount(tie, label)
    negative_at = np.bincount(tie, 1.0 - label)
    below = (np.cumsum(negative_at) - negative_at / 2.0)[tie] / negatives
    above = (positives - np.cumsum(positive_at) + positive_at / 2.0)[tie] / positives
    # A row is no pair with itself: of certain labels it would count 0 anyway.
    own = label * (1.0 - label)
    pairs = positives * negatives - own.sum()
    value = float(((label * below).sum() * negatives - own.sum() / 2.0) / pairs)
    as_positive = label * (below - value) / positives * _bessel(with_positive, "positives")
    as_negative = (1.0 - label) * (above - value) / negatives * _bessel(with_negative, "negatives")
    return InfluenceEstimate(value, as_positive + as_negative, min(with_positive, with_negative) - 1)


def log_odds_shift(truth: np.ndarray, probability: np.ndarray, codes: np.ndarray) -> InfluenceEstimate:
    """Estimate what must be added to the log odds of the probabilities so that their mean is the share of positives.

    This is calibration in the large (Cox, 1958; Steyerberg, 2009): 0 is ideal, 1 means that the odds are e times as
    high as predicted. Undefined for one class.
    """
    positives = float(truth.sum())
    if not 0.0 < positives < len(truth):
        raise UndefinedMetricError(f"expected both classes, got {positives:g} of {len(truth)}; use more rows")
    epsilon = np.finfo(np.float64).eps
    log_odds = special.logit(np.clip(probability, epsilon, 1.0 - epsilon))
    # The mean is monotone in the shift, which is between these two.
    share = special.logit(positives / len(truth))
    low, high = share - log_odds.max(), share - log_odds.min()
    shift = float(
        np.clip(share - special.logit(np.clip(probability.mean(), epsilon, 1 - epsilon)), low, high)
    )
    for _ in range(MAX_STEPS):
        shifted = special.expit(log_odds + shift)
        excess = positives - shifted.sum()
        low, high = (shift, high) if excess > 0.0 else (low, shift)
        if abs(excess) <= 1e-9 * len(truth):
            break
        slope = (shifted * (1.0 - shifted)).sum()
        step = shift + excess / slope if slope > 0.0 else np.inf
        shift = float(step) if low < step < high else (low + high) / 2.0
    shifted = special.expit(log_odds + shift)
    information = max(float((shifted * (1.0 - shifted)).sum()), epsilon)
    rarer = min(len(np.unique(codes[truth == value])) for value in (0.0, 1.0))
    influence = (truth - shifted) / information * _bessel(len(np.unique(codes)), "rows")
    return InfluenceEstimate(shift, influence, max(rarer - 1, 1))


def _bessel(units: int, what: str) -> float:
    if units < 2:
        raise UndefinedMetricError(f"expected at least two units of {what}, got {units}; use more rows")
    return float(np.sqrt(units / (units - 1.0)))

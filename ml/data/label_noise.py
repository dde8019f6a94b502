"""Estimate how many labels are wrong, from probabilities of a model that did not learn from the rows it judges.

Confident learning (C. G. Northcutt, L. Jiang and I. L. Chuang, 2021, Journal of Artificial Intelligence Research 70): a
row is confidently of a class where its probability is at least the mean probability of that class among the rows with
its label. Rows that are confidently of another class than their label count as wrong.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

# A class with fewer rows has no reliable mean: its rows are not judged, and no row is taken for one of it.
MIN_ROWS_OF_CLASS = 5
# Share of wrong labels that is remarked on, if it is certain that there are as many.
NOTABLE_SHARE = 0.03


@dataclass(frozen=True)
class LabelNoise:
    """Labels that look wrong.

    `judged` counts the rows, `suspicious` those that are confidently of another class; `share` is the part of the
    latter, `low` and `high` its 95 % limits (Clopper-Pearson). `by_class` has the share among the rows of each label,
    NaN for a class that is not judged, shape (classes,). `positions` are the suspicious rows, the surest first. What a
    model gets wrong with confidence counts too: the share is that of labels to look at, not of errors that are proven.
    """

    judged: int
    suspicious: int
    share: float
    low: float
    high: float
    by_class: np.ndarray
    positions: np.ndarray

    @property
    def is_notable(self) -> bool:
        """Whether it is certain that more labels look wrong than usual."""
        return self.low > NOTABLE_SHARE


def estimate_label_noise(truth: np.ndarray, probability: np.ndarray) -> LabelNoise:
    """Count the labels that look wrong.

    `truth` has the position of each row's label, shape (rows,); `probability` that of each class, shape (rows,
    classes), from a model that was not fitted to the row (out of fold). Raises ValueError for other shapes, for labels
    that are no class, and for values that are no probabilities.
    """
    labels, probability = _checked(truth, probability)
    rows, classes = probability.shape
    counts = np.bincount(labels, minlength=classes)
    own = probability[np.arange(rows), labels]
    is_known = counts >= MIN_ROWS_OF_CLASS
    threshold = np.full(classes, np.inf)
    threshold[is_known] = np.bincount(labels, own, minlength=classes)[is_known] / counts[is_known]
    confident = probability >= threshold
    # Of several classes that a row is confidently of, it is of the likeliest; of equal ones, of its label.
    candidates = np.where(confident, probability, -1.0)
    likeliest = candidates.argmax(axis=1)
    is_judged = is_known[labels]
    is_wrong = is_judged & (candidates.max(axis=1, initial=-1.0) > candidates[np.arange(rows), labels])
    suspicious, judged = int(is_wrong.sum()), int(is_judged.sum())
    low, high = _limits(suspicious, judged)
    with np.errstate(invalid="ignore"):
        by_class = np.where(is_known, np.bincount(labels[is_wrong], minlength=classes) / counts, np.nan)
    positions = np.flatnonzero(is_wrong)
    surest = np.argsort((own - probability[np.arange(rows), likeliest])[positions], kind="stable")
    share = suspicious / judged if judged else 0.0
    return LabelNoise(judged, suspicious, share, low, high, by_class, positions[surest])


def _checked(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probability = np.asarray(probability, np.float64)
    values = np.asarray(truth, np.float64)
    if probability.ndim != 2 or probability.shape[1] < 2 or values.shape != probability.shape[:1]:
        raise ValueError(
            f"expected a label and the probabilities of at least two classes for each row, got shapes {values.shape} "
            f"and {probability.shape}; pass the probability of each class in a column"
        )
    if not np.isin(values, np.arange(probability.shape[1])).all():
        raise ValueError(
            f"expected labels from 0 to {probability.shape[1] - 1}, got others; leave out rows without a class"
        )
    if not ((probability >= 0.0) & (probability <= 1.0)).all():
        raise ValueError(
            "expected probabilities from 0 to 1, got others; pass no log odds and no missing values"
        )
    return values.astype(np.int64), probability


def _limits(count: int, rows: int) -> tuple[float, float]:
    low = float(beta.ppf(0.025, count, rows - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, rows - count)) if count < rows else 1.0
    return low, high

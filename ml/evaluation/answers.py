"""When a classifier with several classes answers, when it leaves a row to people, and which labels it holds possible.

All thresholds are chosen on validation rows, which the model was not fitted to.
"""

from typing import Any

import numpy as np
from scipy import stats

from ml.data.decisions import possible_labels
from ml.evaluation.multiclass_metrics import correctness, validate_classes

# The share of right answers that the threshold keeps: of 100 right answers 95 are still given.
KEPT_SHARE = 0.95
# Fewer rows of none of the classes say too little about where to leave rows to people.
MIN_ROWS_OF_NONE = 20
# Points of the curve of accuracy by share of rows answered.
CURVE_POINTS = 50


def answer_threshold(truth: np.ndarray, probability: np.ndarray, kept: float = KEPT_SHARE) -> float:
    """Return the probability of the predicted class from which a row is answered.

    The highest one at which at least the share `kept` of the rows that are answered rightly still are; 0 if none is.
    """
    correct, confidence = correctness(truth, probability)
    right = np.sort(confidence[correct == 1.0])
    return float(right[int((1.0 - kept) * len(right))]) if len(right) else 0.0


def balanced_answer_threshold(
    truth: np.ndarray, probability: np.ndarray, of_none: np.ndarray, coverage: float
) -> float:
    """Return the probability of the predicted class from which a row is answered, given rows of none of the classes.

    The one at which the share of right answers that are still given and the share of the rows of none that are left to
    people have the highest mean, among those that keep at least the share `coverage` of the right answers; of equally
    good ones the lowest. `of_none` are probabilities, shape (rows, classes); with fewer than `MIN_ROWS_OF_NONE` rows
    the threshold is that of `answer_threshold`.
    """
    if len(of_none) < MIN_ROWS_OF_NONE:
        return answer_threshold(truth, probability)
    correct, confidence = correctness(truth, probability)
    right, unknown = np.sort(confidence[correct == 1.0]), np.sort(of_none.max(axis=1))
    highest = answer_threshold(truth, probability, kept=coverage)
    # Between two right answers nothing changes for them, and the upper one leaves more rows of none to people.
    thresholds = np.concatenate([[0.0], right[right <= highest]])
    kept = 1.0 - np.searchsorted(right, thresholds) / max(len(right), 1)
    rejected = np.searchsorted(unknown, thresholds) / len(unknown)
    return float(thresholds[np.argmax(kept + rejected)])


def label_threshold(truth: np.ndarray, probability: np.ndarray, coverage: float) -> float:
    """Return the probability from which a label is held possible, so that the right one is for a share of `coverage`.

    Split conformal prediction (Sadinle, Lei and Wasserman, 2019): new rows that are exchangeable with the n rows given
    have their right label among the possible ones with a probability of at least `coverage`. 0 where n is too small.
    """
    truth, probability = validate_classes(truth, probability)
    of_truth = np.sort(probability[np.arange(len(truth)), truth])
    # The ceil((n + 1) coverage)-th smallest of the scores 1 - p is the rank from the top of the probabilities.
    rank = int(np.ceil(round((len(truth) + 1) * coverage, 9)))
    return float(of_truth[len(truth) - rank]) if rank <= len(truth) else 0.0


def answer_metrics(
    truth: np.ndarray, probability: np.ndarray, min_probability: float, label_probability: float
) -> dict[str, float]:
    """Compute the share of rows that are answered, the accuracy on them, and coverage and size of the label sets."""
    truth, probability = validate_classes(truth, probability)
    correct, confidence = correctness(truth, probability)
    answered = confidence >= min_probability
    possible = possible_labels(probability, label_probability)
    metrics = {
        "answered": float(answered.mean()),
        "label_coverage": float(possible[np.arange(len(truth)), truth].mean()),
        "label_count": float(possible.sum(axis=1).mean()),
    }
    if answered.any():
        metrics["answered_accuracy"] = float(correct[answered].mean())
    return metrics


def accuracy_by_coverage(truth: np.ndarray, probability: np.ndarray) -> dict[str, Any]:
    """Return the accuracy (`y`) where only the share `x` of rows is answered, those with the highest probability."""
    correct, confidence = correctness(truth, probability)
    ordered = correct[np.argsort(-confidence, kind="stable")]
    accuracy = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    counts = np.unique(np.ceil(np.linspace(0.02, 1.0, CURVE_POINTS) * len(ordered)).astype(int))
    return {"x": (counts / len(ordered)).tolist(), "y": accuracy[counts - 1].tolist()}


def rejection_metrics(
    probability: np.ndarray, of_none: np.ndarray, min_probability: float
) -> dict[str, float]:
    """Compute how well rows of none of the classes differ from others, by the probability of the predicted class.

    Both arrays have shape (rows, classes); `of_none` are those of the rows of none. `rejected` is the share of them
    that is left to people, `roc_auc` the chance that such a row has a lower probability than another one, ties counting
    half.
    """
    known, unknown = probability.max(axis=1), of_none.max(axis=1)
    ranks = stats.rankdata(np.concatenate([known, unknown]))[: len(known)]
    n, m = len(known), len(unknown)
    return {
        "rows": m,
        "rejected": float((unknown < min_probability).mean()),
        "roc_auc": float((ranks.sum() - n * (n + 1) / 2) / (n * m)),
    }

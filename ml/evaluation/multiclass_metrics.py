"""Metrics of classifiers with several classes.

`truth` holds positions of classes from 0, shape (rows,); `probability` has shape (rows, classes), its rows sum to 1.
The predicted class of a row is the one with the highest probability, of equal ones the first. Anything else raises
ValueError.
"""

import numpy as np
from scipy import stats

from ml.evaluation.binary_metrics import calibration_error

# Probabilities are clipped to this distance from 0, where the log loss is infinite.
EPSILON = float(np.finfo(np.float64).eps)


def log_losses(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Compute the negative log-likelihood of each row, shape (rows,), with probabilities clipped to `EPSILON`."""
    truth, probability = validate_classes(truth, probability)
    losses: np.ndarray = -np.log(np.clip(probability[np.arange(len(truth)), truth], EPSILON, 1.0))
    return losses


class WeightedMulticlassMetrics:
    """Accuracy, F1, recall, log loss and Brier score of rows with integer weights, as a bootstrap resample gives them.

    Averages over classes are over those with rows: `macro_f1` and `macro_recall` count each class once, `weighted_f1`
    by its rows. F1 is 0 for a class that is never predicted.
    """

    def __init__(self, truth: np.ndarray, probability: np.ndarray) -> None:
        self._truth, probability = validate_classes(truth, probability)
        self._classes = probability.shape[1]
        self._predicted = probability.argmax(axis=1)
        self._correct = self._predicted == self._truth
        of_truth = probability[np.arange(len(truth)), self._truth]
        squares = (probability**2).sum(axis=1)
        self._sums = np.stack([log_losses(truth, probability), squares - 2.0 * of_truth + 1.0])

    def __call__(self, weights: np.ndarray) -> dict[str, float]:
        """Compute the metrics by name; row i counts `weights[i]` times, shape (rows,)."""
        weights = weights.astype(np.float64)
        rows = weights.sum()
        recall, _, f1, of_class = self.by_class(weights)
        present = of_class > 0
        log_losses, squared_errors = self._sums @ weights
        return {
            "accuracy": float(weights[self._correct].sum() / rows),
            "macro_f1": float(f1[present].mean()),
            "weighted_f1": float(f1 @ of_class / rows),
            "macro_recall": float(recall[present].mean()),
            "log_loss": float(log_losses / rows),
            "brier": float(squared_errors / rows),
        }

    def by_class(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return recall, precision, F1 and the weight of each class, shape (classes,); 0 where there are no rows."""
        of_class = np.bincount(self._truth, weights, self._classes)
        decided = np.bincount(self._predicted, weights, self._classes)
        correct = self._correct
        found = np.bincount(self._truth[correct], weights[correct], self._classes)
        zeros = np.zeros(self._classes)
        recall = np.divide(found, of_class, out=zeros.copy(), where=of_class > 0)
        precision = np.divide(found, decided, out=zeros.copy(), where=decided > 0)
        f1 = np.divide(2.0 * found, of_class + decided, out=zeros, where=of_class + decided > 0)
        return recall, precision, f1, of_class


def compute_multiclass_metrics(truth: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Compute all metrics by name; the ROC AUC is left out where no class has rows and is missing in others."""
    truth, probability = validate_classes(truth, probability)
    metrics = WeightedMulticlassMetrics(truth, probability)(np.ones(len(truth)))
    areas = class_auc(truth, probability)
    if not np.isnan(areas).all():
        metrics["macro_roc_auc"] = float(np.nanmean(areas))
    return metrics | {"calibration_error": confidence_error(truth, probability)}


def class_auc(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Compute the ROC AUC of each class against the rest, (classes,); NaN for a class without rows, or with all."""
    truth, probability = validate_classes(truth, probability)
    rows, classes = probability.shape
    areas = np.full(classes, np.nan)
    counts = np.bincount(truth, minlength=classes)
    for k in np.flatnonzero((counts > 0) & (counts < rows)):
        n = int(counts[k])
        ranks = stats.rankdata(probability[:, k])[truth == k].sum()
        areas[k] = (ranks - n * (n + 1) / 2) / (n * (rows - n))
    return areas


def confidence_error(truth: np.ndarray, probability: np.ndarray) -> float:
    """Compute the calibration error of the probability of the predicted class, as that of a binary classifier."""
    correct, confidence = correctness(truth, probability)
    return calibration_error(correct, confidence)


def correctness(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return 1.0 for rows whose predicted class is right, else 0.0, and the probability of the predicted class."""
    truth, probability = validate_classes(truth, probability)
    predicted = probability.argmax(axis=1)
    return (predicted == truth).astype(np.float64), probability[np.arange(len(truth)), predicted]


def confusions(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Count the wrong rows by true and predicted class, shape (pairs, 3): truth, predicted, rows; most rows first."""
    truth, probability = validate_classes(truth, probability)
    predicted, classes = probability.argmax(axis=1), probability.shape[1]
    wrong = predicted != truth
    pairs, counts = np.unique(truth[wrong] * classes + predicted[wrong], return_counts=True)
    order = np.lexsort((pairs, -counts))
    return np.column_stack([pairs[order] // classes, pairs[order] % classes, counts[order]])


def validate_classes(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return truth as int64 and probability as float64, after the checks that the module describes."""
    classes, probability = np.asarray(truth, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    if probability.ndim != 2 or classes.shape != probability.shape[:1] or not len(classes):
        raise ValueError(
            f"expected truth (rows,) and probability (rows, classes), got {classes.shape} and {probability.shape}; "
            "align the rows"
        )
    if not (np.isin(classes, np.arange(probability.shape[1]))).all():
        raise ValueError(
            f"expected truth from 0 to {probability.shape[1] - 1}, got values from {classes.min():g} to "
            f"{classes.max():g}; check the labels of the contract"
        )
    if not (probability >= 0.0).all() or not np.allclose(probability.sum(axis=1), 1.0, atol=1e-6):
        raise ValueError("expected probabilities that sum to 1 in each row, got others; check the model")
    return classes.astype(np.int64), probability

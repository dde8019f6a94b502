"""Measures of a binary classifier.

`truth` and `decision` hold 0 and 1, `probability` numbers from 0 to 1, all of shape (rows,) and at least one
row; ValueError otherwise. Where rows cannot have a value of a measure, it raises `UndefinedMeasureError`.
"""

import numpy as np
import pandas as pd
from scipy import special, stats
from sklearn import metrics
from sklearn.linear_model import LogisticRegression


class UndefinedMeasureError(ValueError):
    """These rows have no value of the measure, such as an AUC of one class; other rows may have one."""


def accuracy(truth: np.ndarray, decision: np.ndarray) -> float:
    """Share of decisions that are right."""
    return float(metrics.accuracy_score(*_decided(truth, decision)))


def recall(truth: np.ndarray, decision: np.ndarray) -> float:
    """Share of positives that are found; undefined without positives."""
    truth, decision = _decided(truth, decision)
    _require_positives("recall", truth)
    return float(metrics.recall_score(truth, decision))


def precision(truth: np.ndarray, decision: np.ndarray) -> float:
    """Share of positive decisions that are right; 0 where there are none."""
    return float(metrics.precision_score(*_decided(truth, decision), zero_division=0.0))


def f1(truth: np.ndarray, decision: np.ndarray) -> float:
    """Harmonic mean of precision and recall; 0 where none is predicted, undefined without positives."""
    truth, decision = _decided(truth, decision)
    _require_positives("F1", truth)
    return float(metrics.f1_score(truth, decision, zero_division=0.0))


def roc_auc(truth: np.ndarray, probability: np.ndarray) -> float:
    """Chance that a positive scores above a negative, ties counting half; undefined for one class."""
    truth, probability = scored(truth, probability)
    _require_both_classes("ROC AUC", truth)
    return float(metrics.roc_auc_score(truth, probability))


def average_precision(truth: np.ndarray, probability: np.ndarray) -> float:
    """Precision averaged over the steps of recall, without interpolation; undefined without positives."""
    truth, probability = scored(truth, probability)
    _require_positives("average precision", truth)
    return float(metrics.average_precision_score(truth, probability))


def log_loss(truth: np.ndarray, probability: np.ndarray) -> float:
    """Mean negative log-likelihood in nats, probabilities kept 2.2e-16 away from 0 and 1."""
    return float(metrics.log_loss(*scored(truth, probability), labels=[0, 1]))


def brier(truth: np.ndarray, probability: np.ndarray) -> float:
    """Mean squared error of the probability (Brier, 1950), from 0 to 1."""
    return float(metrics.brier_score_loss(*scored(truth, probability), labels=[0, 1], pos_label=1))


def calibration_error(truth: np.ndarray, probability: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error (Naeini, Cooper and Hauskrecht, 2015), over bins of equal mass.

    The mean over rows of |mean probability - share of positives| of the row's bin. Equal probabilities stay
    in one bin, so there may be fewer than `bins`.
    """
    means = _bin_means(truth, probability, bins)
    gaps = (means["predicted"] - means["observed"]).abs()
    return float(np.average(gaps, weights=means["count"]))


def calibration_slope(truth: np.ndarray, probability: np.ndarray) -> float:
    """Slope of a logistic regression of `truth` on the log odds of `probability` (Cox, 1958).

    1 is ideal; below 1 the probabilities are too extreme, above 1 too timid. They are kept 2.2e-16 away from
    0 and 1. Undefined for one class, and where the classes do not overlap in probability: then no finite
    slope is the best.
    """
    truth, probability = scored(truth, probability)
    _require_both_classes("the calibration slope", truth)
    edge = np.finfo(np.float64).eps
    log_odds = special.logit(np.clip(probability, edge, 1.0 - edge))
    positives, negatives = log_odds[truth == 1], log_odds[truth == 0]
    if positives.min() >= negatives.max() or positives.max() <= negatives.min():
        raise UndefinedMeasureError(
            "expected classes that overlap in probability, got a constant or a perfect separation, "
            "which has no calibration slope; use calibration_error"
        )
    fit = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(log_odds[:, None], truth)
    return float(fit.coef_[0, 0])


def reliability(truth: np.ndarray, probability: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """The bins of `calibration_error`, lowest probability first.

    Columns: `predicted` (mean probability), `observed` (share of positives), `low` and `high` (the 95 %
    interval of that share; Wilson, 1927), `count` (rows).
    """
    means = _bin_means(truth, probability, bins)
    intervals = [
        stats.binomtest(positives, count).proportion_ci(0.95, method="wilson")
        for positives, count in zip(means.pop("positives"), means["count"], strict=True)
    ]
    means.insert(2, "low", [interval.low for interval in intervals])
    means.insert(3, "high", [interval.high for interval in intervals])
    return means


def f1_threshold(truth: np.ndarray, probability: np.ndarray) -> float:
    """The threshold with the highest F1, decisions being `probability >= threshold`.

    The highest one among equals. It is one of the probabilities. Choose it on validation rows. Undefined
    without positives.
    """
    truth, probability = scored(truth, probability)
    _require_positives("F1", truth)
    _, wrong, missed, right, thresholds = metrics.confusion_matrix_at_thresholds(truth, probability)
    return float(thresholds[np.argmax(2 * right / (2 * right + wrong + missed))])


def binary_metrics(truth: np.ndarray, probability: np.ndarray, threshold: float) -> dict[str, float]:
    """Every measure by name, decisions being `probability >= threshold`; undefined for one class."""
    truth, probability = scored(truth, probability)
    decision = (probability >= threshold).astype(np.float64)
    return {
        "accuracy": accuracy(truth, decision),
        "recall": recall(truth, decision),
        "precision": precision(truth, decision),
        "f1": f1(truth, decision),
        "roc_auc": roc_auc(truth, probability),
        "average_precision": average_precision(truth, probability),
        "log_loss": log_loss(truth, probability),
        "brier": brier(truth, probability),
        "calibration_error": calibration_error(truth, probability),
    }


def calibration_bins(probability: np.ndarray, bins: int = 10) -> np.ndarray:
    """The bin of each row, shape (rows,), numbered from the lowest probability: bins of equal mass.

    The mid-rank of a tie decides for all of it, so that a tie is never cut in two; some bins may stay empty.
    """
    if bins < 1:
        raise ValueError(f"expected at least one bin, got {bins}; pass bins=10 or so")
    place: np.ndarray = (stats.rankdata(probability) - 0.5) / len(probability) * bins
    return place.astype(np.int64)


def scored(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64. Raises ValueError unless they are truths of 0 and 1 and as many probabilities."""
    truth, probability = _zeros_and_ones("truth", truth), np.asarray(probability, dtype=np.float64)
    _require_same_shape(truth, probability)
    outside = ~((probability >= 0.0) & (probability <= 1.0))
    if outside.any():
        raise ValueError(
            f"expected probabilities from 0 to 1, got {outside.sum()} outside or missing; check the model"
        )
    return truth, probability


def _bin_means(truth: np.ndarray, probability: np.ndarray, bins: int) -> pd.DataFrame:
    """One row per non-empty bin: `predicted`, `observed`, `count`, `positives`."""
    truth, probability = scored(truth, probability)
    rows = pd.DataFrame({"predicted": probability, "observed": truth}).groupby(
        calibration_bins(probability, bins)
    )
    means = rows.mean().reset_index(drop=True)
    return means.assign(count=rows.size().to_numpy(), positives=rows["observed"].sum().astype(int).to_numpy())


def _decided(truth: np.ndarray, decision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, decision = _zeros_and_ones("truth", truth), _zeros_and_ones("decision", decision)
    _require_same_shape(truth, decision)
    return truth, decision


def _zeros_and_ones(name: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"expected {name} of shape (rows,), got shape {values.shape}; check the split")
    if not np.isin(values, (0.0, 1.0)).all():
        raise ValueError(
            f"expected {name} of 0 and 1, got values from {values.min():g} to {values.max():g}; "
            "map the classes to 0 and 1"
        )
    return values


def _require_same_shape(truth: np.ndarray, prediction: np.ndarray) -> None:
    if truth.shape != prediction.shape:
        raise ValueError(
            f"expected a prediction of shape {truth.shape}, as truth, got {prediction.shape}; align the rows"
        )


def _require_positives(measure: str, truth: np.ndarray) -> None:
    if not truth.any():
        raise UndefinedMeasureError(
            f"expected at least one positive for {measure}, got {len(truth)} rows without any; use more rows"
        )


def _require_both_classes(measure: str, truth: np.ndarray) -> None:
    if truth.min() == truth.max():
        raise UndefinedMeasureError(
            f"expected both classes for {measure}, got {len(truth)} rows, all {truth[0]:g}; use more rows"
        )

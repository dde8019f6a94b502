"""Metrics of binary classifiers.

`truth` and `decision` hold 0 and 1, `probability` numbers from 0 to 1, all of shape (rows,) with at least one row;
anything else raises ValueError. A metric that is undefined for the given rows raises `UndefinedMetricError`.
"""

import numpy as np
import pandas as pd
from scipy import special, stats
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

# Number of bins of the calibration error and the reliability curve.
CALIBRATION_BINS = 10
# The share of the rows, those with the highest probability, among which the lift counts positives.
LIFT_SHARE = 0.1


class UndefinedMetricError(ValueError):
    """The metric has no value for these rows, such as the AUC of one class; it may have one for other rows."""


def accuracy(truth: np.ndarray, decision: np.ndarray) -> float:
    """Compute the share of correct decisions."""
    return float(metrics.accuracy_score(*_validate_decisions(truth, decision)))


def recall(truth: np.ndarray, decision: np.ndarray) -> float:
    """Compute the share of positives that are found; undefined without positives."""
    truth, decision = _validate_decisions(truth, decision)
    _require_positives("recall", truth)
    return float(metrics.recall_score(truth, decision))


def precision(truth: np.ndarray, decision: np.ndarray) -> float:
    """Compute the share of positive decisions that are correct; 0 without positive decisions."""
    return float(metrics.precision_score(*_validate_decisions(truth, decision), zero_division=0.0))


def f1(truth: np.ndarray, decision: np.ndarray) -> float:
    """Compute the harmonic mean of precision and recall; 0 without positive decisions, undefined without positives."""
    truth, decision = _validate_decisions(truth, decision)
    _require_positives("F1", truth)
    return float(metrics.f1_score(truth, decision, zero_division=0.0))


def roc_auc(truth: np.ndarray, probability: np.ndarray) -> float:
    """Compute the chance that a positive scores above a negative, ties counting half; undefined for one class."""
    truth, probability = validate_probabilities(truth, probability)
    _require_both_classes("ROC AUC", truth)
    return float(metrics.roc_auc_score(truth, probability))


def gini(truth: np.ndarray, probability: np.ndarray) -> float:
    """Compute the Gini coefficient, 2 AUC - 1: 0 is random, 1 perfect; undefined for one class."""
    return 2.0 * roc_auc(truth, probability) - 1.0


def ks_statistic(truth: np.ndarray, probability: np.ndarray) -> float:
    """Compute the largest difference between true and false positive rate over all thresholds (Kolmogorov, Smirnov)."""
    truth, probability = validate_probabilities(truth, probability)
    _require_both_classes("the KS statistic", truth)
    false_positive_rate, true_positive_rate, _ = metrics.roc_curve(truth, probability)
    return float(np.max(true_positive_rate - false_positive_rate))


def lift(truth: np.ndarray, probability: np.ndarray, share: float = LIFT_SHARE) -> float:
    """Compute the share of positives among the `share` of rows with the highest probability, relative to all rows.

    Of equal probabilities at the limit each counts in part. Undefined without positives.
    """
    truth, probability = validate_probabilities(truth, probability)
    _require_positives("the lift", truth)
    rows = share * len(truth)
    means = pd.Series(truth).groupby(-probability).agg(["sum", "size"])
    above = means["size"].cumsum() - means["size"]
    counted = ((rows - above) / means["size"]).clip(0.0, 1.0)
    return float((means["sum"] * counted).sum() / rows / truth.mean())


def confusion_counts(truth: np.ndarray, probability: np.ndarray, threshold: float) -> dict[str, int]:
    """Count the rows by truth and by the decision `probability >= threshold`."""
    truth, probability = validate_probabilities(truth, probability)
    (tn, fp), (fn, tp) = metrics.confusion_matrix(truth, probability >= threshold, labels=[0, 1])
    return {
        "true_positives": int(tp),
        "false_positives": int(fp),
        "false_negatives": int(fn),
        "true_negatives": int(tn),
    }


def average_precision(truth: np.ndarray, probability: np.ndarray) -> float:
    """Average the precision over the steps of recall, without interpolation; undefined without positives."""
    truth, probability = validate_probabilities(truth, probability)
    _require_positives("average precision", truth)
    return float(metrics.average_precision_score(truth, probability))


def log_loss(truth: np.ndarray, probability: np.ndarray) -> float:
    """Compute the mean negative log-likelihood in nats, with probabilities clipped 2.2e-16 away from 0 and 1."""
    return float(metrics.log_loss(*validate_probabilities(truth, probability), labels=[0, 1]))


def log_losses(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Compute the negative log-likelihood of each row, shape (rows,), clipped as in `log_loss`, their mean."""
    truth, probability = validate_probabilities(truth, probability)
    epsilon = np.finfo(np.float64).eps
    clipped = np.clip(probability, epsilon, 1.0 - epsilon)
    losses: np.ndarray = -np.log(np.where(truth == 1.0, clipped, 1.0 - clipped))
    return losses


def brier_score(truth: np.ndarray, probability: np.ndarray) -> float:
    """Compute the mean squared error of the probability (Brier, 1950), from 0 to 1."""
    return float(
        metrics.brier_score_loss(*validate_probabilities(truth, probability), labels=[0, 1], pos_label=1)
    )


def calibration_error(truth: np.ndarray, probability: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
    """Compute the expected calibration error (Naeini, Cooper and Hauskrecht, 2015) over bins of equal mass.

    The mean over rows of |mean probability - share of positives| of the row's bin. Equal probabilities stay in one
    bin, so there may be fewer than `bins`.
    """
    means = _bin_means(truth, probability, bins)
    gaps = (means["predicted"] - means["observed"]).abs()
    return float(np.average(gaps, weights=means["count"]))


def calibration_slope(truth: np.ndarray, probability: np.ndarray) -> float:
    """Fit the slope of a logistic regression of `truth` on the log odds of `probability` (Cox, 1958).

    1 is ideal; below 1 the probabilities are too extreme, above 1 too close to the mean. They are clipped 2.2e-16 away
    from 0 and 1. Undefined for one class, and for classes that do not overlap in probability, where no finite slope
    fits best.
    """
    truth, probability = validate_probabilities(truth, probability)
    _require_both_classes("the calibration slope", truth)
    epsilon = np.finfo(np.float64).eps
    log_odds = special.logit(np.clip(probability, epsilon, 1.0 - epsilon))
    positives, negatives = log_odds[truth == 1], log_odds[truth == 0]
    if positives.min() >= negatives.max() or positives.max() <= negatives.min():
        raise UndefinedMetricError(
            "expected classes that overlap in probability, got a constant or a perfect separation, "
            "which has no calibration slope; use calibration_error"
        )
    fit = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10).fit(log_odds[:, None], truth)
    return float(fit.coef_[0, 0])


def reliability_curve(
    truth: np.ndarray, probability: np.ndarray, bins: int = CALIBRATION_BINS
) -> pd.DataFrame:
    """Tabulate the bins of `calibration_error`, lowest probability first.

    Columns: `predicted` (mean probability), `observed` (share of positives), `low` and `high` (the 95 % interval of
    that share; Wilson, 1927), `count` (rows).
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
    """Find the threshold with the highest F1 for decisions `probability >= threshold`.

    Of equally good thresholds the highest; it is one of the probabilities. Choose it on validation rows. Undefined
    without positives.
    """
    truth, probability = validate_probabilities(truth, probability)
    _require_positives("F1", truth)
    confusion = metrics.confusion_matrix_at_thresholds(truth, probability)
    _, false_positives, false_negatives, true_positives, thresholds = confusion
    f1_scores = 2 * true_positives / (2 * true_positives + false_positives + false_negatives)
    return float(thresholds[np.argmax(f1_scores)])


def compute_binary_metrics(truth: np.ndarray, probability: np.ndarray, threshold: float) -> dict[str, float]:
    """Compute all metrics by name, for decisions `probability >= threshold`; undefined for one class."""
    truth, probability = validate_probabilities(truth, probability)
    decision = (probability >= threshold).astype(np.float64)
    return {
        "accuracy": accuracy(truth, decision),
        "recall": recall(truth, decision),
        "precision": precision(truth, decision),
        "f1": f1(truth, decision),
        "roc_auc": roc_auc(truth, probability),
        "gini": gini(truth, probability),
        "ks": ks_statistic(truth, probability),
        "lift": lift(truth, probability),
        "average_precision": average_precision(truth, probability),
        "log_loss": log_loss(truth, probability),
        "brier": brier_score(truth, probability),
        "calibration_error": calibration_error(truth, probability),
    }


def assign_calibration_bins(probability: np.ndarray, bins: int = CALIBRATION_BINS) -> np.ndarray:
    """Assign each row to one of `bins` bins of equal mass, numbered from the lowest probability; shape (rows,).

    All rows of a tie get the bin of its mid-rank, so that no tie is split; some bins may stay empty.
    """
    if bins < 1:
        raise ValueError(f"expected at least one bin, got {bins}; pass bins=10 or so")
    position: np.ndarray = (stats.rankdata(probability) - 0.5) / len(probability) * bins
    return position.astype(np.int64)


def validate_probabilities(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64; raise ValueError unless they are truths of 0 and 1 and as many probabilities."""
    truth, probability = _validate_labels("truth", truth), np.asarray(probability, dtype=np.float64)
    _require_same_shape(truth, probability)
    outside = ~((probability >= 0.0) & (probability <= 1.0))
    if outside.any():
        raise ValueError(
            f"expected probabilities from 0 to 1, got {outside.sum()} outside or missing; check the model"
        )
    return truth, probability


def _bin_means(truth: np.ndarray, probability: np.ndarray, bins: int) -> pd.DataFrame:
    """Average per non-empty bin: `predicted`, `observed`, `count`, `positives`."""
    truth, probability = validate_probabilities(truth, probability)
    rows = pd.DataFrame({"predicted": probability, "observed": truth}).groupby(
        assign_calibration_bins(probability, bins)
    )
    means = rows.mean().reset_index(drop=True)
    return means.assign(count=rows.size().to_numpy(), positives=rows["observed"].sum().astype(int).to_numpy())


def _validate_decisions(truth: np.ndarray, decision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, decision = _validate_labels("truth", truth), _validate_labels("decision", decision)
    _require_same_shape(truth, decision)
    return truth, decision


def _validate_labels(name: str, values: np.ndarray) -> np.ndarray:
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


def _require_positives(metric: str, truth: np.ndarray) -> None:
    if not truth.any():
        raise UndefinedMetricError(
            f"expected at least one positive for {metric}, got {len(truth)} rows without any; use more rows"
        )


def _require_both_classes(metric: str, truth: np.ndarray) -> None:
    if truth.min() == truth.max():
        raise UndefinedMetricError(
            f"expected both classes for {metric}, got {len(truth)} rows, all {truth[0]:g}; use more rows"
        )

"""Names and descriptions of metrics for readers, the same in reports, messages and on all pages."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class MetricDescription(NamedTuple):
    """How a metric is called, which values are better, and what it is."""

    label: str
    better: str
    definition: str


METRICS = {
    "roc_auc": MetricDescription(
        "ROC AUC", "higher", "chance that a positive case scores above a negative one; 0.5 is random"
    ),
    "gini": MetricDescription("Gini", "higher", "2 ROC AUC - 1; 0 is random"),
    "ks": MetricDescription(
        "KS", "higher", "largest difference between true and false positive rate over all thresholds"
    ),
    "lift": MetricDescription(
        "Lift", "higher", "share of positives among the tenth with the highest probability, relative to all"
    ),
    "average_precision": MetricDescription(
        "Average precision", "higher", "precision averaged over the steps of recall"
    ),
    "accuracy": MetricDescription("Accuracy", "higher", "share of correct decisions"),
    "recall": MetricDescription("Recall", "higher", "share of the positive cases that are found"),
    "precision": MetricDescription("Precision", "higher", "share of the positive decisions that are correct"),
    "f1": MetricDescription("F1", "higher", "harmonic mean of precision and recall"),
    "macro_f1": MetricDescription("Macro F1", "higher", "mean of the F1 of all classes, each counting once"),
    "weighted_f1": MetricDescription(
        "Weighted F1", "higher", "mean of the F1 of all classes, weighted by their rows"
    ),
    "macro_recall": MetricDescription(
        "Macro recall", "higher", "mean over the classes of the share of their rows that is found"
    ),
    "macro_roc_auc": MetricDescription(
        "Macro ROC AUC", "higher", "mean over the classes of the ROC AUC of one class against the rest"
    ),
    "answered": MetricDescription(
        "Answered", "higher", "share of rows whose label is sure enough to be given without a person"
    ),
    "answered_accuracy": MetricDescription(
        "Accuracy of answers", "higher", "share of correct labels among the rows that are answered"
    ),
    "label_coverage": MetricDescription(
        "Coverage of label sets",
        "as asked for",
        "share of rows whose right label is among those held possible",
    ),
    "label_count": MetricDescription(
        "Labels held possible", "lower", "mean number of labels in the set of a row"
    ),
    "log_loss": MetricDescription("Log loss", "lower", "negative log-likelihood per row (nats)"),
    "brier": MetricDescription("Brier score", "lower", "mean squared error of the probability"),
    "calibration_error": MetricDescription(
        "Calibration error", "lower", "mean difference between predicted and observed share"
    ),
    "calibration_intercept": MetricDescription(
        "Calibration in the large", "near 0", "log odds by which all probabilities are too low"
    ),
    "calibration_slope": MetricDescription(
        "Calibration slope",
        "near 1",
        "below 1, probabilities are too extreme; above 1, too close to the mean",
    ),
    "rmse": MetricDescription(
        "RMSE", "lower", "root mean squared error, in units of the target; large errors count most"
    ),
    "mae": MetricDescription("Mean absolute error", "lower", "in units of the target"),
    "median_error": MetricDescription(
        "Median absolute error", "lower", "half of the predictions are within it; in units of the target"
    ),
    "r2": MetricDescription(
        "R²", "higher", "share of the variance of the target explained; 0 is as good as its mean"
    ),
    "interval_coverage": MetricDescription(
        "Coverage of intervals", "as asked for", "share of rows whose number is within its interval"
    ),
    "interval_width": MetricDescription(
        "Width of intervals", "lower", "from the lower to the upper limit of a prediction"
    ),
    **{
        f"interval_{what}_{third}": MetricDescription(
            f"{label} of intervals, {third} predictions",
            better,
            f"in the {order} third of predictions by size",
        )
        for third, order in (("low", "lowest"), ("middle", "middle"), ("high", "highest"))
        for what, label, better in (("coverage", "Coverage", "as asked for"), ("width", "Width", "lower"))
    },
    "explained_share": MetricDescription(
        "Explained share",
        "higher",
        "1 - mean squared error relative to the variance of the target in all rows",
    ),
    "ndcg": MetricDescription(
        "NDCG", "higher", "how high the list ranks the target items; 1 if all are at the top"
    ),
    "hit_rate": MetricDescription(
        "Hit rate", "higher", "share of users with at least one target item in their list"
    ),
    "mrr": MetricDescription("Mean reciprocal rank", "higher", "mean of 1 / rank of the first target item"),
    "coverage": MetricDescription(
        "Coverage", "higher", "share of the catalogue that is recommended to any user"
    ),
    "novelty": MetricDescription(
        "Novelty", "higher", "mean self-information of recommended items, in bits: rare items have more"
    ),
    "diversity": MetricDescription(
        "Diversity", "higher", "mean of 1 - cosine between the items of a list, by the users they share"
    ),
    "serendipity": MetricDescription(
        "Serendipity", "higher", "share of the hits that a list of the most popular items would have missed"
    ),
    "popularity": MetricDescription(
        "Popularity",
        "near target popularity",
        "mean share of users who had a recommended item before",
    ),
    "target_popularity": MetricDescription("Target popularity", "", "the same for the target items"),
}
# Metrics that have another definition for lists of recommendations.
RANKING_METRICS = {
    "recall": MetricDescription("Recall", "higher", "share of the target items that are in the list"),
    "gini": MetricDescription(
        "Gini of exposure", "lower", "inequality of recommendation counts: 0 if all equal, 1 if only one item"
    ),
}


# Names in the facts that are no words: they are replaced by their labels also within a sentence.
_NAME_IN_TEXT = re.compile(
    rf"\b(?:(?:{'|'.join(METRICS)})_at_\d+|{'|'.join(name for name in METRICS if '_' in name)}|rmse|r2)\b"
)


def label_metrics(text: str) -> str:
    """Replace names of metrics in a text, such as roc_auc and ndcg_at_10, by their labels."""
    return _NAME_IN_TEXT.sub(lambda name: describe_metric(name[0]).label, text)


def format_value(value: float, sign: str = "") -> str:
    """Format a metric with four decimals, from 1,000 on with one; with `sign` "+", positive ones too get a sign."""
    return f"{value:{sign},.{4 if abs(value) < 1000 else 1}f}"


def format_estimate(name: str, estimate: Mapping[str, Any]) -> str:
    """Format a metric with its 95 % interval, as in `ROC AUC 0.8648 [0.8560, 0.8732]`."""
    value, low, high = (format_value(estimate[key]) for key in ("value", "low", "high"))
    return f"{describe_metric(name).label} {value} [{low}, {high}]"


def describe_metric(name: str) -> MetricDescription:
    """Describe a metric by its name in the facts; `ndcg_at_10` is NDCG@10."""
    base, _, depth = name.partition("_at_")
    unknown = MetricDescription(base, "", "")
    description = (RANKING_METRICS if depth else {}).get(base) or METRICS.get(base, unknown)
    return description._replace(label=f"{description.label}@{depth}") if depth else description

"""The primary metric of each group of a sensitive column, such as sex or age."""

from typing import Any

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.rare_values import MIN_PEOPLE, POOLED
from ml.evaluation.evaluator import Decision, Evaluator

# Groups with fewer units, or fewer units of a class, are listed without a metric: its interval would be too wide.
MIN_UNITS = 100
MIN_CLASS_UNITS = 20
# Metrics of a group from which the number of its members with an outcome follows.
SHARES = ("observed", "predicted", "selected")


def subgroup_metrics(
    dataset: Dataset,
    prediction: pd.DataFrame,
    evaluator: Evaluator,
    decision: Decision,
    sensitive: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Compute the primary metric of each group of each sensitive column; numbers are grouped into quartiles.

    Each group has `column`, `group`, `rows` and `evaluated`; evaluated ones also `value`, `low`, `high` and, for
    decisions with a threshold, the mean truth (`observed`), the mean probability (`predicted`) and the share of
    positive decisions (`selected`).

    Values that fewer than `MIN_PEOPLE` units have are pooled. Where the pool itself is smaller, neither it nor the
    smallest other group has a number of rows (None) or shares: else they would follow from those of all rows.
    """
    groups: list[dict[str, Any]] = []
    for column in sensitive:
        labels = _labels(dataset.metadata[column])
        units = pd.Series(dataset.units).groupby(labels).nunique()
        rare = set(units.index[units < MIN_PEOPLE])
        labels = np.array([POOLED if label in rare else label for label in labels], dtype=object)
        hidden = _groups_without_counts(labels, dataset.units)
        for label in sorted(set(labels)):
            rows = np.flatnonzero(labels == label)
            group: dict[str, Any] = {"column": column, "group": label, "rows": len(rows), "evaluated": False}
            metrics = _group_metrics(dataset, prediction, rows, evaluator, decision)
            if label in hidden:
                group["rows"] = None
                metrics = {name: value for name, value in metrics.items() if name not in SHARES}
            groups.append(group | metrics)
    return groups


def _groups_without_counts(labels: np.ndarray, units: np.ndarray) -> set[str]:
    """Return the pool and the smallest other group, if the pool has fewer than `MIN_PEOPLE` units; else nothing."""
    sizes = pd.Series(units).groupby(labels).nunique()
    if POOLED not in sizes.index or sizes[POOLED] >= MIN_PEOPLE:
        return set()
    others = sizes.drop(POOLED)
    return {POOLED, *([str(others.idxmin())] if len(others) else [])}


def _group_metrics(
    dataset: Dataset, prediction: pd.DataFrame, rows: np.ndarray, evaluator: Evaluator, decision: Decision
) -> dict[str, Any]:
    """Return the metrics of the group with these rows; none for a group that is too small."""
    subset = dataset.take(rows)
    if not _is_large_enough(subset):
        return {}
    if "user" in prediction.columns:
        predicted = prediction[prediction["user"].isin(set(subset.frame["user"]))]
    else:
        predicted = prediction.iloc[rows]
    interval = evaluator.primary_interval(subset, predicted)
    metrics = {"evaluated": True, "value": interval.value, "low": interval.low, "high": interval.high}
    if "threshold" in decision:
        probability = predicted["probability"].to_numpy()
        metrics |= {
            "observed": float(subset.truth.mean()),
            "predicted": float(probability.mean()),
            "selected": float((probability >= decision["threshold"]).mean()),
        }
    return metrics


def _labels(values: pd.Series) -> np.ndarray:
    """Return the group of each row. The outer quartiles are open: their bounds are the values of single people."""
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 4:
        bands = pd.qcut(values, 4, duplicates="drop")
        first, last = bands.cat.categories[0], bands.cat.categories[-1]
        names = {band: f"{band.left:g} to {band.right:g}" for band in bands.cat.categories}
        names |= {first: f"up to {first.right:g}", last: f"above {last.left:g}"}
        if first == last:
            names = {first: "all values"}
        return np.array([names.get(band, "missing") for band in bands], dtype=object)
    return values.astype(object).where(values.notna(), "missing").astype(str).to_numpy()


def _is_large_enough(dataset: Dataset) -> bool:
    if len(np.unique(dataset.units)) < MIN_UNITS:
        return False
    if dataset.classes or dataset.truth.dtype == object or dataset.truth.nunique() > 2:
        return True
    positive = dataset.truth.to_numpy() == 1.0
    return all(len(np.unique(dataset.units[rows])) >= MIN_CLASS_UNITS for rows in (positive, ~positive))

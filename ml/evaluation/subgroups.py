"""The primary metric of each group of a sensitive column, such as sex or age."""

from typing import Any

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.evaluation.evaluator import Decision, Evaluator

# Groups with fewer units, or fewer units of a class, are listed without a metric: its interval would be too wide.
MIN_UNITS = 100
MIN_CLASS_UNITS = 20


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
    """
    groups: list[dict[str, Any]] = []
    is_ranking = "user" in prediction.columns
    for column in sensitive:
        labels = _labels(dataset.metadata[column])
        for label in sorted(set(labels)):
            rows = np.flatnonzero(labels == label)
            subset = dataset.take(rows)
            if is_ranking:
                predicted = prediction[prediction["user"].isin(set(subset.frame["user"]))]
            else:
                predicted = prediction.iloc[rows]
            group: dict[str, Any] = {"column": column, "group": label, "rows": len(rows), "evaluated": False}
            if _is_large_enough(subset):
                interval = evaluator.primary_interval(subset, predicted)
                group |= {
                    "evaluated": True,
                    "value": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                }
                if "threshold" in decision:
                    probability = predicted["probability"].to_numpy()
                    group |= {
                        "observed": float(subset.truth.mean()),
                        "predicted": float(probability.mean()),
                        "selected": float((probability >= decision["threshold"]).mean()),
                    }
            groups.append(group)
    return groups


def _labels(values: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 4:
        bands = pd.qcut(values, 4, duplicates="drop")
        names = {b: f"{max(b.left, values.min()):g} to {b.right:g}" for b in bands.cat.categories}
        return np.array([names.get(band, "missing") for band in bands], dtype=object)
    return values.astype(object).where(values.notna(), "missing").astype(str).to_numpy()


def _is_large_enough(dataset: Dataset) -> bool:
    if len(np.unique(dataset.units)) < MIN_UNITS:
        return False
    if dataset.truth.dtype == object or dataset.truth.nunique() > 2:
        return True
    positive = dataset.truth.to_numpy() == 1.0
    return all(len(np.unique(dataset.units[rows])) >= MIN_CLASS_UNITS for rows in (positive, ~positive))

"""subgroups."""

from typing import Any

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.evaluation.evaluator import Decision, Evaluator

# Units; a smaller group says too little: it is shown, not judged.
FEWEST_IN_GROUP = 100


FEWEST_OF_A_CLASS = 20


def subgroups(
    part: Dataset, prediction: pd.DataFrame, judge: Evaluator, decision: Decision, sensitive: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The primary measure of each group of each sensitive column, numbers in four bands of equal size."""
    found = []
    by_user = "user" in prediction.columns
    for column in sensitive:
        labels = _labels(part.metadata[column])
        for group in sorted(set(labels)):
            rows = np.flatnonzero(labels == group)
            mine = part.take(rows)
            if by_user:
                answered = prediction[prediction["user"].isin(set(mine.frame["user"]))]
            else:
                answered = prediction.iloc[rows]
            line = {"column": column, "group": group, "rows": len(rows), "judged": False}
            if _enough(mine):
                interval = judge.primary_interval(mine, answered)
                line |= {"judged": True, "value": interval.value, "low": interval.low, "high": interval.high}
                if "threshold" in decision:
                    probability = answered["probability"].to_numpy()
                    line |= {
                        "observed": float(mine.truth.mean()),
                        "predicted": float(probability.mean()),
                        "selected": float((probability >= decision["threshold"]).mean()),
                    }
            found.append(line)
    return found


def _labels(values: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 4:
        bands = pd.qcut(values, 4, duplicates="drop")
        names = {b: f"{max(b.left, values.min()):g} to {b.right:g}" for b in bands.cat.categories}
        return np.array([names.get(band, "missing") for band in bands], dtype=object)
    return values.astype(object).where(values.notna(), "missing").astype(str).to_numpy()


def _enough(part: Dataset) -> bool:
    if len(np.unique(part.units)) < FEWEST_IN_GROUP:
        return False
    if part.truth.dtype == object or part.truth.nunique() > 2:
        return True
    positive = part.truth.to_numpy() == 1.0
    return all(len(np.unique(part.units[rows])) >= FEWEST_OF_A_CLASS for rows in (positive, ~positive))

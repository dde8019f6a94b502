"""How a feature influences predictions: rank correlations with them, and curves of an additive model.

Only numeric columns: a value of a category would be a cell of the table. Points of curves are quantiles with at least
`MIN_PEOPLE` rows beyond, rounded, so that none is the value of one person.
"""

from collections.abc import Iterable
from typing import TypedDict

import numpy as np
import pandas as pd

from ml.data.rare_values import MIN_PEOPLE

MAX_POINTS, MAX_CURVES, SIGNIFICANT_DIGITS = 24, 6, 3


class ShapeCurve(TypedDict):
    """The effect of a column in log odds or units of the target, at values `x`; `missing` is that of missing values."""

    column: str
    x: list[float]
    effect: list[float]
    missing: float | None


def rank_correlations(frame: pd.DataFrame, prediction: pd.Series) -> dict[str, float]:
    """Compute Spearman's correlation of each numeric column with the prediction; undefined ones are left out."""
    ranks = prediction.rank()
    numeric = frame.select_dtypes("number")
    correlations = {
        str(name): numeric[name].rank().corr(ranks) for name in numeric if numeric[name].nunique() > 1
    }
    return {name: float(value) for name, value in correlations.items() if np.isfinite(value)}


def shape_curves(shapes: pd.DataFrame, frame: pd.DataFrame, columns: Iterable[str]) -> list[ShapeCurve]:
    """Return the curves of the first `MAX_CURVES` numeric columns of `columns`, over the range of `frame`.

    `shapes` is the table of an additive model (`ml.tabular.additive.AdditiveModel.shape_functions`).
    """
    curves: list[ShapeCurve] = []
    for column in columns:
        table = shapes[shapes["column"] == column]
        intervals, labelled = table[table["label"] == ""], table[table["label"] != ""]
        if len(curves) == MAX_CURVES or not len(intervals):
            continue
        sentinels = {float(label) for label in labelled["label"] if label != "missing"}
        values = frame[column][~frame[column].isin(sentinels)].dropna().to_numpy(np.float64)
        points = _points(values)
        if len(points) < 2:
            continue
        effects = intervals["effect"].to_numpy()[np.searchsorted(intervals["high"].to_numpy(), points)]
        if not effects.any():
            continue  # the model does not use the column
        missing = labelled.loc[labelled["label"] == "missing", "effect"]
        curves.append(
            {
                "column": column,
                "x": points.tolist(),
                "effect": effects.tolist(),
                "missing": float(missing.iloc[0]) if frame[column].isna().sum() >= MIN_PEOPLE else None,
            }
        )
    return curves


def _points(values: np.ndarray) -> np.ndarray:
    """Return distinct, rounded quantiles, none of them beyond the outer `MIN_PEOPLE` rows."""
    if len(values) <= 4 * MIN_PEOPLE:
        return np.empty(0)
    edge = max(0.01, MIN_PEOPLE / len(values))
    quantiles = np.quantile(values, np.linspace(edge, 1.0 - edge, MAX_POINTS))
    return np.unique([float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in quantiles])

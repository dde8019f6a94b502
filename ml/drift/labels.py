"""Labels: how the features of a sample predict its target, and whether those of another sample contradict it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

from ml.drift.numeric import MIN_ROWS, cut_points

MAX_BINS = 10
MAX_CATEGORIES = 100
MAX_ROWS = 50_000
# Rows of the mean target that are added to each bin, so that small bins have moderate scores.
PRIOR_ROWS = 10.0
# Association that a reference must have beyond chance, so that a batch can contradict it.
MIN_ASSOCIATION = 0.1


@dataclass(frozen=True)
class ColumnScores:
    """What the values of a column add to the score of a row: by bin between the ascending `cuts`, or by category.

    `scores` has one entry more than `cuts`. Missing values and unknown categories add `missing` and 0.
    """

    cuts: tuple[float, ...]
    scores: tuple[float, ...]
    categories: Mapping[str, float]
    missing: float


@dataclass(frozen=True)
class LabelSummary:
    """A target and its association with the features, by a naive Bayes score of the row.

    `association` is Somers' D of a binary target (2 AUC - 1) or Spearman's rho, measured on rows that the scores were
    not computed from, with a 99 % lower limit. `mean` is that of the target.
    """

    is_binary: bool
    mean: float
    columns: Mapping[str, ColumnScores]
    association: float
    low: float

    def with_categories(self, shown: Mapping[str, Collection[str]]) -> Self:
        """Return the summary without the scores of other categories than those `shown`, by column."""
        columns = {
            name: replace(
                table, categories={c: s for c, s in table.categories.items() if c in shown.get(name, ())}
            )
            for name, table in self.columns.items()
        }
        return replace(self, columns=columns)


@dataclass(frozen=True)
class Association:
    """An association with its lower and upper limit."""

    value: float
    low: float
    high: float


def summarize_labels(features: pd.DataFrame, truth: pd.Series) -> LabelSummary | None:
    """Summarise how the features predict the target; None where a target or its variation is missing."""
    features, target = features.iloc[:MAX_ROWS], truth.to_numpy(np.float64)[:MAX_ROWS]
    values = np.unique(target)
    if len(values) < 2 or len(target) < 4 * MIN_ROWS or np.isnan(target).any():
        return None
    is_binary = len(values) == 2 and set(values) == {0.0, 1.0}
    # Cross-fitting: rows at even places are scored with what rows at odd places say, and the other way round.
    half = np.arange(len(target)) % 2 == 0
    parts = []
    for fitted, measured in ((half, ~half), (~half, half)):
        if len(np.unique(target[fitted])) < 2 or len(np.unique(target[measured])) < 2:
            return None
        columns = _fit_columns(features[fitted], target[fitted], is_binary)
        parts.append(association(score_rows(columns, features[measured]), target[measured], is_binary, 0.01))
    value = float(np.mean([part.value for part in parts]))
    # The halves are independent samples.
    half_width = float(np.sqrt(sum((part.value - part.low) ** 2 for part in parts))) / 2
    columns = _fit_columns(features, target, is_binary)
    return LabelSummary(is_binary, float(target.mean()), columns, value, value - half_width)


def compare_labels(
    reference: LabelSummary, features: pd.DataFrame, truth: pd.Series, level: float
) -> Association | None:
    """Measure the association of the reference's score with the batch's target; None where nothing can be measured."""
    target = truth.to_numpy(np.float64)[:MAX_ROWS]
    if reference.low < MIN_ASSOCIATION or len(np.unique(target)) < 2 or np.isnan(target).any():
        return None
    score = score_rows(reference.columns, features.iloc[:MAX_ROWS])
    return association(score, target, reference.is_binary, level)


def score_rows(columns: Mapping[str, ColumnScores], features: pd.DataFrame) -> np.ndarray:
    """Return the sum of the scores of the columns that the features have."""
    score = np.zeros(len(features))
    for name, table in columns.items():
        if name not in features:
            continue
        column = features[name]
        if table.categories or not pd.api.types.is_numeric_dtype(column):
            known = column.map(table.categories)
            score += np.where(column.isna(), table.missing, known.astype("float64").fillna(0.0))
            continue
        values = column.to_numpy(np.float64, na_value=np.nan)
        by_bin = np.array(table.scores)[np.searchsorted(np.array(table.cuts), values, "left")]
        score += np.where(np.isnan(values), table.missing, by_bin)
    return score


def association(score: np.ndarray, target: np.ndarray, is_binary: bool, level: float) -> Association:
    """Return Somers' D (binary) or Spearman's rho of a score with its limits, each exceeded with the level."""
    z = float(norm.isf(level))
    ranks = rankdata(score)
    if not is_binary:
        if len(np.unique(score)) < 2:
            return Association(0.0, 0.0, 0.0)
        rho = float(np.corrcoef(ranks, rankdata(target))[0, 1])
        center, half = np.arctanh(np.clip(rho, -0.999, 0.999)), z * np.sqrt(1.06 / max(len(target) - 3, 1))
        return Association(rho, float(np.tanh(center - half)), float(np.tanh(center + half)))
    positive = target == 1.0
    n, m = int(positive.sum()), int((~positive).sum())
    auc = float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))
    # J. A. Hanley and B. J. McNeil (1982), "The meaning and use of the area under a ROC curve".
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (m - 1) * (q2 - auc**2)) / (n * m)
    half = 2 * z * float(np.sqrt(max(variance, 1e-12)))
    return Association(2 * auc - 1, 2 * auc - 1 - half, 2 * auc - 1 + half)


def _fit_columns(features: pd.DataFrame, target: np.ndarray, is_binary: bool) -> dict[str, ColumnScores]:
    return {
        str(name): _fit_numeric(column, target, is_binary)
        if pd.api.types.is_numeric_dtype(column)
        else _fit_categories(column, target, is_binary)
        for name, column in features.items()
    }


def _fit_numeric(column: pd.Series, target: np.ndarray, is_binary: bool) -> ColumnScores:
    values = column.to_numpy(np.float64, na_value=np.nan)
    is_missing = np.isnan(values)
    present = values[~is_missing]
    number = min(MAX_BINS, len(present) // MIN_ROWS)
    cuts = cut_points(np.sort(present), number - 1) if number > 1 else np.empty(0)
    bins = np.searchsorted(cuts, values, "left")
    bins[is_missing] = len(cuts) + 1
    counts = np.bincount(bins, minlength=len(cuts) + 2)
    sums = np.bincount(bins, target, minlength=len(cuts) + 2)
    scores = [_score(float(s), int(n), target, is_binary) for s, n in zip(sums, counts, strict=True)]
    return ColumnScores(tuple(map(float, cuts)), tuple(scores[:-1]), {}, scores[-1])


def _fit_categories(column: pd.Series, target: np.ndarray, is_binary: bool) -> ColumnScores:
    groups = pd.Series(target, column.index).groupby(column).agg(["sum", "count"])
    groups = groups[groups["count"] >= MIN_ROWS].nlargest(MAX_CATEGORIES, "count")
    categories = {
        str(name): _score(float(row["sum"]), int(row["count"]), target, is_binary)
        for name, row in groups.iterrows()
    }
    is_missing = column.isna().to_numpy()
    missing = _score(float(target[is_missing].sum()), int(is_missing.sum()), target, is_binary)
    return ColumnScores((), (), categories, missing)


def _score(total: float, count: int, target: np.ndarray, is_binary: bool) -> float:
    """Return the difference of a bin's mean target from that of all rows, for a binary target in log odds."""
    overall = float(target.mean())
    mean = (total + PRIOR_ROWS * overall) / (count + PRIOR_ROWS)
    if not is_binary:
        return round(mean - overall, 6)
    return round(float(np.log(mean / (1 - mean)) - np.log(overall / (1 - overall))), 6)

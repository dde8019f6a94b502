"""Crosses of two categorical columns: each combination of categories as a target statistic.

Trees that split on one column's target statistic at a time find what two columns do together only by luck, as the
order of the one says nothing of the other. With hundreds of pairs, a few are kept: those whose out-of-fold means of
the truth best explain what the columns leave unexplained one by one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.target import ArrayLike
from ml.encoding.category_codes import CategoryCodes
from ml.encoding.target_encoding import TargetStatistics

# Pairs are looked for among at most so many columns, those that tell most on their own: 780 pairs.
MOST_COLUMNS = 40
# What stands for missing in a combination, and between its two categories: characters that tables do not hold.
NOTHING, BETWEEN = "\x1a", "\x1f"


@dataclass(frozen=True)
class Cross:
    """The smoothed mean truth of each combination of two columns, by their positions among the categorical ones."""

    first: int
    second: int
    statistics: TargetStatistics

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave, after a trip through JSON."""
        return cls(state["first"], state["second"], TargetStatistics.from_json(state["statistics"]))

    def code(self, strings: Sequence[str | None]) -> float:
        """The mean of one row, given the values of all categorical columns, None for missing."""
        first, second = (NOTHING if strings[at] is None else strings[at] for at in (self.first, self.second))
        return self.statistics.code(f"{first}{BETWEEN}{second}")

    def encode(self, strings: Sequence[ArrayLike]) -> np.ndarray:
        """Means, shape (rows,), float64, given all categorical columns, each as in `CategoryCodes.encode`."""
        return self.statistics.encode(_combined(strings[self.first], strings[self.second]))


def learn(
    strings: Sequence[ArrayLike],
    truth: np.ndarray,
    fold: np.ndarray,
    most: int,
    min_count: int,
    smoothing: float,
) -> tuple[tuple[Cross, ...], list[np.ndarray]]:
    """At most `most` crosses, the one that explains most first, and of each its means out of fold, shape (rows,).

    `strings` are all categorical columns, each as in `CategoryCodes.encode`; `truth` (rows,) is float64, `fold`
    (rows,) whole numbers from 0. Categories and combinations of fewer than `min_count` rows are taken together.
    """
    crosses, means = [], []
    for first, second in _chosen(strings, truth, fold, most, min_count, smoothing):
        values = _combined(strings[first], strings[second])
        codes = CategoryCodes.learn(values, min_count, len(values))
        statistics = TargetStatistics.learn(codes, values, truth, smoothing)
        crosses.append(Cross(first, second, statistics))
        means.append(statistics.out_of_fold(values, truth, fold, smoothing))
    return tuple(crosses), means


def _combined(first: ArrayLike, second: ArrayLike) -> ArrayLike:
    """The combination of each row, as `str`, shape (rows,); missing is a category of its own."""
    (a, names_a), (b, names_b) = (pd.factorize(values) for values in (first, second))  # type: ignore[arg-type]
    written_a, written_b = ([*map(str, names), NOTHING] for names in (names_a, names_b))
    # Only the distinct combinations are written out. Missing is -1 to factorize, the last of what is written.
    wide = len(written_b)
    places, cells = pd.factorize(a * wide + b + 1)
    names = [f"{written_a[one // wide]}{BETWEEN}{written_b[one % wide - 1]}" for one in cells]
    return np.array(names, dtype=object)[places]


def _chosen(
    strings: Sequence[ArrayLike],
    truth: np.ndarray,
    fold: np.ndarray,
    most: int,
    min_count: int,
    smoothing: float,
) -> list[tuple[int, int]]:
    """The pairs that take most off the squared residuals of a linear model of the columns' own statistics."""
    if truth.min() == truth.max():
        return []
    above = truth - truth.mean()
    whole = float(above @ above)
    own: list[tuple[float, int, np.ndarray, np.ndarray]] = []
    for at, values in enumerate(strings):
        codes = CategoryCodes.learn(values, min_count, len(values))
        coded = codes.encode(values)
        if coded.min() == coded.max():
            continue
        means = TargetStatistics.learn(codes, values, truth, smoothing).out_of_fold(
            values, truth, fold, smoothing
        )
        own.append((_gain(above, means - truth.mean(), whole), at, coded, means))
    own = sorted(own, key=lambda one: (-one[0], one[1]))[:MOST_COLUMNS]
    if len(own) < 2:
        return []
    residual = _residual(np.column_stack([np.ones(len(truth)), *(means for *_, means in own)]), truth)
    gains = {
        (min(i, j), max(i, j)): _gain(residual, _means_of_others(a, b, residual, fold, smoothing), whole)
        for (_, i, a, _), (_, j, b, _) in combinations(own, 2)
    }
    best = sorted(gains, key=lambda pair: (-gains[pair], pair))[:most]
    return [pair for pair in best if gains[pair] > 0.0]


def _gain(values: np.ndarray, predicted: np.ndarray, whole: float) -> float:
    """What a prediction takes off the sum of squares, as a share of `whole`."""
    # Rounded, as the last digits hang on the order of rows: equals stay equal in any.
    return round(float((np.square(values) - np.square(values - predicted)).sum()) / whole, 9)


def _residual(X: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What least squares leave unexplained, shape (rows,)."""
    from threadpoolctl import threadpool_limits

    # Sums of many rows hang on how many threads share them.
    with threadpool_limits(1):
        return np.asarray(truth - X @ np.linalg.lstsq(X, truth)[0])


def _means_of_others(
    first: np.ndarray, second: np.ndarray, residual: np.ndarray, fold: np.ndarray, smoothing: float
) -> np.ndarray:
    """For each row the mean residual of its combination in the other folds, drawn to 0; shape (rows,)."""
    cell = first * (int(second.max()) + 1) + second
    if int(cell.max()) > len(cell):
        cell = np.unique(cell, return_inverse=True)[1]
    folds, cells = int(fold.max()) + 1, int(cell.max()) + 1
    at = fold * cells + cell
    rows = np.bincount(at, minlength=folds * cells).reshape(folds, cells)
    sums = np.bincount(at, residual, folds * cells).reshape(folds, cells)
    means = (sums.sum(axis=0) - sums) / (rows.sum(axis=0) - rows + smoothing)
    return np.asarray(means.ravel()[at])

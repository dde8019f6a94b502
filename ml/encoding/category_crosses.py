"""Feature crosses: target-encoded combinations of two categorical columns.

Trees rarely find the interaction of two target-encoded columns, because the order of one column's means says nothing
about the other. Of all pairs of columns, select the few whose out-of-fold mean residuals explain most of what the
columns leave unexplained individually.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.target import ArrayLike
from ml.encoding.category_codes import CategoryCodes
from ml.encoding.target_encoding import TargetEncoder

# Pairs are searched among the most predictive columns only: 780 pairs of 40 columns.
MAX_COLUMNS = 40
# Text of a missing value in a combination, and the separator of its two categories: characters not found in tables.
MISSING_TEXT, SEPARATOR = "\x1a", "\x1f"


@dataclass(frozen=True)
class CategoryCross:
    """The target encoding of two columns' combinations; `first` and `second` are positions of categorical columns."""

    first: int
    second: int
    encoder: TargetEncoder

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Restore from the parsed JSON of `dataclasses.asdict`."""
        return cls(state["first"], state["second"], TargetEncoder.from_json(state["encoder"]))

    def encode_value(self, categories: Sequence[str | None]) -> float:
        """Return the mean of one row, given the values of all categorical columns, None for missing."""
        first, second = (
            MISSING_TEXT if value is None else value
            for value in (categories[self.first], categories[self.second])
        )
        return self.encoder.encode_value(f"{first}{SEPARATOR}{second}")

    def encode(self, columns: Sequence[ArrayLike]) -> np.ndarray:
        """Return means, shape (rows,), float64, given all categorical columns, each as in `CategoryCodes.encode`."""
        return self.encoder.encode(_combine(columns[self.first], columns[self.second]))


def fit_crosses(
    columns: Sequence[ArrayLike],
    truth: np.ndarray,
    fold: np.ndarray,
    max_crosses: int,
    min_count: int,
    smoothing: float,
) -> tuple[tuple[CategoryCross, ...], list[np.ndarray]]:
    """Select and fit at most `max_crosses` crosses, the most predictive first; also return their out-of-fold means.

    `columns` are all categorical columns, each as in `CategoryCodes.encode`; `truth` (rows,) is float64, `fold`
    (rows,) has whole numbers from 0. Categories and combinations of fewer than `min_count` rows are pooled. The means
    of the training rows, shape (rows,) for each cross, are as in `TargetEncoder.out_of_fold`.
    """
    crosses, means = [], []
    for first, second in _select_pairs(columns, truth, fold, max_crosses, min_count, smoothing):
        values = _combine(columns[first], columns[second])
        codes = CategoryCodes.fit(values, min_count, len(values))
        encoder = TargetEncoder.fit(codes, values, truth, smoothing)
        crosses.append(CategoryCross(first, second, encoder))
        means.append(encoder.out_of_fold(values, truth, fold, smoothing))
    return tuple(crosses), means


def _combine(first: ArrayLike, second: ArrayLike) -> ArrayLike:
    """Return the combination of each row as `str`, shape (rows,); a missing value is a category of its own."""
    (codes_1, names_1), (codes_2, names_2) = (pd.factorize(values) for values in (first, second))  # type: ignore[arg-type]
    # factorize gives missing values the code -1, which is here the last name.
    texts_1, texts_2 = ([*map(str, names), MISSING_TEXT] for names in (names_1, names_2))
    # Only distinct combinations are written as text.
    width = len(texts_2)
    positions, cells = pd.factorize(codes_1 * width + codes_2 + 1)
    names = [f"{texts_1[cell // width]}{SEPARATOR}{texts_2[cell % width - 1]}" for cell in cells]
    return np.array(names, dtype=object)[positions]


def _select_pairs(
    columns: Sequence[ArrayLike],
    truth: np.ndarray,
    fold: np.ndarray,
    max_crosses: int,
    min_count: int,
    smoothing: float,
) -> list[tuple[int, int]]:
    """Select the pairs that most reduce the squared residuals of a linear model of the columns' target encodings."""
    if truth.min() == truth.max():
        return []
    deviations = truth - truth.mean()
    total = float(deviations @ deviations)
    predictive: list[tuple[float, int, np.ndarray, np.ndarray]] = []
    for position, values in enumerate(columns):
        codes = CategoryCodes.fit(values, min_count, len(values))
        row_codes = codes.encode(values)
        if row_codes.min() == row_codes.max():
            continue
        encoder = TargetEncoder.fit(codes, values, truth, smoothing)
        means = encoder.out_of_fold(values, truth, fold, smoothing)
        gain = _share_explained(deviations, means - truth.mean(), total)
        predictive.append((gain, position, row_codes, means))
    predictive = sorted(predictive, key=lambda column: (-column[0], column[1]))[:MAX_COLUMNS]
    if len(predictive) < 2:
        return []
    residual = _residual(np.column_stack([np.ones(len(truth)), *(means for *_, means in predictive)]), truth)
    gains = {
        (min(i, j), max(i, j)): _share_explained(
            residual, _out_of_fold_cell_means(codes_i, codes_j, residual, fold, smoothing), total
        )
        for (_, i, codes_i, _), (_, j, codes_j, _) in combinations(predictive, 2)
    }
    best = sorted(gains, key=lambda pair: (-gains[pair], pair))[:max_crosses]
    return [pair for pair in best if gains[pair] > 0.0]


def _share_explained(values: np.ndarray, predicted: np.ndarray, total: float) -> float:
    """Return the reduction of the sum of squares by a prediction, as a share of `total`."""
    # Rounded, because the last digits depend on the order of rows: ties must stay ties in any order.
    return round(float((np.square(values) - np.square(values - predicted)).sum()) / total, 9)


def _residual(X: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the residuals of least squares, shape (rows,)."""
    from threadpoolctl import threadpool_limits

    # Sums over rows depend on the number of threads that share them.
    with threadpool_limits(1):
        return np.asarray(truth - X @ np.linalg.lstsq(X, truth)[0])


def _out_of_fold_cell_means(
    first: np.ndarray, second: np.ndarray, residual: np.ndarray, fold: np.ndarray, smoothing: float
) -> np.ndarray:
    """Return for each row the mean residual of its pair of codes in the other folds, shrunk to 0; shape (rows,)."""
    cell = first * (int(second.max()) + 1) + second
    if int(cell.max()) > len(cell):
        cell = np.unique(cell, return_inverse=True)[1]
    folds, cells = int(fold.max()) + 1, int(cell.max()) + 1
    position = fold * cells + cell
    rows = np.bincount(position, minlength=folds * cells).reshape(folds, cells)
    sums = np.bincount(position, residual, folds * cells).reshape(folds, cells)
    means = (sums.sum(axis=0) - sums) / (rows.sum(axis=0) - rows + smoothing)
    return np.asarray(means.ravel()[position])

"""Smoothed means of the truth in place of categories (Micci-Barreca, 2001); no row sees its own truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from ml.data.target import ArrayLike
from ml.encoding.category_codes import CategoryCodes


@dataclass(frozen=True)
class TargetStatistics:
    """The smoothed mean of each code of one column: of missing, of all rare and unseen categories, of each category."""

    codes: CategoryCodes
    means: tuple[float, ...]

    @classmethod
    def learn(cls, codes: CategoryCodes, values: ArrayLike, truth: np.ndarray, smoothing: float) -> Self:
        """Mean truth by code, drawn to the mean of all as if `smoothing` more rows had that one.

        `values` (rows,) as in `CategoryCodes.encode`, `truth` (rows,) float64.
        """
        coded = codes.encode(values)
        rows = np.bincount(coded, minlength=len(codes))
        sums = np.bincount(coded, weights=truth, minlength=len(codes))
        return cls(codes, tuple(_smoothed(sums, rows, float(truth.mean()), smoothing).tolist()))

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave, after a trip through JSON."""
        return cls(CategoryCodes.from_json(state["codes"]), tuple(state["means"]))

    @cached_property
    def _means(self) -> np.ndarray:
        return np.array(self.means)

    def code(self, value: str | None) -> float:
        """The mean of one value, None for missing."""
        return self.means[self.codes.code(value)]

    def encode(self, values: ArrayLike) -> np.ndarray:
        """Means, shape (rows,), float64, of `values` as in `CategoryCodes.encode`."""
        means: np.ndarray = self._means[self.codes.encode(values)]
        return means

    def out_of_fold(
        self, values: ArrayLike, truth: np.ndarray, fold: np.ndarray, smoothing: float
    ) -> np.ndarray:
        """For each of the rows that were learned from, the mean without the rows of its own fold; shape (rows,).

        `fold` (rows,) are whole numbers from 0.
        """
        coded, folds = self.codes.encode(values), int(fold.max()) + 1
        cell = fold * len(self.codes) + coded
        shape = (folds, len(self.codes))
        rows = np.bincount(cell, minlength=folds * len(self.codes)).reshape(shape)
        sums = np.bincount(cell, weights=truth, minlength=folds * len(self.codes)).reshape(shape)
        others_rows, others_sums = rows.sum(axis=0) - rows, sums.sum(axis=0) - sums
        overall = others_sums.sum(axis=1) / others_rows.sum(axis=1)
        return np.asarray(_smoothed(others_sums, others_rows, overall[:, None], smoothing)[fold, coded])


def _smoothed(
    sums: np.ndarray, rows: np.ndarray, overall: np.ndarray | float, smoothing: float
) -> np.ndarray:
    return (sums + smoothing * overall) / (rows + smoothing)

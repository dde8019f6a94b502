"""Replace categories by smoothed means of the target (Micci-Barreca, 2001), out of fold in training."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from ml.data.target import ArrayLike
from ml.encoding.category_codes import CategoryCodes


@dataclass(frozen=True)
class TargetEncoder:
    """Smoothed mean target by code of one column, with one mean for missing and one for rare and unseen categories."""

    codes: CategoryCodes
    means: tuple[float, ...]

    @classmethod
    def fit(cls, codes: CategoryCodes, values: ArrayLike, truth: np.ndarray, smoothing: float) -> Self:
        """Average the truth by code, as if each code had `smoothing` additional rows with the overall mean.

        `values` (rows,) are as in `CategoryCodes.encode`, `truth` (rows,) is float64.
        """
        row_codes = codes.encode(values)
        rows = np.bincount(row_codes, minlength=len(codes))
        sums = np.bincount(row_codes, weights=truth, minlength=len(codes))
        return cls(codes, tuple(_smoothed_means(sums, rows, float(truth.mean()), smoothing).tolist()))

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Restore from the parsed JSON of `dataclasses.asdict`."""
        return cls(CategoryCodes.from_json(state["codes"]), tuple(state["means"]))

    @cached_property
    def _means(self) -> np.ndarray:
        return np.array(self.means)

    def encode_value(self, value: str | None) -> float:
        """Return the mean of one value, None for missing."""
        return self.means[self.codes.encode_value(value)]

    def encode(self, values: ArrayLike) -> np.ndarray:
        """Return means, shape (rows,), float64, of `values` as in `CategoryCodes.encode`."""
        means: np.ndarray = self._means[self.codes.encode(values)]
        return means

    def out_of_fold(
        self, values: ArrayLike, truth: np.ndarray, fold: np.ndarray, smoothing: float
    ) -> np.ndarray:
        """Encode the training rows without the truth of their own fold; shape (rows,), float64.

        `fold` (rows,) has whole numbers from 0; the other arguments are those of `fit`.
        """
        row_codes, folds = self.codes.encode(values), int(fold.max()) + 1
        cell = fold * len(self.codes) + row_codes
        shape = (folds, len(self.codes))
        rows = np.bincount(cell, minlength=folds * len(self.codes)).reshape(shape)
        sums = np.bincount(cell, weights=truth, minlength=folds * len(self.codes)).reshape(shape)
        other_rows, other_sums = rows.sum(axis=0) - rows, sums.sum(axis=0) - sums
        overall_means = other_sums.sum(axis=1) / other_rows.sum(axis=1)
        means = _smoothed_means(other_sums, other_rows, overall_means[:, None], smoothing)
        return np.asarray(means[fold, row_codes])


def _smoothed_means(
    sums: np.ndarray, rows: np.ndarray, overall_mean: np.ndarray | float, smoothing: float
) -> np.ndarray:
    return (sums + smoothing * overall_mean) / (rows + smoothing)

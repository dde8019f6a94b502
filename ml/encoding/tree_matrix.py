"""The input matrix of tree models: numbers, category codes or target encodings, and feature crosses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.folds import assign_folds, max_folds
from ml.encoding.category_codes import CategoryCodes
from ml.encoding.category_crosses import CategoryCross, fit_crosses
from ml.encoding.columns import FeatureColumns, RowValues
from ml.encoding.target_encoding import TargetEncoder

# Folds for the out-of-fold target encoding of training rows.
FOLDS = 5


@dataclass(frozen=True)
class TreeEncodingSettings:
    """Settings of `TreeEncoding.fit`.

    Categories of fewer than `min_count` rows share one code with those never seen. A column of `target_encode_from`
    or more codes, at least 2, is target-encoded with `smoothing` (none is, for None); other columns keep the codes of
    their `max_categories` most frequent categories. At most `max_crosses` pairs of columns are added.
    """

    min_count: int
    max_categories: int
    target_encode_from: int | None
    smoothing: float
    max_crosses: int = 0


@dataclass(frozen=True)
class TreeEncoding:
    """Matrix columns in order: numbers, `categories` (each as codes or target encoding), `crosses` of two columns."""

    columns: FeatureColumns
    categories: tuple[CategoryCodes | TargetEncoder, ...]
    crosses: tuple[CategoryCross, ...] = ()

    @classmethod
    def fit(
        cls, train: Dataset, truth: np.ndarray, settings: TreeEncodingSettings, seed: int
    ) -> tuple[Self, np.ndarray]:
        """Fit the encoding; also return the matrix of the training rows, encoded without their own truth.

        `truth` (rows,) is float64. Training rows are target-encoded from the rows of the other folds; units are not
        divided. Errors as in `FeatureColumns.from_frame`.
        """
        columns = FeatureColumns.from_frame(train.frame)
        fold = np.empty(0)
        encoders: list[CategoryCodes | TargetEncoder] = []
        X = _matrix_with_numbers(columns, train.frame)
        arrays = columns.categorical_arrays(train.frame)
        for position, values in enumerate(arrays, start=len(columns.numeric)):
            codes = CategoryCodes.fit(values, settings.min_count, len(values))
            # A constant column is not target-encoded: its mean outside a fold would reveal the mean inside it.
            if settings.target_encode_from is None or codes.count_used(values) < max(
                settings.target_encode_from, 2
            ):
                encoders.append(CategoryCodes(codes.categories[: settings.max_categories]))
                X[:, position] = encoders[-1].encode(values)
                continue
            fold = fold if len(fold) else _folds(train.units, truth, seed)
            encoder = TargetEncoder.fit(codes, values, truth, settings.smoothing)
            encoders.append(encoder)
            X[:, position] = encoder.out_of_fold(values, truth, fold, settings.smoothing)
        if not settings.max_crosses or len(arrays) < 2:
            return cls(columns, tuple(encoders)), X
        fold = fold if len(fold) else _folds(train.units, truth, seed)
        crosses, means = fit_crosses(
            arrays, truth, fold, settings.max_crosses, settings.min_count, settings.smoothing
        )
        return cls(columns, tuple(encoders), crosses), np.vstack([X.T, *means]).T

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Restore from the parsed JSON of `dataclasses.asdict`."""
        return cls(
            FeatureColumns.from_json(state["columns"]),
            tuple(
                TargetEncoder.from_json(encoder) if "means" in encoder else CategoryCodes.from_json(encoder)
                for encoder in state["categories"]
            ),
            # Models written before there were crosses have no such key.
            tuple(map(CategoryCross.from_json, state.get("crosses", ()))),
        )

    @property
    def categorical_positions(self) -> list[int]:
        """List the positions of the matrix columns that contain category codes, which have no order."""
        first = len(self.columns.numeric)
        return [first + i for i, encoder in enumerate(self.categories) if isinstance(encoder, CategoryCodes)]

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the matrix, shape (rows, columns and crosses), float64; errors as in `FeatureColumns`."""
        self.columns.check_present(frame)
        X = _matrix_with_numbers(self.columns, frame, len(self.crosses))
        arrays = self.columns.categorical_arrays(frame)
        encoded = zip(self.categories, arrays, strict=True)
        for position, (encoder, values) in enumerate(encoded, start=len(self.columns.numeric)):
            X[:, position] = encoder.encode(values)
        for position, cross in enumerate(self.crosses, start=len(self.columns.names)):
            X[:, position] = cross.encode(arrays)
        return X

    def encode_row(self, values: RowValues) -> np.ndarray:
        """Return the matrix of one row, shape (1, columns and crosses); errors as in `FeatureColumns.parse_row`."""
        numbers, categories = self.columns.parse_row(values)
        codes = [
            encoder.encode_value(category)
            for encoder, category in zip(self.categories, categories, strict=True)
        ]
        return np.array(
            [numbers + codes + [cross.encode_value(categories) for cross in self.crosses]], np.float64
        )

    def sum_by_column(self, values: np.ndarray) -> np.ndarray:
        """Sum values of matrix columns, shape (columns and crosses,), by table column, shape (columns,).

        The value of a cross is divided equally between its two columns.
        """
        n_columns, first = len(self.columns.names), len(self.columns.numeric)
        total = np.array(values[:n_columns], np.float64)
        for cross, value in zip(self.crosses, values[n_columns:], strict=True):
            total[[first + cross.first, first + cross.second]] += value / 2.0
        return total


def _matrix_with_numbers(columns: FeatureColumns, frame: pd.DataFrame, n_crosses: int = 0) -> np.ndarray:
    """Allocate the matrix of `frame` with `n_crosses` further columns, and fill in the numeric columns."""
    X = np.empty((len(frame), len(columns.names) + n_crosses), order="F")
    columns.numeric_matrix(frame, out=X[:, : len(columns.numeric)])
    return X


def _folds(units: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """Assign folds stratified by class where the units allow it, else by units alone."""
    classes = truth if np.isin(truth, (0.0, 1.0)).all() else np.zeros(len(truth))
    possible = max_folds(units, classes)
    if possible < 2:
        classes, possible = np.zeros(len(truth)), len(np.unique(units))
    return assign_folds(units, classes, min(FOLDS, possible), seed)

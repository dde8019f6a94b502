"""The matrix that trees are grown on: numbers as they are, categories as codes or as target statistics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.encode import CategoryCodes, Columns, Row
from ml.folds import assign_folds, most_folds
from ml.model import Part
from ml.target_statistics import TargetStatistics

# Folds of the target statistics of training rows.
FOLDS = 5


@dataclass(frozen=True)
class TreeEncoding:
    """Numbers come first, then `categories`, each as its codes or its target statistics."""

    columns: Columns
    categories: tuple[CategoryCodes | TargetStatistics, ...]

    @classmethod
    def learn(
        cls,
        train: Part,
        truth: np.ndarray,
        min_count: int,
        max_categories: int,
        statistics_from: int | None,
        smoothing: float,
        seed: int,
    ) -> tuple[Self, np.ndarray]:
        """The encoding, and the matrix of the training rows, in which no row sees its own truth.

        A column of `statistics_from` and more codes, at least 2, becomes target statistics (none does where that is
        None); others keep codes of at most `max_categories`. Statistics of training rows come from the rows of other
        folds; units stay together. `truth` is (rows,) float64. Errors as in `Columns.of`.
        """
        columns = Columns.of(train.frame)
        fold = np.empty(0)
        learned: list[CategoryCodes | TargetStatistics] = []
        X = _empty(columns, train.frame)
        for at, values in enumerate(columns.strings(train.frame), start=len(columns.numeric)):
            codes = CategoryCodes.learn(values, min_count, len(values))
            # The rows outside a fold tell what is inside it: of a constant column, that would be all that is told.
            if statistics_from is None or codes.present(values) < max(statistics_from, 2):
                learned.append(CategoryCodes(codes.categories[:max_categories]))
                X[:, at] = learned[-1].encode(values)
                continue
            fold = fold if len(fold) else _folds(train.units, truth, seed)
            statistics = TargetStatistics.learn(codes, values, truth, smoothing)
            learned.append(statistics)
            X[:, at] = statistics.out_of_fold(values, truth, fold, smoothing)
        return cls(columns, tuple(learned)), X

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave, after a trip through JSON."""
        return cls(
            Columns.from_json(state["columns"]),
            tuple(
                TargetStatistics.from_json(one) if "means" in one else CategoryCodes.from_json(one)
                for one in state["categories"]
            ),
        )

    @property
    def native(self) -> list[int]:
        """The positions of columns of codes, which have no order."""
        first = len(self.columns.numeric)
        return [first + i for i, one in enumerate(self.categories) if isinstance(one, CategoryCodes)]

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Shape (rows, columns), float64, in the order of `columns.names`; errors as in `Columns`."""
        self.columns.check(frame)
        X = _empty(self.columns, frame)
        strings = self.columns.strings(frame)
        for at, (one, values) in enumerate(
            zip(self.categories, strings, strict=True), len(self.columns.numeric)
        ):
            X[:, at] = one.encode(values)
        return X

    def encode_row(self, values: Row) -> np.ndarray:
        """Shape (1, columns), of one row; errors as in `Columns.row`."""
        numbers, strings = self.columns.row(values)
        codes = [one.code(string) for one, string in zip(self.categories, strings, strict=True)]
        return np.array([numbers + codes], np.float64)


def _empty(columns: Columns, frame: pd.DataFrame) -> np.ndarray:
    """A matrix with the numbers of `frame` and room for its categories."""
    X = np.empty((len(frame), len(columns.names)), order="F")
    columns.numbers(frame, out=X[:, : len(columns.numeric)])
    return X


def _folds(units: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """Folds spread over both classes where units allow it, else over units alone."""
    classes = truth if np.isin(truth, (0.0, 1.0)).all() else np.zeros(len(truth))
    most = most_folds(units, classes)
    if most < 2:
        classes, most = np.zeros(len(truth)), len(np.unique(units))
    return assign_folds(units, classes, min(FOLDS, most), seed)

"""The matrix that trees are grown on: numbers as they are, categories as codes or target statistics, crosses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.folds import assign_folds, most_folds
from ml.encoding import category_crosses as crosses
from ml.encoding.category_codes import CategoryCodes
from ml.encoding.category_crosses import Cross
from ml.encoding.columns import Columns, Row
from ml.encoding.target_encoding import TargetStatistics

# Folds of the target statistics of training rows.
FOLDS = 5


@dataclass(frozen=True)
class TreeEncoding:
    """Numbers come first, then `categories`, each as its codes or its target statistics, then `crosses` of two."""

    columns: Columns
    categories: tuple[CategoryCodes | TargetStatistics, ...]
    crosses: tuple[Cross, ...] = ()

    @classmethod
    def learn(
        cls,
        train: Dataset,
        truth: np.ndarray,
        min_count: int,
        max_categories: int,
        statistics_from: int | None,
        smoothing: float,
        seed: int,
        most_crosses: int = 0,
    ) -> tuple[Self, np.ndarray]:
        """The encoding, and the matrix of the training rows, in which no row sees its own truth.

        A column of `statistics_from` and more codes, at least 2, becomes target statistics (none does where that is
        None); others keep codes of at most `max_categories`. Statistics of training rows come from the rows of other
        folds; units stay together. At most `most_crosses` pairs of columns are added, as
        `ml.encoding.category_crosses` chooses them.
        `truth` is (rows,) float64. Errors as in `Columns.of`.
        """
        columns = Columns.of(train.frame)
        fold = np.empty(0)
        learned: list[CategoryCodes | TargetStatistics] = []
        X = _empty(columns, train.frame)
        strings = columns.strings(train.frame)
        for at, values in enumerate(strings, start=len(columns.numeric)):
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
        if not most_crosses or len(strings) < 2:
            return cls(columns, tuple(learned)), X
        fold = fold if len(fold) else _folds(train.units, truth, seed)
        found, means = crosses.learn(strings, truth, fold, most_crosses, min_count, smoothing)
        return cls(columns, tuple(learned), found), np.vstack([X.T, *means]).T

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave, after a trip through JSON."""
        return cls(
            Columns.from_json(state["columns"]),
            tuple(
                TargetStatistics.from_json(one) if "means" in one else CategoryCodes.from_json(one)
                for one in state["categories"]
            ),
            # Models of before had none.
            tuple(Cross.from_json(one) for one in state.get("crosses", ())),
        )

    @property
    def native(self) -> list[int]:
        """The positions of columns of codes, which have no order."""
        first = len(self.columns.numeric)
        return [first + i for i, one in enumerate(self.categories) if isinstance(one, CategoryCodes)]

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Shape (rows, columns and crosses), float64, in the order of `columns.names`; errors as in `Columns`."""
        self.columns.check(frame)
        X = _empty(self.columns, frame, len(self.crosses))
        strings = self.columns.strings(frame)
        for at, (one, values) in enumerate(
            zip(self.categories, strings, strict=True), len(self.columns.numeric)
        ):
            X[:, at] = one.encode(values)
        for at, cross in enumerate(self.crosses, len(self.columns.names)):
            X[:, at] = cross.encode(strings)
        return X

    def encode_row(self, values: Row) -> np.ndarray:
        """Shape (1, columns and crosses), of one row; errors as in `Columns.row`."""
        numbers, strings = self.columns.row(values)
        codes = [one.code(string) for one, string in zip(self.categories, strings, strict=True)]
        return np.array([numbers + codes + [cross.code(strings) for cross in self.crosses]], np.float64)

    def by_column(self, values: np.ndarray) -> pd.Series:
        """A number of each column of the matrix, shape (columns and crosses,), by name of the table's column.

        What a cross has goes to its two columns in equal parts.
        """
        names, first = list(self.columns.names), len(self.columns.numeric)
        total = np.array(values[: len(names)], np.float64)
        for cross, value in zip(self.crosses, values[len(names) :], strict=True):
            total[[first + cross.first, first + cross.second]] += value / 2.0
        return pd.Series(total, names)


def _empty(columns: Columns, frame: pd.DataFrame, further: int = 0) -> np.ndarray:
    """A matrix with the numbers of `frame` and room for its categories and `further` columns."""
    X = np.empty((len(frame), len(columns.names) + further), order="F")
    columns.numbers(frame, out=X[:, : len(columns.numeric)])
    return X


def _folds(units: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """Folds spread over both classes where units allow it, else over units alone."""
    classes = truth if np.isin(truth, (0.0, 1.0)).all() else np.zeros(len(truth))
    most = most_folds(units, classes)
    if most < 2:
        classes, most = np.zeros(len(truth)), len(np.unique(units))
    return assign_folds(units, classes, min(FOLDS, most), seed)

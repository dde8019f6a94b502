"""Classes to predict, their shares of the training rows, and probabilities as a table of predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.target import PREDICTION_COLUMN, class_columns
from ml.errors import CandidateSkipped, UsageError

# The rows that a class without any counts as, so that no class is impossible.
ROWS_OF_AN_UNSEEN_CLASS = 0.5


@dataclass(frozen=True)
class ClassTarget:
    """Labels of the classes, empty for a binary target; `shares` of the training rows by class, `seen` in any of them.

    A binary target counts as two classes: 0, then 1.
    """

    classes: tuple[str, ...]
    shares: tuple[float, ...]
    seen: tuple[bool, ...]

    @classmethod
    def fit(cls, train: Dataset) -> Self:
        """Count the rows of each class; errors as in `codes`."""
        target = cls(train.classes, (), ())
        rows = np.bincount(target.codes(train), minlength=target.count).astype(np.float64)
        weights = np.where(rows > 0, rows, ROWS_OF_AN_UNSEEN_CLASS)
        return cls(train.classes, tuple((weights / weights.sum()).tolist()), tuple((rows > 0).tolist()))

    @property
    def count(self) -> int:
        """The number of classes."""
        return max(len(self.classes), 2)

    @cached_property
    def seen_classes(self) -> np.ndarray:
        """Positions of the classes that training rows have."""
        return np.flatnonzero(self.seen)

    def codes(self, dataset: Dataset) -> np.ndarray:
        """Return the position of the class of each row, int64.

        Raises ValueError for a truth that is missing, or no position of a class.
        """
        truth = dataset.truth.to_numpy(np.float64, na_value=np.nan)
        if not len(truth):
            return np.empty(0, np.int64)
        if invalid := int((~np.isfinite(truth)).sum()):
            raise ValueError(
                f"expected finite truth, got {invalid} missing or infinite values; drop these rows first"
            )
        if not np.isin(truth, np.arange(self.count)).all():
            raise ValueError(
                f"expected truth from 0 to {self.count - 1}, got values from {truth.min():g} to {truth.max():g}; "
                "use the positions of the labels in the contract"
            )
        return truth.astype(np.int64)

    def check_learnable(self, max_classes: int) -> None:
        """Raise CandidateSkipped where rows have one class only, or more than `max_classes` are to be learned."""
        if len(self.seen_classes) < 2:
            raise CandidateSkipped(
                "rows of two classes",
                f"rows of {len(self.seen_classes)}",
                "collect rows of the other classes",
            )
        if self.count > max_classes:
            raise CandidateSkipped(
                f"at most {max_classes:,} classes",
                f"{self.count:,}",
                "merge rare classes, or leave this model out",
            )

    def positions_of_seen(self, codes: np.ndarray) -> np.ndarray:
        """Return positions among the seen classes, -1 for others."""
        positions = np.full(self.count, -1)
        positions[self.seen_classes] = np.arange(len(self.seen_classes))
        return np.asarray(positions[codes])

    def predictions(self, probabilities: np.ndarray, index: pd.Index) -> pd.DataFrame:
        """Return probabilities of the seen classes, shape (rows, seen classes), as a table for all classes.

        The other classes get their shares.
        """
        P = np.tile(np.array(self.shares), (len(probabilities), 1))
        shares = np.array(self.shares)
        P[:, self.seen_classes] = probabilities * shares[self.seen_classes].sum()
        if not self.classes:
            return pd.DataFrame({PREDICTION_COLUMN["binary"]: P[:, 1]}, index=index)
        return pd.DataFrame(
            P / P.sum(axis=1, keepdims=True), index=index, columns=class_columns(self.classes)
        )

    def row_probability(self, predictions: pd.DataFrame) -> float:
        """Return the probability of the positive class in a table of one row.

        Raises UsageError where there are several classes.
        """
        if self.classes:
            raise UsageError("a binary target for one number a row", f"{self.count} classes", "call predict")
        return float(predictions[PREDICTION_COLUMN["binary"]].iloc[0])

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Restore from the parsed JSON of `dataclasses.asdict`."""
        return cls(tuple(state["classes"]), tuple(state["shares"]), tuple(state["seen"]))

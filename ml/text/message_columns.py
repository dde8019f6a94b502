"""Columns with sentences, joined into one message a row, and the other columns of a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import sparse

from ml.data.dataset import Dataset
from ml.encoding.columns import FeatureColumns, RowValues
from ml.encoding.one_hot import OneHotEncoding
from ml.errors import CandidateSkipped
from ml.text.normalization import normalize

# Settings of the one-hot encoding of the other columns, as of `ml.tabular.linear.Linear`.
MAX_BINS, MIN_COUNT, MAX_CATEGORIES = 32, 10, 255


@dataclass(frozen=True)
class MessageColumns:
    """Names of the columns with sentences, sorted, and the one-hot encoding of the others, None without others."""

    text: tuple[str, ...]
    others: OneHotEncoding | None

    @classmethod
    def fit(cls, train: Dataset) -> Self:
        """Fit to the columns of `train`. Raises CandidateSkipped where none of them has sentences."""
        if not train.text_columns:
            raise CandidateSkipped(
                "a column with sentences",
                "none",
                "name one in the contract's roles.text, or leave this model out",
            )
        others = train.frame.drop(columns=list(train.text_columns))
        encoding = None
        if len(others.columns):
            encoding = OneHotEncoding.fit(others, MAX_BINS, MIN_COUNT, MAX_CATEGORIES, train.sentinel_values)
        return cls(tuple(sorted(train.text_columns)), encoding)

    @property
    def names(self) -> tuple[str, ...]:
        """List the columns with sentences, then the others: the order of `importance`."""
        return self.text + (self.others.columns.names if self.others else ())

    def messages(self, frame: pd.DataFrame) -> list[str]:
        """Join the normalised sentences of each row with a space; a missing one is left out.

        Raises ValueError for missing columns and for values other than text.
        """
        FeatureColumns((), self.text).check_present(frame)
        cells = [_normalized(frame[name], name) for name in self.text]
        return (
            cells[0] if len(cells) == 1 else [" ".join(filter(None, row)) for row in zip(*cells, strict=True)]
        )

    def encode_others(self, frame: pd.DataFrame) -> sparse.csr_array:
        """Return the one-hot matrix of the other columns, float32; it has no columns where there are none."""
        if self.others is None:
            return sparse.csr_array((len(frame), 0), dtype=np.float32)
        return self.others.encode(frame).astype(np.float32)

    @property
    def other_widths(self) -> list[int]:
        """Count the columns of the one-hot matrix for each of the other columns."""
        return self.others.one_hot_widths if self.others else []

    def row_frame(self, values: RowValues) -> pd.DataFrame:
        """Return one row as a table; errors as in `FeatureColumns.parse_row`."""
        others = self.others.columns if self.others else FeatureColumns((), ())
        columns = FeatureColumns(others.numeric, self.text + others.categorical)
        numbers, categories = columns.parse_row(values)
        row = {
            name: pd.Series([value], dtype="float64")
            for name, value in zip(columns.numeric, numbers, strict=True)
        }
        texts = zip(columns.categorical, categories, strict=True)
        return pd.DataFrame(row | {name: pd.Series([value], dtype="str") for name, value in texts})

    def shares(self, text_contribution: float, other_contributions: np.ndarray) -> pd.Series:
        """Scale contributions to a sum of 1, by column name; columns with sentences share theirs equally."""
        parts = [text_contribution / len(self.text)] * len(self.text)
        values = pd.Series([*parts, *other_contributions], list(self.names), dtype="float64")
        return values / (values.sum() or 1.0)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Restore from the parsed JSON of `dataclasses.asdict`."""
        others = OneHotEncoding.from_json(state["others"]) if state["others"] else None
        return cls(tuple(state["text"]), others)


def _normalized(column: pd.Series, name: str) -> list[str]:
    """Normalise text cells, "" for missing ones; a column of objects may hold what Arrow cannot: lone surrogates."""
    values = column.astype(object).to_numpy()
    other = {
        type(value).__name__
        for value in values
        if not isinstance(value, str) and value == value and value is not None
    }
    if other:
        raise ValueError(
            f"expected text in {name!r}, got {', '.join(sorted(other))}; cast it to str as in training"
        )
    return [normalize(value) if isinstance(value, str) else "" for value in values]

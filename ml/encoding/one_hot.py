"""one_hot."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import sparse

from ml.encoding.category_codes import CategoryCodes
from ml.encoding.columns import Columns, Row
from ml.encoding.quantile_bins import QuantileBins


@dataclass(frozen=True)
class OneHot:
    """The design matrix of a linear model.

    A numeric column becomes one indicator for each bin and its standardised value, a categorical column one
    indicator for each code.
    """

    columns: Columns
    bins: tuple[QuantileBins, ...]
    codes: tuple[CategoryCodes, ...]

    @classmethod
    def learn(
        cls,
        frame: pd.DataFrame,
        bins: int,
        min_count: int,
        max_categories: int,
        special: Mapping[str, tuple[float, ...]] | None = None,
    ) -> Self:
        """Learn bins and codes for every column of `frame`; `special` as in `Part`, errors as in `Columns.of`."""
        columns = Columns.of(frame)
        numbers, codes = columns.numbers(frame).T, special or {}
        return cls(
            columns,
            tuple(
                QuantileBins.learn(values, bins, tuple(codes.get(name, ())))
                for name, values in zip(columns.numeric, numbers, strict=True)
            ),
            tuple(
                CategoryCodes.learn(values, min_count, max_categories) for values in columns.strings(frame)
            ),
        )

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave, after a trip through JSON."""
        return cls(
            Columns.from_json(state["columns"]),
            tuple(map(QuantileBins.from_json, state["bins"])),
            tuple(map(CategoryCodes.from_json, state["codes"])),
        )

    @property
    def sizes(self) -> list[int]:
        """Bins or codes of each of `columns.names`."""
        return [len(bins) for bins in self.bins] + [len(codes) for codes in self.codes]

    @property
    def widths(self) -> list[int]:
        """Matrix columns that each of `columns.names` takes."""
        return [len(bins) + 1 for bins in self.bins] + [len(codes) for codes in self.codes]

    def row_positions(self, values: Row) -> list[int]:
        """The bin or code of each of `columns.names` in one row; errors as in `Columns.row`."""
        numbers, strings = self.columns.row(values)
        bins = [one.code(number) for one, number in zip(self.bins, numbers, strict=True)]
        return bins + [one.code(string) for one, string in zip(self.codes, strings, strict=True)]

    def positions(self, frame: pd.DataFrame) -> np.ndarray:
        """The bin or code of each of `columns.names`, shape (rows, columns), int64; errors as in `Columns`."""
        self.columns.check(frame)
        numbers, strings = self.columns.numbers(frame).T, self.columns.strings(frame)
        found = np.empty((len(frame), len(self.columns.names)), np.int64, order="F")
        for at, (bins, values) in enumerate(zip(self.bins, numbers, strict=True)):
            found[:, at] = bins.encode(values)
        for at, (codes, texts) in enumerate(zip(self.codes, strings, strict=True), start=len(self.bins)):
            found[:, at] = codes.encode(texts)
        return found

    def encode_row(self, values: Row) -> Iterator[tuple[int, float]]:
        """Column and value of each entry of one row; errors as in `Columns.row`."""
        starts = self._starts
        for start, at in zip(starts, self.row_positions(values), strict=True):
            yield start + at, 1.0
        numbers, _ = self.columns.row(values)
        for start, bins, number in zip(starts, self.bins, numbers, strict=False):
            yield start + len(bins), bins.standardise_one(number)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *np.cumsum(self.widths[:-1]).tolist()]

    def encode(self, frame: pd.DataFrame) -> sparse.csr_array:
        """Shape (rows, sum of `widths`), float64; errors as in `Columns`."""
        indicators = self.positions(frame)
        standardised = np.empty((len(frame), len(self.bins)))
        for at, (bins, values) in enumerate(zip(self.bins, self.columns.numbers(frame).T, strict=True)):
            standardised[:, at] = bins.standardise(values)
        starts = np.cumsum([0, *self.widths])
        after = starts[: len(self.bins)] + [len(bins) for bins in self.bins]
        indices = np.hstack([indicators + starts[:-1], np.tile(after, (len(frame), 1)).astype(np.int64)])
        data = np.hstack([np.ones(indicators.shape), standardised])
        # Every row has the same number of entries, so the compressed rows can be written down directly.
        entries = np.arange(len(frame) + 1) * indices.shape[1]
        return sparse.csr_array((data.ravel(), indices.ravel(), entries), shape=(len(frame), starts[-1]))

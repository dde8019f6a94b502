"""One-hot and ordinal encodings of a table with quantile bins and category codes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import sparse

from ml.encoding.category_codes import CategoryCodes
from ml.encoding.columns import FeatureColumns, RowValues
from ml.encoding.quantile_bins import QuantileBins


@dataclass(frozen=True)
class OneHotEncoding:
    """Bins of the numeric and codes of the categorical columns, as ordinal numbers or as one-hot indicators.

    In the one-hot matrix a numeric column has an indicator for each bin and its standardised value, a categorical
    column an indicator for each code. In the ordinal matrix each column has the number of its bin or code.
    """

    columns: FeatureColumns
    bins: tuple[QuantileBins, ...]
    codes: tuple[CategoryCodes, ...]

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame,
        max_bins: int,
        min_count: int,
        max_categories: int,
        sentinel_values: Mapping[str, tuple[float, ...]] | None = None,
    ) -> Self:
        """Fit bins and codes to every column of `frame`, with `sentinel_values` as in `Dataset`.

        Raises ValueError as in `FeatureColumns.from_frame`.
        """
        columns = FeatureColumns.from_frame(frame)
        numbers, sentinels = columns.numeric_matrix(frame).T, sentinel_values or {}
        return cls(
            columns,
            tuple(
                QuantileBins.fit(values, max_bins, tuple(sentinels.get(name, ())))
                for name, values in zip(columns.numeric, numbers, strict=True)
            ),
            tuple(
                CategoryCodes.fit(values, min_count, max_categories)
                for values in columns.categorical_arrays(frame)
            ),
        )

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Restore from the parsed JSON of `dataclasses.asdict`."""
        return cls(
            FeatureColumns.from_json(state["columns"]),
            tuple(map(QuantileBins.from_json, state["bins"])),
            tuple(map(CategoryCodes.from_json, state["codes"])),
        )

    @property
    def ordinal_sizes(self) -> list[int]:
        """Count the bins or codes of each of `columns.names`."""
        return [len(bins) for bins in self.bins] + [len(codes) for codes in self.codes]

    @property
    def one_hot_widths(self) -> list[int]:
        """Count the columns of the one-hot matrix for each of `columns.names`."""
        return [len(bins) + 1 for bins in self.bins] + [len(codes) for codes in self.codes]

    @cached_property
    def source_columns(self) -> np.ndarray:
        """Return the position in `columns.names` of the column of each column of the one-hot matrix."""
        return np.repeat(np.arange(len(self.one_hot_widths)), self.one_hot_widths)

    def ordinal_row(self, values: RowValues) -> list[int]:
        """Return the bin or code of each column for one row; errors as in `FeatureColumns.parse_row`."""
        numbers, categories = self.columns.parse_row(values)
        row_bins = [bins.encode_value(number) for bins, number in zip(self.bins, numbers, strict=True)]
        return row_bins + [
            codes.encode_value(category) for codes, category in zip(self.codes, categories, strict=True)
        ]

    def ordinal_matrix(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the bin or code of each column, shape (rows, columns), int64; errors as in `FeatureColumns`."""
        self.columns.check_present(frame)
        numbers, categories = self.columns.numeric_matrix(frame).T, self.columns.categorical_arrays(frame)
        ordinals = np.empty((len(frame), len(self.columns.names)), np.int64, order="F")
        for position, (bins, column) in enumerate(zip(self.bins, numbers, strict=True)):
            ordinals[:, position] = bins.encode(column)
        for position, (codes, values) in enumerate(zip(self.codes, categories, strict=True), len(self.bins)):
            ordinals[:, position] = codes.encode(values)
        return ordinals

    def encode_row(self, values: RowValues) -> Iterator[tuple[int, float]]:
        """Yield matrix column and value of each entry of one row; errors as in `FeatureColumns.parse_row`."""
        starts = self._starts
        for start, ordinal in zip(starts, self.ordinal_row(values), strict=True):
            yield start + ordinal, 1.0
        numbers, _ = self.columns.parse_row(values)
        for start, bins, number in zip(starts, self.bins, numbers, strict=False):
            yield start + len(bins), bins.standardise_value(number)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *np.cumsum(self.one_hot_widths[:-1]).tolist()]

    def encode(self, frame: pd.DataFrame) -> sparse.csr_array:
        """Return the one-hot matrix, shape (rows, sum of `one_hot_widths`), float64; errors as in `FeatureColumns`."""
        ordinals = self.ordinal_matrix(frame)
        standardised = np.empty((len(frame), len(self.bins)))
        numbers = self.columns.numeric_matrix(frame).T
        for position, (bins, values) in enumerate(zip(self.bins, numbers, strict=True)):
            standardised[:, position] = bins.standardise(values)
        starts = np.cumsum([0, *self.one_hot_widths])
        standardised_columns = starts[: len(self.bins)] + [len(bins) for bins in self.bins]
        indices = np.hstack(
            [ordinals + starts[:-1], np.tile(standardised_columns, (len(frame), 1)).astype(np.int64)]
        )
        data = np.hstack([np.ones(ordinals.shape), standardised])
        # Every row has the same number of entries, so the CSR arrays can be built directly.
        row_starts = np.arange(len(frame) + 1) * indices.shape[1]
        return sparse.csr_array((data.ravel(), indices.ravel(), row_starts), shape=(len(frame), starts[-1]))

"""Piecewise-linear encoding of numbers for neural networks (Gorishniy, Rubachev and Babenko, 2022)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.encoding.columns import RowValues
from ml.encoding.one_hot import OneHotEncoding


@dataclass(frozen=True)
class PiecewiseLinearEncoding:
    """The inputs of a network, centred by their means over the training rows.

    A number has an input for its position within each of its bins, from 0 to 1, and an indicator for being missing
    and for each sentinel value; missing and sentinel values have the mean positions. A category has an indicator for
    each code. `kept` are the positions of the inputs that vary over the training rows, as nothing can be learned from
    the others; `means` are the training means of the kept inputs.
    """

    encoding: OneHotEncoding
    kept: tuple[int, ...]
    means: tuple[float, ...]

    @classmethod
    def fit(cls, train: Dataset, max_bins: int, min_count: int, max_categories: int) -> Self:
        """Fit bins and categories as `OneHotEncoding.fit` does, and the means; errors as there."""
        encoding = OneHotEncoding.fit(train.frame, max_bins, min_count, max_categories, train.sentinel_values)
        inputs = cls(encoding, (), ())._all_inputs(*_numbers_and_codes(encoding, train.frame))
        filled = np.where(np.isnan(inputs).all(axis=0), 0.0, inputs)
        kept = np.flatnonzero(np.nanmax(filled, axis=0) > np.nanmin(filled, axis=0))
        return cls(encoding, tuple(kept.tolist()), tuple(np.nanmean(inputs[:, kept], axis=0).tolist()))

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Restore from the parsed JSON of `dataclasses.asdict`."""
        return cls(OneHotEncoding.from_json(state["encoding"]), tuple(state["kept"]), tuple(state["means"]))

    @cached_property
    def source_columns(self) -> np.ndarray:
        """Return the position in `encoding.columns.names` of the column of each input, shape (inputs,)."""
        indicators = [1 + len(bins.sentinel_values) for bins in self.encoding.bins]
        widths = [len(knots) - 1 + count for knots, count in zip(self._knots, indicators, strict=True)]
        widths += [len(codes) for codes in self.encoding.codes]
        return np.asarray(np.repeat(np.arange(len(widths)), widths)[self._kept])

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the inputs, shape (rows, inputs), float64; errors as in `FeatureColumns`."""
        self.encoding.columns.check_present(frame)
        return self._kept_and_centred(self._all_inputs(*_numbers_and_codes(self.encoding, frame)))

    def encode_row(self, values: RowValues) -> np.ndarray:
        """Return the inputs of one row, shape (1, inputs); errors as in `FeatureColumns.parse_row`."""
        numbers, categories = self.encoding.columns.parse_row(values)
        row_codes = [
            codes.encode_value(category)
            for codes, category in zip(self.encoding.codes, categories, strict=True)
        ]
        inputs = self._all_inputs(np.array([numbers]), np.array([row_codes], np.int64))
        return self._kept_and_centred(inputs)

    @cached_property
    def _kept(self) -> np.ndarray:
        return np.array(self.kept, np.int64)

    @cached_property
    def _means(self) -> np.ndarray:
        return np.array(self.means)

    @cached_property
    def _knots(self) -> list[np.ndarray]:
        return [np.unique([bins.low, *bins.edges, bins.high]) for bins in self.encoding.bins]

    def _kept_and_centred(self, inputs: np.ndarray) -> np.ndarray:
        return np.asarray(np.nan_to_num(inputs[:, self._kept] - self._means))

    def _all_inputs(self, numbers: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Encode numbers (rows, numeric columns) and codes (rows, categorical columns); NaN for missing positions."""
        blocks = [np.empty((len(numbers), 0))]
        for values, knots, bins in zip(numbers.T, self._knots, self.encoding.bins, strict=True):
            sentinels = (values == sentinel for sentinel in bins.sentinel_values)
            indicators = np.column_stack([np.isnan(values), *sentinels])
            clipped = np.clip(values, knots[0], knots[-1])
            positions = np.clip((clipped[:, None] - knots[:-1]) / np.diff(knots), 0.0, 1.0)
            positions[indicators.any(axis=1)] = np.nan
            blocks += [positions, indicators]
        for column, column_codes in enumerate(self.encoding.codes):
            blocks.append(codes[:, [column]] == np.arange(len(column_codes)))
        return np.hstack(blocks)


def _numbers_and_codes(encoding: OneHotEncoding, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Read numbers and category codes, each of shape (rows, columns of the kind)."""
    codes = np.empty((len(frame), len(encoding.codes)), np.int64)
    columns = zip(encoding.codes, encoding.columns.categorical_arrays(frame), strict=True)
    for position, (column_codes, values) in enumerate(columns):
        codes[:, position] = column_codes.encode(values)
    return encoding.columns.numeric_matrix(frame), codes

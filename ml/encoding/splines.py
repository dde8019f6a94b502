"""Straight lines and cubic splines of numbers, beside indicators of categories."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.interpolate import BSpline

from ml.encoding.columns import FeatureColumns, RowValues
from ml.encoding.one_hot import OneHotEncoding
from ml.encoding.quantile_bins import QuantileBins, midpoints

DEGREE = 3
# A column with fewer distinct values is a straight line, beside which a spline could add nothing.
MIN_DISTINCT = 3


@dataclass(frozen=True)
class SplineEncoding:
    """The columns of `lines`, a `OneHotEncoding` with one bin, and after them cubic B-splines of the numbers.

    `knots` has those of each numeric column, ascending and on the scale of its standardised value; none for a column
    that is a straight line only. Beyond the first and the last knot a spline is constant. Of missing and sentinel
    values, which have indicators and the standardised value 0, all splines are 0.
    """

    lines: OneHotEncoding
    knots: tuple[tuple[float, ...], ...]

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame,
        max_knots: int,
        min_count: int,
        max_categories: int,
        sentinel_values: Mapping[str, tuple[float, ...]] | None = None,
    ) -> Self:
        """Fit to every column of `frame`, with at most `max_knots` knots each; otherwise as `OneHotEncoding.fit`."""
        lines = OneHotEncoding.fit(frame, 1, min_count, max_categories, sentinel_values)
        numbers = lines.columns.numeric_matrix(frame).T
        pairs = zip(numbers, lines.bins, strict=True)
        return cls(lines, tuple(_fit_knots(values, bins, max_knots) for values, bins in pairs))

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Restore from the parsed JSON of `dataclasses.asdict`."""
        return cls(OneHotEncoding.from_json(state["lines"]), tuple(map(tuple, state["knots"])))

    @property
    def columns(self) -> FeatureColumns:
        """The feature columns."""
        return self.lines.columns

    @cached_property
    def source_columns(self) -> np.ndarray:
        """Return the position in `columns.names` of the column of each matrix column, shape (matrix columns,)."""
        of_splines = np.repeat(np.arange(len(self._vectors)), [_width(vector) for vector in self._vectors])
        return np.concatenate([self.lines.source_columns, of_splines])

    def encode(self, frame: pd.DataFrame) -> sparse.csr_array:
        """Return the matrix, shape (rows, len(source_columns)), float64; errors as in `FeatureColumns`."""
        lines = self.lines.encode(frame)
        numbers = self.columns.numeric_matrix(frame).T
        splines = [basis for _, basis in self._bases(numbers)]
        return sparse.csr_array(sparse.hstack([lines, *splines], format="csr"))

    def encode_row(self, values: RowValues) -> Iterator[tuple[int, float]]:
        """Yield matrix column and value of each entry of one row; errors as in `FeatureColumns.parse_row`."""
        yield from self.lines.encode_row(values)
        numbers, _ = self.columns.parse_row(values)
        for start, basis in self._bases(np.array(numbers)[:, None]):
            yield from zip((start + basis.indices).tolist(), basis.data.tolist(), strict=True)

    @cached_property
    def _vectors(self) -> list[np.ndarray]:
        """Return the knot vector of each numeric column, with `DEGREE` more knots at both ends; empty without knots."""
        return [_extend(np.array(knots)) for knots in self.knots]

    def _bases(self, numbers: np.ndarray) -> Iterator[tuple[int, sparse.csr_array]]:
        """Yield the first matrix column and the splines of each column of numbers that has some; a row a column."""
        start = len(self.lines.source_columns)
        for values, bins, vector in zip(numbers, self.lines.bins, self._vectors, strict=True):
            if len(vector):
                yield start, _basis(values, bins, vector)
                start += _width(vector)


def _fit_knots(values: np.ndarray, bins: QuantileBins, max_knots: int) -> tuple[float, ...]:
    """Choose knots at the clipping bounds and at quantiles between them: midpoints, so that no value is stored."""
    finite = values[np.isfinite(values) & ~np.isin(values, bins.sentinel_values)]
    distinct = np.unique(finite)
    if len(distinct) < MIN_DISTINCT:
        return ()
    shares = np.linspace(0.0, 1.0, max_knots)[1:-1]
    inner = midpoints(np.quantile(finite, shares, method="inverted_cdf"), distinct)
    knots = np.unique(bins.standardise(np.array([bins.low, *inner, bins.high])))
    return tuple(knots.tolist()) if len(knots) > 1 else ()


def _extend(knots: np.ndarray) -> np.ndarray:
    if not len(knots):
        return knots
    steps = np.arange(1, DEGREE + 1)
    first, last = knots[1] - knots[0], knots[-1] - knots[-2]
    return np.concatenate([knots[0] - steps[::-1] * first, knots, knots[-1] + steps * last])


def _width(vector: np.ndarray) -> int:
    return max(len(vector) - DEGREE - 1, 0)


def _basis(values: np.ndarray, bins: QuantileBins, vector: np.ndarray) -> sparse.csr_array:
    """Return the splines of numbers, shape (rows, splines); 0 for missing and sentinel values."""
    if not len(values):
        return sparse.csr_array((0, _width(vector)))
    inside = np.clip(bins.standardise(values), vector[DEGREE], vector[-DEGREE - 1])
    splines = BSpline.design_matrix(inside, vector, DEGREE)
    is_known = ~(np.isnan(values) | np.isin(values, bins.sentinel_values))
    splines.data *= np.repeat(is_known, DEGREE + 1)
    return splines

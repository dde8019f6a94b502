"""Quantile bins and standardised values of a numeric column, with bins of their own for missing and sentinel values."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ml.encoding.category_codes import MISSING_CODE


@dataclass(frozen=True)
class QuantileBins:
    """Bins of one numeric column, right-closed at `edges`, and the constants of its standardised value.

    Each of `sentinel_values` is a code and not a quantity: it has a bin of its own and the standardised value 0. `mean`
    and `scale` are those of the other values, clipped to [low, high].
    """

    edges: tuple[float, ...]
    low: float
    high: float
    mean: float
    scale: float
    sentinel_values: tuple[float, ...] = ()

    @classmethod
    def fit(cls, values: np.ndarray, max_bins: int, sentinel_values: tuple[float, ...] = ()) -> Self:
        """Fit at most `max_bins` bins of about equal weight, or one per value if there are no more distinct values.

        So a column of counts keeps a bin for a value such as 98, which may be an undeclared sentinel value. Values are
        clipped to the 1st and 99th percentiles; missing and infinite values are ignored. Edges, and the clipping
        bounds of a column with more distinct values than bins, are midpoints between values: no person's value is
        stored.
        """
        finite = values[np.isfinite(values) & ~np.isin(values, sentinel_values)]
        if not len(finite):
            return cls((), 0.0, 0.0, 0.0, 1.0, sentinel_values)
        distinct = np.unique(finite)
        needs_quantiles = len(distinct) > max_bins
        cuts = distinct
        if needs_quantiles:
            cuts = np.unique(np.quantile(finite, np.arange(1, max_bins) / max_bins, method="inverted_cdf"))
        edges = midpoints(cuts[cuts < distinct[-1]], distinct)
        low, high = np.quantile(finite, (0.01, 0.99), method="inverted_cdf")
        if needs_quantiles:
            low, high = midpoints(np.array([low, high]), distinct)
        clipped = np.clip(finite, low, high)
        return cls(
            tuple(edges.tolist()),
            float(low),
            float(high),
            float(clipped.mean()),
            float(clipped.std()) or 1.0,
            sentinel_values,
        )

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Restore from the parsed JSON of `dataclasses.asdict`."""
        tuples = {name: tuple(state[name]) for name in ("edges", "sentinel_values")}
        return cls(**{**state, **tuples})

    def __len__(self) -> int:
        """Count the bins, including those of missing and sentinel values."""
        return 2 + len(self.sentinel_values) + len(self.edges)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Return int64 bins, shape (rows,): 0 for missing, one for each sentinel value, then in order of value."""
        first = 1 + len(self.sentinel_values)
        bins = np.where(np.isnan(values), MISSING_CODE, first + np.searchsorted(np.array(self.edges), values))
        for sentinel_bin, sentinel in enumerate(self.sentinel_values, start=1):
            bins[values == sentinel] = sentinel_bin
        return bins

    def encode_value(self, value: float) -> int:
        """Return the bin of one value, NaN for missing."""
        if value in self.sentinel_values:
            return 1 + self.sentinel_values.index(value)
        if value != value:  # NaN
            return MISSING_CODE
        return 1 + len(self.sentinel_values) + bisect_left(self.edges, value)

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """Clip and standardise values by training mean and standard deviation; 0 for missing and sentinel values."""
        scaled = (np.clip(values, self.low, self.high) - self.mean) / self.scale
        return np.where(np.isnan(scaled) | np.isin(values, self.sentinel_values), 0.0, scaled)

    def standardise_value(self, value: float) -> float:
        """Standardise one value as `standardise` does."""
        if value != value or value in self.sentinel_values:
            return 0.0
        return (min(max(value, self.low), self.high) - self.mean) / self.scale


def midpoints(values: np.ndarray, distinct: np.ndarray) -> np.ndarray:
    """Return the midpoint of each value and the next of `distinct` (ascending); for the last, with the previous one."""
    position = np.minimum(np.searchsorted(distinct, values), max(len(distinct) - 2, 0))
    left, right = distinct[position], distinct[np.minimum(position + 1, len(distinct) - 1)]
    middle = left / 2 + right / 2
    # Adjacent floating-point numbers have no number between them.
    return np.where((middle > left) & (middle < right), middle, left)

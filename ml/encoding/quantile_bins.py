"""quantile_bins."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ml.encoding.category_codes import MISSING


@dataclass(frozen=True)
class QuantileBins:
    """Bins of one numeric column, right-closed at `edges`, and its standardised value.

    Each number of `special` is a code and no quantity: it has a bin of its own and no standardised value. `mean` and
    `scale` are of the other values clipped to [low, high].
    """

    edges: tuple[float, ...]
    low: float
    high: float
    mean: float
    scale: float
    special: tuple[float, ...] = ()

    @classmethod
    def learn(cls, values: np.ndarray, bins: int, special: tuple[float, ...] = ()) -> Self:
        """At most `bins` of about equal weight, or one for each value where there are no more than that.

        So a column of counts keeps a bin for a value such as 98, which may be a code and no quantity. The
        clipping bounds are the 1st and 99th percentiles; missing and infinite values are left out throughout. Edges,
        and the bounds of a column of many values, lie between two values: no cell of a person is kept.
        """
        finite = values[np.isfinite(values) & ~np.isin(values, special)]
        if not len(finite):
            return cls((), 0.0, 0.0, 0.0, 1.0, special)
        distinct = np.unique(finite)
        many = len(distinct) > bins
        cuts = distinct
        if many:
            cuts = np.unique(np.quantile(finite, np.arange(1, bins) / bins, method="inverted_cdf"))
        edges = _beside(cuts[cuts < distinct[-1]], distinct)
        low, high = np.quantile(finite, (0.01, 0.99), method="inverted_cdf")
        if many:
            low, high = _beside(np.array([low, high]), distinct)
        clipped = np.clip(finite, low, high)
        return cls(
            tuple(edges.tolist()),
            float(low),
            float(high),
            float(clipped.mean()),
            float(clipped.std()) or 1.0,
            special,
        )

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave, after a trip through JSON."""
        return cls(**{**state, "edges": tuple(state["edges"]), "special": tuple(state["special"])})

    def __len__(self) -> int:
        """Number of bins, those for missing and special values included."""
        return 2 + len(self.special) + len(self.edges)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Bins, shape (rows,), int64: 0 for missing, one for each of `special` in turn, then upwards."""
        first = 1 + len(self.special)
        bins = np.where(np.isnan(values), MISSING, first + np.searchsorted(np.array(self.edges), values))
        for at, code in enumerate(self.special, start=1):
            bins[values == code] = at
        return bins

    def standardise_one(self, value: float) -> float:
        """As `standardise`, of one value."""
        if value != value or value in self.special:
            return 0.0
        return (min(max(value, self.low), self.high) - self.mean) / self.scale

    def code(self, value: float) -> int:
        """The bin of one value, NaN for missing."""
        if value in self.special:
            return 1 + self.special.index(value)
        if value != value:  # NaN
            return MISSING
        return 1 + len(self.special) + bisect_left(self.edges, value)

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """Clipped values less their training mean, in training standard deviations; 0 for missing and special ones."""
        scaled = (np.clip(values, self.low, self.high) - self.mean) / self.scale
        return np.where(np.isnan(scaled) | np.isin(values, self.special), 0.0, scaled)


def _beside(values: np.ndarray, distinct: np.ndarray) -> np.ndarray:
    """Half the way from each of `values` to the next one of `distinct` (ascending); of the last, to the one before."""
    at = np.minimum(np.searchsorted(distinct, values), max(len(distinct) - 2, 0))
    left, right = distinct[at], distinct[np.minimum(at + 1, len(distinct) - 1)]
    half = left / 2 + right / 2
    # Neighbours in the precision of the machine have nothing between them.
    return np.where((half > left) & (half < right), half, left)

"""category_codes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.target import ArrayLike

MISSING, OTHER = 0, 1


@dataclass(frozen=True)
class CategoryCodes:
    """Codes of one column's categories: 0 for missing, 1 for any other, 2 and up for `categories` in turn."""

    categories: tuple[str, ...]

    @classmethod
    def learn(cls, values: ArrayLike, min_count: int, max_categories: int) -> Self:
        """Keep categories of at least `min_count` rows, at most `max_categories`, the most frequent first.

        Rare categories are pooled with those never seen, which gives the latter an effect learned from data.
        `values` are as in `encode`.
        """
        codes, names = pd.factorize(values)  # type: ignore[arg-type]  # a union of two overloads
        counts = np.bincount(codes[codes >= 0], minlength=len(names))
        enough = np.flatnonzero(counts >= min_count)
        frequent = sorted((-int(counts[i]), str(names[i])) for i in enough)
        return cls(tuple(name for _, name in frequent[:max_categories]))

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave, after a trip through JSON."""
        return cls(tuple(state["categories"]))

    def __len__(self) -> int:
        """Number of codes."""
        return 2 + len(self.categories)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.categories, start=2)}

    def code(self, value: str | None) -> int:
        """The code of one value, None for missing."""
        return MISSING if value is None else self._codes.get(value, OTHER)

    def present(self, values: ArrayLike) -> int:
        """How many of the codes occur."""
        return len(np.unique(self.encode(values)))

    def encode(self, values: ArrayLike) -> np.ndarray:
        """Codes, shape (rows,), int64, of `str` with None or NaN for missing, shape (rows,)."""
        # Only the distinct values are looked up one by one; -1, their place of missing values, is the last entry.
        places, names = pd.factorize(values)  # type: ignore[arg-type]  # a union of two overloads
        known = np.array([self._codes.get(str(name), OTHER) for name in names] + [MISSING], np.int64)
        return known[places]

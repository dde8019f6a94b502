"""Integer codes of categories: missing, other (rare or never seen), and each frequent category."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.target import ArrayLike

MISSING_CODE, OTHER_CODE = 0, 1


@dataclass(frozen=True)
class CategoryCodes:
    """Codes of one column: 0 for missing, 1 for any other value, from 2 on for `categories` in their order."""

    categories: tuple[str, ...]

    @classmethod
    def fit(cls, values: ArrayLike, min_count: int, max_categories: int) -> Self:
        """Choose the categories of at least `min_count` rows, at most `max_categories`, the most frequent first.

        Rare categories share a code with those never seen, so that models learn an effect for the latter.
        `values` are as in `encode`.
        """
        codes, names = pd.factorize(values)  # type: ignore[arg-type]  # a union of two overloads
        counts = np.bincount(codes[codes >= 0], minlength=len(names))
        frequent = sorted((-int(counts[i]), str(names[i])) for i in np.flatnonzero(counts >= min_count))
        return cls(tuple(name for _, name in frequent[:max_categories]))

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Restore from the parsed JSON of `dataclasses.asdict`."""
        return cls(tuple(state["categories"]))

    def __len__(self) -> int:
        """Count the codes, including those for missing and other."""
        return 2 + len(self.categories)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.categories, start=2)}

    def encode_value(self, value: str | None) -> int:
        """Return the code of one value, None for missing."""
        return MISSING_CODE if value is None else self._codes.get(value, OTHER_CODE)

    def count_used(self, values: ArrayLike) -> int:
        """Count the codes that occur in `values`, as in `encode`."""
        return len(np.unique(self.encode(values)))

    def encode(self, values: ArrayLike) -> np.ndarray:
        """Return int64 codes, shape (rows,), of `str` values with None or NaN for missing, shape (rows,)."""
        # Look up distinct values only. Missing values have the position -1: the last entry of `code_of_name`.
        positions, names = pd.factorize(values)  # type: ignore[arg-type]  # a union of two overloads
        code_of_name = [self._codes.get(str(name), OTHER_CODE) for name in names]
        return np.array([*code_of_name, MISSING_CODE], np.int64)[positions]

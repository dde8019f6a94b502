"""How tables and truths become arrays: checked columns, category codes, quantile bins, one-hot matrices."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray
from scipy import sparse

Target = Literal["binary", "numeric"]
ArrayLike = np.ndarray | ExtensionArray
# One row's values by column name; None or NaN for missing.
Row = Mapping[str, float | str | None]

# The column that a tabular model's predictions stand in.
PREDICTION: Mapping[Target, str] = {"binary": "probability", "numeric": "value"}

MISSING, OTHER = 0, 1


def checked_truth(truth: pd.Series, target: Target) -> np.ndarray:
    """The truth of a part as float64, shape (rows,).

    Raises ValueError where it is empty, has missing or infinite values, or (binary) values besides 0 and 1.
    """
    values = truth.to_numpy(np.float64, na_value=np.nan)
    if not len(values):
        raise ValueError("expected at least one row of truth, got none; check the split")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise ValueError(
            f"expected finite truth, got {bad} missing or infinite values; drop these rows first"
        )
    if target == "binary" and not np.isin(values, (0.0, 1.0)).all():
        raise ValueError(
            f"expected truth of 0 and 1 for a binary target, got values from {values.min():g} to "
            f"{values.max():g}; map the classes to 0 and 1, or use target='numeric'"
        )
    return values


def training_truth(truth: pd.Series, target: Target) -> np.ndarray:
    """As `checked_truth`, of rows to learn from: raises ValueError also where a binary truth has one class only."""
    values = checked_truth(truth, target)
    if target == "binary" and values.min() == values.max():
        raise ValueError(
            f"expected both classes in the training part, got {len(values)} rows that are all {values[0]:g}; "
            "use more data or a stratified split (only Prior can be fitted to a single class)"
        )
    return values


@dataclass(frozen=True)
class Columns:
    """The feature columns of a table by kind, each kind in order of name.

    The order is a function of the names alone, so that the order of a table's columns changes no model.
    """

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Self:
        """Read the kinds off the dtypes: numbers and booleans are numeric, `str` is categorical.

        Raises ValueError for any other dtype and for repeated names.
        """
        if not frame.columns.is_unique:
            repeated = sorted(set(frame.columns[frame.columns.duplicated()]))
            raise ValueError(f"expected unique column names, got {repeated} more than once; rename them")
        numeric = [name for name, dtype in frame.dtypes.items() if pd.api.types.is_numeric_dtype(dtype)]
        categorical = [name for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.StringDtype)]
        for name in frame.columns.difference([*numeric, *categorical]):
            dtype = frame[name].dtype
            raise ValueError(f"expected float64 or str columns, got {dtype} in {name!r}; cast or drop it")
        return cls(tuple(sorted(map(str, numeric))), tuple(sorted(map(str, categorical))))

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave, after a trip through JSON."""
        return cls(tuple(state["numeric"]), tuple(state["categorical"]))

    @property
    def names(self) -> tuple[str, ...]:
        """Numeric columns first, then categorical ones: the order of every array made from them."""
        return self.numeric + self.categorical

    def check(self, frame: pd.DataFrame) -> None:
        """Raises ValueError where a column is missing; further columns and any order are fine."""
        missing = [name for name in self.names if name not in frame.columns]
        if missing:
            raise ValueError(
                f"expected the columns {list(self.names)}, got a frame without {missing}; "
                "give every column that the model was fitted on, filled with NaN where it is unknown"
            )

    def numbers(self, frame: pd.DataFrame, out: np.ndarray | None = None) -> np.ndarray:
        """The numeric columns as float64, shape (rows, numeric columns), NaN for missing; written to `out` if given.

        Raises ValueError where a column has values that are not numbers.
        """
        # By columns, as tables lie in memory: then no cell is copied twice.
        X = np.empty((len(frame), len(self.numeric)), order="F") if out is None else out
        for at, name in enumerate(self.numeric):
            column = frame[name]
            if not pd.api.types.is_numeric_dtype(column.dtype) and column.notna().any():
                raise ValueError(
                    f"expected numbers in {name!r}, got {column.dtype}; cast it to float64 as at fit"
                )
            X[:, at] = column.to_numpy(np.float64, na_value=np.nan)
        return X

    def row(self, values: Row) -> tuple[list[float], list[str | None]]:
        """One row's numbers (NaN for missing) and strings (None for missing), each in order of name.

        Raises ValueError where a column is missing, or where a number is given for a category or the reverse.
        """
        missing = [name for name in self.names if name not in values]
        if missing:
            raise ValueError(
                f"expected the columns {list(self.names)}, got a row without {missing}; "
                "give every column that the model was fitted on, None where it is unknown"
            )
        numbers = [_number(values[name], name) for name in self.numeric]
        return numbers, [_string(values[name], name) for name in self.categorical]

    def strings(self, frame: pd.DataFrame) -> list[ArrayLike]:
        """The categorical columns in turn, each an array of `str` with any missing value.

        Raises ValueError where a column has values that are not `str`: the number 1 is not the category '1'.
        """
        chosen = frame[list(self.categorical)]
        for name, dtype in chosen.dtypes.items():
            if not isinstance(dtype, pd.StringDtype) and chosen[name].notna().any():
                raise ValueError(f"expected categories in {name!r}, got {dtype}; cast it to str as at fit")
        return [chosen[name].array for name in self.categorical]


def _number(value: float | str | None, name: str) -> float:
    if isinstance(value, str):
        raise ValueError(f"expected a number in {name!r}, got a string; give a number, or None for missing")
    return np.nan if value is None else float(value)


def _string(value: float | str | None, name: str) -> str | None:
    if value is None or value != value:  # NaN
        return None
    if not isinstance(value, str):
        raise ValueError(f"expected a string in {name!r}, got a number; give a string, or None for missing")
    return value


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

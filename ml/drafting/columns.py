"""Types of columns and words for missing values, from the cells of a table as they came."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ml.data.casting import MAX_EXACT_INTEGER, TEXT_DTYPE, cast_columns
from ml.drafting import names
from ml.drafting.proposals import Proposal

# Words that stand for a missing value in any column, and those that do only among numbers.
MISSING_WORDS = (
    "?",
    "N/A",
    "n/a",
    "NA",
    "NULL",
    "null",
    "Null",
    "NaN",
    "nan",
    "#N/A",
    "<NA>",
    ".",
    "NAN",
    "#NUM!",
)
MISSING_AMONG_NUMBERS = (
    "-", "--", "None", "none", "NONE", "Unknown", "unknown", "missing", "Missing", "*", "x", "X", "not available",
    "#DIV/0!", "#VALUE!", "#REF!",
)  # fmt: skip
# Share of the cells that must be of a type.
TYPE_SHARE = 0.98
# Whole numbers up to here are counts or codes; larger ones are amounts, which may have fractions in other rows.
MAX_COUNT = 1_000
MAX_CODES = 200
# A share of numbers with a leading zero, such as 0042, from which on they are codes.
LEADING_ZERO_SHARE = 0.02
# Share of cells such as V58 from which on a column has codes, though the others are numbers.
CODE_SHARE = 0.002
# Rows from which relations between columns are found.
MAX_THIN_ROWS = 10_000
# Seconds since 1970 between the years 1990 and 2035.
EPOCH_RANGE = (6.3e8, 2.06e9)


@dataclass(frozen=True)
class Column:
    """One column of a sample: typed cells, and what is known about them.

    `typed` are the cells as the contract's type casts them; `counts` are the rows of each present text.
    """

    name: str
    position: int
    kind: str
    typed: pd.Series
    counts: pd.Series
    n_missing: int
    invalid: np.ndarray
    has_decimals: bool
    # Whether whole numbers grow by one from row to row of the file.
    counts_rows: bool

    @property
    def n_invalid(self) -> int:
        """Return the number of cells that do not fit the type."""
        return int(self.invalid.sum())

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return len(self.typed)

    @property
    def present(self) -> pd.Series:
        """Return the valid cells that are not missing."""
        return self.typed.dropna()

    @property
    def distinct(self) -> int:
        """Return the number of different values."""
        return len(self.counts)

    @property
    def is_numeric(self) -> bool:
        """Return whether the cells are numbers."""
        return self.kind in ("number", "integer")


def find_missing_words(frame: pd.DataFrame) -> list[Proposal]:
    """Return a proposal for each word that stands for a missing value; its place is `read.missing.WORD`."""
    found: dict[str, list[str]] = {}
    uncertain: set[str] = set()
    for name in frame.columns:
        if not pd.api.types.is_string_dtype(frame[name]):
            continue
        counts = frame[name].value_counts()
        words = [word for word in MISSING_WORDS if word in counts.index]
        others = counts.drop([*words])
        if not len(others):
            continue
        numeric = pd.to_numeric(others.index.to_series(), errors="coerce").notna().to_numpy()
        if others[numeric].sum() > 0.5 * others.sum():
            words += [word for word in MISSING_AMONG_NUMBERS if word in counts.index]
        elif "NA" in words and others.index.str.fullmatch("[A-Z]{2}").mean() > 0.9:
            uncertain.add("NA")  # Namibia, or North America
        for word in words:
            found.setdefault(word, []).append(f"{name!r} ({counts[word]:,})")
    return [_missing_word(word, places, word in uncertain) for word, places in found.items()]


def _missing_word(word: str, places: Sequence[str], uncertain: bool) -> Proposal:
    shown = ", ".join(places[:5]) + (f" and {len(places) - 5} more" if len(places) > 5 else "")
    doubt = 0.6 if uncertain else 0.4 if word in MISSING_AMONG_NUMBERS else 0.1
    reason = f"stands where a value is missing in {shown}"
    return Proposal(f"read.missing.{word}", reason + (", or is a code" if uncertain else ""), doubt)


def describe_columns(cells: Mapping[str, pd.Series]) -> list[Column]:
    """Return the columns with the types that their cells have; `cells` are those without words for missing values."""
    return [
        _with_type(name, position, values, infer_type(name, values))
        for position, (name, values) in enumerate(cells.items())
    ]


def retyped(column: Column, cells: pd.Series, kind: str) -> Column:
    """Return the column with another type; `cells` are those of the file without words for missing values."""
    return _with_type(column.name, column.position, cells, kind)


def part_of(column: Column, rows: np.ndarray) -> Column:
    """Return some rows of a column."""
    typed = column.typed.iloc[rows].reset_index(drop=True)
    missing = int(typed.isna().sum())
    return replace(
        column, typed=typed, counts=typed.value_counts(), n_missing=missing, invalid=column.invalid[rows]
    )


def thin(column: Column) -> Column:
    """Return at most some thousand rows of a column, evenly spread."""
    step = max(1, column.rows // MAX_THIN_ROWS)
    return part_of(column, np.arange(0, column.rows, step)) if step > 1 else column


def padded_cells(frame: pd.DataFrame) -> int:
    """Return how many cells of text have white space at an end."""
    padded = 0
    for name in frame.columns:
        if pd.api.types.is_string_dtype(frame[name]):
            counts = frame[name].value_counts()
            words = counts.index.to_series()
            padded += int(counts[(words.str.strip() != words).to_numpy()].sum())
    return padded


def without_padding(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its texts stripped; what is empty then is missing."""
    stripped = {
        name: frame[name].str.strip().replace("", None)
        if pd.api.types.is_string_dtype(frame[name])
        else frame[name]
        for name in frame.columns
    }
    return pd.DataFrame(stripped, frame.index)


def without_missing(cells: pd.Series, missing: Sequence[str]) -> pd.Series:
    """Return the cells with the words for missing values made missing; as text, where they are text."""
    if not pd.api.types.is_string_dtype(cells):
        return cells
    text = cells.astype(TEXT_DTYPE)
    return text.mask(text.isin([*missing]))


def _with_type(name: str, position: int, cells: pd.Series, kind: str) -> Column:
    typed, invalid = cast_columns(pd.DataFrame({name: cells}), {name: kind})
    text, _ = cast_columns(pd.DataFrame({name: cells}), {name: "category"})
    return Column(
        name=name,
        position=position,
        kind=kind,
        typed=typed[name].reset_index(drop=True),
        counts=text[name].value_counts(),
        n_missing=int(cells.isna().sum()),
        invalid=invalid.get(name, np.zeros(len(cells), dtype=bool)),
        has_decimals=bool(text[name].str.contains(".", regex=False).any()),
        counts_rows=kind in ("number", "integer") and _counts_rows(typed[name]),
    )


def _counts_rows(numbers: pd.Series) -> bool:
    """Return whether numbers differ from the places of their rows by a constant."""
    if len(numbers) < 2 or pd.isna(numbers.iloc[0]):
        return False
    return bool((numbers - numbers.index == numbers.iloc[0] - numbers.index[0]).all())


def infer_type(name: str, cells: pd.Series) -> str:
    """Return the type of a column from its cells, and, where these allow for several, from its name."""
    counts = cells.value_counts()
    if counts.index.dtype.kind == "M":
        return "time"
    if counts.index.dtype.kind == "b" or not len(counts):
        return "category"
    different = counts.index.to_series()
    text = different.dtype.kind not in "iuf"
    numbers = pd.to_numeric(different, errors="coerce").astype("float64").to_numpy()
    usable = np.isfinite(numbers) & (np.abs(numbers) < MAX_EXACT_INTEGER)
    weights = counts.to_numpy()
    share = weights[usable].sum() / weights.sum()
    if share < TYPE_SHARE or _are_codes(different[~usable], weights[~usable], weights.sum()):
        return "time" if text and _is_time(different) else "category"
    if text and weights[different.str.match(r"\s*-?0\d")].sum() > LEADING_ZERO_SHARE * weights.sum():
        return "category"
    values = np.unique(numbers[usable])
    if _is_epoch(name, values):
        return "epoch"
    if not (values == np.floor(values)).all():
        return "number"
    decimals = text and bool(different.str.contains(".", regex=False).any())
    n_present = int(weights[usable].sum())
    is_coded = names.has_word(name, names.CODED) and len(values) <= min(MAX_CODES, n_present / 4)
    if not decimals and (len(values) <= 2 or is_coded):
        return "category"
    is_named = names.has_word(name, names.IDENTIFIER) or not names.words(name)
    is_identifier = is_named and len(values) > 0.9 * n_present
    return "integer" if np.abs(values).max() <= MAX_COUNT or is_identifier else "number"


def _are_codes(others: pd.Series, weights: np.ndarray, rows: int) -> bool:
    """Return whether the cells that are no numbers are codes of the same kind, such as V58 among 250 and 401."""
    if weights.sum() <= CODE_SHARE * rows or others.dtype.kind in "iuf":
        return False
    return bool(others.str.fullmatch(r"[A-Za-z]{1,3}-?\d[\d.]*").mean() > 0.5)


def _is_time(different: pd.Series) -> bool:
    sample = different.iloc[:: max(1, len(different) // 2_000)]
    if sample.str.match(r"\s*\d{4}-\d").mean() < TYPE_SHARE:
        return False
    typed, _ = cast_columns(pd.DataFrame({"cells": sample}), {"cells": "time"})
    return bool(typed["cells"].notna().mean() >= TYPE_SHARE)


def _is_epoch(name: str, values: np.ndarray) -> bool:
    inside = bool(values.min() >= EPOCH_RANGE[0] and values.max() <= EPOCH_RANGE[1])
    return inside and names.has_word(name, names.TIME | {"column"}) and len(values) > 20

"""Name the kinds of cells that a type or a rule refuses, without quoting any: "a number below 0", "missing"."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd

from ml.contract.schema import Rule

# What each type of a contract expects.
EXPECTED = {
    "number": "a number is expected",
    "integer": "a whole number is expected",
    "category": "text is expected",
    "time": "a time is expected",
    "epoch": "seconds since 1970 are expected",
}
# What people and programs write where there is no value.
PLACEHOLDERS = frozenset({"?", "-", ".", "na", "n/a", "nan", "none", "null", "unknown", "missing", "#n/a"})
NUMBER_WITH_COMMAS = re.compile(r"[+-]?\d[\d.]*,[\d,.]*")
# Numbers with marks that a contract can name, each with the next step. 1,234 may be either, and is none of them.
NUMBERS_WITH_MARKS = {
    "a number like 1.234,56": (
        re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+(?:,\d*)?|[+-]?\d+,(?:\d{1,2}|\d{4,})"),
        "set meta.read.decimal to ',', and meta.read.thousands to '.' where numbers have it",
    ),
    "a number like 1,234.56": (
        re.compile(r"[+-]?\d{1,3}(?:,\d{3})+\.\d*|[+-]?\d{1,3}(?:,\d{3}){2,}"),
        "set meta.read.thousands to ','",
    ),
    "a number like 1 234": (
        re.compile(r"[+-]?\d{1,3}(?:[ '\u2019\u00a0\u202f]\d{3})+(?:[.,]\d*)?"),
        "set meta.read.thousands to the mark between its groups of digits",
    ),
}
OTHER_TIME = "a time that is not in ISO 8601"
# Kinds of cells by expectation (without `expect_column_`), where the arguments say no more about it.
KINDS = {
    "values_to_not_be_null": "missing",
    "values_to_be_null": "a value where none is expected",
    "values_to_be_unique": "a repeated value",
    "values_to_not_be_in_set": "a refused value",
    "values_to_match_regex": "text that does not match the pattern",
    "values_to_match_regex_list": "text that does not match the patterns",
    "values_to_not_match_regex": "text that matches a refused pattern",
    "values_to_not_match_regex_list": "text that matches a refused pattern",
    "values_to_match_strftime_format": "text in another format",
    "values_to_be_dateutil_parseable": "text that is no time",
    "values_to_be_json_parseable": "text that is no JSON",
    "values_to_be_increasing": "a value out of order",
    "values_to_be_decreasing": "a value out of order",
    "values_to_not_be_outliers": "an outlier",
    "value_lengths_to_equal": "text of another length",
    "pair_values_to_be_equal": "values that differ",
    "pair_values_to_be_in_set": "a pair that is not listed",
    "compound_columns_to_be_unique": "a repeated combination",
    "multicolumn_values_to_be_equal": "values that differ",
}
# Kinds that a description names; there are seldom more.
MAX_KINDS = 3


def describe_kinds(kinds: Mapping[str, int]) -> str:
    """Describe kinds of values, the most frequent first; each with its number if there are several."""
    if len(kinds) == 1:
        return next(iter(kinds))
    ordered = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    more = len(ordered) - MAX_KINDS
    named = [f"{kind} ({count:,})" for kind, count in ordered[:MAX_KINDS]]
    return ", ".join([*named, *([f"{more} more kinds"] if more > 0 else [])])


def likely_step(column: str, kinds: Mapping[str, int]) -> str | None:
    """Return the next step where most cells of a column that do not fit its type are of one kind; else None."""
    kind, count = max(kinds.items(), key=lambda item: item[1], default=("", 0))
    if count * 2 <= sum(kinds.values()):
        return None
    if kind in NUMBERS_WITH_MARKS:
        looks_like, step = kind.removeprefix("a number like "), NUMBERS_WITH_MARKS[kind][1]
        return f"{count:,} values of {column!r} look like {looks_like}: {step}"
    if kind == OTHER_TIME:
        return (
            f"{count:,} values of {column!r} are times in another format: name it in meta.read.date_formats"
        )
    return None


def count_invalid_cells(column_type: str, cells: pd.Series) -> dict[str, int]:
    """Count the kinds of cells, as they were read, that do not fit a type of the contract."""
    return _count(cells.map(lambda cell: _invalid_kind(column_type, cell)))


def count_violations(rule: Rule, rows: pd.DataFrame) -> dict[str, int]:
    """Count the kinds of values in the typed rows that broke a rule which finds single rows."""
    kind = rule.type.removeprefix("expect_").removeprefix("column_")
    if kind == "pair_values_a_to_be_greater_than_b":
        first, second = rule.columns
        return {f"{first} {'below' if rule.kwargs.get('or_equal') else 'not above'} {second}": len(rows)}
    if "column" not in rule.kwargs:
        return {KINDS.get(kind, "a combination of values"): len(rows)}
    cells = rows[rule.kwargs["column"]]
    if kind == "values_to_be_between":
        return _outside(cells, rule.kwargs)
    if kind == "value_lengths_to_be_between":
        return _count(_outside_kinds(cells.astype("str").str.len(), rule.kwargs, "text with a length"))
    if kind == "values_to_be_in_set":
        listed = {_spelling(value) for value in rule.kwargs["value_set"]}
        return _count(cells.map(lambda cell: _unlisted_kind(cell, listed)))
    is_empty = cells.map(lambda cell: isinstance(cell, str) and not cell.strip())
    return _count(is_empty.map({True: "empty text", False: KINDS.get(kind, "a refused value")}))


def _count(kinds: pd.Series) -> dict[str, int]:
    return {str(kind): int(count) for kind, count in kinds.value_counts().items()}


def _outside(cells: pd.Series, bounds: Mapping[str, Any]) -> dict[str, int]:
    if cells.dtype.kind == "M":
        return _count(_outside_kinds(cells, bounds, "a time"))
    return _count(_outside_kinds(cells, bounds, "a number" if cells.dtype.kind == "f" else "text"))


def _outside_kinds(cells: pd.Series, bounds: Mapping[str, Any], noun: str) -> pd.Series:
    """Return the kind of each cell outside of `bounds`, which are the contract's and may be named."""
    low, high = bounds.get("min_value"), bounds.get("max_value")
    below = "not above" if bounds.get("strict_min") else "below"
    above = "not below" if bounds.get("strict_max") else "above"
    if high is None:
        is_low = np.ones(len(cells), dtype=bool)
    elif low is None:
        is_low = np.zeros(len(cells), dtype=bool)
    else:
        is_low = (cells <= low if bounds.get("strict_min") else cells < low).to_numpy(bool)
    names = np.where(is_low, f"{noun} {below} {_bound(low)}", f"{noun} {above} {_bound(high)}")
    return pd.Series(names, cells.index)


def _bound(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _spelling(value: Any) -> str:
    return str(value).strip().casefold()


def _unlisted_kind(cell: Any, listed: set[str]) -> str:
    if isinstance(cell, str):
        if not cell.strip():
            return "empty text"
        if _spelling(cell) in listed:
            return "a listed value in another spelling"
        return "text that is not listed"
    return "a number that is not listed" if isinstance(cell, float) else "a value that is not listed"


def _invalid_kind(column_type: str, cell: Any) -> str:
    expected = EXPECTED[column_type]
    if isinstance(cell, str):
        return _invalid_text_kind(column_type, cell.strip())
    if isinstance(cell, bytes):
        return "bytes that are no UTF-8"
    if isinstance(cell, date | datetime | np.datetime64 | pd.Timedelta):
        return f"a time where {expected}"
    if isinstance(cell, int | float | np.number):
        return _invalid_number_kind(column_type, float(cell))
    return f"a value of another type where {expected}"


def _invalid_text_kind(column_type: str, text: str) -> str:
    expected = EXPECTED[column_type]
    if not text:
        return "empty text"
    if text.casefold() in PLACEHOLDERS:
        return f"a placeholder where {expected}"
    if column_type != "time":
        for kind, (pattern, _) in NUMBERS_WITH_MARKS.items():
            if pattern.fullmatch(text):
                return kind
        if NUMBER_WITH_COMMAS.fullmatch(text):
            return "a number with a comma"
    try:
        return _invalid_number_kind(column_type, float(text))
    except ValueError:
        pass
    if column_type == "time" and text[0].isdigit():
        return OTHER_TIME
    return f"text where {expected}"


def _invalid_number_kind(column_type: str, number: float) -> str:
    if not np.isfinite(number):
        return "an infinite number"
    if column_type == "integer" and number != np.floor(number):
        return f"a fraction where {EXPECTED[column_type]}"
    if column_type in ("integer", "number", "epoch"):
        return "a number that is out of range"
    return f"a number where {EXPECTED[column_type]}"

"""Cast the columns of a table to the types of its contract, and report every cell that does not fit its type."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ml.contract.read_options import ReadOptions
from ml.data.written_values import from_written

TEXT_DTYPE = pd.StringDtype(na_value=np.nan)
# Whole numbers below it are represented exactly by float64.
MAX_EXACT_INTEGER = 2.0**53


def cast_columns(
    frame: pd.DataFrame, column_types: Mapping[str, str], written: ReadOptions | None = None
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Return typed columns and, for each column with invalid cells, a mask of the rows whose cell does not fit.

    number and integer become float64 (one type with and without missing values; whole numbers must be below 2^53,
    where float64 is exact), category becomes text, time (ISO 8601) and epoch (seconds since 1970) become
    datetime64[us] in UTC without zone, truncated to microseconds. An invalid cell becomes missing. The result for a
    cell depends on no other cell. Columns that have their type already are returned unchanged. `written` says how cells
    that are text write numbers and times.
    """
    typed, invalid_masks = {}, {}
    for column, column_type in column_types.items():
        values = frame[column]
        plain = from_written(values, column_type, written) if written else values
        typed[column] = _CASTS[column_type](plain)
        invalid_mask = (typed[column].isna() & values.notna()).to_numpy(dtype=bool)
        if invalid_mask.any():
            invalid_masks[column] = invalid_mask
    # Not copied: columns that had their type already share memory with `frame`.
    return pd.DataFrame(typed, index=frame.index, copy=False), invalid_masks


def _number(values: pd.Series) -> pd.Series:
    if values.dtype.kind in "mM":  # pandas would convert times to integer ticks, even missing ones
        return pd.Series(np.nan, index=values.index, name=values.name)
    if values.dtype == np.float64:
        numbers = values  # to_numeric would copy it
    else:
        numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    return numbers.where(np.isfinite(numbers)) if np.isinf(numbers.to_numpy()).any() else numbers


def _integer(values: pd.Series) -> pd.Series:
    numbers = _number(values)
    whole = numbers.isna() | ((numbers == np.floor(numbers)) & (numbers.abs() < MAX_EXACT_INTEGER))
    return numbers if whole.all() else numbers.where(whole)


def _category(values: pd.Series) -> pd.Series:
    if values.dtype.kind in "mM":
        # One by one: for a whole column, pandas omits the time of day where all cells are at midnight.
        values = values.map(str, na_action="ignore")
    elif values.dtype == object:
        values = pd.Series([_decode(cell) for cell in values], values.index, dtype=object)
    text = values.astype(TEXT_DTYPE)
    if not pd.api.types.is_float_dtype(values):
        return text
    # The code 1 becomes "1", also where missing values made the column a float column.
    whole = values.notna() & (values == np.floor(values)) & (values.abs() < MAX_EXACT_INTEGER)
    return text.where(~whole, values.where(whole).astype("Int64").astype(TEXT_DTYPE))


def _decode(cell: Any) -> Any:
    """Decode bytes as UTF-8, None where they are invalid, which would make pandas raise an error."""
    try:
        return cell.decode() if isinstance(cell, bytes) else cell
    except UnicodeDecodeError:
        return None


def _time(values: pd.Series) -> pd.Series:
    if not _is_time(values):
        # Only what starts with a digit, as pandas reads "now" as the current time. Digits after the microseconds would
        # limit all cells to the years of datetime64[ns].
        text = _category(values).str.replace(r"(\.\d{6})\d+", r"\1", regex=True)
        values = pd.to_datetime(
            text.where(text.str.match(r"\s*\d")), errors="coerce", utc=True, format="ISO8601"
        )
    if values.dt.tz is not None:
        values = values.dt.tz_convert(None)
    return values.astype("datetime64[us]")


def _epoch(values: pd.Series) -> pd.Series:
    if _is_time(values):
        return _time(values)
    seconds = _number(values)
    # Numbers before the year 1691 or after 2248 are not seconds but, most likely, milliseconds.
    return pd.to_datetime(seconds.where(seconds.abs() < 8.8e9), unit="s").astype("datetime64[us]")


def _is_time(values: pd.Series) -> bool:
    return values.dtype.kind == "M"


_CASTS = {"number": _number, "integer": _integer, "category": _category, "time": _time, "epoch": _epoch}

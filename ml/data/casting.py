"""From cells as they came to typed columns, with every cell that does not fit its type accounted for."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

TEXT = pd.StringDtype(na_value=np.nan)
# Below it every whole number is a float64 of its own.
EXACT = 2.0**53


def cast(frame: pd.DataFrame, kinds: Mapping[str, str]) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Typed columns, and per column with misfits a mask of the rows whose cell does not fit its type.

    number and integer become float64 (a model sees one type, missing or not; whole numbers must lie below 2^53, where
    float64 is exact), category becomes text, time (ISO 8601) and epoch (seconds since 1970) become datetime64[us] in
    UTC without zone, digits below a microsecond cut off. A misfit becomes missing; what a cell becomes hangs on no
    other cell. Typed columns stay as they are.
    """
    typed, misfits = {}, {}
    for column, kind in kinds.items():
        values = frame[column]
        typed[column] = _CASTS[kind](values)
        misfit = (typed[column].isna() & values.notna()).to_numpy(dtype=bool)
        if misfit.any():
            misfits[column] = misfit
    # Without a copy: columns that were typed already are shared with the table that they came from.
    return pd.DataFrame(typed, index=frame.index, copy=False), misfits


def _number(values: pd.Series) -> pd.Series:
    if values.dtype.kind in "mM":  # pandas would count the ticks of an instant, and of a missing one too
        return pd.Series(np.nan, index=values.index, name=values.name)
    if values.dtype == np.float64:
        numbers = values  # to_numeric would copy it
    else:
        numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    return numbers.where(np.isfinite(numbers)) if np.isinf(numbers.to_numpy()).any() else numbers


def _integer(values: pd.Series) -> pd.Series:
    numbers = _number(values)
    whole = numbers.isna() | ((numbers == np.floor(numbers)) & (numbers.abs() < EXACT))
    return numbers if whole.all() else numbers.where(whole)


def _category(values: pd.Series) -> pd.Series:
    if values.dtype.kind in "mM":
        # All at once, pandas would write an instant with or without a time of day, as its neighbours need it.
        values = values.map(str, na_action="ignore")
    elif values.dtype == object:
        values = pd.Series([_decoded(cell) for cell in values], values.index, dtype=object)
    text = values.astype(TEXT)
    if not pd.api.types.is_float_dtype(values):
        return text
    # The code 1 stays "1", also where a neighbour made the column a float one.
    whole = values.notna() & (values == np.floor(values)) & (values.abs() < EXACT)
    return text.where(~whole, values.where(whole).astype("Int64").astype(TEXT))


def _decoded(cell: Any) -> Any:
    """The text of bytes, or None where they are no UTF-8: pandas would stop at them."""
    try:
        return cell.decode() if isinstance(cell, bytes) else cell
    except UnicodeDecodeError:
        return None


def _time(values: pd.Series) -> pd.Series:
    if not _is_time(values):
        # pandas would read "now" as this very moment, and finer digits would narrow the years that all cells may have.
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
    # What lies outside the years 1700 to 2250 is no second since 1970, but most likely a millisecond.
    return pd.to_datetime(seconds.where(seconds.abs() < 8.8e9), unit="s").astype("datetime64[us]")


def _is_time(values: pd.Series) -> bool:
    return values.dtype.kind == "M"


_CASTS = {"number": _number, "integer": _integer, "category": _category, "time": _time, "epoch": _epoch}

"""From cells as they came to typed columns, with every cell that does not fit its type accounted for."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

TEXT = pd.StringDtype(na_value=np.nan)


def cast(frame: pd.DataFrame, kinds: Mapping[str, str]) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Typed columns, and per column with misfits a mask of the rows whose cell does not fit its type.

    number and integer become float64 (a model sees one type, missing or not), category becomes text, time (ISO 8601)
    and epoch (seconds since 1970) become datetime64[us] in UTC without zone. A misfit becomes missing.
    """
    typed, misfits = {}, {}
    for column, kind in kinds.items():
        values = frame[column]
        typed[column] = _CASTS[kind](values)
        misfit = (typed[column].isna() & values.notna()).to_numpy(dtype=bool)
        if misfit.any():
            misfits[column] = misfit
    return pd.DataFrame(typed, index=frame.index), misfits


def _number(values: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    return numbers.where(np.isfinite(numbers)) if np.isinf(numbers.to_numpy()).any() else numbers


def _integer(values: pd.Series) -> pd.Series:
    numbers = _number(values)
    whole = numbers.isna() | (numbers == np.floor(numbers))
    return numbers if whole.all() else numbers.where(whole)


def _category(values: pd.Series) -> pd.Series:
    if pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
        return values.astype(TEXT)
    # The code 1 stays "1", also where a missing neighbour made the column a float one.
    whole = values.isna() | (values == np.floor(values))
    return values.astype("Int64").astype(TEXT) if whole.all() else values.astype(TEXT)


def _time(values: pd.Series) -> pd.Series:
    times = pd.to_datetime(values, errors="coerce", utc=True, format=None if _is_time(values) else "ISO8601")
    return times.dt.tz_localize(None).astype("datetime64[us]")


def _epoch(values: pd.Series) -> pd.Series:
    seconds = _number(values)
    # What lies outside the years 1700 to 2250 is no second since 1970, but most likely a millisecond.
    return pd.to_datetime(seconds.where(seconds.abs() < 8.8e9), unit="s").astype("datetime64[us]")


def _is_time(values: pd.Series) -> bool:
    return pd.api.types.is_datetime64_any_dtype(values)


_CASTS = {"number": _number, "integer": _integer, "category": _category, "time": _time, "epoch": _epoch}

"""Compute the features that a contract declares, each from one or two columns of the same row."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ml.contract.declared_features import DeclaredFeatures
from ml.contract.schema import Contract
from ml.data.casting import cast_columns

MICROSECONDS_PER_DAY = 86_400e6
DESCRIPTIONS = {
    "ratio": "{} / {}",
    "difference": "{} - {}",
    "product": "{} * {}",
    "days_between": "days from {} to {}",
    "hour": "hour of {} (UTC)",
    "weekday": "weekday of {}, 1 is Monday",
    "month": "month of {}",
    "missing": "1 where {} has no value, else 0",
}
# Codes of numeric columns that are no quantities, by column.
SentinelValues = Mapping[str, Sequence[float]]


def describe(kind: str, columns: Sequence[str]) -> str:
    """Describe how a feature of a kind is computed, such as "debt / income"."""
    return DESCRIPTIONS[kind].format(*columns)


def with_declared_features(frame: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return the features of a table as models see them: columns that are used as they are, then the declared ones."""
    if not contract.declared_features:
        return frame
    computed = compute_declared(frame, contract.declared_features, contract.sentinel_values)
    kept = [column for column in frame.columns if column in contract.features]
    return pd.concat([frame[kept], computed], axis=1)


def compute_declared(
    frame: pd.DataFrame, declared: DeclaredFeatures, sentinel_values: SentinelValues
) -> pd.DataFrame:
    """Compute each declared feature as float64, NaN where a column has no value or the result is not finite.

    A sentinel value of a column counts as no value, and a ratio to 0 is missing. Raises ValueError for missing columns.
    """
    if missing := sorted({c for f in declared.values() for c in f.columns} - set(frame.columns)):
        raise ValueError(
            f"expected the columns that features are computed from, got a table without {missing};"
            " give every input column of the model, filled with NaN where it is unknown"
        )
    return pd.DataFrame(
        {
            name: _compute(feature.kind, [frame[c] for c in feature.columns], sentinel_values)
            for name, feature in declared.items()
        },
        index=frame.index,
        dtype="float64",
    )


def _compute(kind: str, cells: Sequence[pd.Series], sentinel_values: SentinelValues) -> np.ndarray:
    if kind == "missing":
        (column,) = cells
        codes = list(sentinel_values.get(str(column.name), ()))
        return (column.isna() | column.isin(codes)).to_numpy(np.float64)
    if kind in ("ratio", "difference", "product"):
        first, second = (_numbers(column, sentinel_values) for column in cells)
        # Infinite results, also those of a division by 0, are missing.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            result = ARITHMETIC[kind](first, second)
        finite: np.ndarray = np.where(np.isfinite(result), result, np.nan)
        return finite
    times = [_times(column) for column in cells]
    if kind == "days_between":
        return np.asarray((_microseconds(times[1]) - _microseconds(times[0])) / MICROSECONDS_PER_DAY)
    return PARTS_OF_TIMES[kind](times[0]).to_numpy(np.float64, na_value=np.nan)


def _numbers(column: pd.Series, sentinel_values: SentinelValues) -> np.ndarray:
    numbers = column.to_numpy(np.float64, na_value=np.nan)
    codes = sentinel_values.get(str(column.name), ())
    return np.where(np.isin(numbers, list(codes)), np.nan, numbers) if len(codes) else numbers


def _times(column: pd.Series) -> pd.Series:
    """Return times as in training, whatever unit a caller has given them."""
    name = str(column.name)
    return cast_columns(column.to_frame(name), {name: "time"})[0][name]


def _microseconds(times: pd.Series) -> np.ndarray:
    instants = times.to_numpy("datetime64[us]")
    return np.where(np.isnat(instants), np.nan, instants.astype(np.int64).astype(np.float64))


ARITHMETIC: Mapping[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "ratio": np.divide,
    "difference": np.subtract,
    "product": np.multiply,
}
PARTS_OF_TIMES: Mapping[str, Callable[[pd.Series], pd.Series]] = {
    "hour": lambda times: times.dt.hour,
    "weekday": lambda times: times.dt.day_of_week + 1,
    "month": lambda times: times.dt.month,
}

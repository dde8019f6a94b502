"""Compute which rows of a table a row condition selects, as pandas' `query` would; nothing is evaluated as code."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ml.contract.row_condition import (
    AllOf,
    AnyOf,
    Column,
    Comparison,
    Condition,
    LiteralValue,
    Membership,
    Not,
)

COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def row_mask(condition: Condition, frame: pd.DataFrame) -> np.ndarray:
    """Return a mask of the rows that a condition selects (bool).

    `frame` has the columns of the condition, as `cast_columns` types them; the literals fit these types. A missing
    value is equal to nothing: it makes `!=` true and all other comparisons, and `in`, false.
    """
    if isinstance(condition, Not):
        return ~row_mask(condition.condition, frame)
    if isinstance(condition, AllOf | AnyOf):
        combine = np.logical_and if isinstance(condition, AllOf) else np.logical_or
        mask = row_mask(condition.conditions[0], frame)
        for part in condition.conditions[1:]:
            mask = combine(mask, row_mask(part, frame))
        return mask
    if isinstance(condition, Comparison):
        return _compare(condition, frame)
    cells = frame[condition.column.name]
    if isinstance(condition, Membership):
        return cells.isin([_typed(value, cells) for value in condition.values]).to_numpy(dtype=bool)
    return cells.isna().to_numpy(dtype=bool)


def _compare(comparison: Comparison, frame: pd.DataFrame) -> np.ndarray:
    cells = next(frame[s.name] for s in (comparison.left, comparison.right) if isinstance(s, Column))
    left, right = (
        frame[side.name] if isinstance(side, Column) else _typed(side, cells)
        for side in (comparison.left, comparison.right)
    )
    result: pd.Series = COMPARE[comparison.operator](left, right)
    return result.to_numpy(dtype=bool)


def _typed(value: LiteralValue, cells: pd.Series) -> Any:
    """Return a literal as the type of the cells that it is compared with: an instant in UTC, a number, or a text."""
    if cells.dtype.kind != "M":
        return float(value) if isinstance(value, bool) else value
    instant = pd.Timestamp(value)
    return instant if instant.tzinfo is None else instant.tz_convert(None)

"""Cast the input columns of a model to the types that they had in training: of a table, and of one row as JSON."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ml.contract.declared_features import TIMES
from ml.contract.parser import parse
from ml.data.casting import cast_columns


def cast_inputs(frame: pd.DataFrame, contract: Mapping[str, Any]) -> pd.DataFrame:
    """Select the input columns and cast them to the types used in training; return histories unchanged."""
    parsed = parse(contract)
    if parsed.is_recommendation:
        return frame
    types = {c: parsed.read.columns[c] for c in parsed.inputs if c in frame.columns}
    # As in training: the code 1 is the category "1", also where missing values made the column a float column.
    others = {c: kind for c, kind in types.items() if kind == "category" or kind in TIMES}
    cast, _ = cast_columns(frame, others)
    return pd.DataFrame(
        {c: cast[c] if c in cast else frame[c].astype("float64") for c in types}, index=frame.index
    )


def cast_row(values: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """Cast the JSON values of one row by column name, as `cast_inputs` does for a table; times stay as they are."""
    return {
        c: value if types[c] in TIMES else _cast_value(value, types[c])
        for c, value in values.items()
        if c in types
    }


def _cast_value(value: Any, column_type: str) -> float | str | None:
    """Cast one number or category to what it was in training, None for a missing one."""
    if value is None or value != value:  # NaN
        return None
    if column_type != "category":
        return float(value)
    # As in a frame: the code 1 is the category "1", also when it is passed as 1.0.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)

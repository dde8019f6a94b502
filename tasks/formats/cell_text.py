"""Write values of spreadsheets, JSON and databases as texts: equal values have equal texts, in every format."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Whole numbers below it are represented exactly by float64.
MAX_EXACT_INTEGER = 2.0**53
# Sizes of numbers that Arrow writes as Python does, but that it writes whole ones without a fraction, as `cell_text`.
SAME_TEXT = (1e-4, 1e10)


def cell_text(value: Any) -> str | None:
    """Return the text of a value, None for a missing one. Raises TypeError for a value that is no cell.

    A whole number has no fraction, as the number 1.0 is the category `1`; times are as in ISO 8601.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        if value != value:
            return None
        return str(int(value)) if value.is_integer() and abs(value) < MAX_EXACT_INTEGER else repr(value)
    if isinstance(value, int | datetime | date | time | timedelta | UUID):
        return str(value)
    if isinstance(value, Decimal):
        return None if value.is_nan() else str(value)
    raise TypeError(type(value).__name__)


def number_texts(numbers: pa.DoubleArray) -> pa.Array:
    """Return the texts of floating-point numbers, the same as `cell_text` returns; NaN is missing."""
    # Zero has no sign in texts.
    values = numbers.to_numpy(zero_copy_only=False) + 0.0
    sizes = np.abs(values)
    is_same = (sizes == 0) | ((sizes >= SAME_TEXT[0]) & (sizes < SAME_TEXT[1]))
    texts = pc.cast(pa.array(values, mask=~is_same), pa.large_string())
    others = ~is_same & ~np.isnan(values)
    if not others.any():
        return texts
    written = pa.array(map(cell_text, values[others].tolist()), pa.large_string())
    return pc.replace_with_mask(texts, pa.array(others), written)

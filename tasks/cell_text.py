"""Write values of spreadsheets, JSON and databases as texts: equal values have equal texts, in every format."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

# Whole numbers below it are represented exactly by float64.
MAX_EXACT_INTEGER = 2.0**53


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

"""Two classes from a column of numbers: those above a given number, and the others."""

import math
from typing import Any

import numpy as np
import pandas as pd

from ml.drafting.columns import Column
from ml.drafting.proposals import Proposal
from ml.errors import UsageError

# Fewer rows of a class are too few for the test, of which the quality gate wants 20.
MIN_CLASS_ROWS = 100
SHOWN_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def threshold_target(column: Column, above: float) -> tuple[dict[str, Any], str, Proposal]:
    """Return the target, the type of its column, and the evidence: how many rows are above the number.

    Raises UsageError where the column has no numbers, and, with quantiles of the column, where no row or every row is
    above the number.
    """
    numbers = _numbers(column)
    count = int((numbers > above).sum())
    if count in (0, len(numbers)):
        raise UsageError(
            f"a number --above that divides {column.name!r}, whose quantiles are {describe_quantiles(numbers)}",
            f"{above:g}, and {'every' if count else 'no'} number is above it",
            "choose one between them",
        )
    is_whole = bool((numbers == np.floor(numbers)).all())
    kind = column.kind if column.is_numeric else "integer" if is_whole else "number"
    number = int(above) if float(above).is_integer() else float(above)
    rarer = min(count, len(numbers) - count)
    few = f", and {rarer:,} rows are few for a class" if rarer < MIN_CLASS_ROWS else ""
    reason = f"{count:,} of {len(numbers):,} numbers ({count / len(numbers):.1%}) are above {above:g}{few}"
    point = Proposal("roles.target.above", reason, 0.5 if few else 0.0)
    return {"column": column.name, "above": number}, kind, point


def describe_quantiles(numbers: np.ndarray) -> str:
    """Return some quantiles of numbers, such as `5 % 21.8, 25 % 27.3`."""
    values = np.quantile(numbers, SHOWN_QUANTILES)
    return ", ".join(
        f"{100 * share:.0f} % {value:.4g}" for share, value in zip(SHOWN_QUANTILES, values, strict=True)
    )


def parse_threshold(text: str) -> float:
    """Return the number that a person has written. Raises UsageError for a text that is none."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError("a number", repr(text), "write one such as 30 or 2.5")
    return number


def _numbers(column: Column) -> np.ndarray:
    """Return the numbers of a column; a category of which each value is a number has numbers too."""
    cells = column.present if column.is_numeric else pd.to_numeric(column.present, errors="coerce")
    numbers = cells.to_numpy(dtype=float, na_value=np.nan)
    if column.kind in ("time", "epoch") or not np.isfinite(numbers).all():
        raise UsageError(
            f"a column of numbers as --target with --above: {column.name!r} is no such column",
            f"the type {column.kind}",
            "name another column, or the positive class with --positive",
        )
    return numbers

"""Estimates with confidence limits, and arithmetic over resampling units that all intervals share.

A unit is a set of rows that belong together, such as the rows of a patient: units are independent, the rows of a unit
are not. Functions that take `units` (any labels, one per row) treat every row as a unit of its own for None.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence limits."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """An estimate of a - b, its confidence limits, and the two-sided p-value of no difference."""

    value: float
    low: float
    high: float
    p_value: float


def unit_codes(units: np.ndarray | None, rows: int) -> np.ndarray:
    """Assign each row the number of its unit, from 0, shape (rows,); ValueError unless there is one label per row."""
    if units is None:
        return np.arange(rows)
    if np.shape(units) != (rows,):
        raise ValueError(f"expected one unit per row, shape {(rows,)}, got {np.shape(units)}; align the rows")
    return np.unique(units, return_inverse=True)[1]


def count_units(codes: np.ndarray) -> int:
    """Count the distinct units."""
    return len(np.unique(codes))


def sum_by_unit(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Sum values (m, rows) to (m, units)."""
    return np.stack([np.bincount(codes, row) for row in values])


def unbiased_factor(units: int) -> float:
    """Return the factor that makes a variance over units unbiased (Bessel's correction)."""
    return units / (units - 1.0)

"""Find rows in which a column is not the sum of others."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

# Relative error of a sum of float64 numbers.
ROUNDING = 1e-9


def wrong_totals(
    frame: pd.DataFrame,
    total: str,
    parts: Sequence[str],
    tolerance: float,
    codes: Mapping[str, Collection[float]],
    subtracted: Sequence[str] = (),
) -> np.ndarray:
    """Return a mask of the rows whose total differs from the parts by more than the tolerance.

    The parts are added, and what is `subtracted` taken from them.
    A row without one of the values, or with one of its column's `codes` in place of a quantity, is not judged.
    """
    given = _quantities(frame, total, codes)
    added = [_quantities(frame, part, codes) for part in parts]
    added += [-_quantities(frame, column, codes) for column in subtracted]
    allowed = tolerance + ROUNDING * (np.abs(given) + sum(np.abs(part) for part in added))
    # Comparisons with missing values are false.
    return np.asarray(np.abs(sum(added) - given) > allowed)


def _quantities(frame: pd.DataFrame, column: str, codes: Mapping[str, Collection[float]]) -> np.ndarray:
    numbers = frame[column].to_numpy(dtype=float)
    return np.where(np.isin(numbers, [*codes.get(column, ())]), np.nan, numbers)

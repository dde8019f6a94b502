"""Columns as small whole numbers: quantile bins of numbers, frequent values of categories, and a code for missing."""

import numpy as np
import pandas as pd


def column_codes(values: pd.Series, max_codes: int) -> np.ndarray:
    """Return a code for each row, from 0 to below `max_codes`; the shape is (rows,), the type int64.

    Numbers with few distinct values keep them; others are divided into bins of equal mass. Of categories, the most
    frequent keep their own code and all others share one. Missing values have the code 0.
    """
    missing = values.isna().to_numpy(dtype=bool)
    codes = np.zeros(len(values), dtype=np.int64)
    if missing.all():
        return codes
    kept = max_codes - 1
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(np.float64, na_value=np.nan)[~missing]
        distinct, inverse = np.unique(numbers, return_inverse=True)
        if len(distinct) > kept:
            cuts = np.unique(np.quantile(numbers, np.arange(1, kept) / kept))
            inverse = np.searchsorted(cuts, numbers, side="left")
        codes[~missing] = 1 + inverse
        return codes
    level, _ = pd.factorize(values[~missing])
    counts = np.bincount(level)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    codes[~missing] = 1 + np.minimum(rank[level], kept - 1)
    return codes


def last_digits(values: pd.Series) -> np.ndarray | None:
    """Return the last digit of each whole number, 10 where it is missing; None for other columns and small numbers."""
    if not pd.api.types.is_numeric_dtype(values):
        return None
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    present = np.isfinite(numbers)
    if not present.any() or (numbers[present] != np.floor(numbers[present])).any():
        return None
    if np.abs(numbers[present]).max() < 100 or np.abs(numbers[present]).max() > 2.0**53:
        return None
    return np.where(present, np.where(present, np.abs(numbers), 0.0) % 10, 10).astype(np.int64)

"""Profile of a table: what each column holds, as far as it identifies nobody, and what looks odd.

No value of a category appears. Limits of a range have at least ten rows beyond them, so they describe no single person.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.data.odd_values import category_notes, number_notes

# Rows on which ranges and odd values are measured; missing cells are counted in all rows.
MAX_ROWS = 200_000
# Rows that a limit of a range has beyond it.
HIDDEN_ROWS = 10
NEARLY_CONSTANT = 0.995
MOSTLY_MISSING = 0.5


@dataclass(frozen=True)
class ColumnProfile:
    """One column: its type, the share of missing cells, its distinct values, a robust range, and what looks odd.

    `low` and `high` are the 1 % and 99 % quantiles of numbers, or closer to the median where fewer than ten rows would
    be beyond; None for other types and for few rows. A column with sentences has the type `text`, and as numbers the
    lengths of its texts in characters.
    """

    column: str
    type: str
    missing: float
    distinct: int
    low: float | None
    median: float | None
    high: float | None
    notes: list[str]


def profile_columns(
    rows: pd.DataFrame,
    types: Mapping[str, str],
    codes: Mapping[str, Collection[float]],
    keys: Collection[str] = (),
    texts: Collection[str] = (),
    seed: int = 0,
) -> list[ColumnProfile]:
    """Profile the columns of `types` (name to type of the contract), in their order.

    `codes` are the numbers of each column that its contract declares as codes, `keys` the columns that identify rows or
    entities: neither are odd. `texts` are columns with sentences, of which only lengths are measured.
    """
    sample = rows
    if len(rows) > MAX_ROWS:
        chosen = np.random.default_rng(seed).permutation(len(rows))[:MAX_ROWS]
        sample = rows.iloc[np.sort(chosen)]
    present = [c for c in types if c in rows.columns]
    equal = _equal_columns(sample, present)
    profiles = []
    for column in present:
        missing = float(rows[column].isna().mean()) if len(rows) else 0.0
        values = sample[column].dropna()
        counts = values.value_counts()
        low = median = high = None
        notes = _common_notes(missing, counts, equal.get(column))
        if column in texts:
            low, median, high = _robust_range(values.str.len().to_numpy(np.float64))
        elif pd.api.types.is_numeric_dtype(values) and column not in keys:
            low, median, high = _robust_range(values.to_numpy(np.float64))
            notes += number_notes(values.to_numpy(np.float64), codes.get(column, ()))
        elif types[column] == "category" and column not in keys:
            notes += category_notes(counts)
        kind = "text" if column in texts else types[column]
        profiles.append(ColumnProfile(column, kind, missing, len(counts), low, median, high, notes))
    return profiles


def _common_notes(missing: float, counts: pd.Series, twin: str | None) -> list[str]:
    notes = []
    if not len(counts):
        return ["no value at all"]
    share = float(counts.iloc[0] / counts.sum())
    if len(counts) == 1:
        notes.append("the same value in all rows")
    elif share > NEARLY_CONSTANT:
        rest = int(counts.sum() - counts.iloc[0])
        notes.append(f"the same value in all but {rest if rest >= HIDDEN_ROWS else 'fewer than 10'} rows")
    if missing > MOSTLY_MISSING:
        notes.append(f"{missing:.0%} missing")
    if twin:
        notes.append(f"equal to the column {twin}")
    return notes


def _equal_columns(sample: pd.DataFrame, columns: list[str]) -> dict[str, str]:
    """Return for each column that varies and equals an earlier one in all rows the name of that one."""
    seen: dict[tuple[str, int], str] = {}
    equal: dict[str, str] = {}
    for column in columns:
        values = sample[column]
        if values.nunique() < 2:
            continue
        key = (str(values.dtype), int(pd.util.hash_pandas_object(values, index=False).sum()))
        twin = seen.setdefault(key, column)
        if twin != column and values.equals(sample[twin].rename(column)):
            equal[column] = twin
    return equal


def _robust_range(numbers: np.ndarray) -> tuple[float | None, float | None, float | None]:
    if len(numbers) <= 4 * HIDDEN_ROWS:
        return None, None, None
    edge = max(0.01, HIDDEN_ROWS / len(numbers))
    low, median, high = np.quantile(numbers, [edge, 0.5, 1.0 - edge])
    return _shortened(low), _shortened(median), _shortened(high)


def _shortened(number: float) -> float:
    """Round to five significant digits: a quantile may be the value of one row, which all its digits would identify."""
    return float(f"{number:.5g}")

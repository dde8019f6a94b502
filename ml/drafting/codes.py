"""Numbers that are probably codes, such as -9 or 999 for "not known", or 0 where a quantity cannot be 0."""

from dataclasses import dataclass

import numpy as np

from ml.drafting import names
from ml.drafting.columns import Column

# Numbers that files use where there is no value.
USUAL_CODES = (
    -1.0, -2.0, -3.0, -7.0, -8.0, -9.0, -77.0, -88.0, -98.0, -99.0, -777.0, -888.0, -998.0, -999.0, -9999.0, -99999.0,
    66.0, 77.0, 88.0, 96.0, 97.0, 98.0, 99.0, 666.0, 777.0, 888.0, 996.0, 997.0, 998.0, 999.0, 7777.0, 8888.0, 9998.0,
    9999.0, 99999.0, 365243.0, 999999.0, 9999999.0, 99999999.0,
)  # fmt: skip
MIN_ROWS = 3
# A code is away from the other values by this share of their range at least.
GAP = 0.25
# Columns with fewer different values have no distribution from which 0 stands out.
MIN_DISTINCT = 15
# The smallest positive values are at least this share of the median where 0 stands out.
ZERO_GAP = 0.2
MAX_ZERO_SHARE = 0.6
MIN_STEPS = 5.0
# Small negative numbers are codes of a column whose other values are few and not negative.
MAX_ORDINAL_VALUES = 30


@dataclass(frozen=True)
class Code:
    """A number that is probably no quantity."""

    value: float
    meaning: str
    doubt: float


def find_codes(column: Column, in_health: bool = False) -> list[Code]:
    """Return the codes of a numeric column, ascending; `in_health` trusts names of measurements."""
    if not column.is_numeric or len(column.present) < MIN_ROWS:
        return []
    numbers = column.present.to_numpy(dtype=float)
    values, counts = np.unique(numbers, return_counts=True)
    found = {code.value: code for code in _ordinal_codes(values, counts)}
    found |= {code.value: code for code in _outlying_codes(values, counts, column)}
    if zero := _zero(values, counts, column, in_health):
        found[0.0] = zero
    return [found[value] for value in sorted(found)]


def _outlying_codes(values: np.ndarray, counts: np.ndarray, column: Column) -> list[Code]:
    """Return usual codes outside of the range of the other values, with a gap between."""
    is_usual = np.isin(values, USUAL_CODES)
    others, weights = values[~is_usual], counts[~is_usual]
    if not is_usual.any() or len(others) < 2:
        return []
    # Codes in the range of the others are quantities: ages of 66. A few outliers do not hide a code.
    low, high = _bulk(others, weights)
    found: list[Code] = []
    rare: list[Code] = []
    for value, count in zip(values[is_usual], counts[is_usual], strict=True):
        gap = (low - value if value < low else value - high) / max(high - low, 1.0)
        if gap < GAP or (-3.0 <= value < 0 and gap < 2 * GAP):
            continue
        evidence = f"{value:.12g} in {count:,} rows ({count / column.rows:.1%}), outside of the other values"
        # Beyond the others by more than their range: hardly a quantity.
        doubt = 0.3 if gap > 1 else 0.6
        code = Code(float(value), f"probably a code, not a quantity: {evidence}", doubt)
        (found if count >= MIN_ROWS else rare).append(code)
    # Where one is a code, rare ones beside it are too.
    return found + rare if found else []


def _bulk(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    cumulated = np.cumsum(weights) / weights.sum()
    low = values[int(np.searchsorted(cumulated, 0.0005))]
    return float(low), float(values[min(int(np.searchsorted(cumulated, 0.9995)), len(values) - 1)])


def _ordinal_codes(values: np.ndarray, counts: np.ndarray) -> list[Code]:
    """Return small negative whole numbers of a column whose other values are few, whole and not negative."""
    negative = values < 0
    is_ordinal = len(values) <= MAX_ORDINAL_VALUES and (values == np.floor(values)).all()
    if not is_ordinal or not negative.any() or values.min() < -9 or (~negative).sum() < 2:
        return []
    shares = counts / counts.sum()
    return [
        Code(
            float(value),
            f"probably a code, as the other values are counts or grades: in {share:.1%} of the rows",
            0.5,
        )
        for value, share, low in zip(values, shares, negative, strict=True)
        if low
    ]


def _zero(values: np.ndarray, counts: np.ndarray, column: Column, in_health: bool) -> Code | None:
    """Return 0 as a code where it is apart from all other values, as in a column of pressures."""
    positive, weights = values[values > 0], counts[values > 0]
    zeros = int(counts[values == 0].sum())
    if not zeros or (values < 0).sum() > 0.01 * len(values) or len(positive) < MIN_DISTINCT:
        return None
    cumulated = np.cumsum(weights) / weights.sum()
    low, median = positive[np.searchsorted(cumulated, 0.01)], positive[np.searchsorted(cumulated, 0.5)]
    is_known = in_health and names.has_word(column.name, names.NEVER_ZERO)
    share = zeros / counts.sum()
    # Of counts, 0 is as far from 1 as 1 is from 2.
    if low < MIN_STEPS * np.median(np.diff(positive)):
        return None
    stands_out = low > ZERO_GAP * median and share < MAX_ZERO_SHARE and zeros >= MIN_ROWS
    if not (stands_out or (is_known and low > 0.5 * ZERO_GAP * median)):
        return None
    evidence = f"0 in {zeros:,} rows ({share:.1%}), while 99 % of the others are at least {low:g}"
    return Code(0.0, f"probably not measured: {evidence}", 0.35 if is_known and stands_out else 0.65)

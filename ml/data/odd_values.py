"""Notes about values that are often mistakes: codes for missing values, two scales, spellings, numbers as text."""

from collections.abc import Collection

import numpy as np
import pandas as pd

# Numbers that files use where a value is missing.
USUAL_CODES = (-1.0, -9.0, -99.0, -999.0, -9999.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0)
# A code or a group of values counts if it has this share of the rows, and at least ten rows.
MIN_SHARE, MIN_ROWS = 0.002, 10
# Two scales are apart by this factor at least, with no value in between.
SCALE_FACTOR = 20.0
MOSTLY_NUMBERS = 0.9
MOSTLY_UNIQUE = 0.9


def number_notes(numbers: np.ndarray, codes: Collection[float]) -> list[str]:
    """Describe what looks odd in the present values of a numeric column; `codes` are declared in the contract."""
    usual = [
        f"{code:g} in {share:.1%} of rows, outside of all other values: a code for a missing value?"
        for code, share in _outlying_codes(numbers, codes)
    ]
    others = numbers[~np.isin(numbers, [*codes, *USUAL_CODES])]
    share = _second_scale(np.abs(others[others != 0.0]))
    scales = [
        f"two scales: {share:.1%} of values are apart by a factor of {SCALE_FACTOR:g} or more: another unit?"
    ]
    return usual + (scales if share else [])


def category_notes(counts: pd.Series) -> list[str]:
    """Describe what looks odd in a category, from the rows of each of its values; no value is named."""
    if not len(counts):
        return []
    notes = []
    words = counts.index.to_series().astype(str)
    plain = words.str.strip().str.casefold()
    spellings = counts.groupby(plain.to_numpy()).size()
    if several := int((spellings > 1).sum()):
        notes.append(f"{several} values are spelt in several ways that differ only in case or white space")
    numeric = pd.to_numeric(words, errors="coerce").notna().to_numpy()
    share = float(counts[numeric].sum() / counts.sum())
    if MOSTLY_NUMBERS < share < 1.0:
        notes.append(f"{share:.1%} of rows are numbers, the others text")
    if len(counts) > MOSTLY_UNIQUE * counts.sum() and counts.sum() > 4 * MIN_ROWS:
        notes.append("almost every row has a value of its own: an identifier or free text?")
    return notes


def _outlying_codes(numbers: np.ndarray, codes: Collection[float]) -> list[tuple[float, float]]:
    """Return the usual codes that are outside of the range of all other values, with their share of the rows."""
    found = []
    others = numbers[~np.isin(numbers, [*codes, *USUAL_CODES])]
    if not len(others):
        return []
    low, high = others.min(), others.max()
    for code in USUAL_CODES:
        count = int((numbers == code).sum())
        outside = code < low - 0.05 * (high - low) or code > high + 0.05 * (high - low)
        # Ages of 99 or counts of -1 next to 0 are no gaps.
        if code not in codes and outside and count >= max(MIN_ROWS, MIN_SHARE * len(numbers)):
            found.append((code, count / len(numbers)))
    return found


def _second_scale(sizes: np.ndarray) -> float:
    """Return the share of the smaller of two groups of values with nothing in between; 0 if there is one group."""
    least = max(MIN_ROWS, int(MIN_SHARE * len(sizes)))
    if len(sizes) < 4 * MIN_ROWS or len(np.unique(sizes[:1000])) < 10:
        return 0.0
    logs = np.sort(np.log10(sizes))
    gaps = np.diff(logs)[least - 1 : len(logs) - least]
    if not len(gaps) or gaps.max() < np.log10(SCALE_FACTOR):
        return 0.0
    below = least + int(gaps.argmax())
    return min(below, len(sizes) - below) / len(sizes)

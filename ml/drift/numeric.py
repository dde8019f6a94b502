"""Numeric columns: a summary of a sample, and how far another sample is from it."""

from dataclasses import dataclass

import numpy as np

MAX_CUT_POINTS = 50
# Fewer rows than these are never alone between two cut points, so that no single row can be read from them.
MIN_ROWS = 10
# Distance of the fences from the inner 98 % of the values, in widths of these.
FENCE_WIDTHS = 2.0
# Factors between units: decimals, time, percentages, memory, length, weight, volume.
NAMED_FACTORS = (
    *(10.0**k for k in range(1, 10)),
    7.0,
    12.0,
    24.0,
    60.0,
    365.25,
    1024.0,
    3600.0,
    86_400.0,
    2.54,
    0.3048,
    0.453592,
    1.609344,
    18.0182,  # mmol/l to mg/dl of glucose
    88.4,  # mg/dl to micromole/l of creatinine
)
# Smaller factors are recognised only where the distributions differ as much as CLEAR_DISTANCE: values do become twice
# as large without a change of unit.
LARGE_FACTOR, CLEAR_DISTANCE = 7.0, 0.4
# Affine changes of unit: factor and offset.
NAMED_SCALES = {"Celsius to Fahrenheit": (1.8, 32.0), "Fahrenheit to Celsius": (1 / 1.8, -32 / 1.8)}


@dataclass(frozen=True)
class NumericSummary:
    """The distribution of a numeric column: shares of its values at and below cut points that are its quantiles.

    `at_most` and `below` are the shares of values at most and below each of the ascending `cuts`. `outside` is the
    share outside of the `fences`, far from all but 2 % of the values. `most_common` is the largest share of one value.
    """

    missing: float
    values: int
    cuts: tuple[float, ...]
    at_most: tuple[float, ...]
    below: tuple[float, ...]
    fences: tuple[float, float]
    outside: float
    most_common: float


def summarize_numeric(column: np.ndarray) -> NumericSummary:
    """Summarise a float column; NaN is missing."""
    values = np.sort(column[~np.isnan(column)])
    missing = 1.0 - len(values) / len(column) if len(column) else 0.0
    if len(values) < MIN_ROWS:
        return NumericSummary(missing, len(values), (), (), (), (0.0, 0.0), 0.0, 1.0)
    cuts = cut_points(values, min(MAX_CUT_POINTS, len(values) // MIN_ROWS))
    at_most, below = cumulative_shares(cuts, values)
    first, last = np.quantile(values, [0.01, 0.99])
    width = FENCE_WIDTHS * (last - first)
    fences = (float(first - width), float(last + width))
    runs = np.diff(np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1], [True]])))
    return NumericSummary(
        missing=missing,
        values=len(values),
        cuts=tuple(map(float, cuts)),
        at_most=tuple(map(float, at_most)),
        below=tuple(map(float, below)),
        fences=fences,
        outside=share_outside(fences, values),
        most_common=float(runs.max() / len(values)),
    )


def cut_points(values: np.ndarray, number: int) -> np.ndarray:
    """Return up to `number` quantiles of sorted values, at least `MIN_ROWS`, none of them the value of one row.

    A value that many rows share is returned as it is, else the mean of neighbours.
    """
    positions = (np.arange(1, number + 1) * len(values)) // (number + 1)
    candidates = values[positions]
    counts = np.searchsorted(values, candidates, "right") - np.searchsorted(values, candidates, "left")
    starts = np.clip(positions - MIN_ROWS // 2, 0, len(values) - MIN_ROWS)
    means = np.array([values[start : start + MIN_ROWS].mean() for start in starts])
    return np.unique(np.where(counts >= MIN_ROWS, candidates, means))


def cumulative_shares(cuts: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of `values` (not missing, any order) at most and below each of the ascending cut points."""
    total = max(len(values), 1)

    def shares(side: str) -> np.ndarray:
        # The number of cut points that a value is not counted at.
        positions = np.searchsorted(cuts, values, "left" if side == "at most" else "right")
        return np.asarray(np.bincount(positions, minlength=len(cuts) + 1)[: len(cuts)].cumsum() / total)

    return shares("at most"), shares("below")


def share_outside(fences: tuple[float, float], values: np.ndarray) -> float:
    """Return the share of values outside of the fences."""
    return float(((values < fences[0]) | (values > fences[1])).mean()) if len(values) else 0.0


def ks_distance(reference: NumericSummary, values: np.ndarray) -> float:
    """Return the Kolmogorov-Smirnov distance of values (not missing) from the reference, at its cut points.

    Exact where each value of the reference is a cut point; else about 1 / 50 below the distance of all values.
    """
    if not reference.cuts or not len(values):
        return 0.0
    at_most, below = cumulative_shares(np.array(reference.cuts), values)
    return float(
        max(np.abs(at_most - reference.at_most).max(), np.abs(below - np.array(reference.below)).max())
    )


def population_stability_index(reference: np.ndarray, batch: np.ndarray) -> float:
    """Return the PSI of two vectors of shares of the same bins; empty bins count as one part in ten thousand."""
    p, q = np.maximum(reference, 1e-4), np.maximum(batch, 1e-4)
    return float(((q - p) * np.log(q / p)).sum())


def unit_change(reference: NumericSummary, values: np.ndarray, tolerance: float) -> str:
    """Name the change of unit that brings the values back within `tolerance` of the reference; "" if there is none.

    `tolerance` is a Kolmogorov-Smirnov distance. Of several changes the one that fits best counts.
    """
    before = ks_distance(reference, values)
    fits = [(1.0, "")]
    for factor in NAMED_FACTORS:
        if factor >= LARGE_FACTOR or before >= CLEAR_DISTANCE:
            fits.append((ks_distance(reference, values / factor), f"{factor:g} times the earlier values"))
            fits.append(
                (ks_distance(reference, values * factor), f"the earlier values divided by {factor:g}")
            )
    if before >= CLEAR_DISTANCE:
        for name, (factor, offset) in NAMED_SCALES.items():
            fits.append((ks_distance(reference, (values - offset) / factor), f"changed from {name}"))
        fits.append((ks_distance(reference, -values), "the earlier values with the other sign"))
    distance, name = min(fits)
    return name if distance <= tolerance and distance < before / 3 else ""

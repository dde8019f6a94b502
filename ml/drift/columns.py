"""Compare each column of a batch with its summary, and find pairs of columns that were exchanged."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from ml.contract.drift_policy import DriftKind
from ml.drift.categories import CategorySummary, category_distance, vanished
from ml.drift.finding import BOUNDS, Finding, judge, present
from ml.drift.limits import Noise, ks_noise, share_difference_low, total_variation_noise
from ml.drift.numeric import MIN_ROWS, NumericSummary, ks_distance, share_outside, unit_change
from ml.drift.summary import BatchColumns, BatchSummary

# Distance from each other's reference at which two exchanged columns, or a changed unit, are recognised.
SAME = 0.1
# Years beyond the reference's range at which instants are taken for wrong ones.
WRONG_YEARS = 5.0
SECONDS_PER_YEAR = 365.25 * 86_400


def compare_columns(reference: BatchSummary, batch: BatchColumns, noise: Noise) -> Iterator[Finding]:
    """Yield the findings of all columns that batch and reference have."""
    numbers = {c: v for c, v in batch.numbers.items() if c in reference.numbers}
    categories = {c: batch.sample[c] for c in batch.categories if c in reference.categories}
    swaps = [
        *_swapped_numbers(reference.numbers, numbers, noise),
        *_swapped_categories(reference.categories, categories, noise),
    ]
    for a, b in swaps:
        text = f"has the values of {b!r}, and the other way round"
        yield from present("swapped_columns", a, text)
    named = {column for pair in swaps for column in pair}
    for column, values in numbers.items():
        if column not in named:
            yield from compare_numbers(column, reference.numbers[column], values, noise)
    for column, cells in categories.items():
        if column not in named:
            yield from compare_categories(column, reference.categories[column], cells, noise)
    for column, values in batch.times_of_day().items():
        if column in reference.times_of_day:
            yield from _compare_times_of_day(column, reference.times_of_day[column], values, noise)


def compare_numbers(
    column: str, reference: NumericSummary, values: np.ndarray, noise: Noise
) -> Iterator[Finding]:
    """Compare a numeric column: missing values, constancy, unit, distribution, and values far out."""
    present_values = values[~np.isnan(values)]
    yield from compare_missing(column, reference.missing, len(present_values), len(values), noise)
    if len(present_values) < MIN_ROWS or reference.values < MIN_ROWS:
        return
    noise = _for_values(noise, reference.values, len(present_values), len(values))
    if _is_constant(present_values) and reference.most_common**noise.batch_units < noise.level:
        yield from present("constant", column, "one value in all rows, before several")
        return
    distance = ks_distance(reference, present_values)
    if distance - ks_noise(noise) > BOUNDS["distribution"].moderate:
        unit = unit_change(reference, present_values, min(SAME + ks_noise(noise), 0.3))
        if unit:
            yield from present("unit_change", column, f"the values are {unit}")
            return
    yield from compare_distribution("distribution", column, reference, present_values, noise)
    outside = share_outside(reference.fences, present_values)
    yield from judge(
        "out_of_range",
        column,
        outside - reference.outside,
        share_difference_low(reference.outside, outside, noise),
        f"{outside:.1%} of the values are far outside of the earlier range, before {reference.outside:.1%}",
    )


def compare_distribution(
    kind: DriftKind, column: str, reference: NumericSummary, values: np.ndarray, noise: Noise
) -> list[Finding]:
    """Judge the Kolmogorov-Smirnov distance of values (not missing)."""
    distance = ks_distance(reference, values)
    text = f"the distribution differs by {distance:.2f} (Kolmogorov-Smirnov)"
    return judge(kind, column, distance, distance - ks_noise(noise), text)


def compare_missing(column: str, before: float, values: int, rows: int, noise: Noise) -> list[Finding]:
    """Judge the share of missing cells, of which a batch may also have fewer; `values` are the other cells."""
    after = 1.0 - values / rows if rows else 0.0
    if after >= before:
        low = share_difference_low(before, after, noise)
    else:
        low = share_difference_low(
            after,
            before,
            replace(noise, reference_units=noise.batch_units, batch_units=noise.reference_units),
        )
    text = f"missing in {after:.1%} of the rows, before in {before:.1%}"
    found = judge("missing_values", column, abs(after - before), low, text)
    # Values where there were none are no damage.
    return [replace(f, severe=False) for f in found] if after < before else found


def compare_categories(
    column: str, reference: CategorySummary, cells: pd.Series, noise: Noise
) -> Iterator[Finding]:
    """Compare a category column: missing values, constancy, spelling, new and vanished categories, shares."""
    values = int(cells.notna().sum())
    yield from compare_missing(column, reference.missing, values, len(cells), noise)
    if values < MIN_ROWS or reference.values < MIN_ROWS:
        return
    noise = _for_values(noise, reference.values, values, len(cells))
    largest = max([reference.other, *reference.shares.values()])
    if cells.nunique() == 1 and largest**noise.batch_units < noise.level:
        yield from present("constant", column, "one category in all rows, before several")
        return
    distance = category_distance(reference, cells)
    found = judge(
        "category_spelling",
        column,
        distance.respelled - reference.respelled,
        share_difference_low(reference.respelled, distance.respelled, noise),
        f"{distance.respelled:.1%} of the values are earlier categories in another spelling (case, white space)",
    )
    yield from found
    if any(finding.severe for finding in found):
        return
    new = distance.unknown - distance.respelled
    yield from judge(
        "new_categories",
        column,
        new - reference.other,
        share_difference_low(reference.other, new, noise),
        f"{new:.1%} of the values are new or rare categories, before {reference.other:.1%}",
    )
    absent = vanished(reference, distance, noise.batch_units, noise.level)
    text = f"{len(absent)} categories with {sum(absent):.1%} of the earlier values are absent"
    yield from judge("vanished_categories", column, sum(absent), sum(absent), text)
    low = distance.variation - total_variation_noise([*reference.shares.values(), reference.other], noise)
    text = f"the shares of the categories differ by {distance.variation:.2f} (total variation)"
    yield from judge("category_shares", column, distance.variation, low, text)


def compare_times(reference: BatchSummary, batch: BatchColumns, noise: Noise) -> Iterator[Finding]:
    """Compare the ranges of instants: older than the reference, which is severe for all rows, or years away from it."""
    for column, seconds in batch.times.items():
        before = reference.times.get(column)
        values = seconds[~np.isnan(seconds)]
        if before is None or not before.cuts or len(values) < MIN_ROWS:
            continue
        if _is_constant(values) and before.most_common ** min(noise.batch_units, len(values)) < noise.level:
            yield from present("constant", column, "one instant in all rows, before several")
            continue
        first, last, middle = before.cuts[0], before.cuts[-1], float(np.median(values))
        margin = 3 * (last - first) + WRONG_YEARS * SECONDS_PER_YEAR
        if not first - margin <= middle <= last + margin:
            found = present("time_range", column, "most times are years away from the earlier ones")
            yield from (replace(finding, severe=True) for finding in found)
        elif values.max() < first:
            found = present(
                "time_range", column, "all times are before those of the earlier batch: stale data?"
            )
            yield from (replace(finding, severe=True) for finding in found)
        elif middle < first:
            yield from present("time_range", column, "most times are before those of the earlier batch")


def _compare_times_of_day(
    column: str, reference: NumericSummary, values: np.ndarray, noise: Noise
) -> Iterator[Finding]:
    present_values = values[~np.isnan(values)]
    yield from compare_missing(column, reference.missing, len(present_values), len(values), noise)
    if len(present_values) < MIN_ROWS or reference.values < MIN_ROWS:
        return
    noise = _for_values(noise, reference.values, len(present_values), len(values))
    for found in compare_distribution("distribution", column, reference, present_values, noise):
        # Models do not use the time of day.
        yield replace(
            found, severe=False, text=f"the times of day differ by {found.effect:.2f} (Kolmogorov-Smirnov)"
        )


def _for_values(noise: Noise, reference_values: int, values: int, rows: int) -> Noise:
    """Return the noise of a column that has `values` in `rows` rows."""
    return replace(
        noise,
        reference_units=min(noise.reference_units, reference_values),
        batch_units=max(int(noise.batch_units * values / rows), 1),
    )


def _is_constant(values: np.ndarray) -> bool:
    return bool(values.min() == values.max())


def _swapped_numbers(
    reference: Mapping[str, NumericSummary], values: Mapping[str, np.ndarray], noise: Noise
) -> list[tuple[str, str]]:
    """Return pairs of numeric columns that differ from their own summary and agree with each other's."""
    present_values = {c: v[~np.isnan(v)] for c, v in values.items()}
    own = {
        c: (
            ks_distance(reference[c], v),
            ks_noise(_for_values(noise, reference[c].values, len(v), len(values[c]))),
        )
        for c, v in present_values.items()
        if len(v) >= MIN_ROWS and reference[c].values >= MIN_ROWS
    }
    moved = [c for c, (distance, limit) in own.items() if distance - limit > BOUNDS["distribution"].moderate]

    def agree(a: str, b: str) -> bool:
        """Return whether the values of `a` are like the reference of `b`, more than like their own."""
        distance = ks_distance(reference[b], present_values[a])
        return distance <= SAME + own[a][1] and distance < own[a][0] / 2

    return [(a, b) for i, a in enumerate(moved) for b in moved[i + 1 :] if agree(a, b) and agree(b, a)]


def _swapped_categories(
    reference: Mapping[str, CategorySummary], cells: Mapping[str, pd.Series], noise: Noise
) -> list[tuple[str, str]]:
    """Return pairs of category columns that differ from their own summary and agree with each other's."""
    usable = {c: v for c, v in cells.items() if v.notna().sum() >= MIN_ROWS and reference[c].shares}
    own: dict[str, tuple[float, float]] = {}
    for name, column in usable.items():
        shares = [*reference[name].shares.values(), reference[name].other]
        own[name] = category_distance(reference[name], column).variation, total_variation_noise(shares, noise)
    moved = [
        c for c, (distance, limit) in own.items() if distance - limit > BOUNDS["category_shares"].moderate
    ]

    def agree(a: str, b: str) -> bool:
        distance = category_distance(reference[b], usable[a]).variation
        return distance <= SAME + own[b][1] and distance < own[a][0] / 2

    return [(a, b) for i, a in enumerate(moved) for b in moved[i + 1 :] if agree(a, b) and agree(b, a)]

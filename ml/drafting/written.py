"""How cells of text write numbers and times: marks for decimals and thousands, and formats of dates."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ml.contract.read_options import ReadOptions
from ml.data.written_values import from_written, number_pattern
from ml.drafting.proposals import Proposal

# Decimal and thousands mark; of several that fit equally well, the first one.
DIVIDERS = (" ", "'", "\u2019", "\u00a0", "\u202f")
DIVIDED = tuple((decimal, divider) for divider in DIVIDERS for decimal in (",", "."))
MARKS = ((".", ""), (".", ","), (",", ""), (",", "."), *DIVIDED)
# In files between whose cells are semicolons, the comma is usually the decimal mark.
MARKS_AFTER_SEMICOLON = ((".", ""), (",", ""), (",", "."), (".", ","), *DIVIDED)
# A cell with digits that some of the marks may divide.
NUMBER_LIKE = r"\s*[+-]?[\d.,][\d., '\u2019\u00a0\u202f]*(?:[eE][+-]?\d+)?\s*"
# Share of the cells of a column that must be like numbers, and of these that must be written with the marks.
MIN_NUMBERS, MIN_WRITTEN = 0.5, 0.98
# Cells and share of cells that a pair of marks must explain beyond the usual one.
MIN_GAINED, MIN_GAINED_SHARE = 5, 0.001
DATE_SHARE = 0.98
MAX_LOOKED_AT = 2_000
# A time of day after a date; the first one is none.
TIMES_OF_DAY = ("", " %H:%M:%S", " %H:%M", " %H:%M:%S.%f", "T%H:%M:%S", "T%H:%M")
# Formats of dates by their shape, the more usual one first; dates as in ISO 8601 need no format.
DATES: Mapping[str, tuple[str, ...]] = {
    r"\d{1,2}/\d{1,2}/\d{4}": ("%d/%m/%Y", "%m/%d/%Y"),
    r"\d{1,2}\.\d{1,2}\.\d{4}": ("%d.%m.%Y", "%m.%d.%Y"),
    r"\d{1,2}-\d{1,2}-\d{4}": ("%d-%m-%Y", "%m-%d-%Y"),
    r"\d{1,2}/\d{1,2}/\d{2}": ("%d/%m/%y", "%m/%d/%y"),
    r"\d{1,2}\.\d{1,2}\.\d{2}": ("%d.%m.%y",),
    r"\d{4}/\d{1,2}/\d{1,2}": ("%Y/%m/%d",),
    r"\d{4}\.\d{1,2}\.\d{1,2}": ("%Y.%m.%d",),
    r"\d{1,2}-[A-Za-z]{3}-\d{4}": ("%d-%b-%Y",),
    r"\d{1,2}-[A-Za-z]{3}-\d{2}": ("%d-%b-%y",),
    r"\d{1,2} [A-Za-z]{3,9} \d{4}": ("%d %b %Y", "%d %B %Y"),
    r"[A-Za-z]{3,9} \d{1,2}, \d{4}": ("%b %d, %Y", "%B %d, %Y"),
}  # fmt: skip
DAYS_AND_MONTHS = re.compile(r"\s*(\d{1,2})\D(\d{1,2})\D")


@dataclass(frozen=True)
class Written:
    """How a sample writes numbers and times, as keys of `meta.read`, with the evidence.

    `plain` is the sample with its numbers and times as they are written by default; `changed` are the columns that
    differ.
    """

    plain: pd.DataFrame
    changed: frozenset[str] = frozenset()
    read: Mapping[str, Any] = field(default_factory=dict)
    proposals: tuple[Proposal, ...] = ()


def find_written(sample: pd.DataFrame, separator: str = ",") -> Written:
    """Return how the columns of text write numbers and times; nothing where all is as by default."""
    texts = [str(c) for c in sample.columns if isinstance(sample[c].dtype, pd.StringDtype)]
    dates = [found for name in texts if (found := _find_format(name, sample[name]))]
    formats = {name: form for name, form, _ in dates}
    read: dict[str, Any] = {}
    proposals = [proposal for *_, proposal in dates]
    plain = {name: _iso(sample[name], form) for name, form in formats.items()}
    decimal, thousands, marked, rival = _find_marks(
        [sample[name] for name in texts if name not in formats], separator
    )
    if marked:
        read |= {"decimal": decimal} if decimal != "." else {}
        read |= {"thousands": thousands} if thousands else {}
        proposals += _mark_proposals(decimal, thousands, marked, rival)
        options = ReadOptions(columns={}, decimal=decimal, thousands=thousands)
        for name in marked:
            numbers = from_written(sample[name], "number", options)
            plain[name] = sample[name].where(numbers.isna(), numbers)
    if formats:
        read["date_formats"] = formats
    return Written(sample.assign(**plain) if plain else sample, frozenset(plain), read, tuple(proposals))


def _find_marks(columns: list[pd.Series], separator: str) -> tuple[str, str, list[str], str]:
    """Return the marks by which most cells are numbers, the columns that have them, and marks that fit as well."""
    counts = [found for cells in columns if (found := _number_like(cells)) is not None]
    order = MARKS_AFTER_SEMICOLON if separator == ";" else MARKS
    fits = {marks: [_written_with(values, *marks) for values in counts] for marks in order} if counts else {}
    if not fits:
        return ".", "", [], ""
    totals = {marks: sum(float(fit.sum()) for fit in found) for marks, found in fits.items()}
    usual = order[0]
    best = max(order, key=lambda marks: totals[marks])
    cells = sum(float(values.sum()) for values in counts)
    if totals[best] - totals[usual] < max(MIN_GAINED, MIN_GAINED_SHARE * cells / len(counts)):
        return ".", "", [], ""
    signs = {best[0], best[1]} - {"."} | ({"."} if best[1] == "." else set())
    marked = [
        str(values.name)
        for values, fit in zip(counts, fits[best], strict=True)
        if fit.sum() >= MIN_WRITTEN * values.sum()
        and any(values.index.str.contains(s, regex=False).any() for s in signs if s)
    ]
    rivals = [
        marks for marks in order if marks != best and totals[marks] == totals[best] and marks[0] != best[0]
    ]
    return *best, marked, rivals[0][0] if rivals else ""


def _number_like(cells: pd.Series) -> pd.Series | None:
    """Return how often each cell that is like a number occurs; None for a column of other texts."""
    some = cells.dropna()
    looked_at = some.iloc[:: max(1, len(some) // MAX_LOOKED_AT)]
    if not len(some) or looked_at.str.fullmatch(NUMBER_LIKE).mean() < MIN_NUMBERS:
        return None
    counts = some.value_counts()
    numbers: pd.Series = counts[counts.index.str.fullmatch(NUMBER_LIKE)]
    numbers.name = cells.name
    return numbers


def _written_with(counts: pd.Series, decimal: str, thousands: str) -> pd.Series:
    """Return how often the cells occur that are numbers with these marks."""
    fits: pd.Series = counts[counts.index.str.strip().str.fullmatch(number_pattern(decimal, thousands))]
    return fits


def _mark_proposals(decimal: str, thousands: str, marked: list[str], rival: str) -> Iterator[Proposal]:
    shown = ", ".join(map(repr, marked[:5])) + (f" and {len(marked) - 5} more" if len(marked) > 5 else "")
    doubt = 0.9 if rival else 0.2
    also = f"; with {rival!r} as decimal mark they are numbers too, of another size" if rival else ""
    if decimal != ".":
        yield Proposal(
            "read.decimal", f"numbers have {decimal!r} before the fraction in {shown}{also}", doubt
        )
    if thousands:
        yield Proposal(
            "read.thousands", f"numbers have {thousands!r} between thousands in {shown}{also}", doubt
        )


def _find_format(name: str, cells: pd.Series) -> tuple[str, str, Proposal] | None:
    """Return the format of a column of dates that are not written as in ISO 8601, with the evidence."""
    different = pd.Series(cells.dropna().str.strip().unique(), dtype=cells.dtype)
    different = different.iloc[:: max(1, len(different) // MAX_LOOKED_AT)]
    if len(different) < 2:
        return None
    for shape, formats in DATES.items():
        if different.str.match(rf"{shape}(?!\d)").mean() < DATE_SHARE:
            continue
        found = [
            date + time
            for date in formats
            for time in TIMES_OF_DAY
            if _share_of_times(different, date + time) >= DATE_SHARE
        ]
        if found:
            chosen, doubt, why = _choose(found, different)
            reason = f"times are written as {chosen}{why}"
            return name, chosen, Proposal(f"read.date_formats.{name}", reason, doubt)
    return None


def _share_of_times(cells: pd.Series, form: str) -> float:
    return float(pd.to_datetime(cells, format=form, errors="coerce", utc=True).notna().mean())


def _choose(formats: list[str], cells: pd.Series) -> tuple[str, float, str]:
    """Choose between day first and month first where all cells are dates in both ways."""
    if len(formats) == 1:
        return formats[0], 0.2, ""
    parts = cells.str.extract(DAYS_AND_MONTHS.pattern)
    constant = [parts[k].nunique() == 1 for k in (0, 1)]
    if constant[0] != constant[1]:
        # The first day of each month, or dates of one year and month.
        day_first = constant[0]
        chosen = next((f for f in formats if f.startswith("%d") == day_first), formats[0])
        return chosen, 0.6, ": of the two numbers, the one that never changes is taken for the day"
    return formats[0], 0.9, f"; as {formats[1]} they are dates too: which of the numbers is the day?"


def _iso(cells: pd.Series, form: str) -> pd.Series:
    """Return dates as in ISO 8601; a cell that is none stays as it is."""
    times = pd.to_datetime(cells.str.strip(), format=form, errors="coerce", utc=True)
    return cells.where(times.isna(), times.dt.strftime("%Y-%m-%dT%H:%M:%S.%f").astype(cells.dtype))

"""Times without a row: the longest one of a batch, and whether that of another batch is far longer."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ml.drift.finding import Finding, judge
from ml.drift.numeric import MIN_ROWS

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class PauseSummary:
    """The longest time between a row and the next one, the mean time, and that between the first and last; seconds."""

    longest: float
    mean: float
    span: float


def summarize_pauses(seconds: np.ndarray) -> PauseSummary | None:
    """Summarise the instants of a batch, in any order, NaN where missing; None for fewer than 10 or a single one."""
    present = np.sort(seconds[~np.isnan(seconds)])
    if len(present) < MIN_ROWS or present[-1] <= present[0]:
        return None
    pauses = np.diff(present)
    return PauseSummary(float(pauses.max()), float(pauses.mean()), float(present[-1] - present[0]))


def compare_pauses(
    column: str, reference: PauseSummary | None, batch: PauseSummary | None
) -> Iterator[Finding]:
    """Yield a finding where the longest pause is at least a day, and several times as long as the earlier longest one.

    The smaller of two ratios counts: that of the pauses, and that of the pauses in units of the mean one. So neither a
    batch with fewer rows nor one with more is reported for that. Where rows come independently of each other, the
    longest of n pauses is about ln(n) mean ones, and three times as long with a probability of about 1 / n^2. A pause
    that is longer than all of the earlier batch is one before instants that are wrong, which other checks find.
    """
    if reference is None or batch is None or not SECONDS_PER_DAY <= batch.longest <= reference.span:
        return
    ratio = batch.longest / reference.longest
    effect = min(ratio, ratio * reference.mean / batch.mean)
    text = f"{_days(batch.longest)} days without a row, before at most {_days(reference.longest)}: are days missing?"
    yield from judge("silent_period", column, effect, effect, text)


def _days(seconds: float) -> str:
    return f"{seconds / SECONDS_PER_DAY:.2g}"

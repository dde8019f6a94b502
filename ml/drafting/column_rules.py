"""Rules about single columns: ranges, categories, and shares of missing cells."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ml.drafting.columns import Column
from ml.drafting.proposals import DraftRule
from ml.drafting.spellings import Misspelling

BETWEEN = "expect_column_values_to_be_between"
IN_SET = "expect_column_values_to_be_in_set"
NOT_IN_SET = "expect_column_values_to_not_be_in_set"
NOT_NULL = "expect_column_values_to_not_be_null"
# Fewer values say nothing about a range.
MIN_VALUES = 30
# Share of the values in each tail of the range to which a margin is added.
TAIL = 0.005
# With more values than this outside of it, a range is one of the logarithm.
MAX_OUTSIDE = 0.001
# A share of values outside of the bounds that a person should look at.
NOTABLE_OUTSIDE = 0.0003
MAX_CATEGORIES = 100
# Sentences are no categories, even where they are few.
MAX_LABEL_LENGTH = 500
# Whole numbers are grades where they are few, and each is in several rows.
MAX_GRADES, MIN_GRADE_ROWS = 10, 10
# Share of rows with categories that no other row has, which estimates that of unknown categories (Good and Turing).
MAX_UNSEEN, MAX_UNSEEN_WARNED = 0.001, 0.01
# The share of present cells may fall by this much at least before a batch is refused.
MISSING_MARGIN = 0.1
MIN_PRESENT = 0.05


def range_rules(column: Column, codes: Collection[float], margin: float = 1.0) -> list[DraftRule]:
    """Return the range of a numeric column; codes are inside of it. `margin` widens it."""
    values = column.present.to_numpy(dtype=float)
    values = np.sort(values[~np.isin(values, [*codes])])
    if len(values) < MIN_VALUES:
        return []
    if column.kind == "integer" and (grades := _grades(column.name, values, codes)):
        return [grades]
    low, high = _bounds(values, margin)
    below, above = (
        (math.floor(low) if low != 0 else 0, math.ceil(high)) if column.kind == "integer" else (low, high)
    )
    tails = f"{_q(values, TAIL):.4g} and {_q(values, 1 - TAIL):.4g}"
    evidence = f"99 % of {len(values):,} values are between {tails}"
    outside = int(((values < below) | (values > above)).sum())
    if low == 0:
        evidence += ", and none is negative" if values[0] >= 0 else ", and hardly any is negative"
    doubt = 0.0
    if outside:
        evidence += f"; {outside:,} outside of the bounds are probably errors"
        doubt = 0.45 if outside > NOTABLE_OUTSIDE * len(values) else 0.2
    kwargs: dict[str, Any] = {"column": column.name, "min_value": below, "max_value": above}
    beyond = [code for code in codes if not below <= code <= above]
    if beyond:
        kwargs |= _except(column.name, beyond, kwargs)
    return [DraftRule(BETWEEN, kwargs, "quarantine", evidence, doubt)]


def _grades(name: str, values: np.ndarray, codes: Collection[float]) -> DraftRule | None:
    """Return the rule that only known grades occur; None for a column of counts or amounts."""
    grades, counts = np.unique(values, return_counts=True)
    if len(grades) > MAX_GRADES or counts.min() < MIN_GRADE_ROWS:
        return None
    known = sorted({*map(int, grades), *map(int, codes)})
    reason = f"{len(grades)} grades in {len(values):,} rows, the rarest in {counts.min():,}"
    return DraftRule(IN_SET, {"column": name, "value_set": known}, "quarantine", reason)


def _except(name: str, codes: Sequence[float], bounds: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by which a range does not look at codes outside of it."""
    if not is_quotable(name):
        return {"min_value": min(bounds["min_value"], *codes), "max_value": max(bounds["max_value"], *codes)}
    return {"row_condition": without_codes(name, codes)}


def is_quotable(name: str) -> bool:
    """Return whether a row condition can name a column."""
    return re.fullmatch(r"[^\W\d][\w .-]*", name) is not None


def without_codes(name: str, codes: Sequence[float]) -> str:
    """Return the row condition that a column has none of the codes."""
    return f'col("{name}") not in ({", ".join(f"{code:.12g}" for code in codes)})'


def _bounds(values: np.ndarray, margin: float) -> tuple[float, float]:
    """Return bounds far enough from the quantiles that hardly any value of the same process is outside."""
    low, high = _with_margin(values, margin)
    negative = float((values < 0).mean())
    if (values > high).mean() > MAX_OUTSIDE:
        sizes = np.sign(values) * np.log1p(np.abs(values))
        high = math.copysign(math.expm1(abs(top := _with_margin(sizes, margin)[1])), top)
    if (values < low).mean() > MAX_OUTSIDE:
        sizes = np.sign(values) * np.log1p(np.abs(values))
        low = math.copysign(math.expm1(abs(bottom := _with_margin(sizes, margin)[0])), bottom)
    if values[0] > 0:  # relative to their size, positive values have a closer lower bound
        relative = math.exp(_with_margin(np.log(values), margin)[0])
        if (values < relative).mean() <= MAX_OUTSIDE:
            low = max(low, relative)
    # A value that is never negative has 0 as its bound, unless it never comes near 0.
    if negative <= MAX_OUTSIDE / 2 and low < 0:
        low = 0.0
    return _rounded(low, down=True), _rounded(high, down=False)


def _with_margin(values: np.ndarray, margin: float) -> tuple[float, float]:
    """Return the tail quantiles, each moved out by its distance from the median and the quartiles' distance."""
    middle, low, high = _q(values, 0.5), _q(values, TAIL), _q(values, 1 - TAIL)
    least = 0.5 * (_q(values, 0.75) - _q(values, 0.25))
    # Few values estimate a tail badly.
    factor = margin * (1.0 + 5.0 / math.sqrt(len(values)))
    return low - factor * max(middle - low, least), high + factor * max(high - middle, least)


def _q(values: np.ndarray, share: float) -> float:
    return float(np.quantile(values, share))


def _rounded(value: float, down: bool) -> float:
    """Round to two digits, away from the values."""
    if value == 0 or not math.isfinite(value):
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    steps = math.floor(value / unit) if down else math.ceil(value / unit)
    return float(f"{steps * unit:.12g}")


def category_rules(
    column: Column, misspelt: Sequence[Misspelling] = (), known: Collection[str] = ()
) -> list[DraftRule]:
    """Return the rule that only known categories occur; none where new ones are to be expected.

    Misspelt categories are not among them; `known` adds categories of other rows.
    """
    wrong = {error.wrong for error in misspelt}
    counts = column.counts.drop([label for label in wrong if label in column.counts.index])
    if column.distinct < 2 or column.distinct > MAX_CATEGORIES or not len(counts):
        return []
    once = int((counts == 1).sum())
    unseen = once / counts.sum()
    is_long = int(counts.index.str.len().max()) > MAX_LABEL_LENGTH
    if unseen > MAX_UNSEEN_WARNED or counts.sum() < MIN_VALUES or is_long:
        return []
    labels = sorted({*map(str, counts.index), *known} - wrong)
    rarest = int(counts.min())
    reason = f"{len(labels)} values in {int(counts.sum()):,} rows, the rarest in {rarest:,}"
    if wrong:
        examples = sum(error.rows for error in misspelt)
        reason += f"; {examples:,} rows with {len(wrong)} other spellings of them are not among these"
    if once:
        reason += f"; {once} values are in one row each, so that about {unseen:.2%} of further rows may have new ones"
    action = "quarantine" if unseen <= MAX_UNSEEN else "warn"
    kwargs = {"column": column.name, "value_set": labels}
    return [DraftRule(IN_SET, kwargs, action, reason, 0.5 if wrong else 0.3 if once else 0.0)]


def missing_rules(column: Column) -> list[DraftRule]:
    """Return the rule that a batch is refused where far more cells are missing than in the sample."""
    if column.rows < MIN_VALUES or not column.distinct:
        return []
    share = column.n_missing / column.rows
    # Of a batch of half as many rows.
    spread = 4.0 * math.sqrt(max(share * (1.0 - share), 0.05) / (0.5 * column.rows))
    mostly = math.floor((1.0 - share - max(MISSING_MARGIN, 0.5 * share, spread)) * 100) / 100
    if mostly < MIN_PRESENT:
        return []
    found = (
        f"{share:.1%} of the cells are missing"
        if column.n_missing
        else f"no cell of {column.rows:,} is missing"
    )
    reason = f"{found} in the sample; far more mean a broken export"
    return [DraftRule(NOT_NULL, {"column": column.name, "mostly": mostly}, "fail", reason)]

"""Rules about several columns: one never above another, or combinations of categories that never occur."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ml.drafting import names
from ml.drafting.column_rules import MAX_LABEL_LENGTH, is_quotable, without_codes
from ml.drafting.columns import Column, thin
from ml.drafting.proposals import DraftRule
from ml.drafting.sums import find_sums

NOT_BELOW = "expect_column_pair_values_a_to_be_greater_than_b"
PAIRS = "expect_column_pair_values_to_be_in_set"
MAX_COLUMNS = 40
MIN_ROWS = 100
MAX_RULES = 20
# Share of the rows that must have the order; below the second one, a person has to look at the others.
MIN_ORDERED, CERTAIN = 0.97, 0.998
# Share of randomly paired cells that break an order; with fewer, the order says no more than the ranges do.
MIN_BROKEN_BY_CHANCE = 0.05
# Rows break an order this many times less often than by chance.
MIN_RATIO = 5.0
# Words for the larger and the smaller of two quantities.
OPPOSITES = {("hi", "lo"), ("high", "low"), ("max", "min"), ("maximum", "minimum"), ("end", "start"), ("to", "from"),
             ("upper", "lower"), ("systolic", "diastolic"), ("closed", "opened"), ("last", "first")}  # fmt: skip
MIN_DISTINCT = 10
# Categories whose combinations are counted, and rows that an impossible combination would have by chance.
MAX_LABELS, MAX_PAIRS = 20, 120
MIN_EXPECTED, MIN_EXPECTED_SHARE = 25.0, 0.01
MAX_UNSEEN = 0.0005


def relation_rules(columns: Sequence[Column], codes: Mapping[str, Sequence[float]]) -> list[DraftRule]:
    """Return the rules about several columns that have most support."""
    sample = [thin(column) for column in columns[:MAX_COLUMNS]]
    numbers = [c for c in sample if c.is_numeric and c.distinct >= MIN_DISTINCT]
    times = [c for c in sample if c.kind in ("time", "epoch")]
    found = [*find_sums(columns, codes), *_orders(numbers, codes), *_orders(times, {})]
    labels = [
        c
        for c in sample
        if c.kind == "category"
        and 2 <= c.distinct <= MAX_LABELS
        and c.counts.index.str.len().max() <= MAX_LABEL_LENGTH
    ]
    covered: set[str] = set()
    # What follows from rules about both columns is left out.
    for _, rule in sorted(_impossible_pairs(labels), key=lambda entry: -entry[0]):
        if not {*rule.columns} <= covered:
            covered |= {*rule.columns}
            found.append(rule)
    return found[:MAX_RULES]


def _orders(columns: Sequence[Column], codes: Mapping[str, Sequence[float]]) -> Iterator[DraftRule]:
    for a, b in combinations(columns, 2):
        # Codes are in no order.
        hidden = {c.name: codes[c.name] for c in (a, b) if c.name in codes}
        if any(not is_quotable(name) for name in hidden):
            continue
        shown = {
            c: column.typed.mask(column.typed.isin([*hidden.get(column.name, ())]))
            for c, column in zip("ab", (a, b), strict=True)
        }
        frame = pd.DataFrame(shown).dropna()
        if len(frame) < MIN_ROWS:
            continue
        below = float((frame["a"] <= frame["b"]).mean())
        above = float((frame["a"] >= frame["b"]).mean())
        low, high, share = (a, b, below) if below >= above else (b, a, above)
        if share < MIN_ORDERED or frame["a"].equals(frame["b"]):
            continue
        mixed = frame["b"].to_numpy()[np.random.default_rng(0).permutation(len(frame))]
        by_chance = float(
            ((frame["a"].to_numpy() > mixed) if low is a else (frame["a"].to_numpy() < mixed)).mean()
        )
        is_rare = (1.0 - share) * MIN_RATIO <= by_chance
        if not (is_rare and by_chance >= MIN_BROKEN_BY_CHANCE) and not _are_opposites(high.name, low.name):
            continue
        yield _order(high, low, (share, by_chance, len(frame)), hidden)


def _are_opposites(high: str, low: str) -> bool:
    """Return whether two names differ by words for the larger and the smaller quantity."""
    a, b = {*names.words(high)}, {*names.words(low)}
    return any({x} == a - b and {y} == b - a for x, y in OPPOSITES)


def _order(
    high: Column, low: Column, evidence: tuple[float, float, int], hidden: Mapping[str, Sequence[float]]
) -> DraftRule:
    share, by_chance, rows = evidence
    kwargs: dict[str, Any] = {
        "column_A": high.name,
        "column_B": low.name,
        "or_equal": True,
        "ignore_row_if": "either_value_is_missing",
    }
    if hidden:
        kwargs["row_condition"] = " and ".join(without_codes(name, values) for name, values in hidden.items())
    reason = (
        f"{low.name!r} is not above {high.name!r} in {share:.2%} of {rows:,} rows; "
        f"of rows that are put together at random, {by_chance:.0%} break this"
    )
    is_certain = share >= CERTAIN
    return DraftRule(
        NOT_BELOW, kwargs, "quarantine" if is_certain else "warn", reason, 0.25 if is_certain else 0.7
    )


def _impossible_pairs(columns: Sequence[Column]) -> Iterator[tuple[float, DraftRule]]:
    """Yield rules by which frequent categories never meet, with the rows that would by chance."""
    for a, b in combinations(columns, 2):
        if a.distinct * b.distinct > MAX_LABELS**2:
            continue
        table = pd.crosstab(a.typed, b.typed)
        rows = int(table.to_numpy().sum())
        if rows < MIN_ROWS or table.empty:
            continue
        counts = table.to_numpy()
        expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / rows
        missing = expected[counts == 0]
        least = max(MIN_EXPECTED, MIN_EXPECTED_SHARE * rows)
        seen = int((counts > 0).sum())
        if not (missing >= least).any() or seen > MAX_PAIRS or (counts == 1).sum() > MAX_UNSEEN * rows:
            continue
        yield float(missing.max() / rows), _pairs(a, b, table, int((missing >= least).sum()), rows)


def _pairs(a: Column, b: Column, table: pd.DataFrame, impossible: int, rows: int) -> DraftRule:
    pairs = [
        [str(x), str(y)] for x, line in zip(table.index, table.to_numpy(), strict=True)
        for y, count in zip(table.columns, line, strict=True) if count
    ]  # fmt: skip
    kwargs: dict[str, Any] = {
        "column_A": a.name,
        "column_B": b.name,
        "value_pairs_set": pairs,
        "ignore_row_if": "either_value_is_missing",
    }
    reason = f"{impossible} combinations of frequent values never occur in {rows:,} rows, {len(pairs)} do"
    return DraftRule(PAIRS, kwargs, "quarantine", reason, 0.2)

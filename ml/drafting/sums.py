"""Columns that are the sum of others in each row, also with some of them subtracted."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ml.data.sums import ROUNDING
from ml.drafting.columns import Column, thin
from ml.drafting.proposals import SUM, DraftRule

# Columns and rows among which sums are looked for, and those among which sums of more than two parts are.
MAX_COLUMNS, MAX_SAMPLE = 40, 1_000
MAX_MANY_COLUMNS = 30
MIN_ROWS, MIN_DISTINCT = 100, 10
# Differences that rounding leaves of a sum, the smallest first: of numbers in a computer, and of amounts in cents, for
# each part that is added.
EXACT, OF_CENTS = 1e-6, 0.0055
# Share of the rows that must have the sum; below the second one, a person has to look at the others.
MIN_SUMS, CERTAIN = 0.99, 0.998
# Of numbers that hardly vary, roundings are no evidence.
MIN_SPREAD = 100.0
# A coefficient is this near to -1, 0 or 1.
NEAR = 0.05
# Rows in which at least two parts are not 0: sums of nothing are no evidence.
MIN_INFORMATIVE = 50
# Rows of each fit: all, and then parts of them at random, of which some have no wrong total.
FIT_ROWS = (MAX_SAMPLE, 120, 60, 60, 60, 60)


def find_sums(columns: Sequence[Column], codes: Mapping[str, Sequence[float]]) -> list[DraftRule]:
    """Return a rule for each column that is the sum of two others, or of more; columns with codes are left out."""
    usable = [c for c in columns if c.is_numeric and c.distinct >= MIN_DISTINCT and not codes.get(c.name)]
    numbers = [thin(column) for column in usable[:MAX_COLUMNS]]
    if len(numbers) < 3 or numbers[0].rows < MIN_ROWS:
        return []
    table = np.column_stack([column.typed.to_numpy(dtype=float, na_value=np.nan) for column in numbers])
    table = np.where(np.isfinite(table), table, np.nan)[:MAX_SAMPLE]
    names = [column.name for column in numbers]
    # What is too large for a sum is no sum.
    with np.errstate(over="ignore", invalid="ignore"):
        found = _of_two(table, names)
        many = [i for i, name in enumerate(names) if name not in found][:MAX_MANY_COLUMNS]
        return [*found.values(), *_of_many(table[:, many], [names[i] for i in many])]


def _of_two(table: np.ndarray, names: Sequence[str]) -> dict[str, DraftRule]:
    """Return the rules about a total of two parts, by the name of the total."""
    spread = _spreads(table)
    found: dict[str, DraftRule] = {}
    for i, k in combinations(range(len(names)), 2):
        total = table[:, [i]] + table[:, [k]]
        known = np.isfinite(total) & np.isfinite(table)
        counts = known.sum(axis=0)
        for tolerance in (EXACT, 2 * OF_CENTS):
            wide = spread > MIN_SPREAD * tolerance
            equal = (np.abs(total - table) <= tolerance + ROUNDING * np.abs(table)) & known
            share = equal.sum(axis=0) / np.maximum(counts, 1)
            for j in np.flatnonzero((share >= MIN_SUMS) & (counts >= MIN_ROWS) & wide).tolist():
                if j not in (i, k) and wide[i] and wide[k] and names[j] not in found:
                    terms = {names[i]: 1, names[k]: 1}
                    found[names[j]] = _rule(names[j], terms, tolerance, (float(share[j]), int(counts[j])))
    return found


def _spreads(table: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each column; 0 for one without values, or with values too large for it."""
    present = [table[~np.isnan(table[:, i]), i] for i in range(table.shape[1])]
    spreads = np.array([values.std() if len(values) else 0.0 for values in present])
    return np.where(np.isfinite(spreads), spreads, 0.0)


def _of_many(table: np.ndarray, names: Sequence[str]) -> list[DraftRule]:
    """Return the rules about totals of three columns or more.

    Columns are taken in their order: one that is a sum of independent columns before it makes a rule, and one that is
    no combination of them is independent too. Least squares of independent columns has one solution, so that a sum is
    found where all coefficients are -1, 0 or 1. The work is bounded by the columns and by the rows of each fit.
    """
    table, names = _complete(table, names)
    found: dict[str, DraftRule] = {}
    independent: list[int] = []
    for j in range(len(names)):
        signs = _coefficients(table, j, independent) if len(independent) > 1 else None
        if signs is None:
            independent.append(j)
            continue
        terms = {names[i]: sign for i, sign in zip(independent, signs, strict=True) if sign}
        if rule := _checked(table, names, names[j], terms):
            found.setdefault(str(rule.kwargs["total"]), rule)
    return [*found.values()]


def _complete(table: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return the rows without missing values; columns that leave too few rows are left out, the emptiest first."""
    spread = _spreads(table)
    kept = [i for i in range(len(names)) if spread[i] > MIN_SPREAD * EXACT]
    missing = np.isnan(table).sum(axis=0)
    while kept and (~np.isnan(table[:, kept]).any(axis=1)).sum() < MIN_ROWS:
        kept.remove(max(kept, key=lambda i: missing[i]))
    rows = ~np.isnan(table[:, kept]).any(axis=1)
    return table[rows][:, kept], [names[i] for i in kept]


def _coefficients(table: np.ndarray, j: int, independent: Sequence[int]) -> list[int] | None:
    """Return the coefficients by which a column is a combination of others; all 0 where they are no signs.

    None where it is no combination in most rows.
    """
    scale = np.maximum(np.abs(table).max(axis=0), 1e-300)
    spread, rng = float(table[:, j].std()), np.random.default_rng(0)
    for rows in FIT_ROWS:
        chosen = rng.permutation(len(table))[:rows]
        parts = table[chosen][:, independent] / scale[independent]
        solved = np.linalg.lstsq(parts, table[chosen, j] / scale[j], rcond=None)[0]
        solved *= scale[j] / scale[independent]
        signs = np.asarray(solved).round()
        is_sum = bool((np.abs(solved - signs) < NEAR).all() and (np.abs(signs) <= 1).all())
        values = table[:, independent] @ (signs if is_sum else solved)
        allowed = min(OF_CENTS * np.count_nonzero(signs), spread / MIN_SPREAD) if is_sum else EXACT
        right = np.abs(values - table[:, j]) <= allowed + ROUNDING * np.abs(table[:, j])
        if right.mean() >= MIN_SUMS:
            return [int(sign) for sign in signs] if is_sum else [0] * len(independent)
    return None


def _checked(
    table: np.ndarray, names: Sequence[str], column: str, terms: Mapping[str, int]
) -> DraftRule | None:
    """Return the rule of a column with these terms; None where it has fewer than two, or rows say nothing about it."""
    if len(terms) < 2:
        return None
    total, terms = _with_one_total(column, terms)
    if max(terms.values()) < 0:
        return None
    place = {name: i for i, name in enumerate(names)}
    values = table[:, [place[name] for name in terms]]
    given, added = table[:, place[total]], values @ np.array([*terms.values()], dtype=float)
    for tolerance in (EXACT, OF_CENTS * len(terms)):
        right = np.abs(added - given) <= tolerance + ROUNDING * (np.abs(given) + np.abs(values).sum(axis=1))
        informative = (values != 0).sum(axis=1) > 1
        wide = bool((_spreads(values) > MIN_SPREAD * tolerance).all())
        if (
            wide
            and right.mean() >= MIN_SUMS
            and informative.sum() >= MIN_INFORMATIVE
            and right[informative].mean() >= MIN_SUMS
        ):
            return _rule(total, terms, tolerance, (float(right.mean()), len(table)))
    return None


def _with_one_total(column: str, terms: Mapping[str, int]) -> tuple[str, dict[str, int]]:
    """Return the same relation as a sum without subtraction, if one column is alone on its side; else as it is."""
    plus = [name for name, sign in terms.items() if sign > 0]
    minus = [name for name, sign in terms.items() if sign < 0]
    if len(plus) == 1 and minus:  # column = a - b - c
        return plus[0], dict.fromkeys([column, *minus], 1)
    return column, {name: terms[name] for name in [*plus, *minus]}


def _rule(total: str, terms: Mapping[str, int], tolerance: float, support: tuple[float, int]) -> DraftRule:
    share, rows = support
    parts = [name for name, sign in terms.items() if sign > 0]
    subtracted = [name for name, sign in terms.items() if sign < 0]
    shown = " + ".join(map(repr, parts)) + "".join(f" - {name!r}" for name in subtracted)
    reason = f"{total!r} is {shown} in {share:.1%} of {rows:,} rows"
    kwargs: dict[str, Any] = {"total": total, "parts": parts, "tolerance": tolerance}
    if subtracted:
        kwargs["subtracted"] = subtracted
    is_certain = share >= CERTAIN
    return DraftRule(SUM, kwargs, "quarantine" if is_certain else "warn", reason, 0.35 if is_certain else 0.6)

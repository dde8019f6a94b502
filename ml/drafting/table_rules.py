"""Draft the rules of a table on one half of it, loosen them on a part of the other, and measure them on the rest."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.drafting.column_rules import BETWEEN, IN_SET, category_rules, missing_rules, range_rules
from ml.drafting.columns import Column, part_of
from ml.drafting.draft import MAX_QUARANTINED
from ml.drafting.held_out import Evidence, FalseAlarms, loosen, lowered, measure
from ml.drafting.proposals import DraftRule
from ml.drafting.relations import relation_rules
from ml.drafting.spellings import Misspelling, find_misspellings
from ml.drafting.targets import TargetDraft
from ml.drafting.violations import violations


@dataclass(frozen=True)
class RuleContext:
    """What rules depend on beside the columns: target, columns without use, codes, whether copies count."""

    target: TargetDraft | None
    used: Collection[str]
    codes: Mapping[str, Sequence[float]]
    allows_copies: bool = False
    # Columns of which each row needs a cell.
    required: tuple[str, ...] = ()


def draft_rules(
    columns: Sequence[Column], context: RuleContext, time: str | None, batch_rows: int
) -> tuple[list[DraftRule], FalseAlarms]:
    """Return the rules with their expected false alarms. With a time, the first half is the earlier one."""
    drafted, loosened, measured = _parts(columns, time)
    halves = {c.name: part_of(c, drafted) for c in columns}
    target = next((c for c in columns if context.target and c.name == context.target.column), None)
    # Great Expectations has no rules about a column without a name.
    ruled = [c.name for c in columns if c.name and c.name not in context.used and c is not target]
    misspelt = {c.name: found for c in columns if c.name in ruled and (found := find_misspellings(c))}
    rules = _target_rules(target, context.target) if target and context.target else []
    for name in ruled:
        rules += _rules_of(halves[name], context, misspelt.get(name, ()))
    # Times that are no features are in an order too.
    related = [halves[c.name] for c in columns if c.name in ruled or (c.name and c.kind in ("time", "epoch"))]
    rules += relation_rules(related, context.codes)
    frame = pd.DataFrame({column.name: column.typed for column in columns})
    rows = np.sort(np.concatenate([drafted, loosened]))
    evidence = Evidence({c.name: part_of(c, rows) for c in columns}, context.codes, misspelt)
    kept = loosen(rules, frame.iloc[loosened].reset_index(drop=True), evidence)
    rest = frame.iloc[measured].reset_index(drop=True)
    kept = [passing for rule in kept if (passing := _passing(rule, rest)) is not None]
    removed = _removed_anyway(columns, context, frame)[measured]
    return kept, measure(kept, rest, removed, batch_rows, MAX_QUARANTINED)


def _passing(rule: DraftRule, rest: pd.DataFrame) -> DraftRule | None:
    """Return a rule about the whole batch so that the last rows pass it too: few rows estimate a share badly."""
    return lowered(rule, float(violations(rule, rest).mean())) if rule.action == "fail" else rule


def _parts(columns: Sequence[Column], time: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = columns[0].rows
    order = np.random.default_rng(1).permutation(rows)
    if time is not None:
        times = next(column.typed for column in columns if column.name == time)
        order = np.argsort(times.to_numpy(), kind="stable")
    half = rows // 2
    rest = np.random.default_rng(2).permutation(order[half:])
    return np.sort(order[:half]), np.sort(rest[: len(rest) // 2]), np.sort(rest[len(rest) // 2 :])


def _rules_of(column: Column, context: RuleContext, misspelt: Sequence[Misspelling]) -> list[DraftRule]:
    rules = missing_rules(column)
    if column.is_numeric:
        return rules + range_rules(column, context.codes.get(column.name, ()))
    return rules + (category_rules(column, misspelt) if column.kind == "category" else [])


def _target_rules(target: Column, draft: TargetDraft) -> list[DraftRule]:
    """Return the rule about the target; none about a number that may be negative, as far as the sample shows."""
    if target.is_numeric:
        if target.present.min() < 0:
            return []
        reason = "no number of the sample is negative"
        return [DraftRule(BETWEEN, {"column": target.name, "min_value": 0}, "quarantine", reason)]
    labels = sorted(map(str, target.counts.index))
    return [
        DraftRule(
            IN_SET,
            {"column": target.name, "value_set": labels},
            "quarantine",
            f"the {len(labels)} classes of the sample",
        )
    ]


def _removed_anyway(columns: Sequence[Column], context: RuleContext, frame: pd.DataFrame) -> np.ndarray:
    """Return the rows that are quarantined without a rule: invalid cells, no target, copies."""
    removed = np.logical_or.reduce([column.invalid for column in columns])
    required = (*context.required, context.target.column) if context.target else context.required
    removed |= frame[[*required]].isna().any(axis=1).to_numpy()
    return np.asarray(removed if context.allows_copies else removed | frame.duplicated())

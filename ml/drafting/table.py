"""Draft the contract of a table with a target: types, roles, codes and rules, each with its evidence."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ml.drafting.codes import Code, find_codes
from ml.drafting.column_rules import NOT_IN_SET, NOT_NULL
from ml.drafting.columns import Column, part_of
from ml.drafting.draft import Draft, assemble
from ml.drafting.proposals import DraftRule, Proposal
from ml.drafting.request import DraftRequest
from ml.drafting.roles import RoleDraft, draft_roles
from ml.drafting.sample import take_sample
from ml.drafting.suspects import find_suspects
from ml.drafting.table_rules import RuleContext, draft_rules
from ml.drafting.targets import TargetDraft, draft_target
from ml.errors import UsageError

MIN_ROWS = 40
# Smaller tables are split within their classes.
SMALL_TABLE = 5_000
# Test rows of the rarer class: the quality gate wants 20, and shares are met only roughly.
MIN_TEST_ROWS = 22
USUAL_TEST, MAX_TEST = 0.2, 0.3
# A share of copied rows above which they are no faults, but rows of a table with few values.
MAX_COPIES = 0.01
# A share of rows without text above which they are outside of the question.
MAX_MISSING_TEXT = 0.005


def draft_table(frame: pd.DataFrame, request: DraftRequest) -> Draft:
    """Draft a contract from cells as they came. Raises UsageError where there are too few rows, or no target."""
    rows = len(frame)
    if rows < MIN_ROWS or not len(frame.columns):
        got = f"{rows} rows of {len(frame.columns)} columns"
        raise UsageError(f"a table with at least {MIN_ROWS} rows", got, "bring more rows")
    sample = take_sample(frame, request).repair_spellings(request.positive)
    case = request.case
    target = draft_target(sample.columns, request)
    roles = draft_roles(sample.columns, target.column, case.reads_texts)
    sample = sample.retype(_role_types(target, roles))
    columns = sample.columns
    unmeasured, columns = _without_unmeasured(columns, target, request)
    goal = next(column for column in columns if column.name == target.column)
    left_out, suspects = find_suspects(columns, target, goal, roles.used)
    for name in left_out:
        roles.roles.setdefault("ignored", []).append(name)
        roles.roles["sensitive"] = [c for c in roles.roles.get("sensitive", ()) if c != name]
    if {column.name for column in columns} <= {target.column, *roles.used} - {*roles.roles.get("text", ())}:
        raise UsageError(
            "a column from which the target can be predicted",
            f"none beside {target.column!r} and columns without use",
            "bring more columns, or name another --target",
        )
    codes = _find_codes(columns, target, roles, request)
    read = sample.read_options({column.name: column.kind for column in columns})
    copies = _many_copies(columns, roles)
    meta = {
        "description": f"Drafted by steward from {rows:,} rows.",
        "read": read,
        "roles": {"target": dict(target.definition), **{k: v for k, v in roles.roles.items() if v}},
        "split": _split(rows, roles, target, goal),
    }
    if codes:
        meta["sentinel_values"] = {
            name: {f"{code.value:.12g}": code.meaning for code in found} for name, found in codes.items()
        }
    if copies:
        meta["copies"] = {"action": "warn", "reason": copies[0].reason}
    proposals = [
        *sample.proposals,
        *_doubtful_types(columns, roles),
        *target.proposals,
        *roles.proposals,
        *suspects,
        *(
            Proposal(f"sentinel_values.{name}.{code.value:.12g}", code.meaning, code.doubt)
            for name, found in codes.items()
            for code in found
        ),
        *copies,
    ]
    excluded, columns = _without_texts(columns, roles)
    context = RuleContext(
        target,
        roles.used,
        {name: [code.value for code in found] for name, found in codes.items()},
        bool(copies),
    )
    rules, alarms = draft_rules(columns, context, roles.roles.get("time"), rows)
    return assemble(request, meta, proposals, [*unmeasured, *excluded, *rules], alarms)


def _role_types(target: TargetDraft, roles: RoleDraft) -> dict[str, str]:
    """Return the types that roles need: codes of entities and texts are categories."""
    kinds = {target.column: target.kind}
    for role in ("group", "site"):
        if role in roles.roles:
            kinds[roles.roles[role]] = "category"
    return kinds | dict.fromkeys(roles.roles.get("text", ()), "category")


def _find_codes(
    columns: Sequence[Column], target: TargetDraft, roles: RoleDraft, request: DraftRequest
) -> dict[str, list[Code]]:
    features = [c for c in columns if c.name != target.column and c.name not in roles.used]
    return {column.name: found for column in features if (found := find_codes(column, request.in_health))}


def _without_unmeasured(
    columns: Sequence[Column], target: TargetDraft, request: DraftRequest
) -> tuple[list[DraftRule], Sequence[Column]]:
    """Return a rule that excludes rows whose number to predict or divide is a code, such as 0, and the other rows."""
    goal = next(column for column in columns if column.name == target.column)
    is_amount = target.is_number or request.above is not None
    codes = find_codes(goal, request.in_health) if is_amount else []
    if not codes:
        return [], columns
    values = [code.value for code in codes]
    reason = f"{'; '.join(code.meaning for code in codes)}: nothing to predict in these rows"
    kwargs = {"column": goal.name, "value_set": values}
    rule = DraftRule(NOT_IN_SET, kwargs, "exclude", reason, max(code.doubt for code in codes))
    rows = np.flatnonzero(~goal.typed.isin(values).to_numpy())
    return [rule], [part_of(column, rows) for column in columns]


def _without_texts(columns: Sequence[Column], roles: RoleDraft) -> tuple[list[DraftRule], Sequence[Column]]:
    """Return a rule that excludes rows without the only text, where these are no rare faults, and the other rows."""
    texts = [column for column in columns if column.name in roles.roles.get("text", ())]
    if len(texts) != 1 or texts[0].n_missing <= MAX_MISSING_TEXT * texts[0].rows:
        return [], columns
    (text,) = texts
    reason = f"{text.n_missing / text.rows:.1%} of the rows have no text: there is nothing to read in them"
    rule = DraftRule(NOT_NULL, {"column": text.name}, "exclude", reason, 0.6)
    rows = np.flatnonzero(text.typed.notna().to_numpy())
    return [rule], [part_of(column, rows) for column in columns]


def _many_copies(columns: Sequence[Column], roles: RoleDraft) -> list[Proposal]:
    """Return a proposal to keep equal rows, where many are equal: in a table of few values they are no faults."""
    ignored = {*roles.roles.get("ignored", ())} - {*roles.roles.get("sensitive", ())}
    compared = {column.name: column.typed for column in columns if column.name not in ignored}
    share = float(pd.DataFrame(compared).duplicated().mean())
    if share <= MAX_COPIES:
        return []
    reason = f"{share:.1%} of the rows equal an earlier one: kept and counted, as so many are hardly faults"
    return [Proposal("copies", reason, 0.8)]


def _split(rows: int, roles: RoleDraft, target: TargetDraft, goal: Column) -> dict[str, Any]:
    """Return the split; of a small table, more rows are for the test where the gate would else have too few."""
    if "time" in roles.roles:
        return {"by": "time", "test": USUAL_TEST, "valid": 0.2}
    # A number has no classes to divide within.
    if rows >= SMALL_TABLE or "group" in roles.roles or target.is_number:
        return {"by": "hash", "test": USUAL_TEST, "valid": 0.2}
    positive = target.is_positive(goal)
    rarer = min(int(positive.sum()), int((~positive).sum())) if positive is not None else 0
    needed = math.ceil(20 * MIN_TEST_ROWS / max(rarer, 1)) / 20
    return {
        "by": "stratified",
        "test": needed if USUAL_TEST < needed <= MAX_TEST else USUAL_TEST,
        "valid": 0.2,
    }


def _doubtful_types(columns: Sequence[Column], roles: RoleDraft) -> list[Proposal]:
    proposals = []
    for column in columns:
        place = f"read.columns.{column.name}"
        if column.n_invalid:
            share = column.n_invalid / column.rows
            reason = (
                f"{column.n_invalid:,} cells ({share:.2%}) are no {column.kind}: their rows are quarantined"
            )
            proposals.append(Proposal(place, reason, 0.6))
        elif column.kind == "category" and _looks_numeric(column) and column.name not in roles.used:
            proposals.append(Proposal(place, "a category, though its values are numbers: codes?", 0.25))
    return proposals


def _looks_numeric(column: Column) -> bool:
    numbers = pd.to_numeric(column.counts.index.to_series(), errors="coerce").to_numpy(dtype=float)
    return column.distinct > 2 and bool(np.isfinite(numbers).all())

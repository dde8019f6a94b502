"""Validate: apply a contract to a table; the gate in front of all other stages.

Great Expectations evaluates the contract's rules (tasks/validation/gx_rules.py); what each result means for rows or for
the batch is decided here. Always: clean + quarantined + excluded = rows.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import NamedTuple, cast

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.contract.review import unreviewed
from ml.contract.schema import Contract, Rule
from ml.data.casting import cast_columns
from ml.data.profile import profile_columns
from ml.data.replacements import replace_values
from ml.data.role_notes import role_notes
from ml.data.value_kinds import count_violations, likely_step
from ml.errors import DataGateError
from tasks.data_facts import ColumnProfileFacts, ValidationFacts
from tasks.error_boundary import redact_errors
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of
from tasks.validation import builtin_checks
from tasks.validation.gx_rules import build_suite, evaluate_rules
from tasks.validation.quarantine_bias import quarantine_differences
from tasks.validation.validation_state import ROW_COLUMN, ValidationState, describe_result

CODE = (
    "tasks/validate.py",
    "tasks/error_boundary.py",
    "tasks/validation",
    "ml/contract",
    "ml/data",
    "ml/errors.py",
    "ml/interactions",
)


class ValidationResult(NamedTuple):
    """What a contract makes of a table.

    `clean` has typed columns and the column `_row`, the row's number in the source; `quarantine` and `excluded` have
    one line per row and rule: row, rule, reason.
    """

    clean: pd.DataFrame
    quarantine: pd.DataFrame
    excluded: pd.DataFrame
    facts: ValidationFacts


@task(name="validate", cache_policy=NO_CACHE)
@redact_errors
def validate(raw: StoredResult, contract: Contract, as_of: datetime | None, store: Store) -> StoredResult:
    """Store the tables `clean`, `quarantine` and `excluded` of `apply_contract`.

    A side table of items is stored as `items`. Raises DataGateError.
    """
    key = key_of(
        "validate",
        CODE,
        ("great_expectations", "pandas"),
        raw=raw.digest,
        contract=contract.source,
        as_of=as_of and as_of.isoformat(),
    )

    def make() -> StageResult:
        started = time.perf_counter()
        rows = raw.table("rows")
        clean, quarantine, excluded, facts = apply_contract(rows, contract, as_of=as_of)
        tables = {"clean": clean, "quarantine": quarantine, "excluded": excluded}
        if "items" in raw.table_names:
            items = raw.table("items")
            tables["items"] = _items_in_population(items, rows.iloc[excluded["row"]], clean, contract)
            facts["items_excluded"] = int(items["item"].nunique() - tables["items"]["item"].nunique())
        facts["seconds"] = time.perf_counter() - started
        return StageResult(tables, facts)

    return store.get_or_compute(key, make, "validate")


def apply_contract(
    frame: pd.DataFrame, contract: Contract, scoring: bool = False, as_of: datetime | None = None
) -> ValidationResult:
    """Divide the rows of a table into clean, quarantined and excluded ones.

    With `scoring` there is no target: rules about it, copies and `first_row_per` are skipped. Rows after `as_of` (UTC),
    and those whose outcome was not known then, are excluded. Raises DataGateError, with the facts, when a rule fails
    the batch or crashes, or when too many rows are quarantined.
    """
    state = _apply_to_rows(frame, contract, scoring, as_of)
    excluded, quarantine = state.removed_rows("exclude"), state.removed_rows("quarantine")
    kept = state.in_population.copy()
    kept[quarantine["row"]] = False
    clean = state.rows[kept].assign(**{ROW_COLUMN: np.flatnonzero(kept)}).reset_index(drop=True)
    builtin_checks.check_batch(state, clean)
    facts = state.facts()
    if not scoring:
        facts["profile"] = _profile(clean, contract)
        if points := unreviewed(contract):
            facts["unreviewed"] = points
        if differences := quarantine_differences(state, quarantine):
            facts["quarantine_differences"] = differences
    _raise_if_failed(facts)
    return ValidationResult(clean, quarantine, excluded, facts)


def find_quarantined_rows(
    frame: pd.DataFrame, contract: Contract, as_of: datetime | None = None
) -> pd.DataFrame:
    """Return the rows that a contract quarantines, one line per row and rule: row, rule, reason.

    Rules about the batch are not applied, so that this also answers for a batch that was refused. Raises DataGateError
    for a table without the columns of the contract.
    """
    return _apply_to_rows(frame, contract, scoring=False, as_of=as_of).removed_rows("quarantine")


def _apply_to_rows(
    frame: pd.DataFrame, contract: Contract, scoring: bool, as_of: datetime | None
) -> ValidationState:
    _require_columns(frame, contract, scoring)
    skipped = {contract.roles.target} if scoring else set()
    types = {c: kind for c, kind in contract.read.columns.items() if c in frame.columns and c not in skipped}
    frame, repairs = replace_values(frame, contract.read, types)
    typed, invalid_cells = cast_columns(frame, types, contract.read)
    state = ValidationState(contract, typed.reset_index(drop=True), frame, invalid_cells, scoring)
    for column, kinds in repairs.items():
        reason = "values that meta.read.replace lists are repaired"
        state.add_result(f"replace({column})", "repair", reason, sum(kinds.values()), len(frame))
        state.add_kinds(kinds)

    # Rows outside the population are excluded before any other rule sees them.
    if as_of:
        builtin_checks.exclude_later_rows(state, as_of)
    builtin_checks.exclude_unknown_outcomes(state, as_of)
    rules = [rule for rule in contract.rules if set(rule.required_columns) <= set(types)]
    _apply_rules([rule for rule in rules if rule.action == "exclude"], state)
    builtin_checks.exclude_later_rows_of_entities(state)
    _apply_rules([rule for rule in rules if rule.action != "exclude"], state)
    builtin_checks.check_rows(state)
    return state


def _profile(clean: pd.DataFrame, contract: Contract) -> list[ColumnProfileFacts]:
    roles = contract.roles
    keys = [column for column in (roles.id, roles.group, roles.user, roles.item) if column]
    profiles = profile_columns(clean, contract.read.columns, contract.sentinel_values, keys, roles.text)
    notes = role_notes(clean, roles)
    return [
        cast(ColumnProfileFacts, {**asdict(p), "notes": [*p.notes, *notes.get(p.column, ())]})
        for p in profiles
    ]


def check_rules(contract: Contract) -> None:
    """Check that Great Expectations knows the rules. Raises ContractError for an unknown type or argument."""
    build_suite(contract.rules, contract.name)


def _required_columns(contract: Contract, scoring: bool) -> list[str]:
    """List the columns of the contract; to score, only those that the model needs and the id."""
    roles = contract.roles
    if not scoring:
        return list(contract.read.columns)
    if contract.is_recommendation:
        required = {roles.user, roles.item, roles.time, roles.event_order}
    else:
        required = {roles.id, *contract.inputs}
    return [c for c in contract.read.columns if c in required]


def _require_columns(frame: pd.DataFrame, contract: Contract, scoring: bool) -> None:
    missing = [c for c in _required_columns(contract, scoring) if c not in frame.columns]
    if missing:
        state = ValidationState(contract, frame, frame, {}, scoring)
        reason = "the contract requires these columns"
        state.add_result("columns_present", "fail", reason, len(missing), len(frame), failed=True)
        # Only the results: no row was examined, and a table without its columns may have no rows.
        raise DataGateError(
            f"the columns of {contract.name}",
            f"no column {', '.join(map(repr, missing))}",
            "add them to the data, or correct meta.read.columns",
            {"rules": state.results},
        )


def _apply_rules(rules: Sequence[Rule], state: ValidationState) -> None:
    """Apply rules to the rows of the population, and remove the rows that they quarantine or exclude."""
    if not rules:
        return
    all_rows = bool(state.in_population.all())
    rows = np.arange(len(state.rows)) if all_rows else np.flatnonzero(state.in_population)
    frame = state.rows if all_rows else state.rows.iloc[rows].reset_index(drop=True)
    for rule, result in zip(rules, evaluate_rules(rules, frame), strict=True):
        violating = rows[result.violations]
        below_tolerance = not result.success and (rule.action == "fail" or "mostly" in rule.kwargs)
        failed = below_tolerance or result.crash is not None
        count = len(violating) if rule.is_row_level else int(not result.success)
        reason = f"the rule crashed: {result.crash}" if result.crash else rule.reason
        state.add_result(rule.name, rule.action, reason, count, len(rows), failed)
        if rule.is_row_level and len(violating):
            state.add_kinds(count_violations(rule, frame.iloc[result.violations]))
        if rule.action in ("quarantine", "exclude"):
            state.remove_rows(violating, rule.name, rule.action, rule.reason)


def _raise_if_failed(facts: ValidationFacts) -> None:
    failed = [result for result in facts["rules"] if result["verdict"] == "failed"]
    if failed:
        raise DataGateError(
            "data that satisfy the contract",
            "; ".join(describe_result(result) for result in failed),
            "; ".join(
                [*_likely_steps(facts), "see the report for the rules; correct the data or the contract"]
            ),
            facts,
        )


def _likely_steps(facts: ValidationFacts) -> list[str]:
    """Return what to change in the contract where the cells of a column are written in another way."""
    steps = []
    for result in facts["rules"]:
        if result["rule"].startswith("type("):
            column = result["rule"].removeprefix("type(").removesuffix(")")
            steps.append(likely_step(column, result.get("kinds", {})))
    return [step for step in steps if step]


def _items_in_population(
    items: pd.DataFrame, excluded: pd.DataFrame, clean: pd.DataFrame, contract: Contract
) -> pd.DataFrame:
    """Return the side table without items whose rows were all excluded: these are outside the population.

    Raises DataGateError if the side table has none of the items of the log.
    """
    item = str(contract.roles.item)
    outside = set(cast_columns(excluded[[item]], {item: "category"})[0][item]) - set(clean[item])
    items = items[~items["item"].isin(outside)].reset_index(drop=True)
    if not clean[item].isin(items["item"]).any():
        raise DataGateError(
            f"items of the log in the side table of {contract.name}",
            f"none of them among {items['item'].nunique():,}",
            "correct meta.item_attributes, or the file",
        )
    return items

"""Apply the checks that every contract implies: types, roles, duplicates, and minimum requirements of the batch."""

from datetime import datetime

import numpy as np
import pandas as pd

from ml.data.digest import row_hashes
from ml.data.maturity import known_times, outcomes_not_known
from ml.data.row_split import targets
from ml.data.sums import wrong_totals
from ml.data.text_faults import EMPTY, foreign_script, text_faults
from ml.data.value_kinds import count_invalid_cells
from ml.interactions import event_log
from tasks.validation.validation_state import ValidationState, describe_culprits

# Fewer rows cannot be divided into three datasets that are each large enough to be evaluated on.
MIN_ROWS = 20


def to_utc(instant: datetime) -> pd.Timestamp:
    """Return an instant in UTC without a zone, as times of tables are; one without a zone is in UTC."""
    stamp = pd.Timestamp(instant)
    return stamp.tz_convert(None) if stamp.tzinfo else stamp


def exclude_later_rows(state: ValidationState, as_of: datetime) -> None:
    """Exclude rows with a time after `as_of` (UTC if it has no zone); a missing time is left to other rules."""
    instant = to_utc(as_of)
    times = state.rows[str(state.contract.roles.time)]
    later = (times > instant).to_numpy()
    rule, reason = f"as_of({instant:%Y-%m-%d %H:%M})", "the row is later than as_of"
    state.add_result(rule, "exclude", reason, int(later.sum()), len(times))
    state.remove_rows(np.flatnonzero(later), rule, "exclude", reason)


def exclude_unknown_outcomes(state: ValidationState, as_of: datetime | None) -> None:
    """Exclude rows whose outcome was not known at `as_of`; without it, at the time of the latest row.

    What was not known has no value in the column with the role `known_at`. With a horizon, the table itself does not
    tell: an outcome of the last days before it was written may still change.
    """
    contract = state.contract
    known = None if state.scoring else known_times(state.rows, contract)
    if known is None:
        return
    column = contract.roles.known_at or str(contract.roles.time)
    instant = to_utc(as_of) if as_of else None
    if instant is None and not contract.roles.known_at:
        instant = state.rows[column][state.in_population].max()
    unknown = outcomes_not_known(known, instant) & state.in_population & ~_invalid(state, column)
    if not contract.roles.known_at:
        # Of a row without a time nothing is known; another rule sets it aside.
        unknown &= state.rows[column].notna().to_numpy()
    rule = f"outcome_known({column})"
    when = f" at {instant:%Y-%m-%d %H:%M}" if instant is not None and not pd.isna(instant) else ""
    reason = f"the outcome of the row was not known yet{when}"
    state.add_result(rule, "exclude", reason, int(unknown.sum()), int(state.in_population.sum()))
    state.remove_rows(np.flatnonzero(unknown), rule, "exclude", reason)


def exclude_later_rows_of_entities(state: ValidationState) -> None:
    """Exclude all but the first row of each entity, where the contract has `first_row_per`."""
    first = state.contract.first_row_per
    if first is None or state.scoring:
        return
    rows = np.flatnonzero(state.in_population)
    ordered = state.rows.iloc[rows].sort_values(first.order_by, kind="stable")
    later = ordered.index[ordered[first.entity].duplicated() & ordered[first.entity].notna()].to_numpy()
    rule = f"first_row_per({first.entity} by {first.order_by})"
    state.add_result(rule, "exclude", first.reason, len(later), len(rows))
    state.remove_rows(np.sort(later), rule, "exclude", first.reason)


def check_rows(state: ValidationState) -> None:
    """Quarantine rows with cells that do not fit their type, without a required value, or that repeat another row."""
    for column, invalid in state.invalid_cells.items():
        kind = state.contract.read.columns[column]
        rows = state.quarantine(f"type({column})", invalid, f"the cell is not a valid {kind}")
        state.add_kinds(count_invalid_cells(kind, state.cells[column].iloc[rows]))
    _check_required_values(state)
    _check_known_times(state)
    _check_texts(state)
    _check_event_weights(state)
    _check_sums(state)
    _check_duplicates(state)


def check_batch(state: ValidationState, clean: pd.DataFrame) -> None:
    """Require of the batch: few enough quarantined rows, enough clean ones, values in features and target."""
    contract, scoring = state.contract, state.scoring

    def require(rule: str, reason: str, holds: bool) -> None:
        state.add_result(rule, "fail", reason, int(not holds), population, failed=not holds)

    population = int(state.in_population.sum())
    quarantined = state.removed_rows("quarantine")["row"].nunique()
    share = quarantined / max(population, 1)
    fits = share <= contract.max_quarantined_share
    reason = f"at most {contract.max_quarantined_share:.2%} of rows in quarantine; {share:.2%} are"
    if not fits:
        reason += f" ({quarantined:,} of {population:,}): {describe_culprits(state.results, 'quarantine')}"
    require("max_quarantined_share", reason, fits)
    min_rows = 1 if scoring else MIN_ROWS
    reason = f"at least {min_rows} clean rows; there are {len(clean)}"
    # Where too many are in quarantine, the rules that put them there are named already.
    removing = ("exclude", "quarantine") if fits else ("exclude",)
    if len(clean) < min_rows and (culprits := describe_culprits(state.results, *removing)):
        reason += f"; removed by {culprits}"
    require("enough_rows", reason, len(clean) >= min_rows)
    if contract.is_recommendation or not len(clean):
        return
    has_values = any(clean[column].notna().any() for column in contract.inputs)
    require("features_present", "at least one feature has a value", has_values)
    if not scoring:
        distinct = targets(clean, contract).nunique()
        require("target_varies", f"at least two different target values; there are {distinct}", distinct > 1)


def _check_required_values(state: ValidationState) -> None:
    roles = state.contract.roles
    required = [roles.id, roles.user, roles.item]
    if not state.scoring or state.contract.is_recommendation:
        required += [roles.target, roles.time, roles.event_order, roles.group]
    for column in [c for c in required if c and c in state.rows.columns]:
        missing = state.rows[column].isna().to_numpy() & ~_invalid(state, column)
        if missing.any():
            state.quarantine(f"present({column})", missing, "a required value is missing", "missing")


def _check_known_times(state: ValidationState) -> None:
    """Quarantine rows whose outcome was known on a day before the row."""
    column, time = state.contract.roles.known_at, state.contract.roles.time
    if column and time and not state.scoring:
        # Of a day without a time of day it is not known whether it was later.
        earlier = state.rows[column].dt.floor("D") < state.rows[time].dt.floor("D")
        reason = f"the outcome was known before {time}"
        state.quarantine(f"outcome_after_row({column})", earlier.to_numpy(), reason, "an earlier day")


def _check_texts(state: ValidationState) -> None:
    """Quarantine rows with a text that is a fault, or without any text; warn of texts in another script than all."""
    columns = [column for column in state.contract.roles.text if column in state.rows.columns]
    faults = {c: dict(text_faults(state.rows[c], state.contract.max_text_length)) for c in columns}
    # Of several texts, one is enough.
    empty = np.logical_and.reduce([faults[c].pop(EMPTY) for c in columns]) if columns else np.empty(0)
    for position, column in enumerate(columns):
        kinds = {**({EMPTY: empty} if position == 0 else {}), **faults[column]}
        mask = np.logical_or.reduce(list(kinds.values()))
        rows = state.quarantine(f"text({column})", mask, "the text cannot be read, or is not one")
        state.add_kinds({kind: int(of_kind[rows].sum()) for kind, of_kind in kinds.items()})
        script, foreign = foreign_script(state.rows[column][state.in_population])
        if foreign.any():
            reason = f"99 % of the texts are in {script} script, these are in another"
            state.add_result(f"script({column})", "warn", reason, int(foreign.sum()), len(foreign))


def _check_event_weights(state: ValidationState) -> None:
    contract, column = state.contract, state.contract.roles.event_weight
    if not column or column not in state.rows.columns:
        return
    cells = state.rows[column]
    unweighted = np.isnan(event_log.event_weights(cells, contract)) & ~_invalid(state, column)
    rule = f"event_weight({column})"
    unlisted = unweighted & cells.notna().to_numpy() & state.in_population
    if contract.event_weight_by_value and not state.scoring and unlisted.any():
        # The contract misses a value of the column: that is no fault of the events with it.
        reason = "meta.event_weight_by_value has no weight for its value"
        population = int(state.in_population.sum())
        state.add_result(rule, "fail", reason, int(unlisted.sum()), population, failed=True)
        state.add_kinds({"a value that is not listed": int(unlisted.sum())})
    elif unweighted.any():
        rows = state.quarantine(rule, unweighted, "the event has no weight")
        missing = int(cells.iloc[rows].isna().sum())
        state.add_kinds({"missing": missing, "a value without a weight": len(rows) - missing})


def _check_sums(state: ValidationState) -> None:
    """Set aside rows whose total is not the sum of its parts."""
    for rule in state.contract.sums:
        if {*rule.columns} <= {*state.rows.columns}:
            codes = state.contract.sentinel_values
            wrong = wrong_totals(state.rows, rule.total, rule.parts, rule.tolerance, codes, rule.subtracted)
            rows = state.set_aside(rule.name, wrong, rule.action, rule.reason)
            state.add_kinds({"a total that is not the sum": len(rows)})


def _check_duplicates(state: ValidationState) -> None:
    roles, rows, policy = state.contract.roles, state.rows, state.contract.copies
    ignored = set(roles.ignored) - set(roles.sensitive)
    named = policy.columns if policy else ()
    compared = [c for c in rows.columns if (c in named if named else c not in ignored)]
    copies = _copies(rows[compared], state.in_population, roles.id if roles.id in compared else None)
    if not state.scoring:
        kind = "a copy of an earlier row"
        reason = f"{kind}, which is kept"
        state.set_aside(
            "exact_copy",
            copies,
            policy.action if policy else "quarantine",
            f"{reason}: {policy.reason}" if policy else reason,
        )
        state.add_kinds({kind: state.results[-1]["violations"]})
    if roles.id and not state.contract.is_recommendation:
        ids = rows[roles.id]
        different = ids[state.in_population & ~copies & ids.notna().to_numpy()]
        repeated = ids.isin(different[different.duplicated()]).to_numpy()
        reason = "rows with this id have different content"
        state.quarantine(f"one_row_per({roles.id})", repeated, reason, "a repeated id")


def _invalid(state: ValidationState, column: str) -> np.ndarray:
    """Return the mask of invalid cells: these count as invalid, not as missing."""
    return state.invalid_cells.get(column, np.zeros(len(state.rows), dtype=bool))


def _copies(frame: pd.DataFrame, in_population: np.ndarray, id_column: str | None) -> np.ndarray:
    """Return a mask of rows that equal an earlier row of the population.

    Repeated ids, or hashes where there are no ids, find the few candidates; then all values are compared.
    """
    rows = np.flatnonzero(in_population)
    keys = frame[id_column].iloc[rows] if id_column else pd.Series(row_hashes(frame))[rows]
    candidates = rows[keys.duplicated(keep=False).to_numpy()]
    copies = np.zeros(len(frame), dtype=bool)
    copies[candidates[frame.iloc[candidates].duplicated().to_numpy()]] = True
    return copies

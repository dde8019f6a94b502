"""Validate: the gate through which data enter, or do not.

Great Expectations judges the contract's rules; what each verdict means for a row or for the batch is decided here.
Always: clean + quarantined + excluded = input.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.contract.schema import Contract, Rule
from ml.data.casting import cast
from ml.data.digest import row_hashes
from ml.data.row_split import answers
from ml.errors import DataGateError
from ml.interactions import event_log
from tasks.gx_rules import ROW, _judge, _suite
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of

# Fewer rows cannot be divided into three parts of which each still says something.
FEWEST_ROWS = 20


@dataclass
class Examination:
    """The ledger of one validation: which rows left, by which rule, and what each rule found."""

    rows: int
    left: list[pd.DataFrame] = field(default_factory=list)
    rules: list[dict[str, Any]] = field(default_factory=list)

    def record(self, rule: str, action: str, reason: str, bad: int, rows: int, refused: bool = False) -> None:
        verdict = "refused" if refused else "passed" if not bad else "acted" if action != "warn" else "warned"
        self.rules.append(
            {"rule": rule, "action": action, "reason": reason, "bad": bad, "rows": rows, "verdict": verdict}
        )

    def take(self, rows: np.ndarray, rule: str, action: str, reason: str) -> None:
        """Rows (numbers in the source, from 0) leave by this rule."""
        self.left.append(pd.DataFrame({"row": rows, "rule": rule, "reason": reason}).assign(action=action))

    def rows_left(self, action: str) -> pd.DataFrame:
        empty = pd.DataFrame({"row": np.empty(0, dtype=np.int64), "rule": "", "reason": ""}).astype(
            {"rule": "str", "reason": "str"}
        )
        found = [f.drop(columns="action") for f in self.left if len(f) and f["action"].iat[0] == action]
        return pd.concat(found, ignore_index=True) if found else empty

    def facts(self, excluded: pd.DataFrame, quarantined: pd.DataFrame) -> dict[str, Any]:
        out, bad = excluded["row"].nunique(), quarantined["row"].nunique()
        counts = {"rows": self.rows, "clean": self.rows - out - bad, "quarantined": bad, "excluded": out}
        return {**counts, "rules": self.rules}


@task(name="validate", cache_policy=NO_CACHE)
def validate(raw: StoredResult, contract: Contract, as_of: datetime | None, store: Store) -> StoredResult:
    """Parts `clean` (typed, with `_row`), `quarantine` and `excluded` (row, rule, reason). Raises DataGateError.

    Rows from after `as_of` (UTC) are excluded: nobody knew them then.
    """
    key = key_of(
        "validate",
        Path(__file__),
        ("great_expectations", "pandas"),
        raw=raw.digest,
        contract=contract.source,
        as_of=as_of and as_of.isoformat(),
    )

    def make() -> StageResult:
        begun = time.perf_counter()
        rows = raw.table("rows")
        clean, quarantine, excluded, facts = examine(rows, contract, as_of=as_of)
        tables = {"clean": clean, "quarantine": quarantine, "excluded": excluded}
        if "items" in raw.table_names:
            listed = raw.table("items")
            tables["items"] = _side_table(listed, rows.iloc[excluded["row"]], clean, contract)
            facts["items_excluded"] = int(listed["item"].nunique() - tables["items"]["item"].nunique())
        return StageResult(tables, {**facts, "seconds": time.perf_counter() - begun})

    return store.get_or_compute(key, make)


def _side_table(
    listed: pd.DataFrame, excluded: pd.DataFrame, clean: pd.DataFrame, contract: Contract
) -> pd.DataFrame:
    """The side table without items of which all rows were excluded: what is outside the population is not new.

    Raises DataGateError where it lists no item of the log: it speaks of other items.
    """
    item = str(contract.roles.item)
    outside = set(cast(excluded[[item]], {item: "category"})[0][item]) - set(clean[item])
    listed = listed[~listed["item"].isin(outside)].reset_index(drop=True)
    if not clean[str(contract.roles.item)].isin(listed["item"]).any():
        raise DataGateError(
            f"items of the log in the side table of {contract.name}",
            f"none of them among {listed['item'].nunique():,}",
            "correct meta.items, or the file",
        )
    return listed


def examine(
    frame: pd.DataFrame, contract: Contract, scoring: bool = False, as_of: datetime | None = None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Clean rows, quarantined rows, excluded rows, and what each rule found.

    With `scoring` there is no target, and rules about it, copies and who belongs to the first rows are skipped.
    Rows from after `as_of` (UTC) belong to no population yet. Raises DataGateError, which carries the facts,
    when a rule
    refuses the batch, crashes or is over its budget.
    """
    seen = Examination(len(frame))
    needed = _needed(contract, scoring)
    _columns_present(frame, needed, contract)
    spare = {contract.roles.target} if scoring else set()
    given = {c: kind for c, kind in contract.read.columns.items() if c in frame.columns and c not in spare}
    typed, misfits = cast(frame, given)
    typed = typed.reset_index(drop=True)

    inside = np.ones(len(typed), dtype=bool)
    if as_of:
        _known_by(as_of, typed[str(contract.roles.time)], inside, seen)
    judged = [r for r in contract.rules if set(r.columns) <= set(given)]
    _apply([r for r in judged if r.action == "exclude"], typed, inside, seen)
    if contract.keep_first and not scoring:
        _keep_first(typed, inside, contract, seen)
    _apply([r for r in judged if r.action != "exclude"], typed, inside, seen)
    _built_in(typed, misfits, inside, contract, scoring, seen)

    excluded, quarantine = seen.rows_left("exclude"), seen.rows_left("quarantine")
    gone = np.zeros(len(typed), dtype=bool)
    gone[excluded["row"]] = True
    gone[quarantine["row"]] = True
    clean = typed[~gone].assign(**{ROW: np.flatnonzero(~gone)}).reset_index(drop=True)
    population = len(typed) - excluded["row"].nunique()
    _batch(clean, quarantine["row"].nunique(), population, contract, scoring, seen)
    facts = seen.facts(excluded, quarantine)
    _refuse(facts)
    return clean, quarantine, excluded, facts


def check(contract: Contract) -> None:
    """Let Great Expectations read the rules. Raises ContractError for a type or argument that it does not know."""
    _suite(contract.rules, contract.name)


def _needed(contract: Contract, scoring: bool) -> list[str]:
    """Every column to learn from; to score, what the model is asked with and what names the row."""
    roles = contract.roles
    if not scoring:
        return list(contract.read.columns)
    if contract.is_recommendation:
        asked = {roles.user, roles.item, roles.time, roles.position}
    else:
        asked = {roles.id, *contract.features}
    return [c for c in contract.read.columns if c in asked]


def _columns_present(frame: pd.DataFrame, needed: Sequence[str], contract: Contract) -> None:
    missing = [c for c in needed if c not in frame.columns]
    if missing:
        rule = {
            "rule": "columns_present",
            "action": "refuse",
            "reason": "the contract names them",
            "bad": len(missing),
        }
        # How many rows there are tells the source: a table without a column that is known has none.
        facts = {"rules": [{**rule, "rows": len(frame), "verdict": "refused"}]}
        raise DataGateError(
            f"the columns of {contract.name}",
            f"no column {', '.join(map(repr, missing))}",
            "bring them, or correct meta.read.columns",
            facts,
        )


def _apply(rules: Sequence[Rule], typed: pd.DataFrame, inside: np.ndarray, seen: Examination) -> None:
    """Evaluator the rows inside the population by Great Expectations; rows that a rule excludes leave `inside`."""
    if not rules:
        return
    everything = bool(inside.all())
    rows = np.arange(len(typed)) if everything else np.flatnonzero(inside)
    frame = typed if everything else typed.iloc[rows].reset_index(drop=True)
    for rule, result in zip(rules, _judge(rules, frame), strict=True):
        bad = rows[np.asarray(result["bad"], dtype=np.int64)]
        over = not result["success"] and (rule.action == "refuse" or "mostly" in rule.expectation["kwargs"])
        refused = over or result["crashed"] is not None
        count = len(bad) if rule.tells_rows else int(not result["success"])
        reason = f"the rule crashed: {result['crashed']}" if result["crashed"] else rule.reason
        seen.record(rule.name, rule.action, reason, count, len(rows), refused)
        if rule.action in ("quarantine", "exclude"):
            seen.take(bad, rule.name, rule.action, rule.reason)
        if rule.action == "exclude":
            inside[bad] = False


def _known_by(as_of: datetime, times: pd.Series, inside: np.ndarray, seen: Examination) -> None:
    """Rows from after the instant leave the population; what has no time is left to the rules."""
    instant = pd.Timestamp(as_of)
    later = (times > (instant.tz_convert(None) if instant.tzinfo else instant)).to_numpy()
    name, reason = f"known_by({instant:%Y-%m-%d %H:%M})", "nobody knew it then"
    seen.record(name, "exclude", reason, int(later.sum()), len(times))
    seen.take(np.flatnonzero(later), name, "exclude", reason)
    inside[later] = False


def _keep_first(typed: pd.DataFrame, inside: np.ndarray, contract: Contract, seen: Examination) -> None:
    keep = contract.keep_first
    assert keep
    rows = np.flatnonzero(inside)
    ordered = typed.iloc[rows].sort_values(keep.by, kind="stable")
    later = ordered.index[ordered[keep.per].duplicated() & ordered[keep.per].notna()].to_numpy()
    name = f"keep_first({keep.per} by {keep.by})"
    seen.record(name, "exclude", keep.reason, len(later), len(rows))
    seen.take(np.sort(later), name, "exclude", keep.reason)
    inside[later] = False


def _built_in(
    typed: pd.DataFrame,
    misfits: Mapping[str, np.ndarray],
    inside: np.ndarray,
    contract: Contract,
    scoring: bool,
    seen: Examination,
) -> None:
    """What every contract says without words: cells fit their type, roles are filled, no copies, one row per id."""
    roles, population = contract.roles, int(inside.sum())

    def quarantine(rule: str, mask: np.ndarray, reason: str) -> None:
        bad = np.flatnonzero(mask & inside)
        seen.record(rule, "quarantine", reason, len(bad), population)
        seen.take(bad, rule, "quarantine", reason)

    for column, misfit in misfits.items():
        quarantine(f"type({column})", misfit, f"the cell is no {contract.read.columns[column]}")
    filled = [roles.id, roles.user, roles.item]
    if not scoring or contract.is_recommendation:
        filled += [roles.target, roles.time, roles.position, roles.group]
    for column in [c for c in filled if c and c in typed.columns]:
        misfit = misfits.get(column, np.zeros(len(typed), dtype=bool))
        missing = typed[column].isna().to_numpy() & ~misfit
        if missing.any():
            quarantine(f"present({column})", missing, "a row without it cannot be used")
    if roles.weight and roles.weight in typed.columns:
        misfit = misfits.get(roles.weight, np.zeros(len(typed), dtype=bool))
        without = np.isnan(event_log.weights(typed[roles.weight], contract)) & ~misfit
        rule = f"weight({roles.weight})"
        unlisted = without & typed[roles.weight].notna().to_numpy() & inside
        if contract.weights and not scoring and unlisted.any():
            # The contract forgot a behaviour: none of its events is at fault.
            reason = "meta.weights has no weight for its value"
            seen.record(rule, "refuse", reason, int(unlisted.sum()), population, refused=True)
        elif without.any():
            quarantine(rule, without, "an event without a weight cannot be used")
    kept_out = set(roles.ignored) - set(roles.sensitive)
    compared = [c for c in typed.columns if c not in kept_out]
    copies = _copies(typed[compared], inside, roles.id if roles.id in compared else None)
    if not scoring:
        quarantine("exact_copy", copies, "a copy of an earlier row; that one stays")
    if roles.id and not contract.is_recommendation:
        ids = typed[roles.id]
        different = ids[inside & ~copies & ids.notna().to_numpy()]
        repeated = ids.isin(different[different.duplicated()]).to_numpy()
        quarantine(f"one_row_per({roles.id})", repeated, "one id with different content: none can be trusted")


def _copies(frame: pd.DataFrame, inside: np.ndarray, identity: str | None) -> np.ndarray:
    """Rows that equal an earlier row inside. Repeated ids or else hashes find the few candidates; values decide."""
    within = np.flatnonzero(inside)
    alike = frame[identity].iloc[within] if identity else pd.Series(row_hashes(frame))[within]
    candidates = within[alike.duplicated(keep=False).to_numpy()]
    copies = np.zeros(len(frame), dtype=bool)
    copies[candidates[frame.iloc[candidates].duplicated().to_numpy()]] = True
    return copies


def _batch(
    clean: pd.DataFrame,
    quarantined: int,
    population: int,
    contract: Contract,
    scoring: bool,
    seen: Examination,
) -> None:
    """What must hold of the batch as a whole."""

    def require(rule: str, reason: str, holds: bool) -> None:
        seen.record(rule, "refuse", reason, int(not holds), population, refused=not holds)

    share = quarantined / max(population, 1)
    require(
        "budget",
        f"at most {contract.budget:.2%} of rows in quarantine; {share:.2%} are",
        share <= contract.budget,
    )
    fewest = 1 if scoring else FEWEST_ROWS
    require("enough_rows", f"at least {fewest} clean rows; there are {len(clean)}", len(clean) >= fewest)
    if contract.is_recommendation or not len(clean):
        return
    some = any(clean[c].notna().any() for c in contract.features)
    require("features_present", "at least one feature has a value", some)
    if not scoring:
        kinds = answers(clean, contract).nunique()
        require("target_varies", f"at least two different answers; there are {kinds}", kinds > 1)


def _refuse(facts: Mapping[str, Any]) -> None:
    refused = [r for r in facts["rules"] if r["verdict"] == "refused"]
    if refused:
        broken = "; ".join(f"{r['rule']}: {r['reason']} ({r['bad']} of {r['rows']})" for r in refused)
        raise DataGateError(
            "data that keep their contract",
            broken,
            "see the report for the rules; correct the data or the contract",
            facts,
        )

"""Decide about a champion: record the decision in the ledger and move the champion alias of MLflow with it."""

import logging
import os
import pwd
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from ml.errors import UsageError
from ml.evaluation.looks import CLEAR, SOME, UNKNOWN, EarlierLook
from tasks.ledger import (
    CHAMPION_UNUSABLE,
    EXTERNAL,
    PROMOTE,
    ROLLBACK,
    Ledger,
    LedgerState,
    ModelRecord,
    Verdict,
    read_state,
    record_entry,
    require_intact,
)
from tasks.ledger_chain import ACCEPTED, Entry, Head, first_link

log = logging.getLogger("steward")


class AliasMovedError(Exception):
    """Another run moved the alias since the comparison: compare again, with the new champion."""


def reconcile_champion(ledger: Ledger, record: ModelRecord) -> LedgerState:
    """Complete a decision that a crash interrupted, and record an alias that was moved by other means.

    The caller holds the ledger's lock. Raises LedgerError.
    """
    state = require_intact(ledger, record)
    if state.record.pending is not None:
        state = _complete_decision(ledger, record, state)
    last, champion = state.last, state.record.champion
    if last is None or last["champion"] == champion:
        return state
    entry = {
        "verdict": EXTERNAL,
        "reason": "the alias was moved outside of the ledger",
        "before": last["champion"],
        "champion": champion,
    }
    record_entry(ledger, record, state, entry)
    log.warning(
        "  champion of %s: %s in MLflow, %s in the ledger; MLflow's counts and was recorded",
        ledger.name,
        _version(champion),
        _version(last["champion"]),
    )
    return require_intact(ledger, record)


def _complete_decision(ledger: Ledger, record: ModelRecord, state: LedgerState) -> LedgerState:
    """Move the alias and set the head where the entry was appended; otherwise the decision was not made."""
    last = state.last
    if state.chain.is_interrupted and last:
        is_decision = last["verdict"] in (PROMOTE, ROLLBACK)
        if is_decision and state.record.champion == last["before"] != last["champion"]:
            record.move_champion(last["champion"])
        record.write_head(state.chain.head)
    elif state.chain.incomplete:
        ledger.truncate(len(state.data) - len(state.chain.incomplete))
    record.write_pending(None)
    return require_intact(ledger, record)


def start_ledger(ledger: Ledger, record: ModelRecord) -> None:
    """Write to MLflow that the ledger of a new model has no entry yet, so that none can be forged before the first."""
    with ledger.lock():
        state = record.read()
        if state.head is None and state.pending is None and not ledger.read_bytes():
            record.write_head(Head(0, first_link(ledger.name, record.state_dir_id)))


def commit_verdict(
    ledger: Ledger,
    record: ModelRecord,
    verdict: Verdict,
    challenger: int,
    expected: int | None,
    details: Mapping[str, Any],
) -> tuple[Entry, bool]:
    """Record a verdict and move the alias, if the champion is still the `expected` version (compare and set).

    `details` has `model_digest` and `test_digest`, and what `earlier_looks` reads. There is one decision for each pair
    of these digests: a model that was promoted once is not promoted again. One that was not, because another version
    was champion or because the champion was unusable, is decided about anew. That the champion is unusable is always
    recorded. Returns the entry, and whether it is new. Raises AliasMovedError and LedgerError.
    """
    with ledger.lock():
        state = reconcile_champion(ledger, record)
        current = state.record.champion
        previous = _find_decision(state, details["model_digest"], details["test_digest"])
        # That the champion cannot predict is news, whatever was decided while it could.
        if previous and verdict.verdict != CHAMPION_UNUSABLE:
            return previous, False
        if current != expected:
            raise AliasMovedError
        champion = challenger if verdict.verdict == PROMOTE else current
        entry = {
            "verdict": verdict.verdict,
            "reason": verdict.reason,
            "version": challenger,
            "before": current,
            "champion": champion,
            "difference": verdict.difference,
            **({"look": verdict.look} if verdict.look else {}),
            **({"validation": verdict.validation} if verdict.validation else {}),
            **details,
        }
        is_moved = champion is not None and champion != current
        return record_entry(ledger, record, state, entry, is_moved), True


def earlier_looks(entries: Iterable[Entry], champion: int | None = None) -> list[EarlierLook]:
    """Return the decisions about challengers in a ledger; where models were compared, they are looks at test rows.

    Leads on validation rows are those over `champion`. Entries that nothing proves any more, as before an acceptance,
    count as well: nobody gains by adding one.
    """
    looks = []
    for entry in entries:
        rows, recipe, look = entry.get("rows"), entry.get("recipe"), entry.get("look")
        is_look = entry.get("difference") is not None
        if isinstance(rows, str) and isinstance(recipe, str):
            known = look if isinstance(look, dict) else {}
            lead = known["lead"] if known.get("lead") in (CLEAR, SOME) else UNKNOWN
            value = _lead_value(entry) if entry.get("before") == champion else None
            is_new = bool(known.get("is_new_recipe"))
            looks.append(EarlierLook(rows, recipe, is_look, is_new, lead, value))
        elif is_look:
            looks.append(EarlierLook(None, None))
    return looks


def _lead_value(entry: Entry) -> float | None:
    validation = entry.get("validation")
    value = validation.get("value") if isinstance(validation, dict) else None
    return float(value) if isinstance(value, int | float) and isfinite(value) else None


def _find_decision(state: LedgerState, model_digest: str, test_digest: str) -> Entry | None:
    """Return the last entry that decides about this model on this test dataset, if any.

    That is a promotion, which is not repeated after a rollback, or a comparison with the present champion.
    """
    matches = [
        entry
        for entry in state.chain.proven
        if entry.get("model_digest") == model_digest
        and entry.get("test_digest") == test_digest
        and entry["verdict"] != CHAMPION_UNUSABLE
        and (entry["verdict"] == PROMOTE or entry["champion"] == state.record.champion)
    ]
    return matches[-1] if matches else None


def rollback(ledger: Ledger, record: ModelRecord, reason: str) -> Entry:
    """Make the previous champion the champion again. Raises UsageError if there is none, and LedgerError."""
    with ledger.lock():
        state = reconcile_champion(ledger, record)
        current = state.record.champion
        champions = _champion_history(state.chain.proven)
        previous = champions if current is None else champions[:-1]
        if not previous or previous[-1] not in record.versions():
            got = f"version {previous[-1]}, which MLflow no longer has" if previous else "none in the ledger"
            raise UsageError(f"a champion of {ledger.name} before the present one", got, "see --history")
        version = previous[-1]
        entry = {"verdict": ROLLBACK, "reason": reason, "before": current, "champion": version}
        return record_entry(ledger, record, state, entry, version != current)


def _champion_history(entries: tuple[Entry, ...]) -> list[int]:
    """Return the successive champions; a rollback removes those after the champion that it returns to."""
    champions: list[int] = []
    for entry in (e for e in entries if e["champion"] not in (None, e["before"])):
        if entry["verdict"] == ROLLBACK:
            while champions[-1] != entry["champion"]:
                champions.pop()
        else:
            champions.append(int(entry["champion"]))
    return champions


def accept_ledger(ledger: Ledger, record: ModelRecord, reason: str) -> Entry:
    """Start the chain of a damaged ledger anew, after all that is in the file; MLflow's champion stays champion.

    The entry records the problems and the user of this process. Earlier entries are only shown from then on: no
    decision and no rollback uses them. Raises UsageError for a ledger without problems, LedgerError for one that cannot
    be read.
    """
    with ledger.lock():
        state = read_state(ledger, record)
        if not state.problems:
            raise UsageError(
                f"a ledger of {ledger.name} with something to accept", "one without problems", "nothing to do"
            )
        entry = {
            "verdict": ACCEPTED,
            "reason": reason,
            "accepted_by": _user(),
            "problems": list(state.problems),
            "before": None,
            "champion": state.record.champion,
            **_champion_digests(record, state.record.champion),
        }
        record.create()
        return record_entry(ledger, record, state, entry)


def _champion_digests(record: ModelRecord, champion: int | None) -> dict[str, Any]:
    """Return the digests of the champion in MLflow, since those in a damaged ledger prove nothing."""
    if champion is None:
        return {}
    digests = record.digests(champion)
    return {"version": champion, "model_digest": digests.package, "artifact_digest": digests.file_list}


def _user() -> str:
    """Return the name of the user of this process; not from the environment, which can name anybody."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _version(number: int | None) -> str:
    return f"version {number}" if number is not None else "none"

"""Show and verify the decisions about a champion, roll back to the one before, and accept a damaged ledger."""

from typing import Any, Never

from flows.housekeeping.ledgers import open_ledger
from flows.recording.model_page import record_rollback
from ml.errors import UsageError
from tasks.decisions import accept_ledger, rollback
from tasks.ledger import Ledger, LedgerState, read_state
from tasks.settings import load
from tasks.tracking import connection


def decisions(case: str, data: str) -> list[dict[str, Any]]:
    """List the ledger entries of one use case and data set, oldest first. Raises UsageError where there are none."""
    name = f"{case}.{data}"
    entries = Ledger(load().ledger_dir, name).entries()
    return entries or _raise_none(case, data)


def roll_back(case: str, data: str, reason: str) -> dict[str, Any]:
    """Make the previous champion champion again, also on MLflow's pages, and return the ledger entry about it."""
    decisions(case, data)
    settings = load()
    client = connection.connect(settings)
    ledger, record = open_ledger(settings, client, f"{case}.{data}")
    entry = rollback(ledger, record, reason)
    record_rollback(client, ledger, entry)
    return entry


def inspect_ledger(case: str, data: str) -> LedgerState:
    """Compare the ledger of one use case and data set with MLflow. Raises UsageError where there is neither."""
    settings = load()
    client = connection.connect_read_only(settings)
    state = read_state(*open_ledger(settings, client, f"{case}.{data}", read_only=True))
    if not state.data and state.record.head is None:
        return _raise_none(case, data)
    return state


def accept_damaged_ledger(case: str, data: str, reason: str) -> dict[str, Any]:
    """Start the chain of a damaged ledger anew and return the entry about it. Raises UsageError."""
    settings = load()
    return accept_ledger(*open_ledger(settings, connection.connect(settings), f"{case}.{data}"), reason)


def _raise_none(case: str, data: str) -> Never:
    raise UsageError(
        f"a decision about {case}.{data}", "none so far", f"run `steward run {case} --data {data}` first"
    )

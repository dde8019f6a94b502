"""Show the decisions about a champion, and roll back to the one before."""

from typing import Any

from ml.errors import UsageError
from tasks.ledger import Alias, Ledger, rollback
from tasks.settings import load
from tasks.tracking import connection, registry


def decisions(case: str, data: str) -> list[dict[str, Any]]:
    """List the ledger entries of one use case and data set, oldest first. Raises UsageError where there are none."""
    name = f"{case}.{data}"
    entries = Ledger(load().ledger_dir, name).entries()
    if not entries:
        raise UsageError(
            f"a decision about {name}", "none so far", f"run `steward run {case} --data {data}` first"
        )
    return entries


def roll_back(case: str, data: str, reason: str) -> dict[str, Any]:
    """Make the previous champion champion again, and return the ledger entry about it."""
    decisions(case, data)
    settings = load()
    name = f"{case}.{data}"
    alias = Alias(*registry.champion_alias_accessors(connection.connect(settings), name))
    return rollback(Ledger(settings.ledger_dir, name), alias, reason)

"""Champions: who holds the title, how it came to that, and the way back."""

from typing import Any

from ml.errors import UsageError
from tasks.ledger import Alias, Ledger, rollback
from tasks.settings import load
from tasks.tracking import connection, registry


def history_of(case: str, data: str) -> list[dict[str, Any]]:
    """The ledger's lines about one use case and data set, oldest first. Raises UsageError where there are none."""
    name = f"{case}.{data}"
    lines = Ledger(load().ledger, name).entries()
    if not lines:
        raise UsageError(
            f"a decision about {name}", "none so far", f"run `steward run {case} --data {data}` first"
        )
    return lines


def roll_back(case: str, data: str, reason: str) -> dict[str, Any]:
    """The champion before the present one becomes champion again; the ledger's line about it."""
    history_of(case, data)
    settings = load()
    name = f"{case}.{data}"
    alias = Alias(*registry.alias_of(connection.connect(settings), name))
    return rollback(Ledger(settings.ledger, name), alias, reason)

"""Show in MLflow that the champion is champion because of a rollback, and why."""

from collections.abc import Mapping
from typing import Any

from tasks.ledger import ROLLBACK, Ledger
from tasks.tracking import registry
from tasks.tracking.connection import Client

# MLflow's limit is 5,000 characters, for the whole description.
MAX_REASON = 1000
HEADING = "**Rollback"
# Tag of a version that was replaced: the reason.
ROLLED_BACK_TAG = "steward.rolled_back"


def rollback_text(entry: Mapping[str, Any]) -> str:
    """Describe a rollback by its ledger entry, as one paragraph of Markdown."""
    reason = " ".join(str(entry["reason"]).split())[:MAX_REASON]
    replaced = f" replaced version {entry['before']}" if entry["before"] else ""
    return (
        f"{HEADING} {entry['at']}: version {entry['champion']}{replaced}.** Reason: {reason}"
        f" (ledger entry {entry['line']})"
    )


def show_rollback(client: Client, ledger: Ledger) -> None:
    """Add the rollback to the page of the registered model, as long as its champion is the one it restored."""
    champion = registry.get_champion(client, ledger.name)
    moves = [entry for entry in ledger.entries() if entry["champion"] != entry["before"]]
    if champion is None or not moves:
        return
    last, page = moves[-1], registry.description(client, ledger.name)
    question, *others = [text for text in page.split("\n\n") if not text.startswith(HEADING)]
    if last["verdict"] == ROLLBACK and last["champion"] == champion.number:
        others = [rollback_text(last), *others]
    registry.describe(client, ledger.name, "\n\n".join([question, *others]))


def record_rollback(client: Client, ledger: Ledger, entry: Mapping[str, Any]) -> None:
    """Add a rollback to the pages of the registered model and of both versions, and tag the one that was replaced."""
    show_rollback(client, ledger)
    for number in (entry["before"], entry["champion"]):
        if number is not None:
            page = registry.description(client, ledger.name, number)
            registry.describe(client, ledger.name, f"{rollback_text(entry)}\n\n{page}".strip(), number)
    if entry["before"] is not None:
        reason = str(entry["reason"])[:MAX_REASON]
        client.set_model_version_tag(ledger.name, str(entry["before"]), ROLLED_BACK_TAG, reason)

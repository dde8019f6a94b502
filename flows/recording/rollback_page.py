"""Show in MLflow that the champion is champion because of a rollback, and why."""

import re
from collections.abc import Mapping, Sequence
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


def rollback_paragraphs(entries: Sequence[Mapping[str, Any]], champion: int | None) -> list[str]:
    """Return a paragraph about the rollback that made this version the champion; none where it was no rollback."""
    moves = [entry for entry in entries if entry["champion"] != entry["before"]]
    is_rollback = moves and moves[-1]["verdict"] == ROLLBACK and moves[-1]["champion"] == champion
    return [rollback_text(moves[-1])] if is_rollback else []


def show_rollback(client: Client, ledger: Ledger) -> None:
    """Add the rollback to the page of the registered model, as long as its champion is the one it restored."""
    champion = registry.get_champion(client, ledger.name)
    if champion is None:
        return
    page = registry.description(client, ledger.name)
    page = re.sub(r"\bChampion: version \d+", f"Champion: version {champion.number}", page)
    question, *others = [text for text in page.split("\n\n") if not text.startswith(HEADING)]
    rollbacks = rollback_paragraphs(ledger.entries(), champion.number)
    registry.describe(client, ledger.name, "\n\n".join([question, *rollbacks, *others]))


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

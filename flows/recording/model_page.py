"""The page of a registered model in MLflow: its champion, the last decision or rollback, and the last runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from flows.recording.report_address import run_route
from tasks.ledger import ROLLBACK, Ledger, LedgerError
from tasks.metric_descriptions import label_metrics
from tasks.tracking import registry, run_history
from tasks.tracking.connection import Client
from tasks.tracking.registry import ModelVersion
from tasks.tracking.run_history import RunSummary

# MLflow's limit of a description, in characters; of a reason in it, and in the list of runs.
MAX_DESCRIPTION, MAX_REASON, MAX_LISTED_REASON = 5000, 1000, 160
MAX_RUNS = 10
# Tag of a version that was replaced: the reason.
ROLLED_BACK_TAG = "steward.rolled_back"


def describe_model(client: Client, ledger: Ledger, question: str | None = None) -> None:
    """Write the page of a registered model, if there is one; runs that a gate stopped are listed too.

    Without `question`, the one on the page stays.
    """
    name = ledger.name
    if not registry.model_exists(client, name):
        return
    champion, entries = registry.get_champion(client, name), _entries(ledger)
    paragraphs = [
        question or registry.description(client, name).split("\n\n")[0],
        _champion_text(champion),
        *rollback_paragraphs(entries, champion.number if champion else None),
        *_last_decision(entries),
    ]
    runs = run_history.last_runs(client, name, MAX_RUNS)
    # A page that is too long lists fewer runs.
    pages = ("\n\n".join([*paragraphs, _run_list(runs[:number])]) for number in range(len(runs), -1, -1))
    page = next(page for page in pages if len(page) <= MAX_DESCRIPTION or "\n- [" not in page)
    registry.describe(client, name, page[:MAX_DESCRIPTION])


def _entries(ledger: Ledger) -> list[dict[str, Any]]:
    """Return what can be read: a damaged ledger has stopped the run already."""
    try:
        return ledger.entries()
    except LedgerError:
        return []


def _champion_text(champion: ModelVersion | None) -> str:
    if champion is None:
        return "**No champion**"
    measured = (champion.tags[key] for key in ("candidate", "metric", "data") if key in champion.tags)
    alias = registry.CHAMPION_ALIAS
    return f"**Champion: version {champion.number}** (alias `{alias}`): {', '.join(measured)}"


def _last_decision(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Describe the last decision about a challenger."""
    decisions = [entry for entry in entries if entry.get("version")]
    if not decisions:
        return []
    last = decisions[-1]
    return [
        f"Last decision about version {last['version']} (ledger entry {last['line']}, {last['at']}):"
        f" {last['verdict']}: {one_line(label_metrics(last['reason']), MAX_REASON)}"
    ]


def _run_list(runs: Sequence[RunSummary]) -> str:
    """Return the last runs as a Markdown list, newest first; the columns of a table would be too narrow in MLflow."""
    lines = ["Last runs:\n"] if runs else []
    for run in runs:
        link = f"[{run.started:%Y-%m-%d %H:%M}]({run_route(run.experiment_id, run.run_id)})"
        facts = ", ".join(text for text in (f"**{run.verdict}**", run.model, run.estimate) if text)
        lines.append(
            f"- {link} {run.data}: {facts}: {one_line(label_metrics(run.reason), MAX_LISTED_REASON)}"
        )
    return "\n".join(lines)


def one_line(text: str, max_length: int) -> str:
    """Return a text as one line, cut where it is too long."""
    line = " ".join(str(text).split())
    return line if len(line) <= max_length else f"{line[: max_length - 1]}…"


def rollback_text(entry: Mapping[str, Any]) -> str:
    """Describe a rollback by its ledger entry, as one paragraph of Markdown."""
    replaced = f" replaced version {entry['before']}" if entry["before"] else ""
    return (
        f"**Rollback {entry['at']}: version {entry['champion']}{replaced}.**"
        f" Reason: {one_line(entry['reason'], MAX_REASON)} (ledger entry {entry['line']})"
    )


def rollback_paragraphs(entries: Sequence[Mapping[str, Any]], champion: int | None) -> list[str]:
    """Return a paragraph about the rollback that made this version the champion; none where it was no rollback."""
    moves = [entry for entry in entries if entry["champion"] != entry["before"]]
    is_rollback = moves and moves[-1]["verdict"] == ROLLBACK and moves[-1]["champion"] == champion
    return [rollback_text(moves[-1])] if is_rollback else []


def record_rollback(client: Client, ledger: Ledger, entry: Mapping[str, Any]) -> None:
    """Show a rollback on the pages of the registered model and of both versions, and tag the one that was replaced."""
    describe_model(client, ledger)
    for number in (entry["before"], entry["champion"]):
        if number is not None:
            page = registry.description(client, ledger.name, number)
            registry.describe(client, ledger.name, f"{rollback_text(entry)}\n\n{page}".strip(), number)
    if entry["before"] is not None:
        reason = str(entry["reason"])[:MAX_REASON]
        client.set_model_version_tag(ledger.name, str(entry["before"]), ROLLED_BACK_TAG, reason)

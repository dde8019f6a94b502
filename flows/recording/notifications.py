"""Report the end of a run: on the pages of MLflow and Prefect, as events, and as messages."""

import logging
from collections.abc import Mapping
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.events import emit_event
from prefect.runtime import flow_run

from flows.recording.endings import ERROR
from tasks.facts import CANCELLED, SUSPENDED, RunFacts
from tasks.settings import Settings
from tasks.tracking import registry
from tasks.tracking.connection import Client
from tasks.tracking.registry import ModelVersion
from tasks.tracking.run import MlflowRun

log = logging.getLogger("steward")
DATA_REJECTED, MODEL_REJECTED = "steward.data.rejected", "steward.model.rejected"
CHAMPION_PROMOTED, SCORED = "steward.champion.promoted", "steward.scoring.finished"
INTERRUPTIONS = (CANCELLED, SUSPENDED)


def outcome_sentence(facts: RunFacts) -> str:
    """Describe the end of the run in one sentence."""
    if "stopped" in facts:
        gate, reason = facts["stopped"]["gate"], facts["stopped"]["reason"]
        if gate in INTERRUPTIONS:
            return reason
        return f"stopped by an error: {reason}" if gate == ERROR else f"rejected by the {gate} gate: {reason}"
    return f"{facts['verdict']['verdict']}: {facts['verdict']['reason']}"


def describe_run(run: MlflowRun, facts: RunFacts, report: str) -> None:
    """Write outcome and links into the description of the MLflow run."""
    lines = [f"**{outcome_sentence(facts)}**", f"Report: `report.html` under Artifacts, or {report}"]
    if (budget := facts.get("time_budget")) and budget["note"]:
        lines.insert(1, budget["note"])
    if facts["prefect"]["url"]:
        lines.append(f"Prefect: [{facts['prefect']['flow_run_name']}]({facts['prefect']['url']})")
    run.set_note("\n\n".join(lines))


def describe_model(
    client: Client,
    challenger: ModelVersion,
    champion: int | None,
    facts: RunFacts,
    entry: Mapping[str, Any],
    report: str,
) -> None:
    """Write the ledger entry about the challenger and the outcome of this run into the registry's descriptions.

    The version keeps the description of the run that decided about it: later runs of the same model do not change it.
    """
    decision = f"{entry['verdict']}: {entry['reason']}"
    if entry["run_id"] == facts["mlflow"]["run_id"]:
        registry.describe(client, challenger.name, f"**{decision}**\n\nReport: {report}", challenger.number)
    alias = registry.CHAMPION_ALIAS
    paragraphs = [
        facts["question"],
        f"Champion: version {champion} (alias `{alias}`)" if champion else "No champion",
        f"Version {challenger.number}, ledger entry {entry['line']}, {entry['at']}: {decision}",
        f"Last run, {facts['started']}: {outcome_sentence(facts)}",
        f"Report: {report}",
    ]
    registry.describe(client, challenger.name, "\n\n".join(paragraphs))


def create_prefect_artifacts(facts: RunFacts, report: str) -> None:
    """Attach the report as a link and the leaderboard as a table to the flow run."""
    if not flow_run.id:
        return
    key, summary = f"{facts['case']}-report", outcome_sentence(facts)
    create_link_artifact(link=report, link_text="report", key=key, description=summary)
    if "leaderboard" in facts:
        columns = ("candidate", "value", "low", "high", "seconds", "megabytes", "leads")
        table = [{c: dict(entry)[c] for c in columns} for entry in facts["leaderboard"]]
        create_table_artifact(table, key=f"{facts['case']}-leaderboard", description=facts["question"])


def emit_run_events(facts: RunFacts, report: str) -> None:
    """Emit an event for rejected data, a rejected model, or a new champion; automations can act on these."""
    if "stopped" in facts:
        gate, reason = facts["stopped"]["gate"], facts["stopped"]["reason"]
        if gate not in (ERROR, *INTERRUPTIONS):
            name = DATA_REJECTED if gate in ("data", "drift", "split") else MODEL_REJECTED
            emit_champion_event(name, facts, reason=reason, report=report)
    elif facts["verdict"]["verdict"] == "promote":
        verdict = facts["verdict"]
        emit_champion_event(
            CHAMPION_PROMOTED, facts, version=verdict["version"], reason=verdict["reason"], report=report
        )


def emit_champion_event(name: str, subject: Mapping[str, Any], **payload: Any) -> None:
    """Emit one event about the champion of `subject` (case, data, contract); only within a flow run."""
    if not flow_run.id:
        return
    resource = {
        "prefect.resource.id": f"steward.champion.{subject['contract']}",
        "prefect.resource.name": subject["contract"],
        "steward.case": subject["case"],
        "steward.data": subject["data"],
    }
    related = [
        {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}
    ]
    emit_event(name, resource, related=related, payload=payload)


def notify(settings: Settings, facts: RunFacts, report: str) -> None:
    """Send new champions and rejections through the Prefect blocks that STEWARD_NOTIFY names, if any."""
    is_notable = (
        facts["stopped"]["gate"] not in INTERRUPTIONS
        if "stopped" in facts
        else facts["verdict"]["verdict"] == "promote"
    )
    if not settings.notify or not is_notable:
        return
    outcome = outcome_sentence(facts)
    subject = f"Steward: {facts['case']} on {facts['data']}: {outcome.partition(' ')[0].strip(':')}"
    links = [f"report: {report}", *([f"run: {facts['prefect']['url']}"] if facts["prefect"]["url"] else [])]
    send(settings, subject, "\n".join([outcome, *links]))


def send(settings: Settings, subject: str, body: str) -> None:
    """Send through every named block, such as `slack-webhook/on-call`; a failure is only logged."""
    for name in settings.notify:
        try:
            block = Block.load(name)
            if not isinstance(block, NotificationBlock):
                raise TypeError(f"expected a notification block, got {type(block).__name__}")
            # In a flow that is not async, Prefect waits for it.
            block.notify(body=body, subject=subject)  # type: ignore[unused-coroutine]
        except Exception as error:
            # The text of the error may quote the block's address, which is a secret.
            log.warning("  no message sent through %s: %s", name, type(error).__name__)

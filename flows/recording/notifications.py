"""Announcements: what others hear of a run, on the pages of MLflow and Prefect, by events, and by messages."""

import logging
from collections.abc import Mapping
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.events import emit_event
from prefect.runtime import flow_run

from tasks.settings import Settings
from tasks.tracking import registry
from tasks.tracking.connection import Client
from tasks.tracking.registry import ModelVersion
from tasks.tracking.run import MlflowRun

log = logging.getLogger("steward")
REFUSED, CHAMPION, SCORED = "steward.data.refused", "steward.champion.new", "steward.scoring.finished"
STOPPED = "steward.model.refused"
# What stands where a gate's name would when none stopped the run.
ERROR = "error"


def said(facts: Mapping[str, Any]) -> str:
    """The run's end in one sentence."""
    if "refused" in facts:
        gate, why = facts["refused"]["gate"], facts["refused"]["why"]
        return f"stopped by an error: {why}" if gate == ERROR else f"refused by the gate {gate}: {why}"
    return f"{facts['verdict']['verdict']}: {facts['verdict']['reason']}"


def in_mlflow(tracked: MlflowRun, facts: Mapping[str, Any], report: str) -> None:
    """What the page of the run says first."""
    lines = [f"**{said(facts)}**", f"Report: `report.html` under Artifacts, or {report}"]
    if facts["prefect"]["url"]:
        lines.append(f"Prefect: [{facts['prefect']['flow_run_name']}]({facts['prefect']['url']})")
    tracked.describe("\n\n".join(lines))


def in_registry(
    client: Client,
    challenger: ModelVersion,
    champion: int | None,
    facts: Mapping[str, Any],
    line: Mapping[str, Any],
    report: str,
) -> None:
    """What the pages of the registered model and of the version say: the ledger's `line` about it, then the last run.

    A version keeps the word of the run that decided about it; later runs that give the same model say nothing new.
    """
    decision = f"{line['verdict']}: {line['reason']}"
    if line["run_id"] == facts["mlflow"]["run_id"]:
        registry.describe(client, challenger.name, f"**{decision}**\n\nReport: {report}", challenger.number)
    held = f"Champion: version {champion} (alias `{registry.ALIAS}`)" if champion else "No champion"
    about = f"Version {challenger.number}, line {line['line']} of the ledger, {line['at']}: {decision}"
    last = f"Last run, {facts['begun']}: {said(facts)}"
    text = "\n\n".join([facts["question"], held, about, last, f"Report: {report}"])
    registry.describe(client, challenger.name, text)


def in_prefect(facts: Mapping[str, Any], report: str) -> None:
    """The report as a link and the leaderboard as a table, beside the flow run."""
    if not flow_run.id:
        return
    case = facts["case"]
    create_link_artifact(link=report, link_text="report", key=f"{case}-report", description=said(facts))
    if "leaderboard" in facts:
        columns = ("candidate", "value", "low", "high", "seconds", "megabytes", "leads")
        table = [{c: line[c] for c in columns} for line in facts["leaderboard"]]
        create_table_artifact(table, key=f"{case}-leaderboard", description=facts["question"])


def as_events(facts: Mapping[str, Any], report: str) -> None:
    """What automations can act on: refused data, a refused model, a new champion."""
    if "refused" in facts:
        gate = facts["refused"]["gate"]
        if gate != ERROR:
            event(
                REFUSED if gate in ("data", "split") else STOPPED,
                facts,
                why=facts["refused"]["why"],
                report=report,
            )
    elif facts["verdict"]["verdict"] == "promote":
        event(
            CHAMPION,
            facts,
            version=facts["verdict"]["version"],
            why=facts["verdict"]["reason"],
            report=report,
        )


def event(name: str, facts: Mapping[str, Any], **payload: Any) -> None:
    """One event about a champion's name; only within a flow run, which knows the server."""
    if not flow_run.id:
        return
    resource = {
        "prefect.resource.id": f"steward.champion.{facts['contract']}",
        "prefect.resource.name": facts["contract"],
        "steward.case": facts["case"],
        "steward.data": facts["data"],
    }
    related = [
        {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}
    ]
    emit_event(name, resource, related=related, payload=payload)


def to_people(settings: Settings, facts: Mapping[str, Any], report: str) -> None:
    """Case, verdict, why and links, through the Prefect blocks that STEWARD_NOTIFY names; silent without.

    A message that cannot be sent is a warning: a run is not worse for it.
    """
    news = "refused" in facts or facts["verdict"]["verdict"] == "promote"
    if not settings.notify or not news:
        return
    subject = f"Steward: {facts['case']} on {facts['data']}: {said(facts).partition(' ')[0].strip(':')}"
    links = [f"report: {report}", *([f"run: {facts['prefect']['url']}"] if facts["prefect"]["url"] else [])]
    send(settings, subject, "\n".join([said(facts), *links]))


def send(settings: Settings, subject: str, body: str) -> None:
    """Through every block that is named, as `slack-webhook/on-call`."""
    for name in settings.notify:
        try:
            block = Block.load(name)
            if not isinstance(block, NotificationBlock):
                raise TypeError(f"a block that notifies was expected, got {type(block).__name__}")
            # In a flow that is not async, Prefect runs it to its end.
            block.notify(body=body, subject=subject)  # type: ignore[unused-coroutine]
        except Exception as error:
            # Its text may quote the block's address, which is a secret.
            log.warning("  no message sent through %s: %s", name, type(error).__name__)

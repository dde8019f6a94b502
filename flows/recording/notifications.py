"""Report the end of a run as events and as messages."""

import logging
from collections.abc import Mapping
from typing import Any

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.events import emit_event
from prefect.runtime import flow_run

from flows.recording.endings import ERROR
from flows.recording.run_facts import INTERRUPTIONS, outcome_sentence
from tasks.facts import RunFacts
from tasks.metric_descriptions import label_metrics
from tasks.settings import Settings

log = logging.getLogger("steward")
DATA_REJECTED, MODEL_REJECTED = "steward.data.rejected", "steward.model.rejected"
CHAMPION_PROMOTED, SCORED = "steward.champion.promoted", "steward.scoring.finished"


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
    outcome = label_metrics(outcome_sentence(facts))
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

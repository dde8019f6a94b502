"""Automations of the Prefect server that end runs which stopped responding or run too long."""

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.actions import ActionTypes
    from prefect.events.schemas.automations import AutomationCore

# The shortest interval between heartbeats that Prefect allows. A busy server may lose some of them.
HEARTBEAT_SECONDS = 30
HEARTBEAT_TIMEOUT = timedelta(seconds=6 * HEARTBEAT_SECONDS)
# Longer than any run is expected to take.
MAX_RUNTIME = timedelta(hours=12)
FINAL_STATE_EVENTS = {
    f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled")
}


def ensure_automations(client: "SyncPrefectClient") -> None:
    """Create or update both automations and delete duplicates; keep whether an operator disabled them."""
    for automation in (missed_heartbeat_automation(), max_runtime_automation()):
        existing = client.read_automations_by_name(automation.name)
        if not existing:
            client.create_automation(automation)
            continue
        update = automation.model_copy(update={"enabled": existing[0].enabled})
        client.update_automation(existing[0].id, update)
        for duplicate in existing[1:]:
            client.delete_automation(duplicate.id)


def missed_heartbeat_automation() -> "AutomationCore":
    """Build the automation that marks a run as crashed when its heartbeats stop."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState

    heartbeat = "prefect.flow-run.heartbeat"
    message = f"no heartbeat for {HEARTBEAT_TIMEOUT.seconds} seconds: the process or the machine has stopped"
    return _missing_event_automation(
        "Crash runs that show no sign of life",
        after=heartbeat,
        expect={heartbeat, *FINAL_STATE_EVENTS},
        within=HEARTBEAT_TIMEOUT,
        action=ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message, force=False),
    )


def max_runtime_automation() -> "AutomationCore":
    """Build the automation that cancels a run after `MAX_RUNTIME`; the worker then ends its process."""
    from prefect.events.actions import CancelFlowRun

    return _missing_event_automation(
        f"Cancel runs that take longer than {MAX_RUNTIME.total_seconds() / 3600:g} hours",
        after="prefect.flow-run.Running",
        expect=FINAL_STATE_EVENTS,
        within=MAX_RUNTIME,
        action=CancelFlowRun(),
    )


def _missing_event_automation(
    name: str, after: str, expect: set[str], within: timedelta, action: "ActionTypes"
) -> "AutomationCore":
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    trigger = EventTrigger(
        posture=Posture.Proactive,
        match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        for_each={"prefect.resource.id"},
        after={after},
        expect=expect,
        threshold=1,
        within=within,
    )
    return AutomationCore(name=name, trigger=trigger, actions=[action], tags=["steward"])

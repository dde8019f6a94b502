"""What the Prefect server does by itself about runs that no longer answer."""

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.actions import ActionTypes
    from prefect.events.schemas.automations import AutomationCore

# A run tells every so many seconds that it is alive; Prefect allows no fewer. A busy server may lose some of it:
# six that are missing mean death.
HEARTBEAT = 30
SILENCE = timedelta(seconds=6 * HEARTBEAT)
# No run of ours takes this long: it hangs.
LONGEST = timedelta(hours=12)
ENDS = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled")}


def ensure(client: "SyncPrefectClient") -> None:
    """Each of ours is on the server once, as it is here; whether it is enabled stays as a person has set it."""
    for ours in (zombies(), hanging()):
        known = client.read_automations_by_name(ours.name)
        if not known:
            client.create_automation(ours)
            continue
        client.update_automation(known[0].id, ours.model_copy(update={"enabled": known[0].enabled}))
        for double in known[1:]:
            client.delete_automation(double.id)


def zombies() -> "AutomationCore":
    """Crashed, for a run whose heartbeats stopped before its end."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState

    beat = "prefect.flow-run.heartbeat"
    message = f"no sign of life for {SILENCE.seconds} seconds: its process or its machine is gone"
    return _missing(
        "Crash runs that show no sign of life",
        after=beat,
        expect={beat, *ENDS},
        within=SILENCE,
        action=ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message, force=False),
    )


def hanging() -> "AutomationCore":
    """Cancelled, for a run that goes on and on; its worker ends the process."""
    from prefect.events.actions import CancelFlowRun

    name = f"Cancel runs that take longer than {LONGEST.total_seconds() / 3600:g} hours"
    return _missing(
        name, after="prefect.flow-run.Running", expect=ENDS, within=LONGEST, action=CancelFlowRun()
    )


def _missing(
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

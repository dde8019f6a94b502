"""Runs in Prefect that have lost their process on another machine, or that take too long.

Prefect's automations cannot look at the state of a run: they also act on runs that have ended, which fails, and on
runs that are suspended.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

log = logging.getLogger("steward")
# Without the setting of this project, a run sends one every three minutes. A busy server may lose some of them.
HEARTBEAT, HEARTBEAT_TIMEOUT = "prefect.flow-run.heartbeat", timedelta(minutes=10)
# Longer than any run is expected to take.
MAX_RUNTIME = timedelta(hours=12)
# Of earlier versions.
AUTOMATIONS = ("Crash runs that show no sign of life", "Cancel runs that take longer than 12 hours")


def delete_automations(client: "SyncPrefectClient") -> None:
    """Delete the automations by which earlier versions ended runs."""
    for name in AUTOMATIONS:
        for automation in client.read_automations_by_name(name):
            client.delete_automation(automation.id)


def end_lost_runs(client: "SyncPrefectClient", active_run_ids: set[str]) -> None:
    """Set running runs of this project to Crashed if their heartbeats have stopped; cancel those that take too long.

    Runs in `active_run_ids` hold a run lock: their process lives, so missing heartbeats mean nothing. A worker ends the
    process of a run that it is to cancel.
    """
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
    from prefect.client.schemas.objects import State
    from prefect.states import Cancelling, Crashed

    from flows.housekeeping.prefect_runs import flow_names

    running = FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING"]}}})
    own = FlowFilter.model_validate({"name": {"any_": flow_names()}})
    now = datetime.now(UTC)
    for run in client.read_flow_runs(flow_filter=own, flow_run_filter=running):
        if run.state and now - run.state.timestamp > MAX_RUNTIME:
            hours = MAX_RUNTIME.total_seconds() / 3600
            state: State[Any] = Cancelling(message=f"Steward: the run took longer than {hours:g} hours")
        elif str(run.id) not in active_run_ids and _heartbeats_stopped(client, run.id, now):
            minutes = HEARTBEAT_TIMEOUT.total_seconds() / 60
            message = f"no heartbeat for {minutes:g} minutes: the process or its machine has stopped"
            state = Crashed(message=f"Steward: {message}")
        else:
            continue
        client.set_flow_run_state(run.id, state)
        log.info("%s: %s", run.name, state.message)


def _heartbeats_stopped(client: "SyncPrefectClient", run_id: UUID, now: datetime) -> bool:
    """Tell whether the last heartbeat of a run is too old, by the server's clock: that of the run may differ."""
    query = {
        "event": {"name": [HEARTBEAT]},
        "resource": {"id": [f"prefect.flow-run.{run_id}"]},
        "order": "DESC",
    }
    answer = client.request("POST", "/events/filter", json={"filter": query, "limit": 1}).json()
    received = [datetime.fromisoformat(event["received"]) for event in answer["events"]]
    return bool(received) and now - received[0] > HEARTBEAT_TIMEOUT

"""Running runs whose heartbeats have stopped, and those that take too long; other runs are left alone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import Event
from prefect.states import Completed, Paused, Running

from operate.local_stack import lost_runs


@flow(name="maintenance")
def own() -> None:
    """Have the name of a flow of this project."""


@flow(name="somebody else's")
def foreign() -> None:
    """Have another name."""


@pytest.fixture
def server(prefect_api: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def send_heartbeats(server: SyncPrefectClient, *run_ids: UUID) -> None:
    """Send a heartbeat of each run, and wait until the server shows them."""
    resources = [f"prefect.flow-run.{run_id}" for run_id in run_ids]
    events = [
        Event(
            occurred=datetime.now(UTC),
            event=lost_runs.HEARTBEAT,
            resource={"prefect.resource.id": resource},
            id=uuid4(),
        ).model_dump(mode="json")
        for resource in resources
    ]
    server.request("POST", "/events", json=events)
    query = {"event": {"name": [lost_runs.HEARTBEAT]}, "resource": {"id": resources}}
    while len(server.request("POST", "/events/filter", json={"filter": query}).json()["events"]) < len(
        events
    ):
        pass


def test_only_running_runs_without_a_process_are_ended(
    server: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {
        "lost": Running(),
        "alive here": Running(),
        "without heartbeats": Running(),
        "ended": Completed(),
        "suspended": Paused(name="Suspended"),
    }
    runs = {name: server.create_flow_run(own).id for name in states}
    runs["of another flow"] = server.create_flow_run(foreign).id
    for name, run_id in runs.items():
        server.set_flow_run_state(run_id, states.get(name, Running()), force=True)
    send_heartbeats(server, *(run for name, run in runs.items() if name != "without heartbeats"))

    def shown() -> dict[str, str | None]:
        return {name: server.read_flow_run(run).state_name for name, run in runs.items()}

    before = shown()
    active = {str(runs["alive here"])}
    lost_runs.end_lost_runs(server, active)
    assert shown() == before
    monkeypatch.setattr(lost_runs, "HEARTBEAT_TIMEOUT", timedelta(0))
    lost_runs.end_lost_runs(server, active)
    assert shown() == {**before, "lost": "Crashed"}
    monkeypatch.setattr(lost_runs, "MAX_RUNTIME", timedelta(0))
    lost_runs.end_lost_runs(server, active)
    too_long = {"alive here": "Cancelling", "without heartbeats": "Cancelling"}
    assert shown() == {**before, "lost": "Crashed", **too_long}


def test_automations_of_earlier_versions_are_deleted(server: SyncPrefectClient) -> None:
    trigger = EventTrigger(posture=Posture.Reactive, expect={"nothing"}, threshold=1, within=timedelta(0))
    for name in (*lost_runs.AUTOMATIONS, *lost_runs.AUTOMATIONS, "of the operator"):
        server.create_automation(AutomationCore(name=name, trigger=trigger, actions=[]))
    lost_runs.delete_automations(server)
    assert not any(server.read_automations_by_name(name) for name in lost_runs.AUTOMATIONS)
    (kept,) = server.read_automations_by_name("of the operator")
    server.delete_automation(kept.id)

"""State changes of runs and log messages of Steward, read from a Prefect server as lines of text."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from operate.local_stack.run_names import deployed_run_name

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

STATES = (
    "Running",
    "Completed",
    "Failed",
    "Crashed",
    "Cancelled",
    "Suspended",
    "Late",
    "AwaitingRetry",
    "Retrying",
)
FAILURE_STATES = ("Failed", "Crashed")
# Runs and servers write with a delay: entries up to this old are still shown.
MAX_DELAY = timedelta(seconds=60)


class EventFeed:
    """Events of a server since this object was made; `ui_url` is used in links to runs."""

    def __init__(self, client: "SyncPrefectClient", ui_url: str) -> None:
        self.client, self.ui_url = client, ui_url
        self.started = datetime.now(UTC)
        self.shown: dict[str, datetime] = {}
        self.labels: dict[str, str] = {}

    def new_lines(self) -> list[str]:
        """Return events that were not returned before, oldest first. Raises httpx.HTTPError."""
        since = max(self.started, datetime.now(UTC) - MAX_DELAY)
        events = sorted([*self._state_changes(since), *self._log_messages(since)])
        self.shown = {key: time for key, time in self.shown.items() if time > since - MAX_DELAY}
        return [f"{time.astimezone():%H:%M:%S}  {line}" for time, line in events]

    def _state_changes(self, since: datetime) -> Iterator[tuple[datetime, str]]:
        names = [f"prefect.flow-run.{state}" for state in STATES]
        query = {"occurred": {"since": since.isoformat()}, "event": {"name": names}, "order": "ASC"}
        response = self.client.request("POST", "/events/filter", json={"filter": query, "limit": 50})
        for event in response.json()["events"]:
            run_id = event["resource"]["prefect.resource.id"].rpartition(".")[2]
            time = datetime.fromisoformat(event["occurred"])
            if self._is_new(event["id"], time):
                yield time, f"{self._label(run_id)}  {self._state(run_id, event)}"

    def _state(self, run_id: str, event: dict[str, Any]) -> str:
        state = str(event["event"].rpartition(".")[2])
        message = " ".join((event["resource"].get("prefect.state-message") or "").split())
        text = f"{state}: {message}" if message else state
        return f"{text}\n          {self.ui_url}/runs/flow-run/{run_id}" if state in FAILURE_STATES else text

    def _log_messages(self, since: datetime) -> Iterator[tuple[datetime, str]]:
        query = {"timestamp": {"after_": since.isoformat()}, "level": {"ge_": 20}}
        response = self.client.request(
            "POST", "/logs/filter", json={"logs": query, "sort": "TIMESTAMP_DESC", "limit": 200}
        )
        for entry in response.json():
            time = datetime.fromisoformat(entry["timestamp"])
            if entry["name"] == "steward" and entry["flow_run_id"] and self._is_new(entry["id"], time):
                yield time, f"{self._label(entry['flow_run_id'])}    {entry['message']}"

    def _is_new(self, key: str, time: datetime) -> bool:
        if key in self.shown:
            return False
        self.shown[key] = time
        return True

    def _label(self, run_id: str) -> str:
        if run_id not in self.labels:
            self.labels[run_id] = self._read_label(run_id)
        return self.labels[run_id]

    def _read_label(self, run_id: str) -> str:
        """Return deployment (or flow) and name of a run; its id if the server does not have it."""
        from prefect.exceptions import ObjectNotFound

        try:
            run = self.client.read_flow_run(UUID(run_id))
            if run.deployment_id:
                return f"{self.client.read_deployment(run.deployment_id).name} {deployed_run_name(run)}"
            return f"{self.client.read_flow(run.flow_id).name} {run.name}"
        except ObjectNotFound:
            return run_id

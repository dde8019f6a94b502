"""The ticker: what happens on a Prefect server, a line each: how runs fare, and what our own code says of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

STATES = ("Running", "Completed", "Failed", "Crashed", "Cancelled", "Late", "AwaitingRetry", "Retrying")
BAD = ("Failed", "Crashed")
# Runs and servers write late: what comes this much later than it happened is still told.
LATENESS = timedelta(seconds=60)


class Ticker:
    """`interface` is the address of the UI, for links."""

    def __init__(self, client: "SyncPrefectClient", interface: str) -> None:
        self.client, self.interface = client, interface
        self.begun = datetime.now(UTC)
        self.told: dict[str, datetime] = {}
        self.labels: dict[str, str] = {}

    def lines(self) -> list[str]:
        """What was not told before, in the order in which it happened. Raises httpx.HTTPError."""
        since = max(self.begun, datetime.now(UTC) - LATENESS)
        found = sorted([*self._states(since), *self._said(since)])
        self.told = {key: at for key, at in self.told.items() if at > since - LATENESS}
        return [f"{at.astimezone():%H:%M:%S}  {line}" for at, line in found]

    def _states(self, since: datetime) -> Iterator[tuple[datetime, str]]:
        names = [f"prefect.flow-run.{state}" for state in STATES]
        asked = {"occurred": {"since": since.isoformat()}, "event": {"name": names}, "order": "ASC"}
        answer = self.client.request("POST", "/events/filter", json={"filter": asked, "limit": 50})
        for event in answer.json()["events"]:
            run = event["resource"]["prefect.resource.id"].rpartition(".")[2]
            at = datetime.fromisoformat(event["occurred"])
            if self._is_new(event["id"], at):
                yield at, f"{self._label(run)}  {self._state(run, event)}"

    def _state(self, run: str, event: dict[str, Any]) -> str:
        state = event["event"].rpartition(".")[2]
        why = " ".join((event["resource"].get("prefect.state-message") or "").split())
        said = f"{state}: {why}" if why else str(state)
        return f"{said}\n          {self.interface}/runs/flow-run/{run}" if state in BAD else said

    def _said(self, since: datetime) -> Iterator[tuple[datetime, str]]:
        asked = {"timestamp": {"after_": since.isoformat()}, "level": {"ge_": 20}}
        answer = self.client.request(
            "POST", "/logs/filter", json={"logs": asked, "sort": "TIMESTAMP_DESC", "limit": 200}
        )
        for entry in answer.json():
            at = datetime.fromisoformat(entry["timestamp"])
            if entry["name"] == "steward" and entry["flow_run_id"] and self._is_new(entry["id"], at):
                yield at, f"{self._label(entry['flow_run_id'])}    {entry['message']}"

    def _is_new(self, key: str, at: datetime) -> bool:
        if key in self.told:
            return False
        self.told[key] = at
        return True

    def _label(self, run: str) -> str:
        """What it is a run of, and its name."""
        if run not in self.labels:
            self.labels[run] = self._named(run)
        return self.labels[run]

    def _named(self, run: str) -> str:
        from prefect.exceptions import ObjectNotFound

        try:
            known = self.client.read_flow_run(UUID(run))
            if known.deployment_id:
                return f"{self.client.read_deployment(known.deployment_id).name} {known.name}"
            return f"{self.client.read_flow(known.flow_id).name} {known.name}"
        except ObjectNotFound:
            return run

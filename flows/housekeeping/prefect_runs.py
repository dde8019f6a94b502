"""Past flow runs in Prefect: which of ours may go, and deleting them with what they showed.

Over the API, and not by the server's own vacuum (`PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED`): that one would also take
the runs that champions point to, and those of other people's flows; it cannot be asked beforehand.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.types import DateTime

from tasks.use_cases import cases

PAGE = 200  # the most that a server gives unless it is told otherwise


@dataclass(frozen=True)
class PastFlowRun:
    """A flow run that came to an end."""

    id: UUID
    name: str
    ended: datetime


def past(server: SyncPrefectClient, before: datetime) -> list[PastFlowRun]:
    """Runs of our flows that ended before an instant, oldest first."""
    known = [PastFlowRun(one.id, one.name, one.end_time) for one in _pages(server, before) if one.end_time]
    return sorted(known, key=lambda one: (one.ended, one.id))


def delete(server: SyncPrefectClient, identity: UUID) -> None:
    """Delete a flow run with its artifacts; the server deletes what it logged.

    The run goes last: killed in between, it is found again by `past`.
    """
    artifacts = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[identity]))
    while shown := server.read_artifacts(artifact_filter=artifacts):
        for artifact in shown:
            _unless_gone(server.delete_artifact, artifact.id)
    _unless_gone(server.delete_flow_run, identity)


def ours() -> list[str]:
    """The names of our flows: each use case, and what serves them all."""
    return [*cases(), "score", "maintenance"]


def _pages(server: SyncPrefectClient, before: datetime) -> Iterator[FlowRun]:
    ended = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=sorted(TERMINAL_STATES))),
        end_time=FlowRunFilterEndTime(before_=DateTime.fromtimestamp(before.timestamp(), tz=UTC)),
    )
    offset = 0
    while True:
        page = server.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=ours())),
            flow_run_filter=ended,
            sort=FlowRunSort.END_TIME_DESC,
            limit=PAGE,
            offset=offset,
        )
        yield from page
        if len(page) < PAGE:
            return
        offset += PAGE


def _unless_gone(delete: Callable[[UUID], None], identity: UUID) -> None:
    """Somebody at the UI may have been faster."""
    with suppress(ObjectNotFound):
        delete(identity)

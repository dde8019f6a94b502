"""Find and delete old flow runs in Prefect, with their artifacts.

Through the API, not by the server's own vacuum (`PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED`): that would also delete
the runs that champions refer to and those of other flows, and has no preview.
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

from tasks.use_cases import use_case_names

PAGE_SIZE = 200  # the server's default limit


@dataclass(frozen=True)
class EndedFlowRun:
    """A flow run in a final state."""

    id: UUID
    name: str
    ended: datetime


def runs_ended_before(server: SyncPrefectClient, before: datetime) -> list[EndedFlowRun]:
    """List runs of this project's flows that ended before an instant, oldest first."""
    runs = [EndedFlowRun(run.id, run.name, run.end_time) for run in _pages(server, before) if run.end_time]
    return sorted(runs, key=lambda run: (run.ended, run.id))


def delete(server: SyncPrefectClient, run_id: UUID) -> None:
    """Delete a flow run with its artifacts; the server deletes its logs.

    The run is deleted last: after a kill in between it is found again by `runs_ended_before`.
    """
    artifacts = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    while page := server.read_artifacts(artifact_filter=artifacts):
        for artifact in page:
            _delete_if_present(server.delete_artifact, artifact.id)
    _delete_if_present(server.delete_flow_run, run_id)


def flow_names() -> list[str]:
    """List the names of this project's flows: the use cases, scoring and maintenance."""
    return [*use_case_names(), "score", "maintenance"]


def _pages(server: SyncPrefectClient, before: datetime) -> Iterator[FlowRun]:
    ended = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=sorted(TERMINAL_STATES))),
        end_time=FlowRunFilterEndTime(before_=DateTime.fromtimestamp(before.timestamp(), tz=UTC)),
    )
    offset = 0
    while True:
        page = server.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=flow_names())),
            flow_run_filter=ended,
            sort=FlowRunSort.END_TIME_DESC,
            limit=PAGE_SIZE,
            offset=offset,
        )
        yield from page
        if len(page) < PAGE_SIZE:
            return
        offset += PAGE_SIZE


def _delete_if_present(delete: Callable[[UUID], None], identifier: UUID) -> None:
    # Somebody may have deleted it in the UI in the meantime.
    with suppress(ObjectNotFound):
        delete(identifier)

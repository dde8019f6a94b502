"""Task runs and subflow runs in Prefect that are not in a final state although their flow run has ended."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, State, StateType, TaskRun
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Completed, Crashed, Failed
from prefect.types import DateTime

from flows.housekeeping.prefect_runs import PAGE_SIZE, flow_names

OPEN_STATES = sorted(set(StateType) - TERMINAL_STATES)
# A server records the states of tasks with a delay: those of a flow run that ended this recently may still arrive.
MAX_DELAY = timedelta(minutes=1)
# Subflows of subflows.
MAX_DEPTH = 5
CRASH_MESSAGE = "the process ended without reporting a state: killed, out of memory, or the machine stopped"
MESSAGES = {
    "COMPLETED": "the run had finished; its process ended before it reported that",
    "FAILED": "the run had failed; its process could not report that",
    "CANCELLED": "the run was being cancelled; its process ended before it reported that",
    "CRASHED": CRASH_MESSAGE,
}
STATES = {"COMPLETED": Completed, "FAILED": Failed, "CANCELLED": Cancelled, "CRASHED": Crashed}


def final_state(state_type: str) -> State:
    """Return a final state with a message that says that the process itself could not report it."""
    return STATES[state_type](message=f"Steward: {MESSAGES[state_type]}")


def end_flow_run(server: SyncPrefectClient, run_id: UUID, state_type: str, is_final: bool) -> None:
    """Set the final state of a flow run unless it has one, after that of its task runs and subflow runs."""
    # Somebody may have deleted it in the UI in the meantime.
    with suppress(ObjectNotFound):
        end_open_task_runs(server, run_id, state_type)
        if not is_final:
            server.set_flow_run_state(run_id, final_state(state_type), force=True)


def end_open_task_runs(
    server: SyncPrefectClient, run_id: UUID, state_type: str, depth: int = MAX_DEPTH
) -> int:
    """Set the final state of the task runs and subflow runs of an ended flow run; return their number.

    Where the flow run completed, its tasks did too. Otherwise they crashed.
    """
    state = final_state("COMPLETED" if state_type == "COMPLETED" else "CRASHED")
    tasks = open_task_runs(server, run_id)
    for task in tasks:
        server.set_task_run_state(task.id, state, force=True)
    subflows = _open_subflow_runs(server, run_id) if depth else []
    for subflow in subflows:
        end_open_task_runs(server, subflow.id, state_type, depth - 1)
        server.set_flow_run_state(subflow.id, state, force=True)
    return len(tasks) + len(subflows)


def open_task_runs(server: SyncPrefectClient, run_id: UUID) -> list[TaskRun]:
    """List the task runs of a flow run that are in no final state, at most a page."""
    return server.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])),
        task_run_filter=_open_tasks(),
        limit=PAGE_SIZE,
    )


def ended_runs_with_open_tasks(server: SyncPrefectClient) -> dict[UUID, str]:
    """Return the final state, by id, of flow runs of this project that ended a while ago and have open tasks.

    At most a page of tasks is read: setting their states makes room for the next ones.
    """
    before = DateTime.fromtimestamp((datetime.now(UTC) - MAX_DELAY).timestamp(), tz=UTC)
    tasks = server.read_task_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=flow_names())),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=sorted(TERMINAL_STATES))),
            end_time=FlowRunFilterEndTime(before_=before),
        ),
        task_run_filter=_open_tasks(),
        limit=PAGE_SIZE,
    )
    runs = {task.flow_run_id for task in tasks if task.flow_run_id}
    return dict(_state_types(server, runs))


def open_flow_runs(server: SyncPrefectClient, tag: str) -> list[FlowRun]:
    """List the flow runs with a tag that are in no final state, at most a page."""
    return server.read_flow_runs(
        flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]), state=_open_flows()),
        limit=PAGE_SIZE,
    )


def _state_types(server: SyncPrefectClient, runs: set[UUID]) -> Iterator[tuple[UUID, str]]:
    for run_id in runs:
        state = server.read_flow_run(run_id).state
        if state and state.type in TERMINAL_STATES:
            yield run_id, state.type.value


def _open_subflow_runs(server: SyncPrefectClient, run_id: UUID) -> list[FlowRun]:
    return server.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[run_id]),
            state=_open_flows(),
        ),
        limit=PAGE_SIZE,
    )


def _open_tasks() -> TaskRunFilter:
    return TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=OPEN_STATES)))


def _open_flows() -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=OPEN_STATES))

"""Find runs whose process died, and what their final states in Prefect and MLflow are.

The first final state that was written is the truth, and the other system gets the same: a run that MLflow shows as
finished had written everything. Where neither has one, the run lock says how the run ended; without that it was killed.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient

from flows.housekeeping import open_task_runs
from flows.housekeeping.prefect_runs import flow_names
from flows.recording.prefect_state import (
    MLFLOW_STATUS,
    PREFECT_STATE,
    UNKNOWN,
    UNREACHABLE,
    prefect_client,
    read_state,
)
from flows.recording.process_locks import COMMAND_TAG
from tasks.locks import run_lock
from tasks.locks.open_locks import may_be_running
from tasks.settings import Settings
from tasks.state_dir_id import read_state_dir_id
from tasks.tracking import connection, run_history, run_states

# A run that was suspended has no process until it is resumed.
RESUMABLE_STATES = ("PAUSED", "SCHEDULED")


@dataclass(frozen=True)
class DeadRun:
    """A run whose process is gone, with its states in Prefect and MLflow and the final ones that it gets.

    `id` is that of the Prefect flow run, or a generated one for a run outside of Prefect.
    """

    id: str
    case: str
    data: str
    mlflow_run_id: str | None
    prefect_state: str
    mlflow_status: str | None
    final_state: str
    final_status: str

    @property
    def correction(self) -> str:
        """What is or would be corrected, in a few words."""
        corrections = []
        if self.prefect_state not in (UNKNOWN, UNREACHABLE, *RESUMABLE_STATES):
            corrections.append(f"in Prefect {self.final_state}")
        if self.mlflow_status == "RUNNING":
            corrections.append(f"in MLflow {self.final_status}")
        return ", ".join(corrections) or "nothing to correct"


def find_dead_runs(client: connection.Client, settings: Settings) -> list[DeadRun]:
    """List runs whose process is gone and whose states are not all final yet. Changes nothing."""
    dead = dead_locks(settings)
    processes = {run.get("pid") for run in dead}
    with prefect_client() as server:
        found = [
            inspect(client, server, metadata) for metadata in [*dead, *runs_without_lock(client, settings)]
        ]
        for command in dead_locks(settings, run_lock.COMMANDS):
            # Of a command that died with a run, the run alone is of interest.
            if command.get("pid") not in processes:
                found += flow_runs_of_command(command, server, settings)
    return found


def dead_locks(settings: Settings, folder: str = run_lock.RUNS) -> list[dict[str, Any]]:
    """Return the metadata of dead runs (or commands), without those that live in a folder that was copied."""
    return [lock for lock in run_lock.dead_runs(settings, folder) if not may_be_running(lock["id"])]


def inspect(
    client: connection.Client, server: SyncPrefectClient | None, metadata: Mapping[str, Any]
) -> DeadRun:
    """Read the states of a dead run, and work out the final ones."""
    # A run may have died after its start in MLflow and before that was written to its lock.
    run_id = metadata.get("mlflow_run_id") or run_states.run_by_lock(client, metadata["id"])
    state = read_state(server, metadata["id"])
    status = run_history.run_status(client, run_id) if run_id else None
    case, data = metadata.get("case", ""), metadata.get("data", "")
    return DeadRun(metadata["id"], case, data, run_id, state, status, *_final_states(state, status, metadata))


def _final_states(state: str, status: str | None, metadata: Mapping[str, Any]) -> tuple[str, str]:
    """Return the final state in Prefect and the final status in MLflow."""
    if status is None or status == "RUNNING":
        status = str(metadata.get("ending") or MLFLOW_STATUS.get(state, "KILLED"))
    if state in MLFLOW_STATUS or (state in RESUMABLE_STATES and status == "KILLED"):
        return state, status
    # Without being asked to end, a run records no such ending.
    if state == "CANCELLING" or metadata.get("ending") == "KILLED":
        return "CANCELLED", status
    # A flow of somebody else may do more than this run.
    is_own_flow = metadata.get("flow") in flow_names()
    return (PREFECT_STATE.get(status, "CRASHED") if is_own_flow else "CRASHED"), status


def runs_without_lock(client: connection.Client, settings: Settings) -> list[dict[str, Any]]:
    """List runs of this machine and state directory that MLflow shows as running and that have no lock file.

    Keys as in the metadata of a lock.
    """
    locked = {run["id"] for run in [*run_lock.active_runs(settings), *run_lock.dead_runs(settings)]}
    return [
        {"id": run.lock_id, "case": run.case, "data": run.data, "mlflow_run_id": run.run_id}
        for run in run_states.running_runs(client, socket.gethostname())
        if run.lock_id not in locked and _is_own(run, settings) and not may_be_running(run.lock_id)
    ]


def _is_own(run: run_states.RunningRun, settings: Settings) -> bool:
    """Tell whether a run belongs to this state directory.

    Runs of version 0.2 did not record that: theirs are own where the database is in this state directory.
    """
    if run.state_dir:
        return run.state_dir == read_state_dir_id(settings)
    return settings.tracking_uri is None


def flow_runs_of_command(
    command: Mapping[str, Any], server: SyncPrefectClient | None, settings: Settings
) -> list[DeadRun]:
    """List the flow runs of a dead command that are in no final state; the command itself without a server."""
    case = f"steward {command.get('case', '')}"
    try:
        if server is None:
            raise httpx.ConnectError("no server")
        runs = open_task_runs.open_flow_runs(server, f"{COMMAND_TAG}{command['id']}")
    except httpx.HTTPError:
        return [DeadRun(command["id"], case, "", None, UNREACHABLE, None, "CRASHED", "KILLED")]
    active = {run["id"] for run in run_lock.active_runs(settings)}
    return [
        DeadRun(str(run.id), case, run.name, None, str(run.state_name), None, "CRASHED", "KILLED")
        for run in runs
        if str(run.id) not in active
    ]

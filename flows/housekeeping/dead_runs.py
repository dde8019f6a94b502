"""Set the final state of runs whose process died, in Prefect and in MLflow.

The first final state that was written is the truth, and the other system gets the same: a run that MLflow shows as
finished had written everything. Where neither has one, the run lock says how the run ended; without that it was killed.
"""

import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from flows.housekeeping import open_task_runs
from flows.housekeeping.open_task_runs import CRASH_MESSAGE
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
from ml.errors import StewardError
from tasks.ledger import Ledger
from tasks.locks import run_lock
from tasks.locks.open_locks import may_be_running
from tasks.settings import Settings
from tasks.state_dir_id import read_state_dir_id
from tasks.tracking import connection, run_history, run_states

log = logging.getLogger("steward")
FAILURE_MESSAGE = "the run failed, and its end could not be written: the disk was full, or the database was lost"


@dataclass(frozen=True)
class DeadRun:
    """A run that is shown as running although its process is gone, and the correction that was or would be made.

    `id` is that of the Prefect flow run, or a generated one for a run outside of Prefect. The final states are those
    that it gets.
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
        """What is corrected, in a few words."""
        corrections = []
        if self.prefect_state not in (UNKNOWN, UNREACHABLE):
            corrections.append(f"in Prefect {self.final_state}")
        if self.mlflow_status == "RUNNING":
            corrections.append(f"in MLflow {self.final_status}")
        return ", ".join(corrections) or "nothing to correct"


class _ServerUnreachableError(Exception):
    """Leave a run to the next reconciliation."""


def find_dead_runs(client: connection.Client, settings: Settings) -> list[DeadRun]:
    """List runs whose process is gone and whose state is not final yet. Changes nothing."""
    with prefect_client() as server:
        locked = [_inspect(client, server, metadata) for metadata in run_lock.dead_runs(settings)]
        started = [run for command in _dead_commands(settings) for run in _runs_of(command, server, settings)]
        return [*locked, *started, *_without_lock(client, server, settings)]


def reconcile_dead_runs(client: connection.Client, settings: Settings) -> list[DeadRun]:
    """Give dead runs, with their task runs and child runs, the final states that they lack.

    A temporary Prefect server is started if there is none and a run needs it. Where none can be reached, MLflow is
    corrected and the run is left for the next time.
    """
    corrected: list[DeadRun] = []
    commands = run_lock.dead_runs(settings, run_lock.COMMANDS)
    dead = run_lock.dead_runs(settings)
    with prefect_client(start_server=bool(dead or commands)) as server:
        for metadata in dead:
            with suppress(_ServerUnreachableError), run_lock.reconcile(settings, metadata["id"]) as is_dead:
                if is_dead:
                    corrected.append(_correct(client, server, settings, _inspect(client, server, metadata)))
                    _require_server(corrected[-1])
        for command in commands:
            with (
                suppress(_ServerUnreachableError),
                run_lock.reconcile(settings, command["id"], run_lock.COMMANDS) as is_dead,
            ):
                for run in _runs_of(command, server, settings) if is_dead else ():
                    corrected.append(_correct(client, server, settings, run))
                    _require_server(run)
        corrected += [
            _correct(client, server, settings, run) for run in _without_lock(client, server, settings)
        ]
        _end_open_parts(client, server, settings)
    for run in corrected:
        log.info("reconciled a dead run of %s on %s: %s", run.case, run.data or "-", run.correction)
    return corrected


def _require_server(run: DeadRun) -> None:
    if run.prefect_state == UNREACHABLE:
        raise _ServerUnreachableError


def _inspect(
    client: connection.Client, server: SyncPrefectClient | None, metadata: Mapping[str, Any]
) -> DeadRun:
    # A run may have died after its start in MLflow and before that was written to its lock.
    run_id = metadata.get("mlflow_run_id") or run_states.run_by_lock(client, metadata["id"])
    state = read_state(server, metadata["id"])
    status = run_history.run_status(client, run_id) if run_id else None
    case, data = metadata.get("case", ""), metadata.get("data", "")
    final_state, final_status = _final_states(state, status, metadata)
    return DeadRun(metadata["id"], case, data, run_id, state, status, final_state, final_status)


def _final_states(state: str, status: str | None, metadata: Mapping[str, Any]) -> tuple[str, str]:
    """Return the final state in Prefect and the final status in MLflow."""
    ending = metadata.get("ending")
    if status in (None, "RUNNING"):
        status = ending or MLFLOW_STATUS.get(state, "KILLED")
    if state in MLFLOW_STATUS:
        return state, str(status)
    if state == "CANCELLING":
        return "CANCELLED", str(status)
    # A flow of somebody else may do more than this run.
    is_own_flow = metadata.get("flow") in flow_names()
    return (PREFECT_STATE.get(str(status), "CRASHED") if is_own_flow else "CRASHED"), str(status)


def _without_lock(
    client: connection.Client, server: SyncPrefectClient | None, settings: Settings
) -> Iterator[DeadRun]:
    """Yield runs of this machine and state directory that MLflow shows as running and that have no lock file."""
    locked = {run["id"] for run in [*run_lock.active_runs(settings), *run_lock.dead_runs(settings)]}
    for run in run_states.running_runs(client, socket.gethostname()):
        if run.lock_id in locked or not _is_own(run, settings) or may_be_running(run.lock_id):
            continue
        metadata = {"id": run.lock_id, "case": run.case, "data": run.data, "mlflow_run_id": run.run_id}
        yield _inspect(client, server, metadata)


def _is_own(run: run_states.RunningRun, settings: Settings) -> bool:
    """Tell whether a run belongs to this state directory.

    Before version 0.3 runs did not record that: theirs are own where the database is in this state directory.
    """
    if run.state_dir:
        return run.state_dir == read_state_dir_id(settings)
    return settings.tracking_uri is None


def _dead_commands(settings: Settings) -> list[dict[str, Any]]:
    """Return the metadata of dead commands; of those with a dead run, the run alone is of interest."""
    processes = {run.get("pid") for run in run_lock.dead_runs(settings)}
    commands = run_lock.dead_runs(settings, run_lock.COMMANDS)
    return [command for command in commands if command.get("pid") not in processes]


def _runs_of(
    command: Mapping[str, Any], server: SyncPrefectClient | None, settings: Settings
) -> list[DeadRun]:
    """List the flow runs of a dead command that hold no lock; the command itself where no server can be reached."""
    unreachable = DeadRun(
        command["id"], command.get("case", ""), "", None, UNREACHABLE, None, "CRASHED", "KILLED"
    )
    if server is None:
        return [unreachable]
    try:
        runs = open_task_runs.flow_runs_with_tag(server, f"{COMMAND_TAG}{command['id']}")
    except httpx.HTTPError:
        return [unreachable]
    active = {run["id"] for run in run_lock.active_runs(settings)}
    return [
        DeadRun(str(run.id), command.get("case", ""), run.name, None, state, None, "CRASHED", "KILLED")
        for run in runs
        if str(run.id) not in active and (state := run.state_type.value if run.state_type else UNKNOWN)
        not in MLFLOW_STATUS
    ]


def _correct(
    client: connection.Client, server: SyncPrefectClient | None, settings: Settings, run: DeadRun
) -> DeadRun:
    """Set the final states; tasks before their flow run, and MLflow also where no server can be reached."""
    if server and run.prefect_state not in (UNKNOWN, UNREACHABLE):
        try:
            if run.prefect_state in MLFLOW_STATUS:
                open_task_runs.end_open_task_runs(server, UUID(run.id), run.prefect_state)
            else:
                open_task_runs.end_flow_run(server, UUID(run.id), run.final_state)
        except ObjectNotFound:
            pass
        except httpx.HTTPError:
            run = replace(run, prefect_state=UNREACHABLE)
    if run.mlflow_run_id and run.mlflow_status == "RUNNING":
        reason = FAILURE_MESSAGE if run.final_status == "FAILED" else _crash_reason(client, settings, run)
        run_states.end_run(client, run.mlflow_run_id, run.final_status, reason)
    elif run.mlflow_run_id and run.mlflow_status:
        run_states.end_child_runs(client, run.mlflow_run_id, run.mlflow_status)
    return run


def _crash_reason(client: connection.Client, settings: Settings, run: DeadRun) -> str:
    """Return why a run has no verdict; its decision stays in the ledger if it was killed after that."""
    name = client.get_run(run.mlflow_run_id).data.tags.get("steward.contract", "")
    # A damaged ledger is reported by others.
    with suppress(StewardError, OSError, ValueError):
        for entry in Ledger(settings.ledger_dir, name).entries() if name else ():
            if entry.get("run_id") == run.mlflow_run_id:
                return f"{CRASH_MESSAGE}; its decision is entry {entry['line']} of the ledger: {entry['verdict']}"
    return CRASH_MESSAGE


def _end_open_parts(
    client: connection.Client, server: SyncPrefectClient | None, settings: Settings
) -> None:
    """End the task runs and child runs that are left open below runs that have ended."""
    identity = read_state_dir_id(settings)
    for parent, status in run_states.parents_with_open_children(client, identity).items() if identity else ():
        run_states.end_child_runs(client, parent, status)
    if server is None:
        return
    with suppress(httpx.HTTPError, ObjectNotFound):
        for run_id, state in open_task_runs.ended_runs_with_open_tasks(server).items():
            open_task_runs.end_open_task_runs(server, run_id, state)

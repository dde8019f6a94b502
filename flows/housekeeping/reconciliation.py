"""Give dead runs, with their task runs and child runs, the final states that they lack in Prefect and MLflow."""

import logging
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from flows.housekeeping import open_task_runs
from flows.housekeeping.dead_runs import DeadRun, dead_locks, flow_runs_of_command, inspect, runs_without_lock
from flows.housekeeping.open_task_runs import CRASH_MESSAGE
from flows.recording.prefect_state import UNKNOWN, UNREACHABLE, prefect_client
from ml.errors import StewardError
from tasks.ledger import Ledger
from tasks.locks import run_lock
from tasks.settings import Settings
from tasks.state_dir_id import read_state_dir_id
from tasks.tracking import connection, run_states

log = logging.getLogger("steward")
FAILURE_MESSAGE = (
    "the run failed, and its end could not be written: the disk was full, or the database was lost"
)


class _ServerUnreachableError(Exception):
    """Leave a run to the next reconciliation."""


def reconcile_dead_runs(client: connection.Client, settings: Settings) -> list[DeadRun]:
    """Set the final states of dead runs, and of what is left open below runs that have ended; return the dead runs.

    A temporary Prefect server is started if there is none and a run needs it. Where none can be reached, MLflow is
    corrected and the run is left for the next time.
    """
    corrected: list[DeadRun] = []
    locked, commands = dead_locks(settings), dead_locks(settings, run_lock.COMMANDS)
    unlocked = runs_without_lock(client, settings)
    with prefect_client(start_server=bool(locked or commands or unlocked)) as server:

        def correct(run: DeadRun) -> None:
            corrected.append(_correct(client, server, settings, run))
            if corrected[-1].prefect_state == UNREACHABLE:
                raise _ServerUnreachableError

        for metadata in locked:
            with suppress(_ServerUnreachableError), run_lock.reconcile(settings, metadata["id"]) as is_dead:
                if is_dead:
                    correct(inspect(client, server, metadata))
        for command in commands:
            taken = run_lock.reconcile(settings, command["id"], run_lock.COMMANDS)
            with suppress(_ServerUnreachableError), taken as is_dead:
                for run in flow_runs_of_command(command, server, settings) if is_dead else ():
                    correct(run)
        for metadata in unlocked:
            with suppress(_ServerUnreachableError):
                correct(inspect(client, server, metadata))
        _end_open_parts(client, server, settings)
    for run in corrected:
        log.info("reconciled a dead run of %s on %s: %s", run.case, run.data or "-", run.correction)
    return corrected


def _correct(
    client: connection.Client, server: SyncPrefectClient | None, settings: Settings, run: DeadRun
) -> DeadRun:
    """Set the final states; tasks before their flow run, and MLflow also where no server can be reached."""
    if server and run.prefect_state not in (UNKNOWN, UNREACHABLE):
        try:
            open_task_runs.end_flow_run(
                server, UUID(run.id), run.final_state, run.prefect_state == run.final_state
            )
        except httpx.HTTPError:
            run = replace(run, prefect_state=UNREACHABLE)
    if run.mlflow_run_id and run.mlflow_status == "RUNNING":
        reason = (
            FAILURE_MESSAGE
            if run.final_status == "FAILED"
            else _crash_reason(client, settings, run.mlflow_run_id)
        )
        run_states.end_run(client, run.mlflow_run_id, run.final_status, reason)
    elif run.mlflow_run_id and run.mlflow_status:
        run_states.end_child_runs(client, run.mlflow_run_id, run.mlflow_status)
    return run


def _crash_reason(client: connection.Client, settings: Settings, run_id: str) -> str:
    """Return why a run has no verdict; its decision stays in the ledger if it was killed after that."""
    name = client.get_run(run_id).data.tags.get("steward.contract", "")
    # A damaged ledger is reported by others.
    with suppress(StewardError, OSError, ValueError):
        for entry in Ledger(settings.ledger_dir, name).entries() if name else ():
            if entry.get("run_id") == run_id:
                return f"{CRASH_MESSAGE}; its decision is entry {entry['line']} of the ledger: {entry['verdict']}"
    return CRASH_MESSAGE


def _end_open_parts(client: connection.Client, server: SyncPrefectClient | None, settings: Settings) -> None:
    """End the task runs and child runs that are left open below runs that have ended."""
    if identity := read_state_dir_id(settings):
        for parent, status in run_states.parents_with_open_children(client, identity).items():
            run_states.end_child_runs(client, parent, status)
    if server:
        with suppress(httpx.HTTPError, ObjectNotFound):
            for run_id, state in open_task_runs.ended_runs_with_open_tasks(server).items():
                open_task_runs.end_open_task_runs(server, run_id, state)

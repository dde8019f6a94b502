"""Set the final state of runs whose process died, in Prefect and in MLflow."""

import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Crashed

from flows.recording.prefect_state import MLFLOW_STATUS, UNKNOWN, UNREACHABLE, prefect_client, read_state
from tasks.locks import run_lock
from tasks.settings import Settings
from tasks.tracking import connection, run_history

log = logging.getLogger("steward")
CRASH_MESSAGE = "the process ended without reporting a state: killed, out of memory, or the machine stopped"


@dataclass(frozen=True)
class DeadRun:
    """A run that is shown as running although its process is gone, and the correction that was or would be made.

    `id` is that of the Prefect flow run, or a generated one for a run outside of Prefect.
    """

    id: str
    case: str
    data: str
    mlflow_run_id: str | None
    prefect_state: str
    mlflow_status: str | None
    correction: str


class _ServerUnreachableError(Exception):
    """Leave a run to the next reconciliation."""


def find_dead_runs(client: connection.Client, settings: Settings) -> list[DeadRun]:
    """List runs whose process is gone and whose state is not final yet. Changes nothing."""
    with prefect_client() as server:
        locked = [_inspect(client, server, metadata) for metadata in run_lock.dead_runs(settings)]
        return [*locked, *_without_lock(client, server, settings)]


def reconcile_dead_runs(client: connection.Client, settings: Settings) -> list[DeadRun]:
    """Set dead runs to Crashed in Prefect, unless it has a final state, and to the matching status in MLflow.

    Where no server can be reached, MLflow is corrected and the run is left for the next time.
    """
    corrected: list[DeadRun] = []
    with prefect_client() as server:
        for metadata in run_lock.dead_runs(settings):
            try:
                with run_lock.reconcile(settings, metadata["id"]) as is_dead:
                    if is_dead:
                        corrected.append(_correct(client, server, _inspect(client, server, metadata)))
                        if corrected[-1].prefect_state == UNREACHABLE:
                            raise _ServerUnreachableError
            except _ServerUnreachableError:
                continue
        corrected += [_correct(client, server, run) for run in _without_lock(client, server, settings)]
    for run in corrected:
        log.info("reconciled a dead run of %s on %s: %s", run.case, run.data, run.correction)
    return corrected


def _inspect(
    client: connection.Client, server: SyncPrefectClient | None, metadata: Mapping[str, Any]
) -> DeadRun:
    # A run may have died after its start in MLflow and before that was written to its lock.
    run_id = metadata.get("mlflow_run_id") or run_history.run_by_lock(client, metadata["id"])
    state = read_state(server, metadata["id"])
    status = run_history.run_status(client, run_id) if run_id else None
    corrections = []
    if state not in (UNKNOWN, UNREACHABLE):
        corrections.append(f"in Prefect {state if state in MLFLOW_STATUS else 'CRASHED'}")
    if status == "RUNNING":
        corrections.append(f"in MLflow {MLFLOW_STATUS.get(state, 'KILLED')}")
    correction = ", ".join(corrections) or "nothing to correct"
    case, data = metadata.get("case", ""), metadata.get("data", "")
    return DeadRun(metadata["id"], case, data, run_id, state, status, correction)


def _without_lock(
    client: connection.Client, server: SyncPrefectClient | None, settings: Settings
) -> list[DeadRun]:
    """List runs of this machine that MLflow shows as running and that have no lock file."""
    locked = {run["id"] for run in [*run_lock.active_runs(settings), *run_lock.dead_runs(settings)]}
    return [
        _inspect(client, server, metadata)
        for metadata in run_history.running_runs(client, socket.gethostname())
        if metadata["id"] not in locked
    ]


def _correct(client: connection.Client, server: SyncPrefectClient | None, run: DeadRun) -> DeadRun:
    state = run.prefect_state
    if server and state not in (UNKNOWN, UNREACHABLE) and state not in MLFLOW_STATUS:
        server.set_flow_run_state(UUID(run.id), Crashed(message=f"Steward: {CRASH_MESSAGE}"), force=True)
        state = "CRASHED"
    status = MLFLOW_STATUS.get(state, "KILLED")
    if run.mlflow_run_id and run.mlflow_status == "RUNNING":
        run_history.end_run(client, run.mlflow_run_id, status, CRASH_MESSAGE)
    return replace(run, prefect_state=state, mlflow_status=status if run.mlflow_status else None)

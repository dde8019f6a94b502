"""The reaper: what a dead process could not say itself is said for it, in Prefect and in MLflow."""

import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Crashed

from flows.recording.prefect_state import ENDS, UNKNOWN, UNREACHABLE, prefect_client, state_on
from tasks.locks import run_lock
from tasks.settings import Settings
from tasks.tracking import connection, run_history

log = logging.getLogger("steward")
DIED = "its process ended without a word: killed, out of memory, or the machine stopped"


@dataclass(frozen=True)
class Stray:
    """A run that is shown as running and is not: what both sides say of it, and what was or would be done.

    `id` is that of the Prefect flow run, or made up where a run had none.
    """

    id: str
    case: str
    data: str
    mlflow_run_id: str | None
    prefect_state: str
    mlflow_status: str | None
    done: str


class _ServerAwayError(Exception):
    """Leaves a run to the next reaper."""


def stray(client: connection.Client, settings: Settings) -> list[Stray]:
    """Runs whose process is gone and that nobody has put right. Changes nothing."""
    with prefect_client() as server:
        gone = [_seen(client, server, told) for told in run_lock.dead_runs(settings)]
        return [*gone, *_forgotten(client, server, settings)]


def reap(client: connection.Client, settings: Settings) -> list[Stray]:
    """Put them right: Crashed in Prefect unless it knows an end, and the same end in MLflow.

    Where no server can be reached, MLflow is put right and the run stays for the next time.
    """
    done: list[Stray] = []
    with prefect_client() as server:
        for told in run_lock.dead_runs(settings):
            try:
                with run_lock.reconcile(settings, told["id"]) as gone:
                    if gone:
                        done.append(_put_right(client, server, _seen(client, server, told)))
                        if done[-1].prefect_state == UNREACHABLE:
                            raise _ServerAwayError
            except _ServerAwayError:
                continue
        done += [_put_right(client, server, one) for one in _forgotten(client, server, settings)]
    for one in done:
        log.info("put right: a run of %s on %s: %s", one.case, one.data, one.done)
    return done


def _seen(client: connection.Client, server: SyncPrefectClient | None, told: Mapping[str, Any]) -> Stray:
    # A run may have died between its beginning in MLflow and its word of it.
    run_id = told.get("mlflow_run_id") or run_history.run_of(client, told["id"])
    state = state_on(server, told["id"])
    status = run_history.status(client, run_id) if run_id else None
    said = (
        [f"in Prefect {state if state in ENDS else 'CRASHED'}"] if state not in (UNKNOWN, UNREACHABLE) else []
    )
    said += [f"in MLflow {ENDS.get(state, 'KILLED')}"] if status == "RUNNING" else []
    done = ", ".join(said) or "nothing to correct"
    return Stray(told["id"], told.get("case", ""), told.get("data", ""), run_id, state, status, done)


def _forgotten(
    client: connection.Client, server: SyncPrefectClient | None, settings: Settings
) -> list[Stray]:
    """Runs of this machine that MLflow shows as running and that left no trace of a process."""
    known = {told["id"] for told in [*run_lock.active_runs(settings), *run_lock.dead_runs(settings)]}
    return [
        _seen(client, server, told)
        for told in run_history.running(client, socket.gethostname())
        if told["id"] not in known
    ]


def _put_right(client: connection.Client, server: SyncPrefectClient | None, one: Stray) -> Stray:
    state = one.prefect_state
    if server and state not in (UNKNOWN, UNREACHABLE) and state not in ENDS:
        server.set_flow_run_state(UUID(one.id), Crashed(message=f"Steward: {DIED}"), force=True)
        state = "CRASHED"
    if one.mlflow_run_id and one.mlflow_status == "RUNNING":
        run_history.end(client, one.mlflow_run_id, ENDS.get(state, "KILLED"), DIED)
    return replace(
        one, prefect_state=state, mlflow_status=ENDS.get(state, "KILLED") if one.mlflow_status else None
    )

"""Read the states of flow runs from the Prefect server."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from flows.temporary_server import secured_temporary_server

# The MLflow status of each final state in Prefect, and the state of each final status.
MLFLOW_STATUS = {"COMPLETED": "FINISHED", "FAILED": "FAILED", "CRASHED": "KILLED", "CANCELLED": "KILLED"}
PREFECT_STATE = {"FINISHED": "COMPLETED", "FAILED": "FAILED", "KILLED": "CRASHED"}
# In place of a state: no server can be reached, or the server does not know the run.
UNREACHABLE, UNKNOWN = "unreachable", "unknown"


@contextmanager
def prefect_client(start_server: bool = False) -> Iterator[SyncPrefectClient | None]:
    """Connect to the server of this process; None without one, unless a temporary server may be started.

    The temporary server has the runs of this state directory, and ends with this process. None where it cannot start.
    """
    if PREFECT_API_URL.value() or FlowRunContext.get():
        with get_client(sync_client=True) as server:
            yield server
    elif start_server:
        with secured_temporary_server(), _temporary_client() as client:
            yield client
    else:
        yield None


@contextmanager
def _temporary_client() -> Iterator[SyncPrefectClient | None]:
    client = None
    # A full disk, no free port, or temporary servers switched off.
    with suppress(OSError, RuntimeError, ValueError, httpx.HTTPError):
        client = get_client(sync_client=True)
    if client is None:
        yield None
        return
    with client as server:
        yield server


def flow_run_state(run_id: str) -> str:
    """Return the state type of a flow run, UNKNOWN, or UNREACHABLE."""
    with prefect_client() as server:
        return read_state(server, run_id)


def read_state(server: SyncPrefectClient | None, run_id: str) -> str:
    """Return the state type of a flow run on a server, UNKNOWN, or UNREACHABLE."""
    if server is None:
        return UNREACHABLE
    try:
        state = server.read_flow_run(UUID(run_id)).state
    except (ObjectNotFound, ValueError):
        return UNKNOWN
    except httpx.HTTPError:
        return UNREACHABLE
    return state.type.value if state else UNKNOWN

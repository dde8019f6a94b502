"""Read the states of flow runs from the Prefect server."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

# The MLflow status of each final state in Prefect.
MLFLOW_STATUS = {"COMPLETED": "FINISHED", "FAILED": "FAILED", "CRASHED": "KILLED", "CANCELLED": "KILLED"}
# In place of a state: no server can be reached, or the server does not know the run.
UNREACHABLE, UNKNOWN = "unreachable", "unknown"


@contextmanager
def prefect_client() -> Iterator[SyncPrefectClient | None]:
    """Connect to the server of this process; None without one, as no temporary server is started only for this."""
    if not PREFECT_API_URL.value() and not FlowRunContext.get():
        yield None
        return
    with get_client(sync_client=True) as server:
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

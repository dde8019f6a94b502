"""prefect_state."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

# What MLflow calls an end that Prefect knows.
ENDS = {"COMPLETED": "FINISHED", "FAILED": "FAILED", "CRASHED": "KILLED", "CANCELLED": "KILLED"}


# What Prefect says of a run when there is no server to ask, and of one that it does not know.
UNREACHABLE, UNKNOWN = "unreachable", "unknown"


@contextmanager
def prefect_client() -> Iterator[SyncPrefectClient | None]:
    """The server of this process, if it has one: none is started only to be asked."""
    if not PREFECT_API_URL.value() and not FlowRunContext.get():
        yield None
        return
    with get_client(sync_client=True) as server:
        yield server


def state_of(identity: str) -> str:
    """Prefect's word for the state of a flow run, UNKNOWN, or UNREACHABLE."""
    with prefect_client() as server:
        return state_on(server, identity)


def state_on(server: SyncPrefectClient | None, identity: str) -> str:
    if server is None:
        return UNREACHABLE
    try:
        state = server.read_flow_run(UUID(identity)).state
    except (ObjectNotFound, ValueError):
        return UNKNOWN
    except httpx.HTTPError:
        return UNREACHABLE
    return state.type.value if state else UNKNOWN

"""Flow runs without a process: only those of the own worker are ended."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.states import Running

from operate.local_stack.orphaned_runs import WORKER_LABEL, mark_crashed


@flow
def empty() -> None:
    """Do nothing."""


@pytest.fixture
def server(prefect_api: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def test_runs_of_another_worker_of_the_pool_are_left_alone(server: SyncPrefectClient) -> None:
    pool = f"pool-{uuid4()}"
    server.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    deployment = server.create_deployment(server.create_flow(empty), pool, work_pool_name=pool)

    def start(worker: str) -> UUID:
        run = server.create_flow_run_from_deployment(deployment)
        server.set_flow_run_state(run.id, Running(), force=True)
        server.update_flow_run_labels(run.id, {WORKER_LABEL: worker})
        return run.id

    runs = [start(worker) for worker in ("steward-1", "steward-2", pool)]
    mark_crashed(server, pool, set(), "steward-1")
    states = [server.read_flow_run(run).state_type for run in runs]
    # Up to version 0.2 a worker had the name of its pool.
    assert [state and state.value for state in states] == ["CRASHED", "RUNNING", "CRASHED"]

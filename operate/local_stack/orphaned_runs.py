"""Flow runs whose process ended before Steward's code started: they hold no run lock, so no dead run is found."""

import logging
from typing import TYPE_CHECKING

from operate.local_stack import child_process

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

log = logging.getLogger("steward")
MESSAGE = "Steward: the process ended before the flow started"


# The label by which Prefect notes on a flow run which worker started it.
WORKER_LABEL = "prefect.worker.name"


def mark_crashed(client: "SyncPrefectClient", pool: str, active_run_ids: set[str], worker_name: str) -> None:
    """Set runs of a work pool to Crashed if they have not ended and have no process on this machine.

    Runs in `active_run_ids` hold a run lock and are left alone, as are runs of other workers of the pool: those of
    another state directory that shares the database.
    """
    from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter
    from prefect.states import Crashed

    not_ended = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}
    runs = client.read_flow_runs(
        work_pool_filter=WorkPoolFilter.model_validate({"name": {"any_": [pool]}}),
        flow_run_filter=FlowRunFilter.model_validate(not_ended),
    )
    for run in runs:
        run_id = str(run.id)
        # Up to version 0.2 every worker had the name of its pool.
        if run_id in active_run_ids or run.labels.get(WORKER_LABEL, pool) not in (worker_name, pool):
            continue
        if not child_process.has_process_with_variable("PREFECT__FLOW_RUN_ID", run_id):
            client.set_flow_run_state(run.id, Crashed(message=MESSAGE), force=True)
            log.info("repaired: %s ended before it started", run.name)

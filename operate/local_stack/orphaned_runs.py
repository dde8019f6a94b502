"""Runs that were handed to a worker and whose process ended before our code began: the reaper cannot know of them."""

import logging
from typing import TYPE_CHECKING

from operate.local_stack import child_process

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

log = logging.getLogger("steward")
GONE = "Steward: its process ended before it could say how"


def crash(client: "SyncPrefectClient", pool: str, present: set[str]) -> None:
    """Crashed, for runs of a pool that have neither ended nor a process here; `present` are ids that live anyway."""
    from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter
    from prefect.states import Crashed

    not_ended = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}
    handed = client.read_flow_runs(
        work_pool_filter=WorkPoolFilter.model_validate({"name": {"any_": [pool]}}),
        flow_run_filter=FlowRunFilter.model_validate(not_ended),
    )
    for run in handed:
        if str(run.id) not in present and not child_process.any_with("PREFECT__FLOW_RUN_ID", str(run.id)):
            client.set_flow_run_state(run.id, Crashed(message=GONE), force=True)
            log.info("put right: %s had not begun", run.name)

"""Names of runs that wait on a server: it makes them up from two random words when a run is scheduled or triggered."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

# Waiting runs that are looked at, those that start last first.
MAX_RUNS = 200


def name_waiting_runs(client: "SyncPrefectClient") -> None:
    """Name the runs of deployments that have not started by their parameters, as the flow does when it starts.

    So are runs that never start: with invalid parameters, or cancelled. Raises httpx.HTTPError.
    """
    from prefect.client.schemas import filters
    from prefect.client.schemas.sorting import FlowRunSort

    from flows.recording.prefect_run import is_random_name, run_name

    waiting = client.read_flow_runs(
        flow_run_filter=filters.FlowRunFilter(
            start_time=filters.FlowRunFilterStartTime(is_null_=True),
            deployment_id=filters.FlowRunFilterDeploymentId(is_null_=False),
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=MAX_RUNS,
    )
    for run in waiting:
        if is_random_name(run.name) and (name := run_name(run.parameters)) != run.name:
            client.update_flow_run(run.id, name=name)

"""Names of runs that wait on a server: it makes them up from two random words when a run is scheduled or triggered."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

# Runs that are looked at, those that start last first: the future ones, and those of the last hour.
MAX_RUNS, MAX_AGE = 200, timedelta(hours=1)


def deployed_run_name(run: "FlowRun") -> str:
    """Return the name of a run of a deployment; of one that Prefect has named, the name that the flow will give it."""
    from flows.recording.prefect_run import is_random_name, run_name

    return run_name(run.parameters) if is_random_name(run.name) else run.name


def name_waiting_runs(client: "SyncPrefectClient") -> None:
    """Name the runs of deployments by their parameters before they start: some never do, if they are cancelled or fail.

    Raises httpx.HTTPError.
    """
    from prefect.client.schemas import filters
    from prefect.client.schemas.sorting import FlowRunSort

    recent = {"after_": datetime.now(UTC) - MAX_AGE}
    runs = client.read_flow_runs(
        flow_run_filter=filters.FlowRunFilter(
            expected_start_time=filters.FlowRunFilterExpectedStartTime.model_validate(recent),
            deployment_id=filters.FlowRunFilterDeploymentId(is_null_=False),
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=MAX_RUNS,
    )
    for run in runs:
        if (name := deployed_run_name(run)) != run.name:
            client.update_flow_run(run.id, name=name)

"""Deployments of prefect.yaml on a server, with parameter schemas that reject unknown names."""

from typing import TYPE_CHECKING

from ml.errors import UsageError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

TAG = "steward"


# Prefect's own template lets whoever starts a run choose its command, environment and folder. Here there is nothing to
# choose: the worker's defaults start the flow of the deployment. Without `env` in the configuration, as Prefect merges
# variables into a present one.
JOB_TEMPLATE = {
    "job_configuration": {"command": None},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}


def ensure_work_pool(client: "SyncPrefectClient", name: str) -> None:
    """Create the pool of process workers, or give an existing one the job template without variables."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectAlreadyExists

    try:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=JOB_TEMPLATE))
    except ObjectAlreadyExists:
        client.update_work_pool(name, WorkPoolUpdate(base_job_template=JOB_TEMPLATE))


def enforce_parameter_schemas(client: "SyncPrefectClient") -> list[str]:
    """Make the server reject unknown parameter names; return the names of the deployments.

    Without this, Prefect accepts such a name and the run crashes. Raises UsageError if prefect.yaml has one.
    """
    from prefect.client.schemas.actions import DeploymentUpdate

    deployments = [deployment for deployment in client.read_deployments() if TAG in deployment.tags]
    for deployment in deployments:
        schema = deployment.parameter_openapi_schema or {}
        allowed = set(schema.get("properties", {}))
        unknown = _parameter_names(deployment) - allowed
        if unknown:
            raise UsageError(
                f"parameters of {deployment.entrypoint}: {', '.join(sorted(allowed))}",
                f"{', '.join(sorted(unknown))} in the deployment {deployment.name}",
                "correct prefect.yaml",
            )
        closed = {**schema, "additionalProperties": False}
        client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=closed))
    return sorted(deployment.name for deployment in deployments)


def _parameter_names(deployment: "DeploymentResponse") -> set[str]:
    """Return the parameters that the deployment or one of its schedules sets."""
    settings = (deployment.parameters, *(schedule.parameters for schedule in deployment.schedules))
    return {name for parameters in settings for name in parameters or {}}

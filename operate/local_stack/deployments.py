"""Deployments as prefect.yaml says them, on a server, with forms that take no parameter that a flow does not have."""

from contextlib import suppress
from typing import TYPE_CHECKING

from ml.errors import UsageError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

TAG = "steward"


def ensure_pool(client: "SyncPrefectClient", name: str) -> None:
    """The pool of process workers is there."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))


def seal(client: "SyncPrefectClient") -> list[str]:
    """Refuse parameters with unknown names, which Prefect would let through and the flow then crash on.

    The names of the deployments. Raises UsageError where prefect.yaml itself has such a parameter.
    """
    from prefect.client.schemas.actions import DeploymentUpdate

    ours = [one for one in client.read_deployments() if TAG in one.tags]
    for one in ours:
        form = one.parameter_openapi_schema or {}
        known = set(form.get("properties", {}))
        unknown = _given(one) - known
        if unknown:
            raise UsageError(
                f"parameters of {one.entrypoint}: {', '.join(sorted(known))}",
                f"{', '.join(sorted(unknown))} in the deployment {one.name}",
                "correct prefect.yaml",
            )
        closed = {**form, "additionalProperties": False}
        client.update_deployment(one.id, DeploymentUpdate(parameter_openapi_schema=closed))
    return sorted(one.name for one in ours)


def _given(one: "DeploymentResponse") -> set[str]:
    """Names of the parameters that the deployment or one of its schedules sets."""
    return {name for said in (one.parameters, *(s.parameters for s in one.schedules)) for name in said or {}}

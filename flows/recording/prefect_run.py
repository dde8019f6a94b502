"""Name and tags of the Prefect flow run: Prefect itself would name it by two random words."""

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows.use_case import RunParameters
from tasks.data_access.data_paths import data_name

TAG = "steward"
# Names that Prefect and its forms make up, such as "gregarious-seagull".
_RANDOM_NAME = re.compile(r"[a-z]+(-[a-z]+)+")


def run_name(parameters: Mapping[str, Any]) -> str:
    """Name a run by its parameters: a training run by its data, a scoring run by champion and file."""
    if "dry_run" in parameters:
        return "preview" if parameters["dry_run"] else "maintenance"
    data = parameters.get("data") or RunParameters().data
    if "case" in parameters:
        # Scoring: the deployment has no file before it is triggered.
        file = f": {data_name(data, 'several files')}" if parameters.get("data") else ""
        return f"{parameters.get('contract') or RunParameters().data}{file}"
    as_of = parameters.get("as_of")
    return data_name(data, "several files") + (f" as of {str(as_of)[:16]}" if as_of else "")


def current_run_name() -> str:
    """Name the current flow run by its parameters; a name that a person gave it stays."""
    name = str(flow_run.name or "")
    return name if name and not is_random_name(name) else run_name(flow_run.parameters)


def is_random_name(name: str) -> bool:
    """Return whether Prefect made up this name."""
    return bool(_RANDOM_NAME.fullmatch(name))


def add_tags(*tags: str) -> None:
    """Add tags to the current flow run; outside of one, do nothing."""
    if not flow_run.id:
        return
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(str(flow_run.id)))
        client.update_flow_run(run.id, tags=sorted({*run.tags, *tags}))


def subject_tags(case: str, data: str) -> tuple[str, ...]:
    """Return the tags that say what a run is about."""
    return TAG, f"case:{case}", f"data:{data}"

"""History: what MLflow remembers of runs, how the end of a dead one is said, and how old ones are let go of."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import mlflow
from mlflow import MlflowClient as Client
from mlflow.entities import LifecycleStage, LoggedModel, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_SOURCE_NAME

from tasks.locks import run_lock

# The facts of a run among its artifacts, and the tag that holds their SHA-256.
FACTS, FACTS_DIGEST = "facts.json", "steward.facts"


def status(client: Client, run_id: str) -> str | None:
    """What MLflow says of a run; None where it knows none of that id."""
    try:
        return str(client.get_run(run_id).info.status)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def running(client: Client, host: str) -> list[dict[str, str]]:
    """Our runs that MLflow shows as running on this machine: id (of their presence), case, data, mlflow_run_id."""
    found = _search(client, f"attributes.status = 'RUNNING' and tags.`{run_lock.HOST_TAG}` = '{host}'")
    named = {"id": run_lock.LOCK_TAG, "case": "steward.case", "data": "steward.data"}
    return [
        {**{key: run.data.tags.get(tag, "") for key, tag in named.items()}, "mlflow_run_id": run.info.run_id}
        for run in found
    ]


def run_of(client: Client, identity: str) -> str | None:
    """The run that was begun under the presence of this identity, if any."""
    found = _search(client, f"tags.`{run_lock.LOCK_TAG}` = '{identity}'")
    return found[0].info.run_id if found else None


def intervals(client: Client, case: str, data: str) -> set[str]:
    """The instants (ISO 8601, UTC) that a finished run of this case and data set stands for."""
    condition = f"attributes.status = 'FINISHED' and tags.`steward.case` = '{case}' and tags.`steward.data` = '{data}'"
    found = _search(client, condition)
    return {run.data.tags["steward.interval"] for run in found if "steward.interval" in run.data.tags}


def end(client: Client, run_id: str, status: str, reason: str) -> None:
    """Say for a run, and for what still runs below it, how it ended."""
    below = _search(client, f"attributes.status = 'RUNNING' and tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'")
    for child in below:
        client.set_terminated(child.info.run_id, status)
    client.set_tag(run_id, "steward.verdict", "died")
    client.set_tag(run_id, "steward.reason", reason)
    client.set_terminated(run_id, status)


@dataclass(frozen=True)
class Remembered:
    """What MLflow remembers of a run; `facts` and `report` are None where those artifacts are gone or damaged."""

    run_id: str
    status: str
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    inputs: Mapping[str, str]  # table name to the first 36 digits of its digest
    artifacts: str
    facts: Mapping[str, Any] | None
    facts_digest: str  # SHA-256 of facts.json as it lies there
    report: str | None


def remembered(client: Client, run_id: str) -> Remembered | None:
    """What can be read of a run; None where MLflow knows none of that id, or it was deleted."""
    if status(client, run_id) is None:
        return None
    run = client.get_run(run_id)
    if run.info.lifecycle_stage != LifecycleStage.ACTIVE:
        return None
    inputs = {one.dataset.name: one.dataset.digest for one in run.inputs.dataset_inputs} if run.inputs else {}
    text = _text(client, run, FACTS) or ""
    try:
        facts = dict(json.loads(text))
    except (TypeError, ValueError):
        facts = None
    return Remembered(
        run_id,
        run.info.status,
        run.data.params,
        run.data.metrics,
        run.data.tags,
        inputs,
        run.info.artifact_uri,
        facts,
        hashlib.sha256(text.encode()).hexdigest(),
        _text(client, run, "report.html"),
    )


def maker(client: Client, name: str, run_id: str, digest: str) -> Remembered | None:
    """The run that made a package of registered model `name`: `run_id`, which registered it, or one that went on.

    The first that came to an end with facts that speak of this package; where none did, the one that registered it.
    """
    first = remembered(client, run_id)
    if _tells(first, digest):
        return first
    later = (remembered(client, one) for one in finished(client, name))
    return next((run for run in later if _tells(run, digest)), first)


def _tells(run: Remembered | None, digest: str) -> bool:
    if run is None or run.facts is None or run.status != "FINISHED":
        return False
    return bool(run.facts.get("package", {}).get("digest") == digest)


def finished(client: Client, name: str) -> list[str]:
    """Ids of the runs that came to a decision about registered model `name`, oldest first."""
    condition = f"attributes.status = 'FINISHED' and tags.`steward.contract` = '{name}'"
    return [run.info.run_id for run in reversed(_search(client, condition))]


def _text(client: Client, run: Run, name: str) -> str | None:
    """A text artifact of a run; None where it is gone."""
    if name not in {one.path for one in client.list_artifacts(run.info.run_id)}:
        return None
    return mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{name}")


def _search(client: Client, condition: str, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    """Every run in all experiments that meets the condition."""
    experiments = [one.experiment_id for one in client.search_experiments()]
    found: list[Run] = []
    token = None
    while experiments:
        page = client.search_runs(experiments, condition, view, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            break
    return found


@dataclass(frozen=True)
class Past:
    """A run of ours that ended, for whoever tidies up."""

    run_id: str
    name: str
    case: str
    ended: datetime


def past(client: Client, before: datetime) -> list[Past]:
    """Our runs that ended before an instant, oldest first; also those that were deleted and not yet purged."""
    condition = (
        f"attributes.end_time < {int(before.timestamp() * 1000)} and attributes.status != 'RUNNING'"
        f" and tags.`{MLFLOW_SOURCE_NAME}` = 'steward'"
    )
    found = [
        Past(
            run.info.run_id,
            run.info.run_name or "",
            run.data.tags.get("steward.case", ""),
            datetime.fromtimestamp(run.info.end_time / 1000, UTC),
        )
        for run in _search(client, condition, ViewType.ALL)
        # What is below a run goes with it.
        if MLFLOW_PARENT_RUN_ID not in run.data.tags
    ]
    return sorted(found, key=lambda one: (one.ended, one.run_id))


def weight(client: Client, run_id: str) -> int:
    """Bytes of the artifacts of a run, of its models, and of what is below it."""
    return sum(_bytes(get_artifact_repository(uri)) for uri in _artifacts(client, run_id))


def purge(client: Client, run_id: str) -> None:
    """Delete a run, what is below it, its models and its artifacts, for good.

    First it is shown to nobody, last it is forgotten: killed in between, it is found again by `past`.
    """
    store = client._tracking_client.store
    run = client.get_run(run_id)
    if run.info.lifecycle_stage == LifecycleStage.ACTIVE:
        client.delete_run(run_id)
    for child in _below(client, run_id):
        purge(client, child.info.run_id)
    for model in _models(client, run):
        _remove(model.artifact_location)
        store._hard_delete_logged_model(model.model_id)
    _remove(run.info.artifact_uri)
    store._hard_delete_run(run_id)


def _below(client: Client, run_id: str) -> list[Run]:
    return _search(client, f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'", ViewType.ALL)


def _models(client: Client, run: Run) -> list[LoggedModel]:
    return list(client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"))


def _artifacts(client: Client, run_id: str) -> Iterator[str]:
    """Addresses of everything that a run left outside of the database."""
    run = client.get_run(run_id)
    yield run.info.artifact_uri
    yield from (model.artifact_location for model in _models(client, run))
    for child in _below(client, run_id):
        yield from _artifacts(client, child.info.run_id)


def _bytes(repository: ArtifactRepository, path: str | None = None) -> int:
    listed = repository.list_artifacts(path)
    return sum(_bytes(repository, one.path) if one.is_dir else one.file_size or 0 for one in listed)


def _remove(uri: str) -> None:
    """Remove a run's or a model's artifacts, and the folder that MLflow made for them."""
    get_artifact_repository(uri).delete_artifacts()  # type: ignore[no-untyped-call]
    if urlparse(uri).scheme in ("", "file"):
        # It is not empty where somebody put something beside them.
        with suppress(OSError):
            Path(local_file_uri_to_path(uri)).parent.rmdir()  # type: ignore[no-untyped-call]

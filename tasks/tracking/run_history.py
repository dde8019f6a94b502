"""Run history: search, read and delete the runs that MLflow has recorded."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from urllib.parse import urlparse

import mlflow
from mlflow import MlflowClient as Client
from mlflow.entities import LifecycleStage, LoggedModel, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_SOURCE_NAME

from tasks.facts import RunFacts
from tasks.facts_upgrade import upgrade

# The artifact that holds the facts of a run, and the tag that holds its SHA-256.
FACTS_FILE, FACTS_DIGEST_TAG = "facts.json", "steward.facts"


def run_status(client: Client, run_id: str) -> str | None:
    """Return MLflow's status of a run; None where there is no run of that id."""
    try:
        return str(client.get_run(run_id).info.status)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def finished_intervals(client: Client, case: str, data: str) -> set[str]:
    """Return the instants (ISO 8601, UTC) for which a run of this use case and data set has finished."""
    condition = f"attributes.status = 'FINISHED' and tags.`steward.case` = '{case}' and tags.`steward.data` = '{data}'"
    runs = search(client, condition)
    return {run.data.tags["steward.interval"] for run in runs if "steward.interval" in run.data.tags}


@dataclass(frozen=True)
class RunSummary:
    """A run of one registered model in a few words; `estimate` is the primary metric on test, if there is one."""

    run_id: str
    experiment_id: str
    started: datetime
    data: str
    verdict: str
    reason: str
    model: str
    estimate: str


def last_runs(client: Client, name: str, number: int) -> list[RunSummary]:
    """Return the last runs of a registered model that have ended with a verdict, newest first."""
    condition = f"tags.`steward.contract` = '{name}' and tags.`steward.verdict` != ''"
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return [_summary(run) for run in client.search_runs(experiments, condition, max_results=number)]


def _summary(run: Run) -> RunSummary:
    tags = run.data.tags
    return RunSummary(
        run.info.run_id,
        run.info.experiment_id,
        datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        tags.get("steward.data", ""),
        tags["steward.verdict"],
        tags.get("steward.reason", ""),
        tags.get("steward.model", ""),
        tags.get("steward.estimate", ""),
    )


@dataclass(frozen=True)
class RecordedRun:
    """A run as MLflow recorded it.

    `facts` have the keys of the current version, whichever version wrote them. They and `report` (HTML) are None where
    the artifact is missing or damaged. `input_digests` is by table name: the first 36 digits. `facts_digest` is the
    SHA-256 of the file `facts.json` as it is.
    """

    run_id: str
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    input_digests: Mapping[str, str]
    artifact_uri: str
    facts: RunFacts | None
    facts_digest: str
    report: str | None


def read_run(client: Client, run_id: str) -> RecordedRun | None:
    """Read what MLflow has recorded of a run; None where there is no run of that id, or it was deleted."""
    if run_status(client, run_id) is None:
        return None
    run = client.get_run(run_id)
    if run.info.lifecycle_stage != LifecycleStage.ACTIVE:
        return None
    inputs = run.inputs.dataset_inputs if run.inputs else []
    text = _read_text(client, run, FACTS_FILE) or ""
    return RecordedRun(
        run_id,
        run.info.status,
        run.data.params,
        run.data.metrics,
        run.data.tags,
        {entry.dataset.name: entry.dataset.digest for entry in inputs},
        run.info.artifact_uri,
        _parse_facts(text),
        hashlib.sha256(text.encode()).hexdigest(),
        _read_text(client, run, "report.html"),
    )


def _parse_facts(text: str) -> RunFacts | None:
    """Parse and upgrade facts; None where they are damaged."""
    try:
        facts = json.loads(text)
        return cast(RunFacts, upgrade(facts)) if isinstance(facts, dict) else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def registering_run(client: Client, name: str, run_id: str, digest: str) -> RecordedRun | None:
    """Return the run that completed the registration of a package of model `name`.

    That is `run_id`, which registered it, or where that run was killed, the first finished run whose facts name the
    package; without any, `run_id` again.
    """
    first = read_run(client, run_id)
    if _registered(first, digest):
        return first
    later = (read_run(client, finished_id) for finished_id in finished_runs(client, name))
    return next((run for run in later if _registered(run, digest)), first)


def _registered(run: RecordedRun | None, digest: str) -> bool:
    if run is None or run.facts is None or run.status != "FINISHED":
        return False
    return bool(run.facts.get("package", {}).get("digest") == digest)


def finished_runs(client: Client, name: str) -> list[str]:
    """Return the ids of the finished runs of registered model `name`, oldest first."""
    condition = f"attributes.status = 'FINISHED' and tags.`steward.contract` = '{name}'"
    return [run.info.run_id for run in reversed(search(client, condition))]


def _read_text(client: Client, run: Run, name: str) -> str | None:
    if name not in {artifact.path for artifact in client.list_artifacts(run.info.run_id)}:
        return None
    return mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{name}")


def search(client: Client, condition: str, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    """Search all experiments, all pages; newest first."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs: list[Run] = []
    token = None
    while experiments:
        page = client.search_runs(experiments, condition, view, max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    return runs


@dataclass(frozen=True)
class EndedRun:
    """A parent run of ours that has ended."""

    run_id: str
    name: str
    case: str
    ended: datetime


def runs_ended_before(client: Client, before: datetime) -> list[EndedRun]:
    """Return our parent runs that ended before an instant, oldest first, with those whose deletion was interrupted."""
    condition = (
        f"attributes.end_time < {int(before.timestamp() * 1000)} and attributes.status != 'RUNNING'"
        f" and tags.`{MLFLOW_SOURCE_NAME}` = 'steward'"
    )
    runs = [
        EndedRun(
            run.info.run_id,
            run.info.run_name or "",
            run.data.tags.get("steward.case", ""),
            datetime.fromtimestamp(run.info.end_time / 1000, UTC),
        )
        for run in search(client, condition, ViewType.ALL)
        if MLFLOW_PARENT_RUN_ID not in run.data.tags
    ]
    return sorted(runs, key=lambda run: (run.ended, run.run_id))


def artifact_bytes(client: Client, run_id: str) -> int:
    """Return the size of the artifacts of a run, its models and its child runs."""
    return sum(_total_size(get_artifact_repository(uri)) for uri in _artifact_uris(client, run_id))


def delete_run(client: Client, run_id: str) -> None:
    """Delete a run for good, with its child runs, models and artifacts.

    It is first marked as deleted, and its row goes last: `runs_ended_before` finds a run whose deletion was killed.
    """
    store = client._tracking_client.store
    run = client.get_run(run_id)
    if run.info.lifecycle_stage == LifecycleStage.ACTIVE:
        client.delete_run(run_id)
    for child in _child_runs(client, run_id):
        delete_run(client, child.info.run_id)
    for model in _logged_models(client, run):
        _delete_artifacts(model.artifact_location)
        store._hard_delete_logged_model(model.model_id)
    _delete_artifacts(run.info.artifact_uri)
    store._hard_delete_run(run_id)


def _child_runs(client: Client, run_id: str) -> list[Run]:
    return search(client, f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'", ViewType.ALL)


def _logged_models(client: Client, run: Run) -> list[LoggedModel]:
    return list(client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"))


def _artifact_uris(client: Client, run_id: str) -> Iterator[str]:
    """Yield the artifact folders of a run, its models and its child runs."""
    run = client.get_run(run_id)
    yield run.info.artifact_uri
    yield from (model.artifact_location for model in _logged_models(client, run))
    for child in _child_runs(client, run_id):
        yield from _artifact_uris(client, child.info.run_id)


def _total_size(repository: ArtifactRepository, path: str | None = None) -> int:
    artifacts = repository.list_artifacts(path)
    return sum(
        _total_size(repository, artifact.path) if artifact.is_dir else artifact.file_size or 0
        for artifact in artifacts
    )


def _delete_artifacts(uri: str) -> None:
    """Delete an artifact folder, and the folder that MLflow created around it."""
    get_artifact_repository(uri).delete_artifacts()  # type: ignore[no-untyped-call]
    if urlparse(uri).scheme in ("", "file"):
        # The outer folder is not empty where a person put something there.
        with suppress(OSError):
            Path(local_file_uri_to_path(uri)).parent.rmdir()  # type: ignore[no-untyped-call]

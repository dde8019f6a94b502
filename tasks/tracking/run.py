"""MLflow runs: one parent run per flow run and a child per candidate, addressed by id and never as the active run."""

import json
import math
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import (
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
)

from ml.errors import UsageError
from tasks.locks import run_lock
from tasks.settings import Settings
from tasks.state_dir_id import state_dir_id

# MLflow's UI shows experiments of this kind with tables of runs and models; only its JavaScript names tag and value.
EXPERIMENT_KIND, MODEL_TRAINING = "mlflow.experimentKind", "custom_model_development"
# Bounds of MLflow, in characters: longer values are cut.
MAX_PARAM_LENGTH, MAX_TAG_LENGTH, MAX_DIGEST_LENGTH = 6000, 8000, 36


@dataclass(frozen=True)
class MlflowRun:
    """One MLflow run; `state_dir` is the identity of the state directory that it belongs to."""

    client: MlflowClient
    run_id: str
    experiment_id: str
    state_dir: str

    def log(
        self,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Log metrics, parameters and tags; metrics that are not finite are left out, as MLflow cannot compare them."""
        now = int(time.time() * 1000)
        finite = {k: v for k, v in (metrics or {}).items() if v is not None and math.isfinite(v)}
        self.client.log_batch(
            self.run_id,
            [Metric(name, float(value), now, 0) for name, value in finite.items()],
            [Param(name, str(value)[:MAX_PARAM_LENGTH]) for name, value in (params or {}).items()],
            [RunTag(name, str(value)[:MAX_TAG_LENGTH]) for name, value in (tags or {}).items()],
        )

    def log_child_run(self, name: str, metrics: Mapping[str, float], params: Mapping[str, Any]) -> None:
        """Log a finished child run. Where that fails halfway, the child is FAILED if that can be written."""
        tags = {MLFLOW_PARENT_RUN_ID: self.run_id, MLFLOW_RUN_NAME: name, MLFLOW_SOURCE_NAME: "steward"}
        tags[run_lock.STATE_DIR_TAG] = self.state_dir
        run = self.client.create_run(self.experiment_id, run_name=name, tags=tags)
        child = MlflowRun(self.client, run.info.run_id, self.experiment_id, self.state_dir)
        try:
            child.log(metrics, params)
            child.finish("FINISHED")
        except Exception:
            with suppress(Exception):
                child.finish("FAILED")
            raise

    def log_datasets(self, digests: Mapping[str, str], name: str, origin: Mapping[str, Any]) -> None:
        """Log by digest which tables the run used; `digests` is by table, `name` that of the contract. No rows."""
        inputs = [
            DatasetInput(
                Dataset(f"{name}.{table}", digest[:MAX_DIGEST_LENGTH], "steward", json.dumps(origin)), []
            )
            for table, digest in digests.items()
        ]
        self.client.log_inputs(self.run_id, inputs)

    def log_text(self, name: str, text: str) -> None:
        """Write a text artifact."""
        self.client.log_text(self.run_id, text, name)

    def set_note(self, text: str) -> None:
        """Set the Markdown that MLflow shows at the top of the run's page."""
        self.client.set_tag(self.run_id, MLFLOW_RUN_NOTE, text)

    def artifact_uri(self, name: str) -> str:
        """Return the URI of an artifact."""
        return f"{self.client.get_run(self.run_id).info.artifact_uri}/{name}"

    def finish(self, status: str) -> None:
        """Set the final status: FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run_id, status)


def start_run(
    client: MlflowClient,
    settings: Settings,
    experiment: str,
    name: str,
    tags: Mapping[str, str],
    inputs: Sequence[str],
) -> MlflowRun:
    """Start a run in the experiment of a use case, which is created on first use; `inputs` are the files it reads.

    Raises UsageError where the state directory was moved: MLflow would write to its old place.
    """
    folder = settings.artifacts_dir / experiment
    with FileLock(settings.state_dir / "mlflow.lock"):
        existing = client.get_experiment_by_name(experiment)
        if existing:
            _require_existing_location(existing.artifact_location, folder)
        experiment_id = (
            existing.experiment_id if existing else client.create_experiment(experiment, folder.as_uri())
        )
    state_dir = state_dir_id(settings)
    run = client.create_run(
        experiment_id,
        run_name=name,
        tags={
            MLFLOW_SOURCE_NAME: "steward",
            run_lock.HOST_TAG: socket.gethostname(),
            run_lock.STATE_DIR_TAG: state_dir,
            **tags,
            "steward.inputs": " ".join(inputs),
        },
    )
    return MlflowRun(client, run.info.run_id, experiment_id, state_dir)


def describe_experiment(client: MlflowClient, experiment_id: str, description: str) -> None:
    """Set kind and description of an experiment where they are not set: a person may have changed them."""
    tags = client.get_experiment(experiment_id).tags
    for key, value in ((EXPERIMENT_KIND, MODEL_TRAINING), (MLFLOW_RUN_NOTE, description)):
        if key not in tags:
            client.set_experiment_tag(experiment_id, key, value)


def _require_existing_location(location: str, folder: Path) -> None:
    recorded = Path(unquote(urlparse(location).path)) if location.startswith("file:") else None
    if recorded and not recorded.parent.is_dir() and folder.is_dir():
        raise UsageError(f"artifacts in {recorded}", f"no such folder, but {folder}", "steward doctor --fix")

"""run."""

import json
import math
import socket
import time
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True)
class MlflowRun:
    """One MLflow run."""

    client: MlflowClient
    run_id: str
    experiment_id: str

    def record(
        self,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Log numbers, parameters and tags; what is not finite is no number that MLflow can compare, and stays out."""
        now = int(time.time() * 1000)
        finite = {k: v for k, v in (metrics or {}).items() if v is not None and math.isfinite(v)}
        self.client.log_batch(
            self.run_id,
            [Metric(name, float(value), now, 0) for name, value in finite.items()],
            [Param(name, str(value)[:6000]) for name, value in (params or {}).items()],
            [RunTag(name, str(value)[:8000]) for name, value in (tags or {}).items()],
        )

    def child(self, name: str, metrics: Mapping[str, float], params: Mapping[str, Any]) -> None:
        """A finished run below this one."""
        tags = {MLFLOW_PARENT_RUN_ID: self.run_id, MLFLOW_RUN_NAME: name, MLFLOW_SOURCE_NAME: "steward"}
        run = self.client.create_run(self.experiment_id, run_name=name, tags=tags)
        MlflowRun(self.client, run.info.run_id, self.experiment_id).record(metrics, params)
        self.client.set_terminated(run.info.run_id, "FINISHED")

    def datasets(self, digests: Mapping[str, str], name: str, origin: Mapping[str, Any]) -> None:
        """Which tables the run used, by digest; never their rows."""
        inputs = [
            DatasetInput(Dataset(f"{name}.{part}", digest[:36], "steward", json.dumps(origin)), [])
            for part, digest in digests.items()
        ]
        self.client.log_inputs(self.run_id, inputs)

    def write(self, name: str, text: str) -> None:
        self.client.log_text(self.run_id, text, name)

    def describe(self, text: str) -> None:
        """What MLflow shows at the top of the run's page; Markdown."""
        self.client.set_tag(self.run_id, MLFLOW_RUN_NOTE, text)

    def uri(self, name: str) -> str:
        return f"{self.client.get_run(self.run_id).info.artifact_uri}/{name}"

    def finish(self, status: str) -> None:
        """FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run_id, status)


def start_run(
    client: MlflowClient,
    settings: Settings,
    experiment: str,
    name: str,
    tags: Mapping[str, str],
    inputs: Sequence[str],
) -> MlflowRun:
    """A new run in the case's experiment, which is made on first use.

    Raises UsageError where the home was moved: the run would be written to where the home was.
    """
    with FileLock(settings.home / "mlflow.lock"):
        known = client.get_experiment_by_name(experiment)
        location = (settings.artifacts / experiment).as_uri()
        if known:
            _refuse_moved(known.artifact_location, settings.artifacts / experiment)
        experiment_id = known.experiment_id if known else client.create_experiment(experiment, location)
    run = client.create_run(
        experiment_id,
        run_name=name,
        tags={
            MLFLOW_SOURCE_NAME: "steward",
            run_lock.HOST_TAG: socket.gethostname(),
            **tags,
            "steward.inputs": " ".join(inputs),
        },
    )
    return MlflowRun(client, run.info.run_id, experiment_id)


def _refuse_moved(location: str, here: Path) -> None:
    there = Path(unquote(urlparse(location).path)) if location.startswith("file:") else None
    if there and not there.parent.is_dir() and here.is_dir():
        raise UsageError(f"artifacts in {there}", f"no such folder, but {here}", "steward doctor --fix")

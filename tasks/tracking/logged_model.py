"""Logged models of MLflow: the folder of a model, its parameters, its metrics, and the version that it became."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model as MlflowModel
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from tasks.tracking.model_folder import MLMODEL, write_file_list

# Bounds of MLflow in characters: of a parameter of a logged model, and of the digest of a dataset.
MAX_PARAM_LENGTH, MAX_DIGEST_LENGTH = 5000, 36


@dataclass(frozen=True)
class Latency:
    """The median processor time to predict one row, and its ratio to that of a reference computation beside it.

    The ratio is about the same on a slow or busy machine.
    """

    milliseconds: float
    ratio: float


@dataclass(frozen=True)
class PackagedModel:
    """An MLflow model folder, the digest of our package inside it, its size and its latency.

    `requirements` are lines of requirements.txt.
    """

    folder: Path
    digest: str
    megabytes: float
    latency: Latency
    requirements: tuple[str, ...]


def log_model(
    client: MlflowClient, run_id: str, packaged: PackagedModel, candidate: str, tags: dict[str, str]
) -> tuple[str, str]:
    """Log the model folder as an output of the run; return the model id and the digest of its list of files."""
    run = client.get_run(run_id)
    # MLflow allows no such characters in the name of a logged model.
    name = re.sub("[/:.%\"']", " ", candidate)
    logged = client.create_logged_model(run.info.experiment_id, name=name, source_run_id=run_id, tags=tags)
    mlflow_model = MlflowModel.load(packaged.folder)
    mlflow_model.run_id, mlflow_model.model_id = run_id, logged.model_id
    mlflow_model.save(packaged.folder / MLMODEL)
    file_list_digest = write_file_list(packaged.folder)
    client.log_model_artifacts(logged.model_id, str(packaged.folder))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return str(logged.model_id), file_list_digest


def name_version(client: MlflowClient, model_id: str, name: str, number: int) -> None:
    """Show at a logged model which registered version it is: MLflow's server does this, its client does not."""
    label = json.dumps([{"name": name, "version": str(number)}])
    client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: label})


@dataclass(frozen=True)
class DatasetMetrics:
    """A dataset, by name and digest as the run has logged it, and the metrics of the run that belong to it."""

    name: str
    digest: str
    metrics: Mapping[str, float]


def describe_logged_model(
    client: MlflowClient, run_id: str, model_id: str, params: Mapping[str, Any], measured: DatasetMetrics
) -> None:
    """Give a logged model its parameters, and the metrics that its run has logged."""
    client.log_model_params(model_id, {name: str(value)[:MAX_PARAM_LENGTH] for name, value in params.items()})
    if not measured.metrics:
        return
    # With the time that the run has, MLflow recognises them as the same measurements.
    logged = client.get_metric_history(run_id, next(iter(measured.metrics)))
    time = logged[-1].timestamp
    dataset = {"dataset_name": measured.name, "dataset_digest": measured.digest[:MAX_DIGEST_LENGTH]}
    metrics = [
        Metric(name, value, time, 0, model_id=model_id, run_id=run_id, **dataset)
        for name, value in measured.metrics.items()
    ]
    client.log_batch(run_id, metrics)

"""Registry: models as MLflow keeps them, and the clean process in which a packaged model has to prove itself."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model as MlflowModel

from ml import package
from ml.errors import PackagingError

ALIAS = "champion"
DATA = "package"


@dataclass(frozen=True)
class PackagedModel:
    """A model folder as MLflow reads it, with the digest of our package inside and what was measured of it."""

    folder: Path
    digest: str
    megabytes: float
    milliseconds: float
    requirements: tuple[str, ...]


def log_model(client: MlflowClient, run_id: str, packaged: PackagedModel) -> str:
    """Hand the model folder to MLflow as an output of the run; its model id."""
    run = client.get_run(run_id)
    logged = client.create_logged_model(
        run.info.experiment_id, name="model", source_run_id=run_id, tags={"steward.digest": packaged.digest}
    )
    described = MlflowModel.load(packaged.folder)
    described.run_id, described.model_id = run_id, logged.model_id
    described.save(packaged.folder / "MLmodel")
    client.log_model_artifacts(logged.model_id, str(packaged.folder))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return str(logged.model_id)


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model."""

    name: str
    number: int
    digest: str
    source: str
    tags: Mapping[str, str]
    run_id: str = ""  # of the MLflow run that registered it


def find_version(client: MlflowClient, name: str, digest: str) -> ModelVersion | None:
    """The version whose package has this digest: registering twice gives one version."""
    found = client.search_model_versions(f"name = '{name}' and tags.`steward.digest` = '{digest}'")
    return min((_version(v) for v in found), key=lambda v: v.number, default=None)


def register(
    client: MlflowClient,
    name: str,
    run_id: str,
    packaged: PackagedModel,
    tags: Mapping[str, str],
    description: str,
) -> ModelVersion:
    """A new version of the registered model, or the one that holds this very package already."""
    known = find_version(client, name, packaged.digest)
    if known:
        return known
    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = log_model(client, run_id, packaged)
    made = client.create_model_version(
        name,
        source=f"models:/{model_id}",
        run_id=run_id,
        model_id=model_id,
        tags={**tags, "steward.digest": packaged.digest},
    )
    return _version(made)


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version that the alias points to, if any."""
    try:
        return _version(client.get_model_version_by_alias(name, ALIAS))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def get_version(client: MlflowClient, name: str, number: int) -> ModelVersion:
    return _version(client.get_model_version(name, str(number)))


def versions(client: MlflowClient, name: str) -> dict[int, ModelVersion]:
    """Every version of a registered model by its number."""
    if "'" in name:
        return {}  # no model is named so, and MLflow would take the rest for a condition
    return {int(one.version): _version(one) for one in client.search_model_versions(f"name = '{name}'")}


def move_alias(client: MlflowClient, name: str, number: int) -> None:
    client.set_registered_model_alias(name, ALIAS, str(number))


def describe(client: MlflowClient, name: str, text: str, number: int | None = None) -> None:
    """What MLflow's page of the registered model, or of one of its versions, says; Markdown."""
    if number is None:
        client.update_registered_model(name, description=text)
    else:
        client.update_model_version(name, str(number), description=text)


def alias_of(client: MlflowClient, name: str) -> tuple[Callable[[], int | None], Callable[[int], None]]:
    """How to read and how to move the champion alias of one registered model."""

    def number() -> int | None:
        found = champion(client, name)
        return found.number if found else None

    return number, partial(move_alias, client, name)


def download(client: MlflowClient, version: ModelVersion) -> Path | None:
    """The version's folder on this machine; None where MLflow has no longer what it registered."""
    uri = client.get_model_version_download_uri(version.name, str(version.number))
    if not mlflow.artifacts.list_artifacts(artifact_uri=uri, tracking_uri=client.tracking_uri):
        return None
    return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, tracking_uri=client.tracking_uri))


def download_verified(client: MlflowClient, version: ModelVersion) -> Path:
    """The version's folder on this machine, its package and its code as they were registered.

    Raises PackagingError for any other, and where it is gone: what is fetched will be run.
    """
    folder = download(client, version)
    if folder is None:
        raise PackagingError(
            f"the files of {version.name} version {version.number}", "none", "restore the model's artifacts"
        )
    manifest, _ = package.verify(folder / "data" / DATA, version.digest)
    if package.code_digest(folder / "code" / "ml") != manifest["code"]:
        raise PackagingError(
            "the code that was registered with the model", "other code", "restore the model's artifacts"
        )
    return folder


def _version(raw: Any) -> ModelVersion:
    tags = dict(raw.tags)
    digest = tags.get("steward.digest", "")
    return ModelVersion(raw.name, int(raw.version), digest, raw.source, tags, raw.run_id or "")


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of ours as the registry holds it, for whoever tidies up."""

    version: ModelVersion
    created: datetime
    aliased: bool


def registered_versions(client: MlflowClient) -> list[RegisteredVersion]:
    """Every version that Steward registered, of every model."""
    found = []
    for model in _pages(client.search_registered_models):
        if "'" in model.name:
            continue  # none of ours, and MLflow would take the rest for a condition
        pointed_at = {int(number) for number in model.aliases.values()}
        for raw in _pages(partial(client.search_model_versions, f"name = '{model.name}'")):
            made = datetime.fromtimestamp(raw.creation_timestamp / 1000, UTC)
            version = _version(raw)
            if version.digest:
                found.append(RegisteredVersion(version, made, version.number in pointed_at))
    return found


def unregister(client: MlflowClient, version: ModelVersion) -> None:
    """Delete a version; its number is never given again."""
    client.delete_model_version(version.name, str(version.number))


def _pages(search: Callable[..., Any]) -> Iterator[Any]:
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return

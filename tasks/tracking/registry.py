"""Model registry: register packages as model versions, move the champion alias, download and verify versions."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ml import package
from ml.errors import PackagingError
from tasks.tracking import logged_model, model_folder
from tasks.tracking.logged_model import PackagedModel
from tasks.tracking.model_folder import CODE_PATH, PACKAGE_PATH, ModelDigests

# The alias of the version that is in use, and the tags with the digests of its package and of its list of files.
CHAMPION_ALIAS = "champion"
DIGEST_TAG, FILE_LIST_TAG = "steward.digest", "steward.artifact_digest"

log = logging.getLogger("steward")


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model; `run_id` is the MLflow run that registered it."""

    name: str
    number: int
    digest: str
    source: str
    tags: Mapping[str, str]
    run_id: str = ""

    @property
    def digests(self) -> ModelDigests:
        """The digests in MLflow's tags; for a version that the ledger knows, those of the ledger count."""
        return ModelDigests(self.digest, self.tags.get(FILE_LIST_TAG, ""))


def find_version(client: MlflowClient, name: str, digest: str) -> ModelVersion | None:
    """Return the version whose package has this digest, if any."""
    matches = client.search_model_versions(f"name = '{name}' and tags.`steward.digest` = '{digest}'")
    return min((_version(match) for match in matches), key=lambda version: version.number, default=None)


def register(
    client: MlflowClient,
    name: str,
    run_id: str,
    packaged: PackagedModel,
    tags: Mapping[str, str],
    description: str,
) -> ModelVersion:
    """Register the package as a new version, or return the version that already holds it."""
    existing = find_version(client, name, packaged.digest)
    if existing:
        return existing
    try:
        client.create_registered_model(name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    candidate = tags.get("candidate", "model")
    model_id, file_list_digest = logged_model.log_model(
        client, run_id, packaged, candidate, {DIGEST_TAG: packaged.digest}
    )
    created = client.create_model_version(
        name,
        source=f"models:/{model_id}",
        run_id=run_id,
        model_id=model_id,
        tags={**tags, DIGEST_TAG: packaged.digest, FILE_LIST_TAG: file_list_digest},
    )
    version = _version(created)
    logged_model.name_version(client, model_id, name, version.number)
    return version


def get_champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """Return the version that the champion alias points to, if any."""
    try:
        return _version(client.get_model_version_by_alias(name, CHAMPION_ALIAS))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def get_version(client: MlflowClient, name: str, number: int) -> ModelVersion:
    """Return a version by its number; raise MlflowException where there is none."""
    return _version(client.get_model_version(name, str(number)))


def list_versions(client: MlflowClient, name: str) -> dict[int, ModelVersion]:
    """Return all versions of a registered model, by number."""
    if "'" in name:
        return {}  # no model has such a name, and MLflow would read the rest as a condition
    return {int(found.version): _version(found) for found in client.search_model_versions(f"name = '{name}'")}


def set_champion(client: MlflowClient, name: str, number: int) -> None:
    """Point the champion alias to a version."""
    client.set_registered_model_alias(name, CHAMPION_ALIAS, str(number))


def model_exists(client: MlflowClient, name: str) -> bool:
    """Return whether there is a registered model of that name."""
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return False
        raise
    return True


def tag_version(client: MlflowClient, version: ModelVersion, tags: Mapping[str, str]) -> None:
    """Set tags of a version; they are columns where MLflow lists versions."""
    for key, value in tags.items():
        client.set_model_version_tag(version.name, str(version.number), key, value)


def describe(client: MlflowClient, name: str, text: str, number: int | None = None) -> None:
    """Set the description (Markdown) of a registered model, or of one of its versions."""
    if number is None:
        client.update_registered_model(name, description=text)
    else:
        client.update_model_version(name, str(number), description=text)


def description(client: MlflowClient, name: str, number: int | None = None) -> str:
    """Return the description of a registered model, or of one of its versions."""
    if number is None:
        return str(client.get_registered_model(name).description or "")
    return str(client.get_model_version(name, str(number)).description or "")


def artifact_location(client: MlflowClient, version: ModelVersion) -> str:
    """Return the URI of the folder of a version, as MLflow recorded it."""
    return str(client.get_model_version_download_uri(version.name, str(version.number)))


def artifacts_exist(client: MlflowClient, version: ModelVersion) -> bool:
    """Return whether there are any files where MLflow says that the version is."""
    uri = artifact_location(client, version)
    return bool(mlflow.artifacts.list_artifacts(artifact_uri=uri, tracking_uri=client.tracking_uri))


@contextmanager
def verified_copy(client: MlflowClient, version: ModelVersion, digests: ModelDigests) -> Iterator[Path]:
    """Yield a private copy of the folder of a version, verified file by file, until the context is left.

    Raises PackagingError where anything differs from `digests` or is missing: code of the folder will be executed.
    """
    if not digests.file_list:
        log.info(
            "  %s version %d was registered by an earlier release: its package and code are verified and used,"
            " its other files are not",
            version.name,
            version.number,
        )
    with tempfile.TemporaryDirectory(prefix="steward-model-") as scratch:
        copy = Path(scratch) / "verified"
        copy.mkdir()
        model_folder.copy_verified(_download(client, version, Path(scratch)), copy, digests)
        manifest, _ = package.verify(copy / PACKAGE_PATH, digests.package)
        if package.code_digest(copy / CODE_PATH) != manifest["code"]:
            raise PackagingError(
                "the code that was registered with the model", "other code", "restore the model's artifacts"
            )
        yield copy


def _download(client: MlflowClient, version: ModelVersion, scratch: Path) -> Path:
    """Return the folder of a version: where it is on this machine, or a download into `scratch`."""
    uri = artifact_location(client, version)
    if not artifacts_exist(client, version):
        raise PackagingError(
            f"the files of {version.name} version {version.number}", "none", "restore the model's artifacts"
        )
    # Files on this machine stay where they are: MLflow would follow symbolic links and wait for pipes.
    is_local = urlparse(uri).scheme in ("", "file")
    target = None if is_local else tempfile.mkdtemp(dir=scratch)
    return Path(
        mlflow.artifacts.download_artifacts(
            artifact_uri=uri, dst_path=target, tracking_uri=client.tracking_uri
        )
    )


def _version(raw: Any) -> ModelVersion:
    tags = dict(raw.tags)
    digest = tags.get(DIGEST_TAG, "")
    return ModelVersion(raw.name, int(raw.version), digest, raw.source, tags, raw.run_id or "")


@dataclass(frozen=True)
class RegisteredVersion:
    """A version with what garbage collection needs to know of it."""

    version: ModelVersion
    created: datetime
    has_alias: bool


def list_all_versions(client: MlflowClient) -> list[RegisteredVersion]:
    """Return all versions of all models that Steward registered."""
    versions = []
    for model in _pages(client.search_registered_models):
        if "'" in model.name:
            continue  # not one of ours, and MLflow would read the rest as a condition
        with_alias = {int(number) for number in model.aliases.values()}
        for raw in _pages(partial(client.search_model_versions, f"name = '{model.name}'")):
            created = datetime.fromtimestamp(raw.creation_timestamp / 1000, UTC)
            version = _version(raw)
            if version.digest:
                versions.append(RegisteredVersion(version, created, version.number in with_alias))
    return versions


def delete_version(client: MlflowClient, version: ModelVersion) -> None:
    """Delete a version; MLflow never reuses its number."""
    client.delete_model_version(version.name, str(version.number))


def _pages(search: Callable[..., Any]) -> Iterator[Any]:
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return

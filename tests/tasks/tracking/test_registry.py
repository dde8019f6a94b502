"""Registry, with a real MLflow: one version for each package, the champion alias, and verified downloads."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model as MlflowModel

from ml import package as ml_package
from ml.data.dataset import Dataset
from ml.errors import PackagingError
from ml.estimator import FitResources, Model
from ml.package import Package
from ml.tabular.constant import Constant
from ml.tabular.gradient_boosting import GradientBoosting
from tasks.packaging import save_mlflow_model
from tasks.settings import Settings
from tasks.tracking import connection, registry
from tasks.tracking.logged_model import Latency, PackagedModel
from tasks.tracking.model_folder import PACKAGE_FOLDER, PACKAGE_PATH
from tasks.tracking.run import start_run

NAME = "toy.rows"
CONTRACT = {
    "name": NAME,
    "expectations": [],
    "meta": {
        "schema_version": 2,
        "read": {"files": ["x.csv"], "columns": {"x": "number", "y": "integer"}},
        "roles": {"target": {"column": "y", "positive": ["1"]}},
    },
}


def rows() -> Dataset:
    truth = pd.Series(np.arange(100) % 2, dtype="float64")
    return Dataset(pd.DataFrame({"x": truth}), truth, np.arange(100, dtype=np.uint64))


def boosted() -> Model:
    return GradientBoosting(max_rounds=5, min_child_samples=5).fit(rows(), rows(), FitResources())


def save(model: Model, folder: Path) -> PackagedModel:
    data, mlflow_folder = folder / PACKAGE_FOLDER, folder / "model"
    data.mkdir()
    package = Package(model, CONTRACT, {"threshold": 0.5}, rows().units)
    digest = ml_package.write(package, data)
    save_mlflow_model(package, data, mlflow_folder)
    return PackagedModel(mlflow_folder, digest, megabytes=0.1, latency=Latency(1.0, 1.0), requirements=())


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> PackagedModel:
    return save(boosted(), tmp_path_factory.mktemp("packaged"))


@pytest.fixture(scope="module")
def other_packaged(tmp_path_factory: pytest.TempPathFactory) -> PackagedModel:
    return save(Constant().fit(rows(), rows(), FitResources()), tmp_path_factory.mktemp("other"))


class ToyRegistry:
    """A registry of its own, with one run to register from."""

    def __init__(self, home: Path) -> None:
        settings = Settings(state_dir=home)
        self.home, self.artifacts = home, settings.artifacts_dir
        self.client = connection.connect(settings)
        self.run_id = start_run(self.client, settings, "toy", "a run", {}, []).run_id

    def register(self, packaged: PackagedModel, name: str = NAME) -> registry.ModelVersion:
        self.home.joinpath("tmp").mkdir(exist_ok=True)
        # Registering writes the model id into the folder.
        folder = shutil.copytree(packaged.folder, self.home / "tmp" / packaged.digest, dirs_exist_ok=True)
        packaged = replace(packaged, folder=folder)
        return registry.register(self.client, name, self.run_id, packaged, {"seed": "0"}, "a question")


@pytest.fixture
def models(home: Path) -> ToyRegistry:
    return ToyRegistry(home)


def test_each_package_is_one_version(
    models: ToyRegistry, packaged: PackagedModel, other_packaged: PackagedModel
) -> None:
    client = models.client
    assert registry.find_version(client, NAME, packaged.digest) is None
    first = models.register(packaged)
    assert models.register(packaged) == first == registry.find_version(client, NAME, packaged.digest)
    assert models.register(other_packaged).number == 2
    assert (first.number, first.digest, first.tags["seed"]) == (1, packaged.digest, "0")
    assert registry.get_version(client, NAME, 1) == first
    # The same package under another name is the first version of another model.
    assert models.register(packaged, "toy.other").number == 1
    outputs = client.get_run(models.run_id).outputs
    assert outputs
    assert len(outputs.model_outputs) == 3
    assert client.get_registered_model(NAME).description == "a question"


def test_the_champion_is_the_version_with_the_alias(
    models: ToyRegistry, packaged: PackagedModel, other_packaged: PackagedModel
) -> None:
    client = models.client
    assert registry.get_champion(client, NAME) is None
    versions = [models.register(packaged), models.register(other_packaged)]
    assert registry.get_champion(client, NAME) is None
    for version in versions:
        registry.set_champion(client, NAME, version.number)
        assert registry.get_champion(client, NAME) == version


def test_a_downloaded_version_is_what_was_registered(models: ToyRegistry, packaged: PackagedModel) -> None:
    version = models.register(packaged)
    with registry.verified_copy(models.client, version, version.digests) as folder:
        downloaded = ml_package.read(folder / PACKAGE_PATH, packaged.digest)
        assert downloaded.model.files() == boosted().files()
        assert MlflowModel.load(folder).run_id == models.run_id
    assert not folder.exists()


def find(artifacts: Path, name: str) -> Path:
    """Return the path of a file, existing or not, in the only model among the artifacts."""
    (mlflow_model,) = artifacts.rglob("MLmodel")
    return mlflow_model.parent / name


def append(path: Path, data: bytes) -> None:
    assert path.exists()
    path.write_bytes(path.read_bytes() + data)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda artifacts: append(find(artifacts, "data/package/model/model.txt"), b"\n"),
        lambda artifacts: append(find(artifacts, "data/package/manifest.json"), b"\n"),
        lambda artifacts: find(artifacts, "data/package/decision.json").unlink(),
        lambda artifacts: find(artifacts, "data/package/more.json").write_bytes(b"{}"),
        lambda artifacts: append(find(artifacts, "code/ml/package.py"), b"\n# harmless"),
        lambda artifacts: find(artifacts, "code/ml/more.py").write_bytes(b"import os"),
        lambda artifacts: find(artifacts, "data/package/manifest.json").write_bytes(b""),
        lambda artifacts: shutil.rmtree(find(artifacts, "MLmodel").parent),
    ],
    ids=[
        "changed model file",
        "changed manifest",
        "missing file",
        "additional file",
        "changed code",
        "additional code",
        "empty manifest",
        "no files",
    ],
)
def test_changed_artifacts_are_rejected(
    models: ToyRegistry, packaged: PackagedModel, tamper: Callable[[Path], object]
) -> None:
    version = models.register(packaged)
    tamper(models.artifacts)
    with pytest.raises(PackagingError), registry.verified_copy(models.client, version, version.digests):
        pytest.fail("it was accepted")


def test_a_version_without_a_digest_is_rejected(models: ToyRegistry, packaged: PackagedModel) -> None:
    version = models.register(packaged)
    models.client.delete_model_version_tag(NAME, str(version.number), "steward.digest")
    without_digest = registry.get_version(models.client, NAME, version.number)
    digests = without_digest.digests
    with pytest.raises(PackagingError), registry.verified_copy(models.client, without_digest, digests):
        pytest.fail("it was accepted")

"""Champions whose files were changed: scoring refuses them, and nothing that was planted in them runs.

Planted code creates the file `mark`. `release` says whether the version was registered with a list of its files, or by
an earlier release without one.
"""

import hashlib
import json
import marshal
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib._bootstrap_external import _code_to_timestamp_pyc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from flows.housekeeping.ledgers import open_ledger
from flows.scoring import score
from ml import package as ml_package
from ml.data.dataset import Dataset
from ml.errors import PackagingError
from ml.estimator import FitResources
from ml.package import Package
from ml.tabular.gradient_boosting import GradientBoosting
from tasks.decisions import commit_verdict
from tasks.ledger import PROMOTE, Ledger, LedgerError, Verdict
from tasks.packaging import save_mlflow_model
from tasks.settings import Settings
from tasks.tracking import connection, registry
from tasks.tracking.logged_model import Latency, PackagedModel
from tasks.tracking.model_folder import FILE_LIST, PACKAGE_FOLDER, ModelDigests, write_file_list
from tasks.tracking.registry import FILE_LIST_TAG, ModelVersion
from tasks.tracking.run import start_run

CASE, DATA = "fintech-risk", "toy"
CONTRACT = {
    "name": f"{CASE}.{DATA}",
    "expectations": [],
    "meta": {
        "schema_version": 2,
        "read": {"files": ["x.csv"], "columns": {"x": "number", "y": "integer"}},
        "roles": {"target": {"column": "y", "positive": ["1"]}},
    },
}
WHOLE, EARLIER = "with a list of files", "of an earlier release"


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> PackagedModel:
    """A small model whose loading imports lightgbm."""
    truth = pd.Series(np.arange(100) % 2, dtype="float64")
    rows = Dataset(pd.DataFrame({"x": truth}), truth, np.arange(100, dtype=np.uint64))
    model = GradientBoosting(max_rounds=5, min_child_samples=5).fit(rows, rows, FitResources())
    package = Package(model, CONTRACT, {"threshold": 0.5}, rows.units)
    folder = tmp_path_factory.mktemp("packaged")
    (folder / PACKAGE_FOLDER).mkdir()
    digest = ml_package.write(package, folder / PACKAGE_FOLDER)
    save_mlflow_model(package, folder / PACKAGE_FOLDER, folder / "model")
    return PackagedModel(folder / "model", digest, megabytes=0.1, latency=Latency(1.0, 1.0), requirements=())


@dataclass
class Champion:
    """A champion in its own state directory, a file to score, and the file that planted code creates."""

    client: connection.Client
    version: ModelVersion
    folder: Path
    input: Path
    output: Path
    mark: Path

    def score(self) -> dict[str, Any]:
        return score.fn(CASE, str(self.input), str(self.output), DATA)

    def code(self) -> str:
        return f"open({str(self.mark)!r}, 'w').close()\n"

    def change_mlmodel(self, change: Callable[[dict[str, Any]], object]) -> None:
        path = self.folder / "MLmodel"
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content))

    def set_tag(self, name: str, value: str) -> None:
        self.client.set_model_version_tag(self.version.name, str(self.version.number), name, value)


@pytest.fixture(scope="module")
def champions(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path, packaged: PackagedModel
) -> dict[str, tuple[Settings, ModelVersion]]:
    """One champion of each kind, each in its own state directory."""
    return {
        release: register_champion(tmp_path_factory.mktemp("champion"), empty_database, packaged, release)
        for release in (WHOLE, EARLIER)
    }


def register_champion(
    home: Path, database: Path, packaged: PackagedModel, release: str
) -> tuple[Settings, ModelVersion]:
    shutil.copy(database, home / "mlflow.db")
    settings = Settings(state_dir=home)
    client = connection.connect(settings)
    name = str(CONTRACT["name"])
    run_id = start_run(client, settings, CASE, "a run", {}, []).run_id
    copy = shutil.copytree(packaged.folder, home / "packaged")
    version = registry.register(client, name, run_id, replace(packaged, folder=copy), {}, "a question")
    digests = {"model_digest": version.digest, "artifact_digest": version.digests.file_list}
    if release == EARLIER:
        (location(client, version) / FILE_LIST).unlink()
        client.delete_model_version_tag(name, str(version.number), FILE_LIST_TAG)
        del digests["artifact_digest"]
    ledger, record = open_ledger(settings, client, name)
    details = {**digests, "test_digest": "t", "run_id": run_id, "primary": "roc_auc", "value": 0.5}
    commit_verdict(ledger, record, Verdict(PROMOTE, "the first"), version.number, None, details)
    return settings, version


def location(client: connection.Client, version: ModelVersion) -> Path:
    return Path(registry.artifact_location(client, version).removeprefix("file://"))


@pytest.fixture(params=[WHOLE, EARLIER])
def champion(
    request: pytest.FixtureRequest,
    champions: dict[str, tuple[Settings, ModelVersion]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Champion]:
    """Yield a champion whose files, tags and ledger a test may change."""
    settings, version = champions[request.param]
    monkeypatch.setenv("STEWARD_HOME", str(settings.state_dir))
    client = connection.connect(settings)
    folder, ledger = location(client, version), settings.ledger_dir
    shutil.copytree(folder, tmp_path / "before")
    shutil.copytree(ledger, tmp_path / "ledger")
    (tmp_path / "new.csv").write_text("x\n1\n0\n")
    yield Champion(
        client, version, folder, tmp_path / "new.csv", tmp_path / "scores.parquet", tmp_path / "mark"
    )
    for changed, before in ((folder, tmp_path / "before"), (ledger, tmp_path / "ledger")):
        shutil.rmtree(changed)
        shutil.move(before, changed)
    for name in ("steward.digest", FILE_LIST_TAG):
        if name in version.tags:
            client.set_model_version_tag(version.name, str(version.number), name, version.tags[name])


def recorded_digests(champion: Champion) -> ModelDigests:
    digests = Ledger(Settings().ledger_dir, champion.version.name).find_model_digests(1)
    assert digests
    return digests


def plant_loader(champion: Champion) -> None:
    """MLmodel names another loader, which is in `code/`."""
    (champion.folder / "code" / "other.py").write_text(champion.code())
    champion.change_mlmodel(lambda m: m["flavors"]["python_function"].update(loader_module="other"))


def plant_installed_loader(champion: Champion) -> None:
    """MLmodel names a loader of MLflow that unpickles a file; our files are all unchanged."""
    mark = champion.mark

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(mark), "w")

    (champion.folder / "model.pkl").write_bytes(pickle.dumps(Bomb()))
    flavor = {"loader_module": "mlflow.sklearn", "model_path": "model.pkl", "python_version": "3.11.0"}
    sklearn = {"pickled_model": "model.pkl", "serialization_format": "pickle", "sklearn_version": "1.0"}
    champion.change_mlmodel(lambda m: m.update(flavors={"python_function": flavor, "sklearn": sklearn}))


def plant_flavor_only(champion: Champion) -> None:
    """As before, with the pickle among the files of the package, so that no file is unknown by its name."""
    plant_installed_loader(champion)
    (champion.folder / "model.pkl").rename(champion.folder / "data" / "package" / "model" / "more.json")
    champion.change_mlmodel(
        lambda m: m["flavors"]["python_function"].update(model_path="data/package/model/more.json")
    )


def plant_library(champion: Champion) -> None:
    """A module in `code/` hides an installed library of the same name."""
    (champion.folder / "code" / "lightgbm.py").write_text(champion.code())


def plant_package(champion: Champion) -> None:
    (champion.folder / "code" / "lightgbm").mkdir()
    (champion.folder / "code" / "lightgbm" / "__init__.py").write_text(champion.code())


def plant_compiled_library(champion: Champion) -> None:
    """Python also imports bytecode without a source file."""
    code = compile(champion.code(), "lightgbm.py", "exec")
    (champion.folder / "code" / "lightgbm.pyc").write_bytes(bytes(_code_to_timestamp_pyc(code, 0, 0)))


def plant_extension(champion: Champion) -> None:
    (champion.folder / "code" / "ml" / "package.so").write_bytes(b"\x7fELF")


def change_code(champion: Champion) -> None:
    path = champion.folder / "code" / "ml" / "package.py"
    path.write_text(champion.code() + path.read_text())


def change_decision_and_tags(champion: Champion) -> None:
    """The decision rule, the manifest, the list of files and both tags in MLflow agree; the ledger differs."""
    package = champion.folder / "data" / "package"
    (package / "decision.json").write_text('{"threshold": 0.0}')
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["files"]["decision.json"] = hashlib.sha256((package / "decision.json").read_bytes()).hexdigest()
    (package / "manifest.json").write_text(json.dumps(manifest))
    champion.set_tag("steward.digest", hashlib.sha256((package / "manifest.json").read_bytes()).hexdigest())
    if (champion.folder / FILE_LIST).exists():
        (champion.folder / FILE_LIST).unlink()
        champion.set_tag(FILE_LIST_TAG, write_file_list(champion.folder))


def link_file(champion: Champion) -> None:
    """A symbolic link to an equal file outside, which could be changed after the verification."""
    path = champion.folder / "code" / "ml" / "package.py"
    shutil.move(path, champion.mark.parent / "package.py")
    path.symlink_to(champion.mark.parent / "package.py")


def link_folder(champion: Champion) -> None:
    path = champion.folder / "code" / "ml"
    shutil.move(path, champion.mark.parent / "ml")
    path.symlink_to(champion.mark.parent / "ml")


def plant_pipe(champion: Champion) -> None:
    """Reading it would wait for ever."""
    os.mkfifo(champion.folder / "data" / "package" / "model" / "pipe")


def replace_by_pipe(champion: Champion) -> None:
    (champion.folder / "MLmodel").unlink()
    os.mkfifo(champion.folder / "MLmodel")


def plant_file(champion: Champion) -> None:
    (champion.folder / "conftest.py").write_text(champion.code())


def remove_file(champion: Champion) -> None:
    (champion.folder / "data" / "package" / "entities.npy").unlink()


def name_code_twice(champion: Champion) -> None:
    """YAML aliases stand for many values; MLflow would expand them."""
    path = champion.folder / "MLmodel"
    path.write_text(path.read_text() + "more: &a [1]\nmost: [*a, *a]\n")


def deep_manifest(champion: Champion) -> None:
    (champion.folder / "data" / "package" / "manifest.json").write_text("[" * 100_000)


def large_mlmodel(champion: Champion) -> None:
    """Sparse: it takes no space on the disk."""
    with (champion.folder / "MLmodel").open("r+b") as file:
        file.truncate(2**33)


ATTACKS = {
    plant_loader: "'code/other.py'",
    plant_installed_loader: "'model.pkl'",
    plant_flavor_only: "",
    plant_library: "'code/lightgbm.py'",
    plant_package: "'code/lightgbm/__init__.py'",
    plant_compiled_library: "'code/lightgbm.pyc'",
    plant_extension: "'code/ml/package.so'",
    change_code: "",
    change_decision_and_tags: "",
    link_file: "a symbolic link: 'code/ml/package.py'",
    link_folder: "a symbolic link: 'code/ml'",
    plant_pipe: "a special file: 'data/package/model/pipe'",
    replace_by_pipe: "a special file: 'MLmodel'",
    plant_file: "'conftest.py'",
    remove_file: "entities.npy",
    name_code_twice: "",
    deep_manifest: "",
    large_mlmodel: "",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_planted_code_does_not_run_and_scoring_refuses(
    champion: Champion, attack: Callable[[Champion], None]
) -> None:
    attack(champion)
    with pytest.raises(PackagingError) as refused:
        champion.score()
    assert ATTACKS[attack] in refused.value.got
    assert not champion.mark.exists()
    assert not champion.output.exists()


def change_requirements(champion: Champion) -> None:
    with (champion.folder / "requirements.txt").open("a") as file:
        file.write("\nevil==1.0")


@pytest.mark.parametrize("champion", [WHOLE], indirect=True)
@pytest.mark.parametrize("name", ["requirements.txt", "conda.yaml", "python_env.yaml", "input_example.json"])
def test_a_changed_description_of_the_environment_is_refused(champion: Champion, name: str) -> None:
    path = champion.folder / name
    path.write_text(path.read_text().replace("1", "2"))
    with pytest.raises(PackagingError, match=f"'{name}' as it was registered; got a changed file"):
        champion.score()


def plant_bytecode(champion: Champion) -> None:
    """Python prefers bytecode to a source file whose time and size it names."""
    source = champion.folder / "code" / "ml" / "package.py"
    code = compile(champion.code() + source.read_text(), str(source), "exec")
    header = _code_to_timestamp_pyc(code, int(source.stat().st_mtime), source.stat().st_size)
    assert marshal.loads(bytes(header[16:])) == code
    cache = source.parent / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "package.cpython-311.pyc").write_bytes(bytes(header))


@pytest.mark.parametrize("champion", [WHOLE], indirect=True)
def test_bytecode_and_notes_of_others_are_not_used(champion: Champion) -> None:
    """Both appear where somebody serves the model with MLflow, so they must not stop scoring."""
    plant_bytecode(champion)
    (champion.folder / "registered_model_meta").write_text("model_name: x\nmodel_version: '1'\n")
    assert champion.score()["scored"] == 2
    assert pd.read_parquet(champion.output)["decision"].tolist() == [1, 0]
    assert not champion.mark.exists()


@pytest.mark.parametrize("champion", [EARLIER], indirect=True)
def test_a_version_of_an_earlier_release_is_named_as_such(
    champion: Champion, caplog: pytest.LogCaptureFixture
) -> None:
    change_requirements(champion)
    with caplog.at_level("INFO", "steward"):
        digests = recorded_digests(champion)
        with registry.verified_copy(champion.client, champion.version, digests) as copy:
            assert not (copy / "requirements.txt").exists()
    assert "version 1 was registered by an earlier release: its package and code are verified" in caplog.text


def test_a_verified_copy_has_no_bytecode(champion: Champion) -> None:
    plant_bytecode(champion)
    digests = recorded_digests(champion)
    with registry.verified_copy(champion.client, champion.version, digests) as copy:
        assert (copy / "code" / "ml" / "package.py").exists()
        assert not list(copy.rglob("*.pyc"))


def test_a_version_without_a_decision_is_refused(champion: Champion) -> None:
    """Whoever can write to MLflow can register a version and move the alias."""
    client, name = champion.client, champion.version.name
    other = client.create_model_version(name, champion.folder.as_uri(), tags=dict(champion.version.tags))
    client.set_registered_model_alias(name, "champion", other.version)
    try:
        with pytest.raises(
            PackagingError, match=r"a ledger entry about fintech-risk\.toy version \d; got none"
        ):
            champion.score()
    finally:
        client.set_registered_model_alias(name, "champion", "1")
        client.delete_model_version(name, other.version)
    (Settings().ledger_dir / f"{name}.jsonl").unlink()
    with pytest.raises(LedgerError, match="the file is missing"):
        champion.score()


def test_the_copy_that_was_verified_is_loaded(champion: Champion) -> None:
    """A change between verification and loading has no effect."""
    digests = recorded_digests(champion)
    with registry.verified_copy(champion.client, champion.version, digests) as copy:
        change_code(champion)
        assert champion.code() not in (copy / "code" / "ml" / "package.py").read_text()
        assert not copy.is_relative_to(champion.folder)
        assert copy.parent.stat().st_mode & 0o077 == 0

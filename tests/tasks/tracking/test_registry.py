"""Real MLflow: a model has to prove itself in a clean process, is one version, and is what was registered."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model as MlflowModel

from ml import package
from ml.contract.parser import parse
from ml.data.dataset import Dataset
from ml.data.digest import table_digest
from ml.errors import PackagingError
from ml.estimator import FitResources
from ml.package import Package
from ml.recommenders.popularity import Popularity
from ml.recommenders.repeat_consumption import Habit
from ml.recommenders.transformer.model import Transformer
from ml.tabular.constant import PriorModel
from ml.tabular.gradient_boosting import GradientBoosting, GradientBoostingModel
from tasks import packaging
from tasks.packaging import assert_same_predictions, package_model, predict_in_clean_process
from tasks.settings import Settings
from tasks.storage.content_store import Store
from tasks.tracking import connection, registry
from tasks.tracking.registry import PackagedModel
from tasks.tracking.run import start_run

NAME = "toy.rows"
ROWS = {
    "name": NAME,
    "expectations": [],
    "meta": {
        "read": {"files": ["x.csv"], "columns": {"x": "number", "town": "category", "y": "integer"}},
        "roles": {"target": {"column": "y", "positive": ["1"]}},
    },
}
LOG = {
    "name": "toy.log",
    "expectations": [],
    "meta": {
        "read": {"files": ["x.csv"], "columns": {"user": "category", "item": "category", "at": "epoch"}},
        "roles": {"user": "user", "item": "item", "time": "at"},
    },
}


def rows(count: int = 200) -> Dataset:
    """Every tenth row has no number, every seventh no town; the last one has neither."""
    rng = np.random.default_rng(0)
    truth = pd.Series(rng.integers(0, 2, count).astype(float))
    x = pd.Series(truth + rng.normal(size=count)).mask(np.arange(count) % 10 == 9)
    town = pd.Series(rng.choice(["N", "S"], count), dtype="str").mask(np.arange(count) % 7 == 3)
    town.iloc[-1] = None
    return Dataset(pd.DataFrame({"x": x, "town": town}), truth, np.arange(count, dtype=np.uint64))


def histories() -> Dataset:
    items = [["a", "b"], ["a"], ["c", "a", "b"], []]
    frame = pd.DataFrame(
        {
            "user": pd.Series(["u", "v", "w", "z"], dtype="str"),
            "items": items,
            "times": [[float(n) for n in range(len(i))] for i in items],
        }
    )
    return Dataset(frame, pd.Series([["c"], ["b"], [], ["a"]], dtype=object), np.arange(4, dtype=np.uint64))


def boosted() -> Package:
    model = GradientBoosting(max_rounds=5, min_child_samples=5).fit(rows(), rows(), FitResources())
    return Package(model, ROWS, {"threshold": 0.5}, rows().units)


def popular() -> Package:
    return Package(Popularity().fit(histories(), histories(), FitResources()), LOG, {}, histories().units)


def constant(value: float) -> Package:
    """The same probability for everyone; NaN is one that a model must not give."""
    model = boosted().model
    columns = model.encoding.columns  # type: ignore[attr-defined]
    return Package(PriorModel("binary", columns, value), ROWS, {}, rows().units)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def tabular(tmp_path_factory: pytest.TempPathFactory, store: Store) -> PackagedModel:
    return package_model.fn(boosted(), rows(), tmp_path_factory.mktemp("tabular") / "model", store)


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory, store: Store) -> PackagedModel:
    return package_model.fn(popular(), histories(), tmp_path_factory.mktemp("recommender") / "model", store)


# --- packaging ---------------------------------------------------------------------------------------------------


def test_a_tabular_model_has_a_signature_and_made_up_examples(tabular: PackagedModel) -> None:
    described = MlflowModel.load(tabular.folder)
    assert described.signature.inputs.input_names() == ["x", "town"]
    assert described.signature.outputs.input_names() == ["probability", "decision"]
    example = json.loads((tabular.folder / "input_example.json").read_text())
    assert example["data"] == [[0.0, "a"], [1.0, "b"]]
    assert tabular.milliseconds > 0
    assert 0 < tabular.megabytes < 5
    assert all("==" in requirement for requirement in tabular.requirements)


def test_requirements_are_those_of_the_model(tabular: PackagedModel, recommender: PackagedModel) -> None:
    def names(packaged: PackagedModel) -> set[str]:
        return {requirement.partition("==")[0] for requirement in packaged.requirements}

    assert names(recommender) == {"mlflow", "numpy", "pandas", "pyarrow", "scipy"}
    assert names(tabular) == names(recommender) | {"lightgbm"}
    assert (tabular.folder / "requirements.txt").read_text().split() == list(tabular.requirements)


def test_a_model_that_needs_more_than_it_declares_is_refused(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GradientBoostingModel, "requirements", ())
    with pytest.raises(PackagingError, match="No module named 'lightgbm'"):
        package_model.fn(boosted(), rows(), tmp_path / "model", store)


def test_a_transformer_brings_torch(tmp_path: Path, store: Store) -> None:
    model = Transformer(dim=8, max_epochs=1).fit(histories(), histories(), FitResources())
    packed = Package(model, LOG, {}, histories().units)
    packaged = package_model.fn(packed, histories(), tmp_path / "model", store)
    assert any(requirement.startswith("torch==") for requirement in packaged.requirements)


def test_undeclared_modules_are_those_of_no_requirement() -> None:
    hidden = packaging.undeclared_modules(["numpy", "scikit-learn"])
    assert {"torch", "prefect", "great_expectations", "lightgbm"} <= set(hidden)
    assert not {"numpy", "sklearn", "scipy", "joblib", "mlflow", "pandas", "ml"} & set(hidden)


def test_a_recommender_has_a_signature_too(recommender: PackagedModel) -> None:
    described = MlflowModel.load(recommender.folder)
    assert described.signature.inputs.input_names() == ["user", "items", "times"]
    assert described.signature.outputs.input_names() == ["user", "rank", "item", "score"]


def test_a_recommender_answers_histories_with_weights_and_without(
    recommender: PackagedModel, tmp_path: Path, store: Store
) -> None:
    columns = {**LOG["meta"]["read"]["columns"], "did": "category"}
    meta = {
        "read": {**LOG["meta"]["read"], "columns": columns},
        "roles": {**LOG["meta"]["roles"], "weight": "did", "repeat": True},
        "weights": {"look": 0.5, "buy": 2},
    }
    part = replace(histories(), allow_repeats=True)
    part.frame["weights"] = [[1.0, 3.0], [0.5], [1.0, 1.0, 1.0], []]
    model = Habit().fit(part, part, FitResources())
    packed = Package(model, {**LOG, "meta": meta}, {}, part.units)
    weighed = package_model.fn(packed, part, tmp_path / "weighed", store)
    described = MlflowModel.load(weighed.folder).signature.inputs
    assert [(one.name, one.required) for one in described.inputs] == [
        ("user", True),
        ("items", True),
        ("times", True),
        ("weights", False),
    ]
    asked = pd.DataFrame({"user": ["u"], "items": [["a", "b"]], "times": [[0.0, 1.0]]})
    heavy = asked.assign(weights=[[5.0, 1.0]])
    # Of two equal events the later one counts more.
    assert predict_in_clean_process(weighed.folder, asked)[0]["item"].tolist()[:2] == ["b", "a"]
    assert predict_in_clean_process(weighed.folder, heavy)[0]["item"].tolist()[:2] == ["a", "b"]
    # A model whose contract knows no weights passes over them.
    plain, told = (predict_in_clean_process(recommender.folder, one)[0] for one in (asked, heavy))
    pd.testing.assert_frame_equal(told, plain, check_exact=True)


def test_a_recommender_says_why_where_it_is_asked_to(tmp_path: Path, store: Store) -> None:
    part = replace(histories(), allow_repeats=True)
    model = Habit().fit(part, part, FitResources())
    made = package_model.fn(Package(model, LOG, {}, part.units), part, tmp_path / "model", store)
    asked = pd.DataFrame({"user": ["u", "new"], "items": [["a", "b"], []], "times": [[0.0, 1.0], []]})
    plain, _ = predict_in_clean_process(made.folder, asked)
    told, _ = predict_in_clean_process(made.folder, asked, {"reasons": 2})
    pd.testing.assert_frame_equal(told[plain.columns.tolist()], plain, check_exact=True)
    because = {
        (user, item): None if found is None else list(found)
        for user, item, found in zip(told["user"], told["item"], told["because"], strict=True)
    }
    # What u had is there because of itself; the best of who is new, because others had it; all else was not asked.
    assert [because["u", item] for item in "ba"] == [["b"], ["a"]]
    best = told[told["user"] == "new"]["item"].tolist()
    assert [because["new", item] for item in best[:2]] == [[], []]
    assert because["new", best[2]] is None
    assert list(told["shares"][0]) == [1.0]


def test_a_recommender_answers_who_is_new_by_segment_or_without(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.interactions.catalogue.FEWEST_IN_SEGMENT", 1)
    columns = {**LOG["meta"]["read"]["columns"], "land": "category"}
    meta = {
        "read": {**LOG["meta"]["read"], "columns": columns},
        "roles": {**LOG["meta"]["roles"], "segment": "land"},
    }
    part = histories()
    frame = part.frame.assign(segment=["here", "there", "there", None])
    model = Popularity(by_segment=True).fit(replace(part, frame=frame), part, FitResources())
    packed = Package(model, {**LOG, "meta": meta}, {}, part.units)
    # Golden rows know segments, and one is of none.
    made = package_model.fn(packed, replace(part, frame=frame), tmp_path / "model", store)
    described = MlflowModel.load(made.folder).signature.inputs
    assert [(one.name, one.required) for one in described.inputs][3:] == [("segment", False)]
    new = pd.DataFrame({"user": ["u", "v"], "items": [["?"], ["?"]], "times": [[0.0], [0.0]]})
    for asked in (new, new.assign(segment=["here", None]), new.assign(segment=["there", "nowhere"])):
        found = predict_in_clean_process(made.folder, asked)[0]
        pd.testing.assert_frame_equal(found, model.predict(asked), check_exact=True)
    by_segment = [
        model.predict(new.assign(segment=name))["score"].tolist() for name in ("here", "there", "nowhere")
    ]
    assert len({tuple(scores) for scores in by_segment}) == 3


def test_the_package_inside_is_the_model_that_was_given(tabular: PackagedModel) -> None:
    inside = package.read(tabular.folder / "data" / registry.DATA, tabular.digest)
    assert inside.model.files() == boosted().model.files()
    assert package.code_digest(tabular.folder / "code" / "ml") == package.code_digest(packaging.ROOT / "ml")


def test_golden_rows_stay_in_the_store(tabular: PackagedModel, store: Store) -> None:
    """Those with holes come first, and the answers with them are those of the model in this process."""
    found = [p.parent for p in store.folder.rglob("golden.parquet")]
    golden, predictions = next(
        (pd.read_parquet(f / "golden.parquet"), pd.read_parquet(f / "predictions.parquet"))
        for f in found
        if json.loads((f / "manifest.json").read_text())["facts"]["model"] == tabular.digest
    )
    assert golden.iloc[0].isna().all()
    assert golden.isna().any(axis=1).head(packaging.GOLDEN_ROWS // 2).all()
    assert packaging.GOLDEN_ROWS // 2 < len(golden) <= packaging.GOLDEN_ROWS
    assert table_digest(predictions) == table_digest(boosted().predict(golden))
    assert predictions["probability"].between(0, 1).all()


def test_a_clean_process_answers_with_the_models_own_code(tabular: PackagedModel, tmp_path: Path) -> None:
    """The model's copy of the code is changed to give another answer than ours: it is the copy that answers."""
    folder = shutil.copytree(tabular.folder, tmp_path / "model")
    theirs = folder / "code" / "ml" / "package.py"
    ours = 'decided = prediction["probability"] >= self.decision["threshold"]'
    assert ours in theirs.read_text()
    theirs.write_text(theirs.read_text().replace(ours, 'decided = prediction["probability"] >= 2'))
    link = tmp_path / "link"
    link.symlink_to(folder)
    answers, measured = predict_in_clean_process(link, rows().frame)
    assert Path(measured["code"]).resolve().is_relative_to(folder)
    assert (answers["decision"] == 0).all()
    assert answers["probability"].tolist() == boosted().predict(rows().frame)["probability"].tolist()
    assert boosted().predict(rows().frame)["decision"].max() == 1


def test_a_model_without_code_of_its_own_is_refused(tabular: PackagedModel, tmp_path: Path) -> None:
    folder = shutil.copytree(tabular.folder, tmp_path / "model")
    shutil.rmtree(folder / "code" / "ml")
    with pytest.raises(PackagingError):
        predict_in_clean_process(folder, rows().frame)


def lying(write: Callable[[Package, Path], str]) -> Callable[[Package, Path], str]:
    """The fault: what reaches the disk is another model, in a package that is whole in itself."""

    def faulty(packed: Package, folder: Path) -> str:
        write(packed, folder)
        shutil.rmtree(folder)
        folder.mkdir()
        other = replace(packed.model.catalogue, popularity=(3, 9, 1))  # type: ignore[attr-defined]
        return write(replace(packed, model=replace(packed.model, catalogue=other)), folder)  # type: ignore[type-var]

    return faulty


def test_a_model_that_answers_otherwise_after_reloading_is_refused(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "write", lying(package.write))
    with pytest.raises(PackagingError, match="the same item after reloading"):
        package_model.fn(popular(), histories(), tmp_path / "model", store)


def test_a_model_that_answers_nan_is_refused(tmp_path: Path, store: Store) -> None:
    with pytest.raises(PackagingError, match="the same probability after reloading"):
        package_model.fn(constant(float("nan")), rows(), tmp_path / "model", store)


ANSWERS = pd.DataFrame({"user": ["u", "v"], "score": [0.5, 1.0]})


def test_equal_answers_are_equal_within_the_tolerance() -> None:
    assert_same_predictions(ANSWERS, ANSWERS.set_axis([7, 8]))
    assert_same_predictions(ANSWERS, ANSWERS.assign(score=[0.5 + 1e-13, 1.0]))


@pytest.mark.parametrize(
    ("got", "message"),
    [
        (ANSWERS.assign(score=[0.5 + 1e-11, 1.0]), "the same score"),
        (ANSWERS.assign(score=[0.5, np.nan]), "the same score"),
        (ANSWERS.assign(user=["u", "w"]), "the same user"),
        (ANSWERS.iloc[::-1], "the same user"),
        (ANSWERS.head(1), "got 1 of"),
        (ANSWERS[["user"]], "2 of"),
        (ANSWERS.rename(columns={"score": "value"}), "predictions of"),
    ],
)
def test_other_answers_are_refused(got: pd.DataFrame, message: str) -> None:
    with pytest.raises(PackagingError, match=message):
        assert_same_predictions(ANSWERS, got)


def test_answers_that_are_not_finite_are_never_equal() -> None:
    nan = ANSWERS.assign(score=[np.nan, 1.0])
    with pytest.raises(PackagingError):
        assert_same_predictions(nan, nan)


def test_made_up_examples_hold_every_feature() -> None:
    assert list(packaging.synthetic_input_example(ROWS).columns) == list(parse(ROWS).features)
    assert list(packaging.synthetic_input_example(LOG).columns) == ["user", "items", "times"]


# --- versions ----------------------------------------------------------------------------------------------------


class Registered:
    """A registry of its own, with one run to register from."""

    def __init__(self, home: Path) -> None:
        self.home, settings = home, Settings(home=home)
        self.client = connection.connect(settings)
        self.run_id = start_run(self.client, settings, "toy", "a run", {}, []).run_id

    def register(self, packaged: PackagedModel, name: str = NAME) -> registry.ModelVersion:
        self.home.joinpath("tmp").mkdir(exist_ok=True)
        folder = shutil.copytree(packaged.folder, self.home / "tmp" / packaged.digest, dirs_exist_ok=True)
        packaged = replace(packaged, folder=folder)
        return registry.register(self.client, name, self.run_id, packaged, {"seed": "0"}, "a question")


@pytest.fixture
def registered(home: Path) -> Registered:
    return Registered(home)


def test_one_package_is_one_version(
    registered: Registered, tabular: PackagedModel, recommender: PackagedModel
) -> None:
    client = registered.client
    assert registry.find_version(client, NAME, tabular.digest) is None
    first = registered.register(tabular)
    assert registered.register(tabular) == first == registry.find_version(client, NAME, tabular.digest)
    assert registered.register(recommender).number == 2
    assert (first.number, first.digest, first.tags["seed"]) == (1, tabular.digest, "0")
    assert registry.get_version(client, NAME, 1) == first
    # The same package under another name is another model's first version.
    assert registered.register(tabular, "toy.other").number == 1
    outputs = client.get_run(registered.run_id).outputs
    assert outputs
    assert len(outputs.model_outputs) == 3
    assert client.get_registered_model(NAME).description == "a question"


def test_the_champion_is_whom_the_alias_names(
    registered: Registered, tabular: PackagedModel, recommender: PackagedModel
) -> None:
    client = registered.client
    read, move = registry.alias_of(client, NAME)
    assert registry.champion(client, NAME) is None
    assert read() is None
    versions = [registered.register(tabular), registered.register(recommender)]
    assert registry.champion(client, NAME) is None
    for version in versions:
        move(version.number)
        assert registry.champion(client, NAME) == version
        assert read() == version.number


def test_what_is_fetched_is_what_was_registered(registered: Registered, tabular: PackagedModel) -> None:
    version = registered.register(tabular)
    folder = registry.download_verified(registered.client, version)
    assert (
        package.read(folder / "data" / registry.DATA, tabular.digest).model.files() == boosted().model.files()
    )
    described = MlflowModel.load(folder)
    assert described.run_id == registered.run_id


@pytest.mark.parametrize(
    "tamper",
    [
        lambda artifacts: change(one(artifacts, "data/package/model/model.txt"), b"\n"),
        lambda artifacts: change(one(artifacts, "data/package/manifest.json"), b"\n"),
        lambda artifacts: one(artifacts, "data/package/decision.json").unlink(),
        lambda artifacts: change(one(artifacts, "data/package/more.json"), b"{}"),
        lambda artifacts: change(one(artifacts, "code/ml/gbm.py"), b"\n# harmless"),
        lambda artifacts: change(one(artifacts, "code/ml/more.py"), b"import os"),
        lambda artifacts: change(one(artifacts, "data/package/manifest.json"), b"", whole=True),
        lambda artifacts: shutil.rmtree(one(artifacts, "MLmodel").parent),
    ],
    ids=[
        "a model file",
        "the manifest",
        "a file gone",
        "a file more",
        "code",
        "more code",
        "no manifest",
        "all gone",
    ],
)
def test_artifacts_that_were_changed_are_refused(
    registered: Registered, tabular: PackagedModel, tamper: Callable[[Path], object]
) -> None:
    version = registered.register(tabular)
    tamper(registered.home / "artifacts")
    with pytest.raises(PackagingError):
        registry.download_verified(registered.client, version)


def one(artifacts: Path, name: str) -> Path:
    """A file of the one model among these artifacts, there or not."""
    (described,) = artifacts.rglob("MLmodel")
    return described.parent / name


def change(path: Path, more: bytes, whole: bool = False) -> None:
    path.write_bytes(more if whole or not path.exists() else path.read_bytes() + more)


def test_a_version_without_a_digest_is_refused(registered: Registered, tabular: PackagedModel) -> None:
    version = registered.register(tabular)
    registered.client.delete_model_version_tag(NAME, str(version.number), "steward.digest")
    bare = registry.get_version(registered.client, NAME, version.number)
    with pytest.raises(PackagingError):
        registry.download_verified(registered.client, bare)

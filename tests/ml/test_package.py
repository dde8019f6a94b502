"""Packages: a model read from a folder is identical to the one written, and every fault is a PackagingError."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

import ml
from ml import errors
from ml.data.dataset import Dataset
from ml.ensemble.presets import Preset
from ml.ensemble.stacked_ensemble import Ensemble
from ml.errors import PackagingError, QualityGateError, StewardError
from ml.estimator import Candidate, FitResources
from ml.features.model_inputs import cast_inputs
from ml.package import (
    MANIFEST,
    Package,
    code_digest,
    read,
    read_contract,
    read_training_entities,
    to_files,
    write,
)
from ml.recommenders.als import ALS
from ml.recommenders.item_knn import ItemKNN
from ml.recommenders.popularity import Popularity
from ml.serialization import class_name, from_safetensors, load_model
from ml.tabular.additive import Additive
from ml.tabular.constant import Constant
from ml.tabular.extra_trees import ExtraTrees
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from ml.tabular.tabm import TabM

# Not in alphabetical order: a file without a header is read in the order of the contract.
COLUMNS = {"town": "category", "x": "number", "n": "integer", "grade": "category", "y": "integer"}


def contract(name: str, columns: dict[str, str], **roles: Any) -> dict[str, Any]:
    read = {"files": ["x.csv"], "columns": columns}
    return {"name": name, "expectations": [], "meta": {"schema_version": 2, "read": read, "roles": roles}}


TARGET = {"column": "y", "positive": ["1"]}
ROWS = contract("toy.rows", COLUMNS, target=TARGET)
LOG = contract("toy.log", {"u": "category", "i": "category", "at": "epoch"}, user="u", item="i", time="at")
UNITS = np.array([2**64 - 1, 3, 2**63, 0, 17], dtype=np.uint64)


def rows(target: str = "binary") -> Dataset:
    rng = np.random.default_rng(0)
    x, n = rng.normal(size=120), rng.integers(0, 5, 120).astype(float)
    cells = {
        "town": pd.Series(rng.choice(["N", "Süd"], 120), dtype="str").mask(rng.random(120) < 0.1),
        "x": pd.Series(x).mask(rng.random(120) < 0.1),
        "n": n,
        "grade": pd.Series(rng.choice(["1", "2"], 120), dtype="str"),
    }
    truth = x + n / 3 + rng.normal(size=120)
    truth = pd.Series(truth if target == "numeric" else (truth > 0.7).astype(float))
    return Dataset(pd.DataFrame(cells), truth, np.arange(120, dtype=np.uint64))


def histories() -> Dataset:
    rng = np.random.default_rng(0)
    items = [rng.choice(list("abcdefgé"), rng.integers(0, 5)).tolist() for _ in range(20)]
    frame = pd.DataFrame({"user": pd.Series([f"u{n}" for n in range(20)], dtype="str")})
    frame["items"] = pd.Series(items, dtype=object)
    frame["times"] = pd.Series([[float(n) for n in range(len(i))] for i in items], dtype=object)
    return Dataset(frame, pd.Series([[]] * 20, dtype=object), np.arange(20, dtype=np.uint64))


MEMBERS: dict[str, Candidate] = {
    "linear": Linear(),
    "boosting": GradientBoosting(max_rounds=5, target_encode_from=2),
}
ENSEMBLE = Ensemble(presets=(Preset(np.inf, 2, 1, MEMBERS),))
CANDIDATES: dict[str, Candidate] = {
    "constant": Constant(),
    "linear": Linear(),
    "boosting": GradientBoosting(max_rounds=5, min_child_samples=5),
    "additive": Additive(max_rounds=5),
    "extra trees": ExtraTrees(trees=5),
    "tabm": TabM(members=2, width=8, max_epochs=1),
    "ensemble": ENSEMBLE,
    "number, linear": Linear("numeric"),
    "number, boosting": GradientBoosting("numeric", max_rounds=5, min_child_samples=5),
    "popularity": Popularity(),
    "neighbours": ItemKNN(shrinkage=0.1),
    "factors": ALS(factors=3, iterations=2),
}
every_model = pytest.mark.parametrize("kind", list(CANDIDATES))


def dataset_for(kind: str) -> Dataset:
    if kind in ("popularity", "neighbours", "factors"):
        return histories()
    return rows("numeric" if kind.startswith("number") else "binary")


@cache
def make_package(kind: str = "constant") -> Package:
    dataset = dataset_for(kind)
    model = CANDIDATES[kind].fit(dataset, dataset, FitResources())
    decision = {"threshold": 0.4} if kind in ("constant", "linear", "boosting") else {}
    decision = {"half_width": 0.7} if kind.startswith("number") else decision
    return Package(model, LOG if "items" in dataset.frame else ROWS, decision, UNITS)


def file_names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# --- round trip ------------------------------------------------------------------------------------------------


@every_model
def test_restored_package_is_identical(kind: str, tmp_path: Path) -> None:
    package, frame = make_package(kind), dataset_for(kind).frame
    digest = write(package, tmp_path)
    assert digest == hashlib.sha256((tmp_path / "manifest.json").read_bytes()).hexdigest()
    restored = read(tmp_path, digest)
    assert_frame_equal(restored.predict(frame), package.predict(frame), check_exact=True)
    assert class_name(restored.model) == class_name(package.model)
    assert (restored.contract, restored.decision) == (package.contract, package.decision)
    assert restored.training_entities.tolist() == sorted(UNITS.tolist())
    assert restored.training_entities.dtype == np.uint64


def test_contract_and_entities_are_read_without_the_model_class(tmp_path: Path) -> None:
    package = make_package()
    write(package, tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text()) | {"model": "ml.removed:RemovedModel"}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    digest = hashlib.sha256((tmp_path / MANIFEST).read_bytes()).hexdigest()
    with pytest.raises(PackagingError, match="RemovedModel"):
        read(tmp_path, digest)
    assert read_contract(tmp_path, digest) == package.contract
    assert read_training_entities(tmp_path, digest).tolist() == sorted(UNITS.tolist())


def test_the_summary_of_the_training_batch_is_in_the_package(tmp_path: Path) -> None:
    package = replace(make_package(), reference=b'{"format": 1}')
    digest = write(package, tmp_path / "one")
    assert digest != write(make_package(), tmp_path / "two")
    assert read(tmp_path / "one", digest).reference == b'{"format": 1}'
    assert write(read(tmp_path / "one"), tmp_path / "three") == digest


@pytest.mark.parametrize("reader", [read_contract, read_training_entities])
def test_changed_package_is_rejected_by_every_reader(reader: Callable[..., Any], tmp_path: Path) -> None:
    digest = write(make_package(), tmp_path)
    with pytest.raises(PackagingError, match="expected the package 000000"):
        reader(tmp_path, "0" * 64)
    (tmp_path / "decision.json").write_text("{}")
    with pytest.raises(PackagingError, match="a changed file"):
        reader(tmp_path, digest)


def test_requirements_come_from_the_model() -> None:
    assert make_package("linear").requirements == ("numpy", "pandas", "pyarrow", "pydantic", "scipy")
    assert "lightgbm" in make_package("boosting").requirements
    assert "lightgbm" in make_package("ensemble").requirements
    assert "safetensors" in make_package("tabm").requirements


@every_model
def test_equal_packages_have_equal_files(kind: str, tmp_path: Path) -> None:
    package = make_package(kind)
    digest = write(package, tmp_path / "one")
    assert write(package, tmp_path / "two") == digest
    # A package that was read, or has its entities in another order, is the same package.
    assert write(read(tmp_path / "one"), tmp_path / "three") == digest
    assert write(replace(package, training_entities=UNITS[::-1]), tmp_path / "four") == digest
    written = {n: (tmp_path / "one" / n).read_bytes() for n in file_names(tmp_path / "one")}
    assert written == to_files(package)


def test_any_difference_changes_the_digest() -> None:
    package = make_package()
    reordered = contract("toy.rows", dict(reversed(COLUMNS.items())), target=TARGET)
    packages = [
        package,
        make_package("linear"),
        replace(package, decision={"threshold": 0.41}),
        replace(package, decision={}),
        replace(package, training_entities=UNITS[:-1]),
        replace(package, contract={**ROWS, "name": "toy.others"}),
        replace(package, contract=reordered),
    ]
    assert len({to_files(package)["manifest.json"] for package in packages}) == len(packages)


def test_order_of_contract_columns_is_kept(tmp_path: Path) -> None:
    write(make_package(), tmp_path)
    assert list(read(tmp_path).contract["meta"]["read"]["columns"]) == list(COLUMNS)


@every_model
def test_files_are_text_or_plain_arrays_and_never_pickles(kind: str) -> None:
    for name, data in to_files(make_package(kind)).items():
        suffix = Path(name).suffix
        assert suffix in {".json", ".txt", ".npy", ".safetensors"}
        if suffix == ".npy":
            dtype = np.load(BytesIO(data), allow_pickle=False).dtype
            assert {field.kind for field, _ in (dtype.fields or {"": (dtype, 0)}).values()} <= set("fiu")
        elif suffix == ".safetensors":
            assert {array.dtype.kind for array in from_safetensors(data).values()} == {"f"}
        elif suffix == ".json":
            json.loads(data)
        else:
            data.decode()


def test_entities_that_need_a_pickle_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        write(replace(make_package(), training_entities=np.array([1, 2], dtype=object)), tmp_path)


def test_code_digest_covers_names_and_content_of_python_files(tmp_path: Path) -> None:
    source = Path(ml.__file__).parent
    copy = shutil.copytree(source, tmp_path / "ml", ignore=shutil.ignore_patterns("__pycache__"))
    digest = code_digest(copy)
    assert json.loads(to_files(make_package())["manifest.json"])["code"] == digest == code_digest(source)
    (copy / "notes.txt").write_text("not code")
    assert code_digest(copy) == digest
    (copy / "tabular" / "constant.py").rename(copy / "tabular" / "renamed.py")
    renamed = code_digest(copy)
    (copy / "simulators" / "draws.py").write_text("")
    assert len({digest, renamed, code_digest(copy)}) == 3


# --- predictions and decisions ------------------------------------------------------------------------------------


def test_decision_is_positive_at_and_above_the_threshold() -> None:
    frame = rows().frame.set_index(np.arange(120) * 3)
    plain = replace(make_package("linear"), decision={})
    probability = plain.predict(frame)["probability"]
    threshold = float(probability.sort_values().iloc[60])
    decided = replace(plain, decision={"threshold": threshold}).predict(frame)
    assert list(plain.predict(frame).columns) == ["probability"]
    assert list(decided.columns) == ["probability", "decision"]
    assert decided["decision"].dtype == np.int64
    assert decided["decision"].tolist() == [int(p >= threshold) for p in probability]
    assert 0 < decided["decision"].sum() < 120
    pd.testing.assert_index_equal(decided.index, frame.index)
    assert_frame_equal(decided[["probability"]], probability.to_frame())


def test_features_are_cast_to_the_types_of_training() -> None:
    """Any dtypes of the caller's table are cast, and other columns are dropped."""
    frame = pd.DataFrame(
        {
            "y": [1, 0, 1],
            "grade": [1.0, np.nan, 2.0],  # whole numbers and a missing value
            "x": ["1.5", "2", None],
            "n": pd.array([1, None, 3], dtype="Int64"),
            "town": pd.Categorical(["N", "Süd", None]),
            "note": "more",
        },
        index=[9, 7, 8],
    )
    expected = pd.DataFrame(
        {
            "town": pd.Series(["N", "Süd", None], [9, 7, 8], "str"),
            "x": pd.Series([1.5, 2.0, np.nan], [9, 7, 8]),
            "n": pd.Series([1.0, np.nan, 3.0], [9, 7, 8]),
            "grade": pd.Series(["1", None, "2"], [9, 7, 8], "str"),
        }
    )
    assert_frame_equal(cast_inputs(frame, ROWS), expected)
    assert_frame_equal(cast_inputs(expected, ROWS), expected)
    integers = frame.fillna({"grade": 3}).astype({"grade": "int64"})
    assert cast_inputs(integers, ROWS)["grade"].tolist() == ["1", "3", "2"]


def test_float_codes_give_the_same_prediction() -> None:
    """Codes that pandas converted to floats, because of a missing value, are the same categories."""
    package, frame = make_package("linear"), rows().frame
    as_numbers = frame.assign(grade=frame["grade"].astype("float64"))
    assert_frame_equal(package.predict(as_numbers), package.predict(frame), check_exact=True)


@pytest.mark.parametrize("kind", ["constant", "linear", "boosting", "ensemble", "number, boosting"])
def test_predict_row_agrees_with_predict(kind: str) -> None:
    package, frame = make_package(kind), rows().frame.head(20)
    predictions = package.predict(frame).to_dict(orient="records")
    cells = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
    for row, expected in zip(cells, predictions, strict=True):
        assert package.predict_row({**row, "note": [1]}) == pytest.approx(expected, rel=1e-12)
        assert package.predict_row(
            {**row, "grade": float(row["grade"]), "n": str(row["n"])}
        ) == pytest.approx(expected)
        assert package.predict_row({**row, "grade": int(row["grade"])}) == pytest.approx(expected)


def test_recommender_cannot_predict_rows() -> None:
    with pytest.raises(PackagingError, match=r"a tabular model.*PopularityModel.*use predict"):
        make_package("popularity").predict_row({"u": "u1"})


def test_histories_are_not_cast() -> None:
    frame = histories().frame
    assert cast_inputs(frame, LOG) is frame


def test_invalid_input_raises() -> None:
    package, frame = make_package("linear"), rows().frame
    with pytest.raises(ValueError, match="many"):
        package.predict(frame.assign(x="many"))
    with pytest.raises(ValueError, match="give every column"):
        package.predict(frame.drop(columns="town"))


# --- changed packages are rejected ---------------------------------------------------------------------------------


def read_error(folder: Path, expected: str | None = None) -> PackagingError:
    """Return the error of reading this folder, after checking that it is complete and from the packaging gate."""
    with pytest.raises(PackagingError) as caught:
        read(folder, expected)
    error = caught.value
    assert error.gate == "packaging"
    assert all((error.expected, error.got, error.next_step))
    return error


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(make_package("neighbours"), tmp_path / "package")
    return tmp_path / "package"


FILES = sorted(to_files(make_package("neighbours")))
every_file = pytest.mark.parametrize("name", FILES)


@every_file
@pytest.mark.parametrize("place", [0, 0.5, 1], ids=["first byte", "a byte", "last byte"])
def test_changed_byte_is_rejected(folder: Path, name: str, place: float) -> None:
    path = folder / name
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    data = bytearray(path.read_bytes())
    data[round(place * (len(data) - 1))] ^= 1
    path.write_bytes(data)
    # A changed manifest is detected by its registered digest only.
    assert read_error(folder, expected=digest)
    if name != "manifest.json":
        assert name in read_error(folder).expected


@every_file
def test_missing_file_or_folder_in_its_place_is_rejected(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert read_error(folder)
    (folder / name).mkdir()
    assert read_error(folder)


@pytest.mark.parametrize(
    "name", ["more.json", "model/more.npy", "model/sub/manifest.json", ".hidden", "x.py"]
)
def test_additional_file_is_rejected(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    assert name in read_error(folder).got


def test_another_package_than_expected_is_rejected(folder: Path) -> None:
    digest = write(make_package("popularity"), folder.parent / "other")
    assert digest[:12] in read_error(folder, expected=digest).expected
    assert read_error(folder, expected="")


def test_folder_without_package_is_rejected(tmp_path: Path) -> None:
    assert read_error(tmp_path)
    assert read_error(tmp_path / "nowhere")


# --- faults with matching digests -------------------------------------------------------------------------------


def forge(folder: Path, changed: dict[str, bytes | None] | None = None, /, **manifest: Any) -> None:
    """Rewrite files and manifest keys (None removes one) with matching digests, as an attacker would."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    for name, data in (changed or {}).items():
        if data is None:
            (folder / name).unlink()
            del content["files"][name]
        else:
            (folder / name).write_bytes(data)
            content["files"][name] = hashlib.sha256(data).hexdigest()
    content = {k: v for k, v in {**content, **manifest}.items() if v is not None}
    path.write_text(json.dumps(content))


def test_valid_rewritten_manifest_is_read(folder: Path) -> None:
    """Check that `forge` writes valid packages, so that the packages below are rejected for their fault."""
    forge(folder, {"decision.json": b"{}"})
    assert read(folder).model.files() == make_package("neighbours").model.files()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "1",
        '"manifest"',
        "\ud800",
        "[" * 100_000,
        '{"a":' * 100_000,
        "1" * 5000,
        '{"format": 1, "format": 1}',
    ],
    ids=[
        "empty",
        "cut off",
        "list",
        "null",
        "number",
        "text",
        "no UTF-8",
        "deep",
        "deep object",
        "long",
        "key twice",
    ],
)
def test_manifest_that_is_not_a_json_object_is_rejected(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_bytes(text.encode(errors="surrogatepass"))
    assert "JSON object" in read_error(folder).expected


def test_a_repeated_key_in_a_decision_is_rejected(folder: Path) -> None:
    """Readers that take the first value and readers that take the last would decide differently."""
    forge(folder, {"decision.json": b'{"threshold": 0.1, "threshold": 0.9}'})
    assert read_error(folder).expected == "a readable decision.json beside the model"


def test_a_manifest_of_any_size_is_not_read(folder: Path) -> None:
    with (folder / "manifest.json").open("r+b") as file:
        file.truncate(2**40)  # sparse: it takes no space
    assert read_error(folder).got == "more"


@pytest.mark.parametrize("name", ["contract.json", "model"])
def test_a_symbolic_link_is_rejected(folder: Path, name: str) -> None:
    (folder / name).rename(folder.parent / name)
    (folder / name).symlink_to(folder.parent / name)
    assert read_error(folder).got == "a symbolic link or special file"


@pytest.mark.parametrize("version", [None, 0, 2, "1", [1], {}], ids=repr)
def test_other_format_version_is_rejected(folder: Path, version: Any) -> None:
    forge(folder, format=version)
    assert read_error(folder).expected == "package format 1"


@pytest.mark.parametrize("key", ["model", "code", "files"])
@pytest.mark.parametrize(
    "value", [None, 1, ["ml.tabular.constant:ConstantModel"]], ids=["none", "number", "list"]
)
def test_manifest_with_missing_or_invalid_keys_is_rejected(folder: Path, key: str, value: Any) -> None:
    forge(folder, **{key: value})
    assert key in read_error(folder).got


def test_invalid_digests_are_rejected(folder: Path) -> None:
    names = [name for name in FILES if name != "manifest.json"]
    for value in (None, 1, "", ["a"], {}):
        forge(folder, files=dict.fromkeys(names, value))
        assert read_error(folder)


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "subprocess:Popen",
        "builtins:eval",
        "pickle:Unpickler",
        "ml:Package",
        "mlflow.pyfunc:PythonModel",
        ":ConstantModel",
        "",
        "ml.",
        "ml.:ConstantModel",
        "ml..os:system",
        "ml.\0:ConstantModel",
        "ml.nothing:ConstantModel",
        "ml.tabular.constant:Nothing",
        "ml.tabular.constant:ConstantModel.files",
        "ml.package:Package",
        "ml.package:import_module",
        "ml.package:Path",
        "ml.estimator:Model",
        "ml.recommenders.item_knn:ItemKNN",
        "ml.recommenders.item_knn:Catalogue",
    ],
)
def test_class_that_is_not_a_model_of_ml_is_rejected(folder: Path, name: str) -> None:
    forge(folder, model=name)
    error = read_error(folder)
    assert (error.expected, error.got) == ("a model class of ml", repr(name))
    with pytest.raises(PackagingError):
        load_model(name, {})


@pytest.mark.parametrize(
    "name",
    ["ml.tabular.constant:ConstantModel", "ml.tabular.linear:LinearModel", "ml.recommenders.als:ALSModel"],
)
def test_files_of_another_model_are_rejected(folder: Path, name: str) -> None:
    forge(folder, model=name)
    assert name in read_error(folder).expected


@pytest.mark.parametrize("name", [n for n in FILES if n != "manifest.json"])
@pytest.mark.parametrize("data", [None, b"", b"\x93NUMPY\x01\x00", b"[]", b"nonsense"], ids=repr)
def test_file_with_invalid_content_is_rejected(folder: Path, name: str, data: bytes | None) -> None:
    forge(folder, {name: data})
    assert read_error(folder)


@pytest.mark.parametrize(
    "data",
    [b'{"name": 1, "name": 2}', b'{"a": ' * 900 + b"1" + b"}" * 900, b'{"a": NaN}'],
    ids=["a key twice", "deep nesting", "NaN"],
)
def test_contract_of_a_package_is_read_as_strictly_as_a_file(folder: Path, data: bytes) -> None:
    forge(folder, {"contract.json": data})
    assert "a readable contract.json" in read_error(folder).expected


class Bomb:
    """An object whose unpickling runs code: it creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def as_npy(bomb: Bomb) -> bytes:
    buffer = BytesIO()
    np.save(buffer, np.array([bomb], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def as_archive(bomb: Bomb) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, entities=np.array([bomb], dtype=object))
    return buffer.getvalue()


@pytest.mark.parametrize("name", [n for n in FILES if n.endswith(".npy")])
@pytest.mark.parametrize("hide", [pickle.dumps, as_npy, as_archive])
def test_pickle_inside_an_array_is_rejected_and_not_run(
    folder: Path, name: str, hide: Callable[[Bomb], bytes]
) -> None:
    mark = folder.parent / "mark"
    forge(folder, {name: hide(Bomb(mark))})
    assert read_error(folder)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))  # the pickle does run code
    assert mark.exists()


@pytest.mark.parametrize(
    "name", ["../secret.json", "model/../contract.json", "./contract.json", "manifest.json", ""]
)
def test_file_names_outside_the_package_are_rejected(folder: Path, name: str) -> None:
    secret = folder.parent / "secret.json"
    secret.write_text("{}")
    digests = json.loads((folder / "manifest.json").read_text())["files"]
    for other in (name, str(secret)):
        target = folder / other
        data = target.read_bytes() if target.is_file() else b""
        forge(folder, files={**digests, other: hashlib.sha256(data).hexdigest()})
        assert repr(other) in read_error(folder).got


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forged")
    write(make_package("popularity"), folder)
    return folder


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["format", "model", "files", "whole"]), json_values)
def test_any_invalid_manifest_raises_packaging_error(forged: Path, key: str, value: Any) -> None:
    manifest = json.loads(to_files(make_package("popularity"))["manifest.json"])
    # True and 1.0 are equal to 1 in Python.
    if key == "format" and value == 1:
        value = 2
    (forged / "manifest.json").write_text(json.dumps(value if key == "whole" else {**manifest, key: value}))
    assert read_error(forged)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        ["contract.json", "decision.json", "entities.npy", "model/catalogue.json", "model/model.json"]
    ),
    st.binary(max_size=40)
    | json_values.filter(lambda v: not isinstance(v, dict)).map(lambda v: json.dumps(v).encode()),
)
def test_any_invalid_file_raises_packaging_error(forged: Path, name: str, data: bytes) -> None:
    for file_name, content in to_files(make_package("popularity")).items():
        (forged / file_name).write_bytes(content)
    forge(forged, {name: data})
    assert read_error(forged)


# --- errors --------------------------------------------------------------------------------------------------------

ERRORS = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, StewardError)
]


@pytest.mark.parametrize("error_class", ERRORS)
def test_error_has_three_texts_and_can_be_pickled(error_class: type[StewardError]) -> None:
    facts = {"rows": 3}
    error = error_class("a table", "a chair", "sit down", facts)
    facts["rows"] = 4
    error.outcome = "stopped"
    for copy in (error, pickle.loads(pickle.dumps(error))):
        assert type(copy) is error_class
        assert str(copy) == "expected a table; got a chair; sit down"
        assert (copy.expected, copy.got, copy.next_step) == ("a table", "a chair", "sit down")
        assert (copy.facts, copy.outcome) == ({"rows": 3}, "stopped")
    assert error_class("a", "b", "c").facts == {}


def test_gate_names_are_unique() -> None:
    """Reports and exit codes depend on the name of the gate."""
    gates = {error_class.gate for error_class in ERRORS}
    assert len(gates) == len(ERRORS)
    assert [error_class for error_class in ERRORS if not error_class.gate] == [StewardError]
    assert issubclass(PackagingError, QualityGateError)

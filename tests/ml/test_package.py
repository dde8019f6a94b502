"""A model goes to disk and comes back the same, or it does not come back: every fault is a PackagingError."""

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
from ml.package import (
    MANIFEST,
    Package,
    as_features,
    code_digest,
    read,
    read_contract,
    read_entities,
    to_files,
    write,
)
from ml.recommenders.als import ALS
from ml.recommenders.item_knn import ItemKNN
from ml.recommenders.popularity import Popularity
from ml.serialization import class_name, load_model
from ml.tabular.additive import Additive
from ml.tabular.constant import Prior
from ml.tabular.extra_trees import Forest
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear

# Not in the order of the alphabet: a file without header is read in the order of the contract.
COLUMNS = {"town": "category", "x": "number", "n": "integer", "grade": "category", "y": "integer"}


def contract(name: str, columns: dict[str, str], **roles: Any) -> dict[str, Any]:
    read = {"files": ["x.csv"], "columns": columns}
    return {"name": name, "expectations": [], "meta": {"read": read, "roles": roles}}


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


FEW: dict[str, Candidate] = {
    "linear": Linear(),
    "boosting": GradientBoosting(max_rounds=5, statistics_from=2),
}
ENSEMBLE = Ensemble(presets=(Preset(np.inf, 2, 1, FEW),))
CANDIDATES: dict[str, Candidate] = {
    "prior": Prior(),
    "linear": Linear(),
    "boosting": GradientBoosting(max_rounds=5, min_child_samples=5),
    "additive": Additive(max_rounds=5),
    "forest": Forest(trees=5),
    "ensemble": ENSEMBLE,
    "number, linear": Linear("numeric"),
    "number, boosting": GradientBoosting("numeric", max_rounds=5, min_child_samples=5),
    "popularity": Popularity(),
    "neighbours": ItemKNN(shrink=0.1),
    "factors": ALS(factors=3, iterations=2),
}
every_model = pytest.mark.parametrize("kind", list(CANDIDATES))


def asked(kind: str) -> Dataset:
    if kind in ("popularity", "neighbours", "factors"):
        return histories()
    return rows("numeric" if kind.startswith("number") else "binary")


@cache
def packed(kind: str = "prior") -> Package:
    part = asked(kind)
    model = CANDIDATES[kind].fit(part, part, FitResources())
    decision = {"threshold": 0.4} if kind in ("prior", "linear", "boosting") else {}
    return Package(model, LOG if "items" in part.frame else ROWS, decision, UNITS)


def names_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# --- there and back ------------------------------------------------------------------------------------------------


@every_model
def test_what_is_read_answers_as_what_was_written(kind: str, tmp_path: Path) -> None:
    package, questions = packed(kind), asked(kind).frame
    digest = write(package, tmp_path)
    assert digest == hashlib.sha256((tmp_path / "manifest.json").read_bytes()).hexdigest()
    back = read(tmp_path, digest)
    assert_frame_equal(back.predict(questions), package.predict(questions), check_exact=True)
    assert class_name(back.model) == class_name(package.model)
    assert (back.contract, back.decision) == (package.contract, package.decision)
    assert back.entities.tolist() == sorted(UNITS.tolist())
    assert back.entities.dtype == np.uint64


def test_contract_and_entities_are_read_without_the_model_class(tmp_path: Path) -> None:
    package = packed()
    write(package, tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text()) | {"model": "ml.removed:RemovedModel"}
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    digest = hashlib.sha256((tmp_path / MANIFEST).read_bytes()).hexdigest()
    with pytest.raises(PackagingError, match="RemovedModel"):
        read(tmp_path, digest)
    assert read_contract(tmp_path, digest) == package.contract
    assert read_entities(tmp_path, digest).tolist() == sorted(UNITS.tolist())


@pytest.mark.parametrize("reader", [read_contract, read_entities])
def test_a_changed_package_is_refused_by_every_reader(reader: Callable[..., Any], tmp_path: Path) -> None:
    digest = write(packed(), tmp_path)
    with pytest.raises(PackagingError, match="expected the package 000000"):
        reader(tmp_path, "0" * 64)
    (tmp_path / "decision.json").write_text("{}")
    with pytest.raises(PackagingError, match="a changed file"):
        reader(tmp_path, digest)


def test_requirements_come_from_the_model() -> None:
    assert packed("linear").requirements == ("numpy", "pandas", "pyarrow", "scipy")
    assert "lightgbm" in packed("boosting").requirements
    assert "lightgbm" in packed("ensemble").requirements


@every_model
def test_equal_packages_have_equal_files_whoever_writes_them(kind: str, tmp_path: Path) -> None:
    package = packed(kind)
    digest = write(package, tmp_path / "one")
    assert write(package, tmp_path / "two") == digest
    # What was read, and entities in another order, are the same package.
    assert write(read(tmp_path / "one"), tmp_path / "three") == digest
    assert write(replace(package, entities=UNITS[::-1]), tmp_path / "four") == digest
    written = {n: (tmp_path / "one" / n).read_bytes() for n in names_in(tmp_path / "one")}
    assert written == to_files(package)


def test_whatever_differs_changes_the_digest() -> None:
    package = packed()
    turned = contract("toy.rows", dict(reversed(COLUMNS.items())), target=TARGET)
    packages = [
        package,
        packed("linear"),
        replace(package, decision={"threshold": 0.41}),
        replace(package, decision={}),
        replace(package, entities=UNITS[:-1]),
        replace(package, contract={**ROWS, "name": "toy.others"}),
        replace(package, contract=turned),
    ]
    assert len({to_files(each)["manifest.json"] for each in packages}) == len(packages)


def test_the_order_of_a_contracts_columns_survives(tmp_path: Path) -> None:
    write(packed(), tmp_path)
    assert list(read(tmp_path).contract["meta"]["read"]["columns"]) == list(COLUMNS)


@every_model
def test_files_are_text_or_plain_arrays_and_never_pickles(kind: str) -> None:
    for name, data in to_files(packed(kind)).items():
        suffix = Path(name).suffix
        assert suffix in {".json", ".txt", ".npy"}
        if suffix == ".npy":
            dtype = np.load(BytesIO(data), allow_pickle=False).dtype
            assert {field.kind for field, _ in (dtype.fields or {"": (dtype, 0)}).values()} <= set("fiu")
        elif suffix == ".json":
            json.loads(data)
        else:
            data.decode()


def test_entities_that_would_need_a_pickle_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        write(replace(packed(), entities=np.array([1, 2], dtype=object)), tmp_path)


def test_code_is_another_when_any_of_its_files_is(tmp_path: Path) -> None:
    ours = Path(ml.__file__).parent
    copy = shutil.copytree(ours, tmp_path / "ml", ignore=shutil.ignore_patterns("__pycache__"))
    digest = code_digest(copy)
    assert json.loads(to_files(packed())["manifest.json"])["code"] == digest == code_digest(ours)
    (copy / "notes.txt").write_text("no code")
    assert code_digest(copy) == digest
    (copy / "prior.py").rename(copy / "posterior.py")
    renamed = code_digest(copy)
    (copy / "simulate" / "draws.py").write_text("")
    assert len({digest, renamed, code_digest(copy)}) == 3


# --- questions and decisions ---------------------------------------------------------------------------------------


def test_a_decision_is_yes_from_the_threshold_on() -> None:
    frame = rows().frame.set_index(np.arange(120) * 3)
    plain = replace(packed("linear"), decision={})
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


def test_features_come_in_the_types_of_training() -> None:
    """Whatever a caller's table has for them, and nothing else of it."""
    frame = pd.DataFrame(
        {
            "y": [1, 0, 1],
            "grade": [1.0, np.nan, 2.0],  # whole numbers beside a missing one
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
    assert_frame_equal(as_features(frame, ROWS), expected)
    assert_frame_equal(as_features(expected, ROWS), expected)
    integers = frame.fillna({"grade": 3}).astype({"grade": "int64"})
    assert as_features(integers, ROWS)["grade"].tolist() == ["1", "3", "2"]


def test_a_category_without_neighbours_is_the_same_question() -> None:
    """Codes that pandas made floats, for a missing one among them, are still the codes."""
    package, frame = packed("linear"), rows().frame
    as_numbers = frame.assign(grade=frame["grade"].astype("float64"))
    assert_frame_equal(package.predict(as_numbers), package.predict(frame), check_exact=True)


@pytest.mark.parametrize("kind", ["prior", "linear", "boosting", "ensemble", "number, boosting"])
def test_a_row_alone_is_answered_as_in_a_frame(kind: str) -> None:
    package, frame = packed(kind), rows().frame.head(20)
    answers = package.predict(frame).to_dict(orient="records")
    cells = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
    for row, answer in zip(cells, answers, strict=True):
        assert package.predict_row({**row, "note": [1]}) == pytest.approx(answer, rel=1e-12)
        assert package.predict_row(
            {**row, "grade": float(row["grade"]), "n": str(row["n"])}
        ) == pytest.approx(answer)
        assert package.predict_row({**row, "grade": int(row["grade"])}) == pytest.approx(answer)


def test_a_row_is_no_question_to_a_recommender() -> None:
    with pytest.raises(PackagingError, match=r"a model of rows.*PopularityModel.*use predict"):
        packed("popularity").predict_row({"u": "u1"})


def test_histories_pass_as_they_are() -> None:
    frame = histories().frame
    assert as_features(frame, LOG) is frame


def test_a_question_that_cannot_be_read_is_an_error() -> None:
    package, frame = packed("linear"), rows().frame
    with pytest.raises(ValueError, match="many"):
        package.predict(frame.assign(x="many"))
    with pytest.raises(ValueError, match="give every column"):
        package.predict(frame.drop(columns="town"))


# --- what was changed is refused -----------------------------------------------------------------------------------


def refused(folder: Path, expected: str | None = None) -> PackagingError:
    """Why this folder is refused: said in full, by the packaging gate."""
    with pytest.raises(PackagingError) as caught:
        read(folder, expected)
    why = caught.value
    assert why.gate == "packaging"
    assert all((why.expected, why.got, why.next_step))
    return why


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(packed("neighbours"), tmp_path / "package")
    return tmp_path / "package"


FILES = sorted(to_files(packed("neighbours")))
every_file = pytest.mark.parametrize("name", FILES)


@every_file
@pytest.mark.parametrize("place", [0, 0.5, 1], ids=["first byte", "a byte", "last byte"])
def test_a_byte_that_was_changed_is_refused(folder: Path, name: str, place: float) -> None:
    path = folder / name
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    data = bytearray(path.read_bytes())
    data[round(place * (len(data) - 1))] ^= 1
    path.write_bytes(data)
    # A manifest alone cannot vouch for itself: what was registered vouches for it.
    assert refused(folder, expected=digest)
    if name != "manifest.json":
        assert name in refused(folder).expected


@every_file
def test_a_file_that_is_gone_or_a_folder_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refused(folder)
    (folder / name).mkdir()
    assert refused(folder)


@pytest.mark.parametrize(
    "name", ["more.json", "model/more.npy", "model/sub/manifest.json", ".hidden", "x.py"]
)
def test_a_file_more_is_refused(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    assert name in refused(folder).got


def test_another_package_than_expected_is_refused(folder: Path) -> None:
    digest = write(packed("popularity"), folder.parent / "other")
    assert digest[:12] in refused(folder, expected=digest).expected
    assert refused(folder, expected="")


def test_a_folder_without_package_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path)
    assert refused(tmp_path / "nowhere")


# --- faults under a manifest that vouches for them -----------------------------------------------------------------


def forge(folder: Path, changed: dict[str, bytes | None] | None = None, /, **manifest: Any) -> None:
    """Rewrite files (None takes one away) and manifest (likewise), digests and all, as one who means it would."""
    path = folder / "manifest.json"
    told = json.loads(path.read_text())
    for name, data in (changed or {}).items():
        if data is None:
            (folder / name).unlink()
            del told["files"][name]
        else:
            (folder / name).write_bytes(data)
            told["files"][name] = hashlib.sha256(data).hexdigest()
    told = {k: v for k, v in {**told, **manifest}.items() if v is not None}
    path.write_text(json.dumps(told))


def test_a_manifest_that_is_rewritten_and_right_is_read(folder: Path) -> None:
    """The forger's tool works: what is refused below is refused for its fault."""
    forge(folder, {"decision.json": b"{}"})
    assert read(folder).model.files() == packed("neighbours").model.files()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "1", '"manifest"', "\ud800", "[" * 100_000, "1" * 5000],
    ids=["empty", "cut off", "list", "null", "number", "text", "no UTF-8", "deep", "long"],
)
def test_a_manifest_that_is_no_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_bytes(text.encode(errors="surrogatepass"))
    assert "JSON object" in refused(folder).expected


@pytest.mark.parametrize("version", [None, 0, 2, "1", [1], {}], ids=repr)
def test_another_format_is_refused(folder: Path, version: Any) -> None:
    forge(folder, format=version)
    assert refused(folder).expected == "package format 1"


@pytest.mark.parametrize("key", ["model", "code", "files"])
@pytest.mark.parametrize(
    "value", [None, 1, ["ml.tabular.constant:PriorModel"]], ids=["none", "number", "list"]
)
def test_a_manifest_without_its_parts_is_refused(folder: Path, key: str, value: Any) -> None:
    forge(folder, **{key: value})
    assert key in refused(folder).got


def test_digests_that_are_no_digests_are_refused(folder: Path) -> None:
    names = [name for name in FILES if name != "manifest.json"]
    for value in (None, 1, "", ["a"], {}):
        forge(folder, files=dict.fromkeys(names, value))
        assert refused(folder)


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "subprocess:Popen",
        "builtins:eval",
        "pickle:Unpickler",
        "ml:Package",
        "mlflow.pyfunc:PythonModel",
        ":PriorModel",
        "",
        "ml.",
        "ml.:PriorModel",
        "ml..os:system",
        "ml.\0:PriorModel",
        "ml.nothing:PriorModel",
        "ml.tabular.constant:Nothing",
        "ml.tabular.constant:PriorModel.files",
        "ml.package:Package",
        "ml.package:import_module",
        "ml.package:Path",
        "ml.estimator:Model",
        "ml.recommenders.item_knn:ItemKNN",
        "ml.recommenders.item_knn:Catalogue",
    ],
)
def test_a_class_that_is_no_model_of_ours_is_refused(folder: Path, name: str) -> None:
    forge(folder, model=name)
    why = refused(folder)
    assert (why.expected, why.got) == ("a model class of ml", repr(name))
    with pytest.raises(PackagingError):
        load_model(name, {})


@pytest.mark.parametrize(
    "name",
    ["ml.tabular.constant:PriorModel", "ml.tabular.linear:LinearModel", "ml.recommenders.als:ALSModel"],
)
def test_the_files_of_another_model_are_refused(folder: Path, name: str) -> None:
    forge(folder, model=name)
    assert name in refused(folder).expected


@pytest.mark.parametrize("name", [n for n in FILES if n != "manifest.json"])
@pytest.mark.parametrize("data", [None, b"", b"\x93NUMPY\x01\x00", b"[]", b"nonsense"], ids=repr)
def test_a_file_that_is_not_what_it_should_be_is_refused(folder: Path, name: str, data: bytes | None) -> None:
    forge(folder, {name: data})
    assert refused(folder)


class Bomb:
    """What a pickle can do: here it leaves a mark."""

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
def test_a_pickle_inside_an_array_is_refused_and_not_run(
    folder: Path, name: str, hide: Callable[[Bomb], bytes]
) -> None:
    mark = folder.parent / "mark"
    forge(folder, {name: hide(Bomb(mark))})
    assert refused(folder)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))  # it would have gone off
    assert mark.exists()


@pytest.mark.parametrize(
    "name", ["../secret.json", "model/../contract.json", "./contract.json", "manifest.json", ""]
)
def test_names_that_lead_elsewhere_are_refused(folder: Path, name: str) -> None:
    secret = folder.parent / "secret.json"
    secret.write_text("{}")
    told = json.loads((folder / "manifest.json").read_text())["files"]
    for other in (name, str(secret)):
        target = folder / other
        data = target.read_bytes() if target.is_file() else b""
        forge(folder, files={**told, other: hashlib.sha256(data).hexdigest()})
        assert repr(other) in refused(folder).got


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forged")
    write(packed("popularity"), folder)
    return folder


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["format", "model", "files", "whole"]), json_values)
def test_no_manifest_ends_in_another_error(forged: Path, key: str, value: Any) -> None:
    told = json.loads(to_files(packed("popularity"))["manifest.json"])
    # True is 1 for Python, and so is 1.0.
    if key == "format" and value == 1:
        value = 2
    (forged / "manifest.json").write_text(json.dumps(value if key == "whole" else {**told, key: value}))
    assert refused(forged)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        ["contract.json", "decision.json", "entities.npy", "model/catalogue.json", "model/model.json"]
    ),
    st.binary(max_size=40)
    | json_values.filter(lambda v: not isinstance(v, dict)).map(lambda v: json.dumps(v).encode()),
)
def test_no_file_ends_in_another_error(forged: Path, name: str, data: bytes) -> None:
    for each, whole in to_files(packed("popularity")).items():
        (forged / each).write_bytes(whole)
    forge(forged, {name: data})
    assert refused(forged)


# --- refusals ------------------------------------------------------------------------------------------------------

REFUSALS = [
    each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, StewardError)
]


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_says_three_things_and_survives_a_process(kind: type[StewardError]) -> None:
    found = {"rows": 3}
    why = kind("a table", "a chair", "sit down", found)
    found["rows"] = 4
    why.outcome = "stopped"
    for each in (why, pickle.loads(pickle.dumps(why))):
        assert type(each) is kind
        assert str(each) == "expected a table; got a chair; sit down"
        assert (each.expected, each.got, each.next_step) == ("a table", "a chair", "sit down")
        assert (each.facts, each.outcome) == ({"rows": 3}, "stopped")
    assert kind("a", "b", "c").facts == {}


def test_every_gate_has_a_name_of_its_own() -> None:
    """Reports and exit codes go by it."""
    gates = {kind.gate for kind in REFUSALS}
    assert len(gates) == len(REFUSALS)
    assert [kind for kind in REFUSALS if not kind.gate] == [StewardError]
    assert issubclass(PackagingError, QualityGateError)

"""packaging."""

import json
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import Model as MlflowModel
from mlflow.models import infer_signature
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema
from packaging.requirements import Requirement
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml import package
from ml.contract.parser import parse
from ml.data.dataset import Dataset
from ml.errors import PackagingError
from ml.package import Package
from tasks.storage.content_store import StageResult, Store, key_of
from tasks.tracking.registry import DATA, PackagedModel

ROOT = Path(__file__).resolve().parents[1]


GOLDEN_ROWS = 50


# Loads every model, whatever it is made of.
LOADER = "mlflow"


# Runs where nothing of ours is imported yet: the model brings its own code. The answer says whose code ran.
# Top-level modules that the model's requirements do not bring are hidden, as they would be missing elsewhere.
CLEAN_PROCESS = """
import sys, json, time, warnings
hidden = frozenset(json.loads(sys.argv[5]))
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import numpy as np, pandas as pd, mlflow.pyfunc
model = mlflow.pyfunc.load_model(sys.argv[1])
frame = pd.read_parquet(sys.argv[2])
model.predict(frame, json.loads(sys.argv[4])).to_parquet(sys.argv[3])
def milliseconds():
    # Of the processor: what else the machine does refuses no model.
    begun = time.process_time()
    model.predict(one)
    return (time.process_time() - begun) * 1000
one = frame.head(1)
import ml
print(json.dumps({"code": ml.__file__, "milliseconds": sorted(milliseconds() for _ in range(9))[4]}))
"""


@task(name="package", cache_policy=NO_CACHE)
def package_model(packed: Package, test: Dataset, folder: Path, store: Store) -> PackagedModel:
    """Write the model into `folder` as MLflow does, and let it prove itself in a clean process.

    Golden rows stay in the store. Raises PackagingError when the signature is missing, or when the reloaded model
    does not give the same predictions, missing values included.
    """
    golden = _golden_rows(test)
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / DATA
        data.mkdir()
        digest = package.write(packed, data)
        save_mlflow_model(packed, data, folder)
    signature = MlflowModel.load(folder).signature
    if signature is None or signature.inputs is None or signature.outputs is None:
        raise PackagingError("a signature", "none", "see that every column of the input example has a type")
    expected = packed.predict(golden)
    got, measured = predict_in_clean_process(folder, golden, hidden=undeclared_modules(packed.requirements))
    assert_same_predictions(expected, got)
    key = key_of("golden", Path(__file__), model=digest, rows=len(golden))
    store.get_or_compute(
        key, lambda: StageResult({"golden": _plain(golden), "predictions": expected}, {"model": digest})
    )
    megabytes = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
    return PackagedModel(folder, digest, megabytes, measured["milliseconds"], _pinned(packed))


def save_mlflow_model(packed: Package, data: Path, folder: Path) -> None:
    """One MLflow model: our package as data, `ml` as code, a signature, a made-up example."""
    example = synthetic_input_example(packed.contract)
    with warnings.catch_warnings():
        # A hint about integers that may be missing: a decision never is.
        warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer column")
        signature = infer_signature(example, packed.predict(example))
    if parse(packed.contract).is_recommendation:
        signature.inputs = _mark_optional(signature.inputs)
        signature.params = ParamSchema([ParamSpec(package.REASONS, DataType.long, 0)])
    mlflow.pyfunc.save_model(
        path=folder,
        loader_module="ml.package",
        data_path=str(data),
        code_paths=[str(ROOT / "ml")],
        signature=signature,
        input_example=example,
        pip_requirements=list(_pinned(packed)),
    )


def _mark_optional(inputs: Schema) -> Schema:
    """Whoever asks with histories alone has each event count 1, and is of no segment."""
    columns = [{**one, "required": one["name"] not in ("weights", "segment")} for one in inputs.to_dict()]
    schema: Schema = Schema.from_json(json.dumps(columns))
    return schema


def synthetic_input_example(contract: Mapping[str, Any]) -> pd.DataFrame:
    """Two rows that no one lived: the signature and the UI show them, so they are not taken from the data."""
    parsed = parse(contract)
    if parsed.is_recommendation:
        histories: dict[str, list[Any]] = {
            "items": [["item-1", "item-2"], ["item-3"]],
            "times": [[0.0, 1.0], [0.0]],
        }
        if parsed.roles.weight:
            histories["weights"] = [[0.5, 1.0], [1.0]]
        if parsed.roles.segment:
            histories["segment"] = ["segment-1", "segment-2"]
        return pd.DataFrame({"user": ["user-1", "user-2"], **histories})
    kinds = {c: parsed.read.columns[c] for c in parsed.features}
    columns = {c: ["a", "b"] if kind == "category" else [0.0, 1.0] for c, kind in kinds.items()}
    return pd.DataFrame(columns)


def assert_same_predictions(expected: pd.DataFrame, got: pd.DataFrame, tolerance: float = 1e-12) -> None:
    """Raises PackagingError unless both hold the same answers, numbers within `tolerance`."""
    if list(expected.columns) != list(got.columns) or len(expected) != len(got):
        raise PackagingError(
            f"{len(expected)} predictions of {list(expected.columns)}",
            f"{len(got)} of {list(got.columns)}",
            "see that the model's files hold all that it predicts with",
        )
    for column in expected.columns:
        ours, theirs = expected[column].to_numpy(), got[column].to_numpy()
        if pd.api.types.is_numeric_dtype(expected[column]):
            # Not finite, not equal: a model that answers NaN is no model.
            same = bool(np.all(np.abs(ours - theirs) <= tolerance))
        else:
            same = bool((ours == theirs).all())
        if not same:
            raise PackagingError(
                f"the same {column} after reloading",
                "another",
                "see that the model's files hold all that it predicts with",
            )


def undeclared_modules(requirements: Iterable[str]) -> list[str]:
    """List the installed top-level modules that an environment made from `requirements` and MLflow would not have."""
    providers = packages_distributions()
    installed = {_canonical(name) for names in providers.values() for name in names}
    wanted, pending = set[str](), [_canonical(name) for name in (LOADER, *requirements)]
    while pending:
        name = pending.pop()
        if name in wanted or name not in installed:
            continue
        wanted.add(name)
        needed = (Requirement(text) for text in requires(name) or ())
        # Markers of extras are false: nobody asked for them.
        pending += [_canonical(r.name) for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]
    return sorted(
        module
        for module, names in providers.items()
        # The model brings its own copy of `ml`.
        if module.isidentifier() and module != "ml" and wanted.isdisjoint(map(_canonical, names))
    )


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def predict_in_clean_process(
    model: Path, frame: pd.DataFrame, params: Mapping[str, Any] | None = None, hidden: Sequence[str] = ()
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Predictions of a model folder by the model's own code, and what was measured.

    `params` are those of the model's signature; modules in `hidden` cannot be imported there.

    Raises PackagingError when the process fails, or when another `ml` than the model's own answered.
    """
    with tempfile.TemporaryDirectory() as scratch:
        rows, answers = Path(scratch) / "rows.parquet", Path(scratch) / "answers.parquet"
        frame.to_parquet(rows, index=False)
        command = [sys.executable, "-I", "-B", "-W", "ignore", "-c", CLEAN_PROCESS]
        command += [str(model.resolve()), str(rows), str(answers)]
        command += [json.dumps(params), json.dumps(hidden)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=scratch, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise PackagingError(
                "a model that loads in a clean process", last[:300], "see the model's requirements"
            )
        measured: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        if not Path(measured["code"]).resolve().is_relative_to(model.resolve()):
            raise PackagingError(
                "the model's own code", measured["code"], "remove that `ml` from the Python path"
            )
        return pd.read_parquet(answers), measured


def _golden_rows(test: Dataset) -> pd.DataFrame:
    """Rows with the most missing values first, so that reloading is tested where it is most likely to break."""
    holes = test.frame.isna().sum(axis=1).sort_values(ascending=False, kind="stable")
    rows = pd.concat([test.frame.loc[holes.index[: GOLDEN_ROWS // 2]], test.frame.head(GOLDEN_ROWS // 2)])
    return rows[~rows.index.duplicated()].reset_index(drop=True)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.reset_index(drop=True)


def _pinned(packed: Package) -> tuple[str, ...]:
    return tuple(f"{name}=={version(name)}" for name in (LOADER, *packed.requirements))

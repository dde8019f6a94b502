"""Package: save a model in MLflow's format, and verify in a clean process that it gives the same predictions."""

import json
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import distributions, packages_distributions, requires, version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import Model as MlflowModel
from mlflow.models import infer_signature
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml import package as model_package
from ml.contract.parser import parse
from ml.data.dataset import Dataset
from ml.data.digest import table_digest
from ml.errors import PackagingError
from ml.package import Package
from tasks.clean_process import predict_in_clean_process
from tasks.error_boundary import redact_errors
from tasks.storage.content_store import StageResult, Store, key_of
from tasks.tracking.logged_model import Latency, PackagedModel
from tasks.tracking.model_folder import PACKAGE_FOLDER, check_structure

ROOT = Path(__file__).resolve().parents[1]
CODE = ("tasks/packaging.py", "tasks/clean_process.py", "tasks/error_boundary.py", "ml")

# Test rows that are stored with their predictions, to reproduce them later.
GOLDEN_ROWS = 50
# The distribution that loads every model.
LOADER = "mlflow"
# Synthetic cells by the type of a column; of numbers, 0 and 1.
EXAMPLE_TIMES = pd.to_datetime(["2020-01-01T00:00:00", "2020-01-02T12:00:00"])
EXAMPLE_CELLS: Mapping[str, Any] = {"category": ["a", "b"], "time": EXAMPLE_TIMES, "epoch": EXAMPLE_TIMES}


@task(name="package", cache_policy=NO_CACHE)
@redact_errors
def package_model(package: Package, test: Dataset, folder: Path, store: Store) -> PackagedModel:
    """Save the model into `folder` in MLflow's format, and verify it in a clean process.

    The golden rows and their predictions are stored, and so is what the clean process found: the same model is verified
    once in the same environment. Raises PackagingError if the signature is missing, or if the
    reloaded model does not give the same predictions, also for rows with missing values.
    """
    golden = _golden_rows(test)
    digest = save_packaged(package, folder)
    check_structure(folder)
    signature = MlflowModel.load(folder).signature
    if signature is None or signature.inputs is None or signature.outputs is None:
        raise PackagingError("a signature", "none", "check that every column of the input example has a type")
    expected = cache(lambda: package.predict(golden))
    hidden_modules = undeclared_modules(package.requirements)

    def verify() -> StageResult:
        got, latency = predict_in_clean_process(folder, golden, hidden_modules=hidden_modules)
        assert_same_predictions(expected(), got)
        return StageResult({}, {"verified_model": digest, "latency": asdict(latency)})

    key = key_of(
        "verify package",
        CODE,
        model=digest,
        golden=table_digest(golden),
        environment=_environment(),
        hidden_modules=hidden_modules,
    )
    verified = store.get_or_compute(key, verify, "packaging gate")
    key = key_of("golden", CODE, model=digest, rows=len(golden))
    store.get_or_compute(
        key,
        lambda: StageResult({"golden": golden, "predictions": expected()}, {"model": digest}),
        "golden rows",
    )
    megabytes = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
    latency = Latency(**verified.facts["latency"])
    return PackagedModel(folder, digest, megabytes, latency, _pinned_requirements(package))


def save_packaged(package: Package, folder: Path) -> str:
    """Save a package into `folder` in MLflow's format; return its digest."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / PACKAGE_FOLDER
        data.mkdir()
        digest = model_package.write(package, data)
        save_mlflow_model(package, data, folder)
    return digest


@cache
def _environment() -> Mapping[str, str]:
    """Return the versions of Python and of all installed distributions: any of them can change what a model loads."""
    installed = {distribution.name: distribution.version for distribution in distributions()}
    return {"python": sys.version, **installed}


def save_mlflow_model(package: Package, data: Path, folder: Path) -> None:
    """Save an MLflow model: `package`, written to the folder `data`, with the code of `ml`, signature and example."""
    example = synthetic_input_example(package.contract)
    with warnings.catch_warnings():
        # A hint that integers cannot be missing: the column `decision` never is.
        warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer column")
        signature = infer_signature(example, package.predict(example))
    contract = parse(package.contract)
    if contract.is_recommendation:
        signature.inputs = _mark_optional(signature.inputs)
    if contract.is_recommendation or contract.roles.text:
        signature.params = ParamSchema([ParamSpec(model_package.REASONS_PARAMETER, DataType.long, 0)])
    mlflow.pyfunc.save_model(
        path=folder,
        loader_module="ml.package",
        data_path=str(data),
        code_paths=[str(ROOT / "ml")],
        signature=signature,
        input_example=example,
        pip_requirements=list(_pinned_requirements(package)),
    )


def _mark_optional(inputs: Schema) -> Schema:
    """Make weights and segment optional: by default each event has weight 1, and a user no segment."""
    optional = ("weights", "segment")
    columns = [{**column, "required": column["name"] not in optional} for column in inputs.to_dict()]
    schema: Schema = Schema.from_json(json.dumps(columns))
    return schema


def synthetic_input_example(contract: Mapping[str, Any]) -> pd.DataFrame:
    """Return two synthetic rows: signature and UI show them, so they must not come from the data."""
    parsed = parse(contract)
    if parsed.is_recommendation:
        histories: dict[str, list[Any]] = {
            "items": [["item-1", "item-2"], ["item-3"]],
            "times": [[0.0, 1.0], [0.0]],
        }
        if parsed.roles.event_weight:
            histories["weights"] = [[0.5, 1.0], [1.0]]
        if parsed.roles.segment:
            histories["segment"] = ["segment-1", "segment-2"]
        return pd.DataFrame({"user": ["user-1", "user-2"], **histories})
    kinds = {c: parsed.read.columns[c] for c in parsed.inputs}
    return pd.DataFrame({c: EXAMPLE_CELLS.get(kind, [0.0, 1.0]) for c, kind in kinds.items()})


def assert_same_predictions(expected: pd.DataFrame, got: pd.DataFrame, tolerance: float = 1e-12) -> None:
    """Raise PackagingError unless both tables have the same predictions, numbers within `tolerance`."""
    if list(expected.columns) != list(got.columns) or len(expected) != len(got):
        raise PackagingError(
            f"{len(expected)} predictions of {list(expected.columns)}",
            f"{len(got)} of {list(got.columns)}",
            "check that the model's files hold all that it predicts with",
        )
    for column in expected.columns:
        before, after = expected[column].to_numpy(), got[column].to_numpy()
        if pd.api.types.is_numeric_dtype(expected[column]):
            # NaN equals nothing: a model must not predict it.
            same = bool(np.all(np.abs(before - after) <= tolerance))
        else:
            # Cells may be lists, of different lengths.
            same = all(map(np.array_equal, before, after))
        if not same:
            raise PackagingError(
                f"the same {column} after reloading",
                "different values",
                "check that the model's files hold all that it predicts with",
            )


def undeclared_modules(requirements: Iterable[str]) -> list[str]:
    """List the installed top-level modules that an environment with only `requirements` and MLflow would not have."""
    providers = _module_providers()
    installed = {canonicalize_name(name) for names in providers.values() for name in names}
    wanted, pending = set[str](), [canonicalize_name(name) for name in (LOADER, *requirements)]
    while pending:
        name = pending.pop()
        if name in wanted or name not in installed:
            continue
        wanted.add(name)
        pending += _dependencies(name)
    return sorted(
        module
        for module, names in providers.items()
        # The model has its own copy of `ml`.
        if module.isidentifier() and module != "ml" and wanted.isdisjoint(map(canonicalize_name, names))
    )


@cache
def _dependencies(distribution: str) -> tuple[NormalizedName, ...]:
    """Return the names of the distributions that one requires. Markers of extras are false: none is installed."""
    needed = (Requirement(text) for text in requires(distribution) or ())
    return tuple(
        canonicalize_name(each.name)
        for each in needed
        if not each.marker or each.marker.evaluate({"extra": ""})
    )


@cache
def _module_providers() -> Mapping[str, list[str]]:
    """Return the distributions of each installed top-level module, read once: their files take a third of a second."""
    return packages_distributions()


def _golden_rows(test: Dataset) -> pd.DataFrame:
    """Return rows with the most missing values, where reloading is most likely to fail, and the first rows."""
    missing = test.frame.isna().sum(axis=1).sort_values(ascending=False, kind="stable")
    rows = pd.concat([test.frame.loc[missing.index[: GOLDEN_ROWS // 2]], test.frame.head(GOLDEN_ROWS // 2)])
    return rows[~rows.index.duplicated()].reset_index(drop=True)


def _pinned_requirements(packed: Package) -> tuple[str, ...]:
    # Without the label of a build, such as +cpu, which package indexes do not have.
    return tuple(f"{name}=={version(name).partition('+')[0]}" for name in (LOADER, *packed.requirements))

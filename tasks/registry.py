"""Registry: models as MLflow keeps them, and the clean process in which a packaged model has to prove itself."""

import json
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model as MlflowModel
from mlflow.models import infer_signature
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema
from packaging.requirements import Requirement
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml import package
from ml.contract_parse import parse
from ml.model import Part
from ml.package import Package
from ml.refusal import PackageRefused
from tasks.store import Made, Store, key_of

ROOT = Path(__file__).resolve().parents[1]
ALIAS = "champion"
GOLDEN_ROWS = 50
DATA = "package"
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


@dataclass(frozen=True)
class Packaged:
    """A model folder as MLflow reads it, with the digest of our package inside and what was measured of it."""

    folder: Path
    digest: str
    megabytes: float
    milliseconds: float
    requirements: tuple[str, ...]


@task(name="package", cache_policy=NO_CACHE)
def package_model(packed: Package, test: Part, folder: Path, store: Store) -> Packaged:
    """Write the model into `folder` as MLflow does, and let it prove itself in a clean process.

    Golden rows stay in the store. Raises PackageRefused when the signature is missing, or when the reloaded model
    does not give the same predictions, missing values included.
    """
    golden = _golden_rows(test)
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / DATA
        data.mkdir()
        digest = package.write(packed, data)
        save(packed, data, folder)
    signature = MlflowModel.load(folder).signature
    if signature is None or signature.inputs is None or signature.outputs is None:
        raise PackageRefused("a signature", "none", "see that every column of the input example has a type")
    expected = packed.predict(golden)
    got, measured = predict_in_clean_process(folder, golden, hidden=undeclared_modules(packed.requirements))
    compare(expected, got)
    key = key_of("golden", Path(__file__), model=digest, rows=len(golden))
    store.remember(key, lambda: Made({"golden": _plain(golden), "predictions": expected}, {"model": digest}))
    megabytes = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
    return Packaged(folder, digest, megabytes, measured["milliseconds"], _pinned(packed))


def save(packed: Package, data: Path, folder: Path) -> None:
    """One MLflow model: our package as data, `ml` as code, a signature, a made-up example."""
    example = made_up_example(packed.contract)
    with warnings.catch_warnings():
        # A hint about integers that may be missing: a decision never is.
        warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer column")
        signature = infer_signature(example, packed.predict(example))
    if parse(packed.contract).is_recommendation:
        signature.inputs = _may_lack(signature.inputs)
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


def _may_lack(inputs: Schema) -> Schema:
    """Whoever asks with histories alone has each event count 1, and is of no segment."""
    columns = [{**one, "required": one["name"] not in ("weights", "segment")} for one in inputs.to_dict()]
    schema: Schema = Schema.from_json(json.dumps(columns))
    return schema


def made_up_example(contract: Mapping[str, Any]) -> pd.DataFrame:
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


def compare(expected: pd.DataFrame, got: pd.DataFrame, tolerance: float = 1e-12) -> None:
    """Raises PackageRefused unless both hold the same answers, numbers within `tolerance`."""
    if list(expected.columns) != list(got.columns) or len(expected) != len(got):
        raise PackageRefused(
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
            raise PackageRefused(
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

    Raises PackageRefused when the process fails, or when another `ml` than the model's own answered.
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
            raise PackageRefused(
                "a model that loads in a clean process", last[:300], "see the model's requirements"
            )
        measured: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        if not Path(measured["code"]).resolve().is_relative_to(model.resolve()):
            raise PackageRefused(
                "the model's own code", measured["code"], "remove that `ml` from the Python path"
            )
        return pd.read_parquet(answers), measured


def log_model(client: MlflowClient, run_id: str, packaged: Packaged) -> str:
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
class Version:
    """One version of a registered model."""

    name: str
    number: int
    digest: str
    source: str
    tags: Mapping[str, str]
    run_id: str = ""  # of the MLflow run that registered it


def find(client: MlflowClient, name: str, digest: str) -> Version | None:
    """The version whose package has this digest: registering twice gives one version."""
    found = client.search_model_versions(f"name = '{name}' and tags.`steward.digest` = '{digest}'")
    return min((_version(v) for v in found), key=lambda v: v.number, default=None)


def register(
    client: MlflowClient,
    name: str,
    run_id: str,
    packaged: Packaged,
    tags: Mapping[str, str],
    description: str,
) -> Version:
    """A new version of the registered model, or the one that holds this very package already."""
    known = find(client, name, packaged.digest)
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


def champion(client: MlflowClient, name: str) -> Version | None:
    """The version that the alias points to, if any."""
    try:
        return _version(client.get_model_version_by_alias(name, ALIAS))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def get_version(client: MlflowClient, name: str, number: int) -> Version:
    return _version(client.get_model_version(name, str(number)))


def versions(client: MlflowClient, name: str) -> dict[int, Version]:
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


def folder_of(client: MlflowClient, found: Version) -> Path | None:
    """The version's folder on this machine; None where MLflow has no longer what it registered."""
    uri = client.get_model_version_download_uri(found.name, str(found.number))
    if not mlflow.artifacts.list_artifacts(artifact_uri=uri, tracking_uri=client.tracking_uri):
        return None
    return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, tracking_uri=client.tracking_uri))


def fetch(client: MlflowClient, found: Version) -> Path:
    """The version's folder on this machine, its package and its code as they were registered.

    Raises PackageRefused for any other, and where it is gone: what is fetched will be run.
    """
    folder = folder_of(client, found)
    if folder is None:
        raise PackageRefused(
            f"the files of {found.name} version {found.number}", "none", "restore the model's artifacts"
        )
    manifest, _ = package.verify(folder / "data" / DATA, found.digest)
    if package.code_digest(folder / "code" / "ml") != manifest["code"]:
        raise PackageRefused(
            "the code that was registered with the model", "other code", "restore the model's artifacts"
        )
    return folder


def _version(raw: Any) -> Version:
    tags = dict(raw.tags)
    digest = tags.get("steward.digest", "")
    return Version(raw.name, int(raw.version), digest, raw.source, tags, raw.run_id or "")


def _golden_rows(test: Part) -> pd.DataFrame:
    """Rows with the most missing values first, so that reloading is tested where it is most likely to break."""
    holes = test.frame.isna().sum(axis=1).sort_values(ascending=False, kind="stable")
    rows = pd.concat([test.frame.loc[holes.index[: GOLDEN_ROWS // 2]], test.frame.head(GOLDEN_ROWS // 2)])
    return rows[~rows.index.duplicated()].reset_index(drop=True)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.reset_index(drop=True)


def _pinned(packed: Package) -> tuple[str, ...]:
    return tuple(f"{name}=={version(name)}" for name in (LOADER, *packed.requirements))


@dataclass(frozen=True)
class Registered:
    """A version of ours as the registry holds it, for whoever tidies up."""

    version: Version
    made: datetime
    aliased: bool


def registered(client: MlflowClient) -> list[Registered]:
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
                found.append(Registered(version, made, version.number in pointed_at))
    return found


def unregister(client: MlflowClient, version: Version) -> None:
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

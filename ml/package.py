"""Write a model to a folder of native files with a manifest of digests, and read it back. No pickle.

MLflow logs this folder with `loader_module="ml.package"`, so that any process with the model's own copy of `ml` can
load it. This is the only module of `ml` that reads or writes files, but for `ml.text.encoder_files`, which reads the
files of a pretrained encoder.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from ml.contract.json_text import read_json
from ml.contract.parser import parse
from ml.data.decisions import add_decisions, decide_row
from ml.data.target import PREDICTION_COLUMN
from ml.errors import PackagingError
from ml.estimator import Model, TabularModel, requirements_of
from ml.explanations.history_attribution import ExplainableModel, ItemScorer, add_explanations
from ml.features.fitted_features import FittedFeatures
from ml.features.model_inputs import cast_inputs, cast_row
from ml.serialization import class_name, load_model
from ml.text.reasons import add_word_reasons

MANIFEST = "manifest.json"
# Far above the size of any manifest that was written.
MAX_MANIFEST_BYTES = 2**24
# The summary of the training batch (`ml.drift.summary`); packages of version 0.2.0 have none.
REFERENCE = "reference.json"
# Folders inside a package; one without features predicts from the columns as they are.
MODEL_FOLDER, FEATURES_FOLDER = "model/", "features/"
RESTORE = "restore the model's artifacts"
FORMAT_VERSION = 1
# Name of the MLflow prediction parameter that asks for explanations.
REASONS_PARAMETER = "reasons"
# Distributions that the modules used by every prediction import.
REQUIREMENTS = ("numpy", "pandas", "pyarrow", "pydantic", "scipy")
# Required keys of a manifest besides `format`, and their types.
MANIFEST_KEYS = {"model": str, "code": str, "files": dict}


@dataclass(frozen=True)
class Package:
    """A model with the contract of its table, its decision rule, and hashes of the entities it was trained on.

    `decision` holds the thresholds of probabilities, half the width of intervals, or nothing. `training_entities` are
    salted 64-bit hashes (uint64): rows of these entities must not be used to evaluate this model. `reference` is the
    summary of the training batch as JSON (`ml.drift.summary`), empty where there is none. `features` are computed from
    the input columns of a table before the model sees them, None where it sees the columns as they are.
    """

    model: Model
    contract: Mapping[str, Any]
    decision: Mapping[str, float]
    training_entities: np.ndarray
    reference: bytes = b""
    features: FittedFeatures | None = None

    def model_frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return what the model sees of `frame`: its input columns as they were typed in training, and its features."""
        inputs = cast_inputs(frame, self.contract)
        return self.features.transform(inputs) if self.features else inputs

    def predict(self, frame: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Predict the rows or users of `frame`, with the columns of `ml.data.decisions.add_decisions`.

        `params` are MLflow's prediction parameters. For a recommender, `reasons` is the number of top items per user
        to explain, as in `ml.explanations.history_attribution.add_explanations`; for texts the number of words, as in
        `ml.text.reasons.add_word_reasons`. Raises PackagingError where the model has no reasons.
        """
        features = self.model_frame(frame)
        prediction = self.model.predict(features)
        if explained := int((params or {}).get(REASONS_PARAMETER, 0)):
            prediction = self._with_reasons(features, prediction, explained)
        return add_decisions(prediction, self.decision)

    def _with_reasons(self, frame: pd.DataFrame, prediction: pd.DataFrame, count: int) -> pd.DataFrame:
        if isinstance(self.model, ItemScorer | ExplainableModel):
            return add_explanations(self.model, frame, prediction, count)
        texts = [column for column in parse(self.contract).roles.text if column in frame.columns]
        if not texts:
            raise PackagingError(
                "a model that has reasons",
                class_name(self.model),
                f"leave out the parameter {REASONS_PARAMETER}",
            )
        return add_word_reasons(cast(TabularModel, self.model), frame, prediction, texts, count)

    def predict_row(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Predict one row from its JSON values by column name, as `predict` does for a frame of that row.

        Raises ValueError for a missing column, and PackagingError for a model that is not tabular.
        """
        if not hasattr(self.model, "predict_row"):
            raise PackagingError("a tabular model", class_name(self.model), "use predict")
        typed = cast_row(values, self._input_types)
        if self.features:
            row = self.model_frame(pd.DataFrame({c: [value] for c, value in typed.items()}))
            typed = {str(name): cell for name, cell in row.iloc[0].to_dict().items()}
        value = float(self.model.predict_row(typed))
        return {self._prediction_column: value, **decide_row(value, self.decision)}

    @property
    def requirements(self) -> tuple[str, ...]:
        """List the distributions that prediction needs, sorted: those of `ml` itself and those of the model."""
        return tuple(sorted({*REQUIREMENTS, *requirements_of([self.model, self.features])}))

    @cached_property
    def _input_types(self) -> dict[str, str]:
        parsed = parse(self.contract)
        return {c: parsed.read.columns[c] for c in parsed.inputs}

    @cached_property
    def _prediction_column(self) -> str:
        return PREDICTION_COLUMN[getattr(self.model, "target", "binary")]


def to_files(package: Package) -> dict[str, bytes]:
    """Serialise a package, as file contents by file name; the manifest has the model class and all other digests."""
    entities = io.BytesIO()
    features = package.features
    np.save(entities, np.sort(package.training_entities), allow_pickle=False)
    files = {
        **{MODEL_FOLDER + name: data for name, data in package.model.files().items()},
        **{FEATURES_FOLDER + name: data for name, data in (features.files() if features else {}).items()},
        "contract.json": _json(package.contract),
        "decision.json": _json(package.decision),
        "entities.npy": entities.getvalue(),
        **({REFERENCE: package.reference} if package.reference else {}),
    }
    manifest = {
        "format": FORMAT_VERSION,
        "model": class_name(package.model),
        # The same files give another model when other code reads them.
        "code": code_digest(Path(__file__).parent),
        "files": {name: _sha256(data) for name, data in files.items()},
    }
    return {**files, MANIFEST: _json(manifest)}


def write(package: Package, folder: Path) -> str:
    """Write a package into an empty folder; return its digest, which is that of the manifest."""
    files = to_files(package)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return _sha256(files[MANIFEST])


def read_contract(folder: Path, expected_digest: str | None = None) -> dict[str, Any]:
    """Read the contract of a verified package without importing its model class. Raises PackagingError."""
    return _contract(verify(folder, expected_digest)[1])


def read_training_entities(folder: Path, expected_digest: str | None = None) -> np.ndarray:
    """Read the sorted entity hashes (uint64) that a verified package was trained on, without importing its model class.

    Raises PackagingError.
    """
    return _entities(verify(folder, expected_digest)[1])


def read(folder: Path, expected_digest: str | None = None) -> Package:
    """Verify and load a package. Raises PackagingError, also for an intact file with invalid content."""
    manifest, files = verify(folder, expected_digest)
    model = load_model(manifest["model"], _files_in(MODEL_FOLDER, files))
    with _readable("features"):
        inside = _files_in(FEATURES_FOLDER, files)
        features = FittedFeatures.from_files(inside) if inside else None
    with _readable("decision.json"):
        decision = {**_parse_json(files["decision.json"])}
    reference = files.get(REFERENCE, b"")
    return Package(model, _contract(files), decision, _entities(files), reference, features)


def _files_in(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name.removeprefix(folder): data for name, data in files.items() if name.startswith(folder)}


def _contract(files: Mapping[str, bytes]) -> dict[str, Any]:
    with _readable("contract.json"):
        return read_json(files["contract.json"], "contract.json")


def _entities(files: Mapping[str, bytes]) -> np.ndarray:
    with _readable("entities.npy"):
        # Not `np.load`, which would also read an archive.
        return np.lib.format.read_array(io.BytesIO(files["entities.npy"]), allow_pickle=False)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Raise PackagingError for a file that cannot be read: a damaged file may raise any exception."""
    try:
        yield
    except Exception as error:
        raise PackagingError(
            f"a readable {name} beside the model",
            f"{type(error).__name__} while reading it",
            RESTORE,
        ) from error


def verify(folder: Path, expected_digest: str | None = None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read the manifest and all files of a package after checking their digests.

    `expected_digest` is that of the manifest. Raises PackagingError for a file that is missing, changed or not listed
    in the manifest, and for an invalid manifest.
    """
    manifest = _verified_manifest(folder, expected_digest)
    files = {name: (folder / name).read_bytes() for name in manifest["files"]}
    for name, data in files.items():
        if _sha256(data) != manifest["files"][name]:
            raise PackagingError(f"{name} with the digest of the manifest", "a changed file", RESTORE)
    return manifest, files


def _verified_manifest(folder: Path, expected: str | None) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise PackagingError(f"a package in {folder.name}/", f"no {MANIFEST}", RESTORE)
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise PackagingError(f"at most {MAX_MANIFEST_BYTES:,} bytes in {MANIFEST}", "more", RESTORE)
    data = path.read_bytes()
    if expected is not None and _sha256(data) != expected:
        raise PackagingError(
            f"the package {expected[:12]}", _sha256(data)[:12], "restore the artifacts that were registered"
        )
    try:
        manifest: dict[str, Any] = {**_parse_json(data)}
    except (ValueError, TypeError, RecursionError):
        raise PackagingError(f"a JSON object in {MANIFEST}", "something else", RESTORE) from None
    if manifest.get("format") != FORMAT_VERSION:
        raise PackagingError(
            f"package format {FORMAT_VERSION}",
            f"{manifest.get('format')!r}",
            "load it with the version of Steward that wrote it",
        )
    if invalid := [key for key, kind in MANIFEST_KEYS.items() if not isinstance(manifest.get(key), kind)]:
        raise PackagingError(
            f"{', '.join(MANIFEST_KEYS)} in {MANIFEST}",
            f"missing or of another type: {invalid}",
            RESTORE,
        )
    paths = list(folder.rglob("*"))
    if any(path.is_symlink() or not (path.is_file() or path.is_dir()) for path in paths):
        raise PackagingError(
            "only files and folders in a package", "a symbolic link or special file", "restore the artifacts"
        )
    present = {path.relative_to(folder).as_posix() for path in paths if path.is_file()} - {MANIFEST}
    if present != set(manifest["files"]):
        different = sorted(present ^ set(manifest["files"]))
        raise PackagingError(
            "the files of the manifest", f"missing or unknown: {different}", "restore the artifacts"
        )
    return manifest


def code_digest(folder: Path) -> str:
    """Compute the SHA-256 of all Python files in a copy of `ml`."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _json(value: Mapping[str, Any]) -> bytes:
    # Not sorted: the order of a contract's columns names the columns of a file without a header.
    return json.dumps(value, indent=1).encode()


def _parse_json(data: bytes) -> Any:
    """Parse JSON. Raises ValueError also for a key that an object has twice: readers disagree about its value."""

    def without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("expected each key once")
        return dict(pairs)

    return json.loads(data, object_pairs_hook=without_repeated_keys)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _load_pyfunc(path: str) -> Package:
    """Load the package for MLflow, which calls this function."""
    return read(Path(path))

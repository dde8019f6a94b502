"""A model as a folder of native files with a manifest of digests, and the way back. No pickle.

MLflow logs this folder with `loader_module="ml.package"`, so that any process with the model's own copy of `ml` can
load it. This is the only file of `ml` that touches the disk.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml.contract.parser import parse
from ml.data.casting import cast
from ml.data.target import PREDICTION
from ml.errors import PackagingError
from ml.estimator import Model
from ml.explanations.history_attribution import Explained, Scorer, with_reasons
from ml.serialization import class_name, load_model

MANIFEST = "manifest.json"
FORMAT = 1
# The parameter of a prediction that asks for them.
REASONS = "reasons"
# What the modules need that every package is predicted with.
REQUIREMENTS = ("numpy", "pandas", "pyarrow", "scipy")
# What a manifest holds besides its format.
KEYS = {"model": str, "code": str, "files": dict}


@dataclass(frozen=True)
class Package:
    """A model with what it needs to answer: its contract, its decision, and hashes of the entities it learned from.

    `entities` are salted 64-bit hashes (uint64, sorted): rows of these entities can never judge this model.
    """

    model: Model
    contract: Mapping[str, Any]
    decision: Mapping[str, float]
    entities: np.ndarray

    def predict(self, frame: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The model's prediction, with `decision` (0 or 1) beside a probability.

        `params` is MLflow's. Of a recommender `reasons` may say for how many of each user's best items to tell what
        of the history speaks for them, as `ml.explanations.history_attribution.with_reasons` does. Raises
        PackagingError where the model cannot.
        """
        features = as_features(frame, self.contract)
        prediction = self.model.predict(features)
        if best := int((params or {}).get(REASONS, 0)):
            if not isinstance(self.model, Scorer | Explained):
                raise PackagingError("a model that tells reasons", class_name(self.model), "ask for none")
            prediction = with_reasons(self.model, features, prediction, best)
        if "threshold" in self.decision:
            decided = prediction["probability"] >= self.decision["threshold"]
            prediction = prediction.assign(decision=decided.astype("int64"))
        return prediction

    def predict_row(self, values: Mapping[str, Any]) -> dict[str, float]:
        """As `predict`, of one row of a table from its cells by column name, without a frame.

        Cells that JSON knows are read as in a frame of their own. Raises ValueError where a column is missing, and
        PackagingError for a model that does not predict rows.
        """
        if not hasattr(self.model, "predict_row"):
            raise PackagingError("a model of rows", class_name(self.model), "use predict")
        kinds = self._kinds
        typed = {c: _cell(value, kinds[c]) for c, value in values.items() if c in kinds}
        prediction = {self._answer: float(self.model.predict_row(typed))}
        if "threshold" in self.decision:
            prediction["decision"] = int(prediction[self._answer] >= self.decision["threshold"])
        return prediction

    @property
    def requirements(self) -> tuple[str, ...]:
        """List the distributions that predicting needs, sorted: those of `ml` itself and those of the model."""
        return tuple(sorted({*REQUIREMENTS, *getattr(self.model, "requirements", ())}))

    @cached_property
    def _kinds(self) -> dict[str, str]:
        parsed = parse(self.contract)
        return {c: parsed.read.columns[c] for c in parsed.features}

    @cached_property
    def _answer(self) -> str:
        return PREDICTION[getattr(self.model, "target", "binary")]


def _cell(value: Any, kind: str) -> float | str | None:
    """One cell in the type that models were trained with."""
    if value is None or value != value:  # NaN
        return None
    if kind != "category":
        return float(value)
    # As in a frame: the code 1 is the category "1", also where it came as 1.0.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def as_features(frame: pd.DataFrame, contract: Mapping[str, Any]) -> pd.DataFrame:
    """The feature columns in the types that models were trained with; histories pass as they are."""
    parsed = parse(contract)
    if parsed.is_recommendation:
        return frame
    kinds = {c: parsed.read.columns[c] for c in parsed.features if c in frame.columns}
    # As in training: the code 1 is the category "1", also where a missing neighbour made the column a float one.
    texts, _ = cast(frame, {c: kind for c, kind in kinds.items() if kind == "category"})
    return pd.DataFrame(
        {c: texts[c] if c in texts else frame[c].astype("float64") for c in kinds}, index=frame.index
    )


def to_files(package: Package) -> dict[str, bytes]:
    """Everything, by file name; the manifest names the class and the digest of every other file."""
    entities = io.BytesIO()
    np.save(entities, np.sort(package.entities), allow_pickle=False)
    files = {
        **{f"model/{name}": data for name, data in package.model.files().items()},
        "contract.json": _json(package.contract),
        "decision.json": _json(package.decision),
        "entities.npy": entities.getvalue(),
    }
    manifest = {
        "format": FORMAT,
        "model": class_name(package.model),
        # The same files mean another model when other code reads them.
        "code": code_digest(Path(__file__).parent),
        "files": {name: _sha256(data) for name, data in files.items()},
    }
    return {**files, MANIFEST: _json(manifest)}


def write(package: Package, folder: Path) -> str:
    """Write the package into an empty folder; its digest."""
    files = to_files(package)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return _sha256(files[MANIFEST])


def read_contract(folder: Path, expected: str | None = None) -> dict[str, Any]:
    """Read the contract of a verified package without importing the class of its model. Raises PackagingError."""
    return _contract(verify(folder, expected)[1])


def read_entities(folder: Path, expected: str | None = None) -> np.ndarray:
    """Read the sorted entity hashes (uint64) that a verified package was trained on, without importing its model class.

    Raises PackagingError.
    """
    return _entities(verify(folder, expected)[1])


def read(folder: Path, expected: str | None = None) -> Package:
    """Load a package after it was verified. Raises PackagingError, also where a whole file is not what it should be."""
    manifest, files = verify(folder, expected)
    prefix = "model/"
    model_files = {name.removeprefix(prefix): data for name, data in files.items() if name.startswith(prefix)}
    model = load_model(manifest["model"], model_files)
    with _readable("decision.json"):
        decision = {**json.loads(files["decision.json"])}
    return Package(model, _contract(files), decision, _entities(files))


def _contract(files: Mapping[str, bytes]) -> dict[str, Any]:
    with _readable("contract.json"):
        return {**json.loads(files["contract.json"])}


def _entities(files: Mapping[str, bytes]) -> np.ndarray:
    with _readable("entities.npy"):
        # Not `np.load`, which would also take an archive.
        return np.lib.format.read_array(io.BytesIO(files["entities.npy"]), allow_pickle=False)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Refuse a file that its reader cannot read: a damaged file may raise anything."""
    try:
        yield
    except Exception as error:
        raise PackagingError(
            f"a readable {name} beside the model",
            f"{type(error).__name__} on reading it",
            "restore the model's artifacts",
        ) from error


def verify(folder: Path, expected: str | None = None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest and the content of every file, each as its digest says, the manifest's digest being `expected`.

    Raises PackagingError when a file is missing, was changed, or is not named in the manifest, or when the manifest
    is none.
    """
    manifest = _verified_manifest(folder, expected)
    files = {name: (folder / name).read_bytes() for name in manifest["files"]}
    for name, data in files.items():
        if _sha256(data) != manifest["files"][name]:
            raise PackagingError(
                f"{name} as the manifest says", "a changed file", "restore the model's artifacts"
            )
    return manifest, files


def _verified_manifest(folder: Path, expected: str | None) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise PackagingError(f"a package in {folder.name}/", "no manifest", "restore the model's artifacts")
    data = path.read_bytes()
    if expected is not None and _sha256(data) != expected:
        raise PackagingError(
            f"the package {expected[:12]}", _sha256(data)[:12], "restore the artifacts that were registered"
        )
    try:
        manifest: dict[str, Any] = {**json.loads(data)}
    except (ValueError, TypeError, RecursionError):
        raise PackagingError(
            f"a JSON object in {MANIFEST}", "something else", "restore the model's artifacts"
        ) from None
    if manifest.get("format") != FORMAT:
        raise PackagingError(
            f"package format {FORMAT}", f"{manifest.get('format')!r}", "load it with its own version"
        )
    if wrong := [key for key, kind in KEYS.items() if not isinstance(manifest.get(key), kind)]:
        raise PackagingError(
            f"{', '.join(KEYS)} in {MANIFEST}",
            f"no or another kind of {wrong}",
            "restore the model's artifacts",
        )
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
    if present != set(manifest["files"]):
        odd = sorted(present ^ set(manifest["files"]))
        raise PackagingError(
            "the files of the manifest", f"missing or unknown: {odd}", "restore the artifacts"
        )
    return manifest


def code_digest(folder: Path) -> str:
    """SHA-256 of all Python files in a copy of `ml`."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _json(value: Mapping[str, Any]) -> bytes:
    # Not sorted: in a contract the order of the columns says which is which in a file without header.
    return json.dumps(value, indent=1).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _load_pyfunc(path: str) -> Package:
    """What MLflow calls."""
    return read(Path(path))

"""Train: fit one candidate, or reuse the fit that an earlier run stored."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from importlib import import_module
from math import isfinite
from typing import Any

from prefect import State, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from ml.errors import CandidateSkipped
from ml.estimator import Candidate, FitResources, Model, files_digest
from ml.evaluation.cross_fit import predict_out_of_fold
from ml.serialization import class_name
from tasks.error_boundary import redact_errors
from tasks.facts import FitFacts
from tasks.fit_memory import is_out_of_memory, out_of_memory, require_memory
from tasks.storage.checkpoints import Checkpoints
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of
from tasks.stored_datasets import TRAIN_VALID, load_dataset, stored_settings

# Prefect's name for the state of a candidate that was skipped.
SKIPPED = "Skipped"
CODE = ("tasks/train.py", "tasks/error_boundary.py", "tasks/fit_memory.py", "tasks/stored_datasets.py", "ml")
LIBRARIES = (
    "lightgbm",
    "scikit-learn",
    "implicit",
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "scipy",
    "optuna",
)

# Details of a fit, which the command line shows with --verbose only.
log = logging.getLogger("steward.fit")


class FinalFitPolicy(Enum):
    """How the selected candidate becomes the final model that is evaluated on test."""

    # The model that was selected.
    KEEP_SELECTED = "keep"
    # `refit`: the most recent events before the test matter most.
    REFIT_ON_TRAIN_VALID = "refit"


@task(name="train", task_run_name="train {name}", cache_policy=NO_CACHE)
@redact_errors
def train(
    name: str,
    candidate: Candidate,
    splits: StoredResult,
    resources: FitResources,
    store: Store,
    dataset: str = "train",
) -> StoredResult | State[Any]:
    """Run `fit`; for a candidate that cannot be fitted to these data, end in the state `SKIPPED` with the reason."""
    try:
        return fit(name, candidate, splits, resources, store, dataset)
    except CandidateSkipped as reason:
        skipped: State[Any] = Completed(name=SKIPPED, message=str(reason))
        return skipped


def fit(
    name: str,
    candidate: Candidate,
    splits: StoredResult,
    resources: FitResources,
    store: Store,
    dataset: str = "train",
) -> StoredResult:
    """Store the files of a model that is fitted to the dataset `train` or `train_valid`. Raises CandidateSkipped."""
    key = _fit_key(candidate, splits, dataset, resources)
    return _stored_fit(name, candidate, splits, dataset, resources, _StepCache(store, key, f"train {name}"))


@task(name="cross-fit", task_run_name="cross-fit {name}", cache_policy=NO_CACHE)
@redact_errors
def cross_fit(
    name: str, candidate: Candidate, splits: StoredResult, resources: FitResources, store: Store
) -> StoredResult:
    """Store out-of-fold predictions of the rows of train and valid, in their order, as the table `predictions`."""
    key = key_of("cross-fit", CODE, LIBRARIES, fit=_fit_key(candidate, splits, TRAIN_VALID, resources))

    def compute() -> StageResult:
        started = time.perf_counter()
        found = predict_out_of_fold(candidate, load_dataset(splits, TRAIN_VALID), resources)
        facts = {
            "candidate": name,
            "stopped_by": "budget" if found.timed_out else None,
            "is_constant": found.is_constant,
            "seconds": time.perf_counter() - started,
        }
        return StageResult({"predictions": found.predictions}, facts)

    return store.get_or_compute(key, compute, f"cross-fit {name}")


@task(name="refit", task_run_name="refit {name}", cache_policy=NO_CACHE)
@redact_errors
def refit(
    name: str, candidate: Candidate, splits: StoredResult, resources: FitResources, store: Store
) -> StoredResult:
    """Store the files of a model that is fitted to the dataset `train_valid`, without a time limit."""
    key = _fit_key(candidate, splits, TRAIN_VALID, resources)
    return _stored_fit(
        name, candidate, splits, TRAIN_VALID, resources, _StepCache(store, key, f"refit {name}")
    )


def _fit_key(candidate: Candidate, splits: StoredResult, dataset: str, resources: FitResources) -> str:
    return key_of(
        "train",
        CODE,
        LIBRARIES,
        candidate=serialize_candidate(candidate),
        files=files_digest(candidate),
        # The digest covers all tables, the side table of items too, but not the facts.
        splits=splits.digest,
        dataset=dataset,
        **stored_settings(splits),
        seed=resources.seed,
        seconds=resources.seconds,
        trials=resources.trials,
        device=resources.device,
    )


class _StepCache:
    """The stored steps of one fit, of the `stage` of that name; `seconds` is what the steps that a killed run completed
    have cost.

    Files of a step are stored for all fits, and checkpoints of this one until it is stored.
    """

    def __init__(self, store: Store, fit_key: str, stage: str) -> None:
        self.store, self.fit_key, self.stage, self.seconds = store, fit_key, stage, 0.0
        self.checkpoints = Checkpoints(store.folder, fit_key)

    def get_or_compute(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the facts of a step as `ml.estimator.StepCache`; computed facts have `seconds`."""
        key = key_of("step", CODE, LIBRARIES, fit=self.fit_key, step=name)
        stored = self.store.get_or_compute(key, lambda: StageResult({}, compute()), f"step {name}")
        self.seconds += stored.facts["seconds"] if stored.reused else 0.0
        return dict(stored.facts)

    def files(self, key: str, compute: Callable[[], Mapping[str, bytes]]) -> Mapping[str, bytes]:
        """Return files as `ml.fit_storage.FitStorage.files`: other fits with the same code find them too."""
        store_key = key_of("files of a step", CODE, LIBRARIES, files=key)
        result = self.store.get_or_compute(store_key, lambda: StageResult({}, {}, compute()), "step files")
        return result.files()

    def load_checkpoint(self, key: str) -> bytes | None:
        """Return the last checkpoint of a killed run of this fit; with `fresh`, begin again."""
        return None if self.store.fresh else self.checkpoints.load(key)

    def save_checkpoint(self, key: str, make: Callable[[], bytes]) -> None:
        """Save a checkpoint; a fit that cannot, because the disk is full, goes on without."""
        try:
            self.checkpoints.save(key, make())
        except OSError as error:
            log.warning("    no checkpoint could be saved (%s)", error.strerror or type(error).__name__)


def _stored_fit(
    name: str,
    candidate: Candidate,
    splits: StoredResult,
    dataset: str,
    resources: FitResources,
    steps: _StepCache,
) -> StoredResult:
    """Return the stored fit, or fit and store it; checkpoints are of no use from then on."""
    stored = steps.store.get_or_compute(
        steps.fit_key, lambda: _fit(name, candidate, splits, dataset, resources, steps), steps.stage
    )
    steps.checkpoints.delete()
    return stored


def _fit(
    name: str,
    candidate: Candidate,
    splits: StoredResult,
    dataset: str,
    resources: FitResources,
    steps: _StepCache,
) -> StageResult:
    resources = replace(
        resources,
        cached_step=steps.get_or_compute,
        storage=steps,
        log_progress=lambda message: log.info("    %s: %s", name, message),
    )
    started = time.perf_counter()
    try:
        training, valid = load_dataset(splits, dataset), load_dataset(splits, "valid")
        require_memory(training.frame, resources.threads)
        model = candidate.fit(training, valid, resources)
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(dataset) from None
        raise
    facts: FitFacts = {
        "candidate": name,
        "model": class_name(model),
        "parameters": serialize_candidate(candidate),
        "importance": _importance(model),
        "composition": _composition(model),
        "stopped_by": getattr(model, "stopped_by", None),
        "seconds": time.perf_counter() - started + steps.seconds,
        "time_limit": resources.seconds if isfinite(resources.seconds) else None,
    }
    return StageResult({}, facts, model.files())


def serialize_candidate(value: Any) -> Any:
    """Return hyperparameters as JSON values; a dataclass becomes an object with its class as `candidate`."""
    if is_dataclass(value):
        values = {field.name: serialize_candidate(getattr(value, field.name)) for field in fields(value)}
        return {"candidate": f"{type(value).__module__}:{type(value).__qualname__}", **values}
    if isinstance(value, Mapping):
        return {str(name): serialize_candidate(item) for name, item in value.items()}
    return [serialize_candidate(item) for item in value] if isinstance(value, tuple | list) else value


def restore_candidate(serialized: Any) -> Any:
    """Return what `serialize_candidate` serialized, read back from JSON.

    Raises ImportError, AttributeError or TypeError if `ml` has no such class, or the class no such fields.
    """
    if isinstance(serialized, list):
        return tuple(restore_candidate(item) for item in serialized)
    if not isinstance(serialized, Mapping):
        return serialized
    values = {name: restore_candidate(item) for name, item in serialized.items() if name != "candidate"}
    if "candidate" not in serialized:
        return values
    module, _, class_in_module = serialized["candidate"].partition(":")
    # Recorded facts are data: nothing outside of `ml` is imported for them.
    if not module.startswith("ml."):
        raise ImportError(f"expected a class of ml, got {serialized['candidate']}")
    return getattr(import_module(module), class_in_module)(**values)


def _composition(model: Model) -> dict[str, Any]:
    """Return what a combined model is composed of; empty for other models."""
    composition = getattr(model, "composition", None)
    return dict(composition()) if composition else {}


def _importance(model: Model) -> dict[str, float]:
    """Return the contribution of each column, summing to 1; empty for models without columns."""
    importance = getattr(model, "importance", None)
    return {str(k): float(v) for k, v in importance().items()} if importance else {}

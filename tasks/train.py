"""Train: fit one candidate, or find the fit that an earlier run left in the store."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from prefect import State, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from ml.errors import CandidateSkipped
from ml.estimator import Candidate, FitResources
from ml.serialization import class_name
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of
from tasks.stored_datasets import load_dataset, settings_of

# The name of the state in Prefect.
LEFT_OUT = "Left out"
LIBRARIES = ("lightgbm", "scikit-learn", "implicit", "torch", "numpy", "scipy", "optuna")

log = logging.getLogger("steward")


@task(name="train", task_run_name="train {name}", cache_policy=NO_CACHE)
def train(
    name: str, candidate: Candidate, parts: StoredResult, resources: FitResources, budget: float, store: Store
) -> StoredResult | State[Any]:
    """`fit`; or the state in which the task ends where the candidate does not suit, with the reason: no failure."""
    try:
        return fit(name, candidate, parts, resources, budget, store)
    except CandidateSkipped as why:
        left_out: State[Any] = Completed(name=LEFT_OUT, message=str(why))
        return left_out


def fit(
    name: str, candidate: Candidate, parts: StoredResult, resources: FitResources, budget: float, store: Store
) -> StoredResult:
    """The fitted model's files, learned from `train`; its facts hold the seconds that the fit took.

    `resources.seconds` is what is left of `budget`; only the budget is part of the key, because a repeated run
    counts the recorded seconds and so comes to the same rest. Raises CandidateSkipped.
    """
    return _fit(name, candidate, parts, "train", resources, budget, store)


def keep(
    name: str,
    candidate: Candidate,
    fitted: StoredResult,
    parts: StoredResult,
    resources: FitResources,
    store: Store,
) -> StoredResult:
    """The model that valid rows chose is the one that is judged: it needed them for stopping early."""
    return fitted


@task(name="refit", task_run_name="refit {name}", cache_policy=NO_CACHE)
def refit(
    name: str,
    candidate: Candidate,
    fitted: StoredResult,
    parts: StoredResult,
    resources: FitResources,
    store: Store,
) -> StoredResult:
    """The chosen candidate, learned again from all that happened before the test: tastes of yesterday matter most."""
    return _fit(name, candidate, parts, "refit", resources, float("inf"), store)


Finalise = Callable[[str, Candidate, StoredResult, StoredResult, FitResources, Store], StoredResult]


def _fit(
    name: str,
    candidate: Candidate,
    parts: StoredResult,
    learn_from: str,
    resources: FitResources,
    budget: float,
    store: Store,
) -> StoredResult:
    key = key_of(
        "train",
        Path(__file__),
        LIBRARIES,
        candidate=described(candidate),
        parts=parts.digest,
        learn_from=learn_from,
        # Of the side table it needs nothing: the digest of the parts covers it.
        **settings_of(parts),
        seed=resources.seed,
        budget=budget,
        trials=resources.trials,
        device=resources.device,
    )

    def make() -> StageResult:
        learning, valid = (load_dataset(parts, part) for part in (learn_from, "valid"))
        steps = _Steps(store, key)
        begun = time.perf_counter()
        model = candidate.fit(
            learning,
            valid,
            replace(
                resources,
                cached_step=steps.remember,
                log_progress=lambda said: log.info("    %s: %s", name, said),
            ),
        )
        seconds = time.perf_counter() - begun + steps.seconds
        facts = {
            "candidate": name,
            "model": class_name(model),
            "parameters": described(candidate),
            "importance": _importance(model),
            "made_of": _made_of(model),
            "stopped_by": getattr(model, "stopped_by", None),
            "seconds": seconds,
        }
        return StageResult({}, facts, model.files())

    return store.get_or_compute(key, make)


class _Steps:
    """The steps of one fit in the store. `seconds` is what those cost that a killed run had taken before."""

    def __init__(self, store: Store, fit: str) -> None:
        self.store, self.fit, self.seconds = store, fit, 0.0

    def remember(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """As `ml.estimator.Remember`; what is made has `seconds` among its facts."""
        key = key_of("step", Path(__file__), LIBRARIES, fit=self.fit, step=name)
        known = self.store.get_or_compute(key, lambda: StageResult({}, make()))
        self.seconds += known.facts["seconds"] if known.reused else 0.0
        return dict(known.facts)


def described(value: Any) -> Any:
    """Hyperparameters as JSON knows them: whatever is made of fields, however deep, with the name of its class."""
    if is_dataclass(value):
        own = {field.name: described(getattr(value, field.name)) for field in fields(value)}
        return {"candidate": f"{type(value).__module__}:{type(value).__qualname__}", **own}
    if isinstance(value, Mapping):
        return {str(name): described(one) for name, one in value.items()}
    return [described(one) for one in value] if isinstance(value, tuple | list) else value


def rebuilt(told: Any) -> Any:
    """What `described` told, read back from JSON.

    Raises ImportError, AttributeError or TypeError where the code of `ml` has no such class or fields.
    """
    if isinstance(told, list):
        return tuple(rebuilt(one) for one in told)
    if not isinstance(told, Mapping):
        return told
    own = {name: rebuilt(one) for name, one in told.items() if name != "candidate"}
    if "candidate" not in told:
        return own
    module, _, kind = told["candidate"].partition(":")
    if not module.startswith("ml."):
        raise ImportError(f"expected a class of ml, got {told['candidate']}")
    return getattr(import_module(module), kind)(**own)


def _made_of(model: object) -> Mapping[str, Any]:
    """What a model that mixes others tells of them; empty for all others."""
    described = getattr(model, "described", None)
    return dict(described()) if described else {}


def _importance(model: object) -> Mapping[str, float]:
    """What each column contributes, summing to 1; empty for models that have no columns."""
    importance = getattr(model, "importance", None)
    return {str(k): float(v) for k, v in importance().items()} if importance else {}

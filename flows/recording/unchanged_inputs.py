"""Detect whether inputs changed since the last run that ended with a verdict."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flows.recording.code_version import FOLDERS
from flows.use_case import RunParameters, UseCase
from ml.contract.schema import Contract
from ml.serialization import class_name
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of
from tasks.train import LIBRARIES


def input_key(case: UseCase, contract: Contract, source: StoredResult, params: RunParameters) -> str:
    """Return the key of all that an outcome depends on: data, contract, use case, parameters, code, libraries."""
    return key_of(
        "outcome",
        FOLDERS,
        (*LIBRARIES, "great_expectations", "pandas"),
        source=source.digest,
        contract=contract.source,
        case=case.name,
        candidates={name: _described(candidate) for name, candidate in case.candidates.items()},
        evaluator=_described(case.evaluator),
        thresholds=asdict(case.thresholds),
        split=case.split.__name__,
        reads_texts=case.reads_texts,
        final_fit=case.final_fit.value,
        params=[str(value) for value in (params.seed, params.time_budget, params.trials, params.as_of)],
    )


def _described(value: Any) -> list[Any]:
    return [class_name(value), asdict(value)]


def last_outcome(store: Store, key: str) -> Mapping[str, Any] | None:
    """Return the outcome of the last run with these inputs; None where there was none."""
    result = store.lookup(key, "outcome")
    return result.facts if result else None


def store_outcome(store: Store, key: str, outcome: Mapping[str, Any]) -> None:
    """Keep the outcome for these inputs; it replaces an earlier one only if the champion is another version."""
    previous = last_outcome(store, key)
    if not previous or previous["version"] != outcome["version"]:
        Store(store.folder, fresh=True).get_or_compute(key, lambda: StageResult({}, outcome))

"""Compare two versions of a registered model: on the same test rows, and by what they were made from. Read-only."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from flows.housekeeping.ledgers import open_ledger
from flows.lineage.model_version import ModelVersionRecord
from flows.use_case import UseCase
from ml.contract.parser import parse
from ml.data.dataset import Dataset
from ml.errors import PackagingError, UsageError
from ml.evaluation.confidence_intervals import Difference
from ml.package import read_training_entities
from tasks import activity
from tasks.clean_process import predict_in_clean_process
from tasks.ledger import proven_digests
from tasks.storage.content_store import StoredResult
from tasks.stored_datasets import load_dataset
from tasks.tracking import registry

# Values of one kind that are shown where two versions differ.
MAX_DETAILS = 20
MIN_ROWS = 2


@dataclass(frozen=True)
class MetricComparison:
    """The metrics of both versions on the test rows of version `rows_of` that neither was trained on.

    `difference` is by how much the second version is better than the first in the primary metric, paired by unit.
    """

    rows_of: int
    rows: int
    rows_left_out: int
    primary: str
    first: Mapping[str, float]
    second: Mapping[str, float]
    difference: Difference


@dataclass(frozen=True)
class RecordedDifference:
    """One thing that both versions were made from: whether it is the same, and its parts that differ."""

    subject: str
    is_same: bool
    details: tuple[str, ...] = ()


def compare_metrics(first: ModelVersionRecord, second: ModelVersionRecord, case: UseCase) -> MetricComparison:
    """Let both versions predict the same rows, each with its own code in a clean process.

    Of the two test datasets, it is the one with more rows that neither version was trained on; of equals the second
    version's. Raises UsageError without any such rows, PackagingError and LedgerError for versions that cannot be used.
    """
    case = case.for_contract(parse(second.package.contract))
    evaluator = case.evaluator
    tests = [(record, test) for record in (second, first) if (test := _test_dataset(record)) is not None]
    if not tests:
        raise UsageError(
            f"the test rows of version {first.version.number} or {second.version.number} in the content store",
            "none",
            "run again on the same data, which computes them again",
        )
    candidates = [(record, test, _shared_rows(test, (first, second), case)) for record, test in tests]
    record, test, kept = max(candidates, key=lambda each: len(each[2]))
    rows_of = record.version.number
    if len(kept) < MIN_ROWS:
        raise UsageError(
            "test rows that neither version was trained on",
            f"{len(kept)} of {len(test.frame)} of version {rows_of}",
            "compare versions whose test rows overlap",
        )
    shared = test.take(kept)
    earlier, later = _predict(first, shared.frame), _predict(second, shared.frame)
    return MetricComparison(
        rows_of,
        len(kept),
        len(test.frame) - len(kept),
        evaluator.primary,
        evaluator.metrics(shared, earlier, _decision(first)),
        evaluator.metrics(shared, later, _decision(second)),
        evaluator.paired_difference(shared, later, earlier),
    )


def _test_dataset(record: ModelVersionRecord) -> Dataset | None:
    """Return the test dataset of the run of a version; None where the content store no longer has it."""
    stored = record.stored_object(record.stages.get("split", {}).get("digest", ""))
    if stored.path is None:
        return None
    manifest = stored.manifest
    tables, facts = tuple(manifest["tables"]), manifest["facts"]
    return load_dataset(StoredResult(manifest["digest"], stored.path, tables, facts, reused=True), "test")


def _shared_rows(test: Dataset, records: Iterable[ModelVersionRecord], case: UseCase) -> np.ndarray:
    """Return the positions of the rows that none of the versions was trained on."""
    kept = np.arange(len(test.frame))
    for record in records:
        kept = np.intersect1d(kept, _rows_not_trained_on(record, test, case))
    return kept


def _rows_not_trained_on(record: ModelVersionRecord, test: Dataset, case: UseCase) -> np.ndarray:
    if record.package.path is None:
        raise PackagingError(
            f"the package of version {record.version.number}",
            record.package.reason,
            "restore the model's artifacts",
        )
    entities = read_training_entities(record.package.path, record.version.digest)
    return case.evaluator.rows_not_trained_on(test, entities)


def _predict(record: ModelVersionRecord, frame: pd.DataFrame) -> pd.DataFrame:
    activity.begin(f"predict with version {record.version.number}")
    opened = open_ledger(record.settings, record.client, record.version.name, read_only=True)
    digests = proven_digests(*opened, record.version.number)
    with registry.verified_copy(record.client, record.version, digests) as folder:
        predictions, _ = predict_in_clean_process(folder, frame)
    return predictions


def _decision(record: ModelVersionRecord) -> Mapping[str, float]:
    leaders = [entry["decision"] for entry in record.facts.get("leaderboard", []) if entry["leads"]]
    return leaders[0] if leaders else {}


def recorded_differences(
    first: ModelVersionRecord, second: ModelVersionRecord
) -> Iterator[RecordedDifference]:
    """Yield data, contract, code, candidate, parameters and libraries of both versions, as their runs recorded them."""
    for subject, describe in (
        ("data", _data),
        ("contract", lambda record: record.package.contract),
        ("code", _code),
        ("candidate", lambda record: {"candidate": record.version.tags.get("candidate", "")}),
        ("parameters", _parameters),
        ("libraries", lambda record: record.facts.get("versions", {})),
    ):
        details = _differing(describe(first), describe(second))
        shown = details[:MAX_DETAILS]
        if len(details) > MAX_DETAILS:
            shown.append(f"and {len(details) - MAX_DETAILS} more")
        yield RecordedDifference(subject, not details, tuple(shown))


def _data(record: ModelVersionRecord) -> dict[str, Any]:
    """Return what identifies the data, with their counts, which tell more to people than digests."""
    facts = record.facts
    validation, split = facts.get("validate", {}), facts.get("split", {})
    origin = dict(facts.get("source", {}).get("origin", {}))
    files = {name: sha[:12] for name, sha in origin.pop("files", {}).items()}
    return {
        "table": record.stages.get("source", {}).get("digest", "")[:12],
        "file": files,
        **origin,
        "rows": {name: validation.get(name) for name in ("rows", "clean", "quarantined", "excluded")},
        "dataset": {name: size["rows"] for name, size in split.get("datasets", {}).items()},
        "test rows": record.stages.get("split", {}).get("digest", "")[:12],
    }


def _code(record: ModelVersionRecord) -> dict[str, Any]:
    digests = record.facts.get("code", {}).get("digests", {})
    commit = record.facts.get("commit")
    return {
        "commit": commit[:12] if commit else None,
        **{f"{folder}/": digest[:12] for folder, digest in digests.items()},
    }


def _parameters(record: ModelVersionRecord) -> dict[str, Any]:
    """Return the parameters of the run and the hyperparameters of the candidate."""
    stage = record.stages.get(f"train {record.version.tags.get('candidate', '')}", {})
    # Data and contract are compared by their content.
    run = {k: v for k, v in record.facts.get("params", {}).items() if k not in ("data", "contract", "fresh")}
    return {**run, "hyperparameters": stage.get("parameters", {})}


def _differing(first: Any, second: Any, path: str = "") -> list[str]:
    """List the values that differ, each with the path to it. Lists are values of their own."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        names = dict.fromkeys((*first, *second))
        return [
            line
            for name in names
            for line in _differing(first.get(name), second.get(name), f"{path}.{name}" if path else str(name))
        ]
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = enumerate(zip(first, second, strict=True))
        return [line for n, (a, b) in pairs for line in _differing(a, b, f"{path}[{n}]")]
    return [] if first == second else [f"{path}: {_short(first)}, {_short(second)}"]


def _short(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""Train a model version again from its records, in an isolated store, and compare the results.

Stages run as plain functions: neither Prefect nor the state directory is changed.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from flows.housekeeping.ledgers import open_ledger
from flows.lineage import provenance
from flows.lineage.model_version import ModelVersionRecord
from flows.lineage.step import OK
from flows.run_context import (
    RunContext,
    build_package,
    final_model,
    prepare_features,
    rows_to_fit,
    split_batch,
    validate_batch,
)
from flows.use_case import RunParameters, UseCase
from ml.contract.parser import parse
from ml.data.dataset import Dataset
from ml.errors import DataGateError, PackagingError, StewardError, UsageError
from ml.estimator import Candidate, FitResources
from ml.package import MANIFEST, REFERENCE, Package, to_files
from ml.simulators import SIMULATORS
from tasks import packaging
from tasks.clean_process import predict_in_clean_process
from tasks.data_access.locate import DatasetSource
from tasks.drift import summarize_batch
from tasks.evaluate import (
    EvaluationSettings,
    FinalFit,
    build_leaderboard,
    evaluate_on_test,
    leaderboard_entries,
)
from tasks.facts import LeaderboardEntry
from tasks.ledger import proven_digests
from tasks.source import read_source
from tasks.storage.content_store import Store, StoredResult
from tasks.stored_datasets import TRAIN_VALID, load_dataset
from tasks.tracking import registry
from tasks.train import cross_fit, fit, restore_candidate

TRAIN, REFIT, CROSS_FIT = "train ", "refit ", "cross-fit "
PREDICTIONS = "predictions"
Fits = Mapping[str, StoredResult]
USE_RECORDED_CODE = "check out the commit that trained this version"


@dataclass(frozen=True)
class Comparison:
    """One result that was computed again: recorded and current value, mostly digests."""

    name: str
    is_same: bool
    recorded: str
    current: str


@dataclass(frozen=True)
class _StageComparer:
    """Compares the digest of each stage that ends with the recorded one."""

    record: ModelVersionRecord
    comparisons: list[Comparison] = field(default_factory=list)

    def stage_completed(self, name: str, result: StoredResult) -> None:
        """Compare a stage, if it was recorded."""
        if name in self.record.stages:
            recorded = str(self.record.stages[name]["digest"])
            self.comparisons.append(Comparison(name, result.digest == recorded, recorded, result.digest))

    def take(self) -> list[Comparison]:
        """Return the comparisons since the last call."""
        taken = list(self.comparisons)
        self.comparisons.clear()
        return taken


ReproductionContext = RunContext[_StageComparer]


def reproduce(record: ModelVersionRecord, case: UseCase) -> Iterator[Comparison]:
    """Yield a comparison for each stage, each file of the package and last the predictions.

    Raises UsageError where the facts are missing, PackagingError where the package is damaged, and DataGateError where
    a source file is missing or modified. A gate that stops the run now is yielded as a difference, and the last one.
    """
    if not record.facts:
        raise UsageError(
            f"the facts of {record.version.name} version {record.version.number}",
            "none",
            "see `steward lineage`; restore MLflow's artifacts",
        )
    if record.package.path is None:
        raise PackagingError("the registered package", record.package.reason, "restore the model's artifacts")
    source = _recorded_source(record)
    as_of = record.facts["params"].get("as_of")
    params = {**record.facts["params"], "as_of": datetime.fromisoformat(as_of) if as_of else None}
    known = {name: params[name] for name in RunParameters.__dataclass_fields__ if name in params}
    with tempfile.TemporaryDirectory(prefix="steward-reproduce-") as scratch:
        context = RunContext(
            case.for_contract(source.contract),
            RunParameters(**known),
            source,
            record.settings,
            Store(Path(scratch)),
            _StageComparer(record),
            as_tasks=False,
        )
        try:
            yield from _train_again(context)
        except StewardError as error:
            yield from context.listener.take()
            yield Comparison(f"{error.gate} gate", False, "passed", str(error))


def _recorded_source(record: ModelVersionRecord) -> DatasetSource:
    """Return contract and files as recorded. Raises DataGateError where one is missing or modified."""
    contract = parse(record.package.contract)
    simulator = contract.read.simulator
    if simulator and simulator not in SIMULATORS:
        raise DataGateError(f"the simulator {simulator}", "none of that name", USE_RECORDED_CODE)
    files = []
    for file in provenance.source_files(record):
        if file.status != OK or file.path is None:
            raise DataGateError(
                f"{file.name} with the sha256 {file.sha256[:12]}",
                f"another file {file.path}" if file.path else "none",
                "put the file back where it was, or in STEWARD_DATA_DIR",
            )
        files.append(file.path)
    table = contract.item_attributes
    attributes = next((path for path in files if table and path.name == table.file), None)
    tables = tuple(path for path in files if path is not attributes)
    return DatasetSource(record.facts["data"], contract, tables, attributes)


def _train_again(context: ReproductionContext) -> Iterator[Comparison]:
    record, comparer = context.listener.record, context.listener
    raw = read_source(context.source, context.store)
    comparer.stage_completed("source", raw)
    yield from comparer.take()
    clean = validate_batch(context, raw)
    # Packages of version 0.2.0 have no summary. The comparison itself is not repeated: it changes no result.
    has_summary = REFERENCE in record.package.manifest["files"]
    summary = None
    if has_summary:
        summary = context.run_stage("summarize", summarize_batch, clean, context.contract)
    splits = split_batch(context, clean)
    datasets = prepare_features(context, splits)
    yield from comparer.take()
    fitted, predicted = dict[str, StoredResult](), dict[str, StoredResult]()
    rows = rows_to_fit(context, datasets)
    for name, resources in _recorded_fits(context):
        candidate = _candidate(context, name)
        fitted[name] = fit(name, candidate, datasets, resources, context.store, rows)
        comparer.stage_completed(f"{TRAIN}{name}", fitted[name])
        if rows == TRAIN_VALID:
            stage = f"{CROSS_FIT}{name}"
            predicted[name] = context.run_stage(stage, cross_fit, name, candidate, datasets, resources)
        yield from comparer.take()
    leaderboard = build_leaderboard.fn(fitted, predicted, datasets, context.case.evaluator, context.store)
    comparer.stage_completed("leaderboard", leaderboard)
    yield from comparer.take()
    leader = next(entry for entry in leaderboard_entries(leaderboard, fitted) if entry["leads"])
    registered = record.version.tags["candidate"]
    yield Comparison("selection", leader["candidate"] == registered, registered, leader["candidate"])
    final = _final_fit(context, leader, fitted, datasets)
    roles = context.contract.roles
    settings = EvaluationSettings(context.case.evaluator, roles.sensitive, context.params.seed)
    evaluation = evaluate_on_test.fn(final, datasets, raw, settings, context.store)
    comparer.stage_completed("evaluation", evaluation)
    yield from comparer.take()
    package = build_package(context, final, datasets, summary)
    yield from _compare_package(record, package)
    yield _compare_predictions(record, package, load_dataset(splits, "test"))


def _recorded_fits(context: ReproductionContext) -> Iterator[tuple[str, FitResources]]:
    """Yield the candidates that were fitted, in order, with their recorded resources.

    Only fits that the time budget stopped get a time limit: on a slower machine the others are still the same.
    """
    record, budget, spent = context.listener.record, context.params.time_budget, 0.0
    entries = {entry["candidate"]: entry for entry in record.facts["leaderboard"]}
    for stage, recorded in record.stages.items():
        if stage.startswith(TRAIN):
            name = stage.removeprefix(TRAIN)
            # A candidate that predicted a constant is fitted again, but has no entry.
            entry = entries.get(name, {})
            fits = (entry, recorded, record.stages.get(f"{CROSS_FIT}{name}", {}))
            is_limited = any(facts.get("stopped_by") == "budget" for facts in fits)
            trials = len(entry.get("composition", {}).get("trials", ()))
            # Version 0.2.0 gave each fit what the ones before it had left.
            limit = recorded.get("time_limit", budget - spent) if is_limited else None
            yield name, context.fit_resources(float("inf") if limit is None else limit, trials)
            spent += recorded["seconds"]


def _candidate(context: ReproductionContext, name: str) -> Candidate:
    """Return the candidate with its recorded hyperparameters; today's of that name where none are recorded."""
    recorded = context.listener.record.stages[f"{TRAIN}{name}"].get("parameters", {})
    kind = recorded.get("candidate", "")
    if not kind.startswith("ml."):
        return context.case.candidates[name]
    try:
        candidate: Candidate = restore_candidate(recorded)
    except (ImportError, AttributeError, TypeError):
        raise PackagingError(
            f"{name} as {kind} of {sorted(set(recorded) - {'candidate'})}",
            "code without this class or these parameters",
            USE_RECORDED_CODE,
        ) from None
    return candidate


def _final_fit(
    context: ReproductionContext, leader: LeaderboardEntry, fitted: Fits, splits: StoredResult
) -> FinalFit:
    """Refit what was refitted, the leader and the baseline."""
    stages = context.listener.record.stages
    refitted = [stage.removeprefix(REFIT) for stage in stages if stage.startswith(REFIT)]
    name, baseline = leader["candidate"], next(iter(fitted))
    models = {
        each: final_model(context, each, _candidate(context, each), fitted[each], splits)
        for each in dict.fromkeys((*refitted, name, baseline))
    }
    return FinalFit(name, models[name], models[baseline], leader["decision"])


def _compare_package(record: ModelVersionRecord, package: Package) -> Iterator[Comparison]:
    """Compare each file of the package by its sha256, and the code that reads them."""
    recorded, current = record.package.manifest, json.loads(to_files(package)[MANIFEST])
    for name in sorted({*recorded["files"], *current["files"]}):
        before, after = recorded["files"].get(name, "none"), current["files"].get(name, "none")
        yield Comparison(name, before == after, before, after)
    same_code = recorded["code"] == current["code"]
    yield Comparison("code of the package", same_code, recorded["code"], current["code"])


def _compare_predictions(record: ModelVersionRecord, package: Package, test: Dataset) -> Comparison:
    """Compare predictions for the golden rows within 1e-12; where those are missing, for the first test rows."""
    golden = record.golden_rows()
    if golden.path:
        rows, recorded = golden.table("golden"), golden.table("predictions")
        name = f"{PREDICTIONS} for {len(rows)} golden rows"
    else:
        rows = test.frame.head(packaging.GOLDEN_ROWS).reset_index(drop=True)
        opened = open_ledger(record.settings, record.client, record.version.name, read_only=True)
        digests = proven_digests(*opened, record.version.number)
        with registry.verified_copy(record.client, record.version, digests) as folder:
            recorded, _ = predict_in_clean_process(folder, rows)
        name = f"{PREDICTIONS} for {len(rows)} test rows (the golden rows are missing)"
    current = package.predict(rows)
    try:
        packaging.assert_same_predictions(recorded, current)
    except PackagingError as error:
        return Comparison(name, False, error.expected, error.got + _difference(recorded, current))
    return Comparison(name, True, "within 1e-12", "within 1e-12")


def _difference(recorded: pd.DataFrame, current: pd.DataFrame) -> str:
    """Describe the largest difference of numbers, where the tables have the same shape."""
    if recorded.shape != current.shape:
        return ""
    numbers = list(recorded.select_dtypes("float"))
    gap = np.abs(recorded[numbers].to_numpy() - current[numbers].to_numpy())
    return f", differs by up to {gap.max():.3g}" if gap.size else ""

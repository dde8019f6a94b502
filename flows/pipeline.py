"""The training pipeline of every use case, from a named data set to a promoted (or rejected) model."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from prefect import State

from flows.batch_reference import require_reason, training_reference
from flows.housekeeping.ledgers import open_ledger
from flows.housekeeping.reconciliation import reconcile_dead_runs
from flows.promotion import TrainingContext, promote, register
from flows.recording import unchanged_inputs
from flows.recording.outcome import RunOutcome
from flows.recording.process_locks import flow_run_lock
from flows.recording.run_recorder import RunRecorder
from flows.run_context import final_model, prepare_features, rows_to_fit, split_batch, validate_batch
from flows.use_case import MAX_SEED, RunParameters, UseCase
from ml.data.row_split import TRAIN
from ml.device import check_device
from ml.drift.compare import Scope
from ml.errors import QualityGateError, UsageError
from ml.estimator import files_digest
from ml.evaluation.cross_fit import FOLDS
from tasks import activity
from tasks import train as training
from tasks.data_access.data_paths import Data
from tasks.data_access.locate import DatasetSource, find_dataset
from tasks.drift import SUMMARY_FILE, compare_batch, summarize_batch
from tasks.error_boundary import redact_errors
from tasks.evaluate import (
    EvaluationSettings,
    FinalFit,
    build_leaderboard,
    evaluate_on_test,
    evaluation_facts,
    leaderboard_entries,
)
from tasks.facts import LeaderboardEntry
from tasks.fit_plan import PlannedFit, plan_fits
from tasks.ledger import Ledger, require_intact
from tasks.locks.model_lock import model_lock
from tasks.settings import Settings, load
from tasks.source import read_source, source
from tasks.storage.content_store import Store, StoredResult
from tasks.stored_datasets import load_dataset
from tasks.tracking import connection, registry
from tasks.validate import apply_contract, check_rules


def check_before_run(case: UseCase, params: RunParameters, settings: Settings) -> DatasetSource:
    """Check everything that can be wrong before a run exists, and return its data set. Nothing is written before.

    Raises UsageError or ContractError.
    """
    require_reason(params.accept_drift)
    dataset = find_dataset(case.name, params.data, params.contract, settings, params.query)
    case = case.for_contract(dataset.contract)
    _check_numbers(case, params)
    if params.as_of and not dataset.contract.roles.time:
        raise UsageError(
            "a column with the role time, for a run as of an instant",
            f"none in {dataset.contract.name}",
            "leave as_of out, or set meta.roles.time",
        )
    check_rules(dataset.contract)
    # Pretrained weights that are missing would stop the run after the first candidates.
    for candidate in case.candidates.values():
        files_digest(candidate)
    settings.create_state_dir()
    check_device(settings.device)
    return dataset


def _check_numbers(case: UseCase, params: RunParameters) -> None:
    """Raise UsageError for a number that is out of range, or that no candidate of the use case uses."""
    # Not a number is neither more nor less than 0.
    if not 0 < params.time_budget < float("inf"):
        got = f"{params.time_budget:g}"
        raise UsageError("a time budget of more than 0 seconds", got, "set --time-budget SECONDS")
    if not 0 <= params.seed <= MAX_SEED:
        raise UsageError(f"a seed from 0 to {MAX_SEED}", str(params.seed), "set --seed NUMBER")
    if params.trials < 0:
        raise UsageError("0 trials or more", str(params.trials), "set --trials NUMBER")
    if params.trials and not any(getattr(c, "is_tuned", False) for c in case.candidates.values()):
        raise UsageError(
            f"no trials for {case.name}, which has no candidate that is tuned",
            str(params.trials),
            "leave --trials out",
        )


@redact_errors
def run(case: UseCase, params: RunParameters) -> RunOutcome:
    """Train, evaluate and promote. Raises GateError when a gate stops the run, which is then FAILED in MLflow."""
    with open_run(case, params) as context:
        case = context.case
        raw = context.run_stage("source", source, context.source)
        key = unchanged_inputs.input_key(case, context.contract, raw, params)
        if previous := _unchanged_outcome(context, key):
            return context.listener.log_unchanged(previous)
        clean = validate_batch(context, raw)
        summary = compare_with_accepted_batch(context, clean)
        splits = split_batch(context, clean)
        datasets = prepare_features(context, splits)
        rows = rows_to_fit(context, datasets)
        planned = plan_fits(
            case.candidates,
            load_dataset(datasets, rows),
            context.fit_resources(params.time_budget),
            fits=1 if rows == TRAIN else FOLDS + 1,
        )
        fitted, predicted = train_candidates(context, datasets, rows, planned)
        evaluated = context.run_stage(
            "leaderboard", build_leaderboard, fitted, predicted, datasets, case.evaluator
        )
        for name, reason in evaluated.facts["left_out"].items():
            context.listener.candidate_skipped(name, reason, constant=True)
        leaderboard = leaderboard_entries(evaluated, fitted)
        context.listener.log_leaderboard(leaderboard, planned)
        final = final_fit(context, leaderboard, fitted, planned, datasets)
        settings = EvaluationSettings(case.evaluator, context.contract.roles.sensitive, params.seed)
        evaluation = evaluation_facts(
            context.run_stage("evaluation", evaluate_on_test, final, datasets, raw, settings)
        )
        context.listener.log_evaluation(evaluation)
        challenger = register(context, final, evaluation, splits, datasets, summary)
        outcome = promote(context, challenger, splits)
        unchanged_inputs.store_outcome(context.store, key, asdict(outcome))
        return outcome


@contextmanager
def open_run(case: UseCase, params: RunParameters) -> Iterator[TrainingContext]:
    """Check the parameters, then hold the run lock, the MLflow run and the model lock until the run has ended.

    The run lock comes first and goes last: whatever the process has written when it dies, the next one finds it.
    """
    settings = load()
    dataset = check_before_run(case, params, settings)
    answering = case.for_contract(dataset.contract)
    with flow_run_lock(settings, case.name, dataset.data) as lock:
        client = connection.connect(settings)
        reconcile_dead_runs(client, settings)
        recorder = RunRecorder.start(client, settings, case, params, dataset, lock)
        with recorder, model_lock(settings, dataset.contract.name):
            # A decision that could not be recorded would cost the whole training.
            require_intact(*open_ledger(settings, client, dataset.contract.name))
            store = Store(settings.state_dir.resolve() / "store", params.fresh, recorder.result_damaged)
            yield TrainingContext(answering, params, dataset, settings, store, recorder)


def _unchanged_outcome(context: TrainingContext, key: str) -> dict[str, Any] | None:
    """Return the last outcome where only new data is wanted, there is none, and its champion is still champion."""
    if not context.params.only_new_data or context.params.fresh:
        return None
    previous = unchanged_inputs.last_outcome(context.store, key)
    champion = registry.get_champion(context.listener.client, context.contract.name)
    # Somebody may have rolled back since.
    if previous and champion and champion.number == previous["version"]:
        return dict(previous)
    return None


def compare_with_accepted_batch(context: TrainingContext, clean: StoredResult) -> StoredResult:
    """Compare the batch with the last accepted one, and return its summary. Raises DriftError for a damaged batch."""
    recorder, params, contract = context.listener, context.params, context.contract
    summary = context.run_stage("summarize", summarize_batch, clean, contract)
    ledger = Ledger(context.settings.ledger_dir, contract.name)
    reference = training_reference(recorder.client, ledger)
    # As of an earlier instant there are fewer rows, and older ones.
    scope = Scope(rows=params.as_of is None)
    facts = compare_batch(clean.table("clean"), contract, reference, scope, summary.file(SUMMARY_FILE))
    recorder.log_drift(facts, params.accept_drift)
    return summary


def train_candidates(
    context: TrainingContext, splits: StoredResult, rows: str, planned: Mapping[str, PlannedFit]
) -> tuple[dict[str, StoredResult], dict[str, StoredResult]]:
    """Fit the candidates that are planned to the dataset `rows`, in order; return the fits.

    Unless `rows` is `train`, return also their out-of-fold predictions. Raises QualityGateError where none can be
    fitted.
    """
    fitted, predicted = dict[str, StoredResult](), dict[str, StoredResult]()
    for name, plan in planned.items():
        if plan.reason:
            context.listener.candidate_skipped(name, plan.reason)
            continue
        resources = context.fit_resources(plan.seconds)
        result = training.train(name, plan.candidate, splits, resources, context.store, rows)
        if isinstance(result, State):
            context.listener.candidate_skipped(name, str(result.message))
            continue
        context.listener.stage_completed(f"train {name}", result)
        fitted[name] = result
        if rows != TRAIN:
            stage = training.cross_fit
            predicted[name] = context.run_stage(
                f"cross-fit {name}", stage, name, plan.candidate, splits, resources
            )
    if not fitted:
        raise QualityGateError(
            "at least one candidate that can be fitted", "none", "see the skipped candidates in the report"
        )
    return fitted, predicted


def final_fit(
    context: TrainingContext,
    leaderboard: list[LeaderboardEntry],
    fitted: Mapping[str, StoredResult],
    planned: Mapping[str, PlannedFit],
    splits: StoredResult,
) -> FinalFit:
    """Return the leader and the baseline as they are evaluated on the test split."""
    leader = next(entry for entry in leaderboard if entry["leads"])
    baseline = next(iter(fitted))
    models = {
        name: final_model(context, name, planned[name].candidate, fitted[name], splits)
        for name in dict.fromkeys((leader["candidate"], baseline))
    }
    name = leader["candidate"]
    return FinalFit(name, models[name], models[baseline], leader["decision"], leader["out_of_fold"])


def validate_only(case: str, data: Data, contract: str | None, query: str | None = None) -> dict[str, Any]:
    """Apply the contract gate alone and return the result of each rule. Only the table read is stored.

    Raises DataGateError.
    """
    settings = load()
    dataset = find_dataset(case, data, contract, settings, query)
    raw = read_source(dataset, Store(settings.state_dir.resolve() / "store"))
    activity.begin("validate")
    *_, facts = apply_contract(raw.table("rows"), dataset.contract)
    notes = raw.facts.get("file_notes", [])
    return {**facts, "dropped_columns": raw.facts["dropped_columns"], "file_notes": notes}

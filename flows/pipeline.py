"""The one skeleton of every use case, from a named data set to a judged, registered, reported model."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from prefect import State
from prefect.runtime import flow_run

from flows.housekeeping.dead_runs import reap
from flows.promotion import _register
from flows.recording import unchanged_inputs
from flows.recording.outcome import RunOutcome
from flows.recording.run_record import Record
from flows.use_case import RunParameters, UseCase
from ml.device import check_device
from ml.errors import UsageError
from ml.estimator import FitResources
from tasks import train as training
from tasks.evaluate import choose, evaluate_on_test
from tasks.locate import DatasetSource, find_dataset
from tasks.locks.model_lock import model_lock
from tasks.locks.run_lock import RunLock
from tasks.settings import Settings, load
from tasks.source import read as read_source
from tasks.source import source
from tasks.split import split
from tasks.storage.content_store import Store, StoredResult
from tasks.tracking import connection, registry
from tasks.validate import check, examine, validate

log = logging.getLogger("steward")


def preflight(case: UseCase, asked: RunParameters, settings: Settings) -> DatasetSource:
    """Everything that can be wrong before a run exists, found before anything is written.

    Raises UsageError or ContractError.
    """
    if asked.time_budget <= 0:
        raise UsageError("a budget of more than 0 seconds", f"{asked.time_budget:g}", "give --budget SECONDS")
    if asked.trials < 0:
        raise UsageError("0 trials or more", str(asked.trials), "give --trials NUMBER")
    located = find_dataset(case.name, asked.data, asked.contract, settings)
    if asked.as_of and not located.contract.roles.time:
        raise UsageError(
            "a column with the role time, for a run as of an instant",
            f"none in {located.contract.name}",
            "leave as_of out, or set meta.roles.time",
        )
    check(located.contract)
    settings.prepare()
    check_device(settings.device)
    return located


def run(case: UseCase, asked: RunParameters) -> RunOutcome:
    """One run of a use case. Raises a StewardError when a gate stops it; the run is then FAILED in MLflow."""
    settings = load()
    located = preflight(case, asked, settings)
    client = connection.connect(settings)
    about = {"case": case.name, "data": located.data}
    with RunLock(settings, str(flow_run.id or uuid4()), about) as presence:
        reap(client, settings)
        record = Record.begin(
            client,
            settings,
            case.name,
            case.question,
            case.evaluator.primary,
            located,
            asdict(asked),
            presence,
        )
        with record, model_lock(settings, located.contract.name):
            return _stages(case, asked, located, settings, record)


def _stages(
    case: UseCase, asked: RunParameters, located: DatasetSource, settings: Settings, record: Record
) -> RunOutcome:
    contract, store = located.contract, Store(settings.home.resolve() / "store", asked.fresh)
    raw = record.stage("source", source(located, store))
    asks = unchanged_inputs.question(case, contract, raw, asdict(asked))
    if asked.only_new_data and not asked.fresh:
        known, holder = unchanged_inputs.decided(store, asks), registry.champion(record.client, contract.name)
        # A person may have rolled back since.
        if known and holder and holder.number == known["version"]:
            return record.nothing_new(known)

    clean = record.stage("validate", validate(raw, contract, asked.as_of, store))
    parts = record.stage("split", split(clean, contract, case.split, datetime.now(UTC), store))
    fitted = _train(case, asked, parts, settings, store, record)
    board = record.leaderboard(choose(fitted, parts, case.evaluator))
    leader = next(line for line in board if line["leads"])
    final, baseline = _finalise(case, asked, leader, fitted, parts, settings, store, record)
    judged = record.judged(
        evaluate_on_test(
            final,
            baseline,
            parts,
            raw,
            case.evaluator,
            leader["decision"],
            contract.roles.sensitive,
            asked.seed,
        )
    )
    outcome = _register(case, located, leader, final, parts, judged, settings, store, record)
    unchanged_inputs.remember(store, asks, asdict(outcome))
    return outcome


def _train(
    case: UseCase, asked: RunParameters, parts: StoredResult, settings: Settings, store: Store, record: Record
) -> dict[str, StoredResult]:
    """Fit the candidates in their order while the budget lasts; the first is always fitted."""
    fitted: dict[str, StoredResult] = {}
    spent = 0.0
    for name, candidate in case.candidates.items():
        if fitted and spent >= asked.time_budget:
            record.skipped(name, f"the training budget of {asked.time_budget:g} s was spent")
            continue
        left = asked.time_budget - spent
        resources = FitResources(asked.seed, settings.threads, left, asked.trials, settings.device)
        trained = training.train(name, candidate, parts, resources, asked.time_budget, store)
        if isinstance(trained, State):
            record.skipped(name, str(trained.message))
            continue
        fitted[name] = record.stage(f"train {name}", trained)
        spent += fitted[name].facts["seconds"]
    return fitted


def _finalise(
    case: UseCase,
    asked: RunParameters,
    leader: Mapping[str, Any],
    fitted: Mapping[str, StoredResult],
    parts: StoredResult,
    settings: Settings,
    store: Store,
    record: Record,
) -> tuple[StoredResult, StoredResult]:
    """The models that test rows will judge: the leader, and the baseline for scale."""

    def final(name: str) -> StoredResult:
        resources = FitResources(asked.seed, settings.threads, trials=asked.trials, device=settings.device)
        made = case.final_fit(name, case.candidates[name], fitted[name], parts, resources, store)
        return made if made.digest == fitted[name].digest else record.stage(f"refit {name}", made)

    first, chosen = next(iter(fitted)), leader["candidate"]
    finals = {name: final(name) for name in dict.fromkeys((chosen, first))}
    return finals[chosen], finals[first]


def examine_only(case: str, data: str, contract: str | None) -> dict[str, Any]:
    """The contract gate alone: what each rule found. Raises DataGateError. Nothing is recorded but the table read."""
    settings = load()
    located = find_dataset(case, data, contract, settings)
    raw = read_source(located, Store(settings.home.resolve() / "store"))
    *_, facts = examine(raw.table("rows"), located.contract)
    return {**facts, "dropped_columns": raw.facts["dropped_columns"]}

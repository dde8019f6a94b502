"""The one skeleton of every use case, from a named data set to a judged, registered, reported model."""

import logging
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from prefect import State
from prefect.runtime import flow_run

from flows import news
from flows.outcome import Outcome
from flows.reaper import reap
from flows.record import Record
from ml.device import check_device
from ml.gates import Gates
from ml.judge import Judge
from ml.model import Candidate, Part, Resources
from ml.package import Package, read_entities
from ml.refusal import PackageRefused, UsageError
from tasks import promote, registry, tracking
from tasks import train as training
from tasks.evaluate import choose, judge_on_test, model_of
from tasks.parts import part_of
from tasks.presence import Presence
from tasks.settings import Settings, load
from tasks.source import Located, locate, source
from tasks.source import read as read_source
from tasks.split import SplitFunction, split
from tasks.store import Store, Stored
from tasks.train import Finalise, keep
from tasks.turn import turn
from tasks.validate import check, examine, validate

log = logging.getLogger("steward")


@dataclass(frozen=True)
class UseCase:
    """A question and how it is answered. Candidates go from simple to complex; the first is the baseline."""

    name: str
    question: str
    split: SplitFunction
    candidates: Mapping[str, Candidate]
    judge: Judge
    gates: Gates
    finalise: Finalise = keep


@dataclass(frozen=True)
class Asked:
    """What a run was asked for. With `as_of` (UTC), rows from after it are left out, as nobody knew them then.

    With `only_new_data`, a run ends at once when the last one that was decided knew all of this already.
    """

    data: str = "simulated"
    contract: str | None = None
    seed: int = 0
    budget: float = 120.0
    trials: int = 0
    fresh: bool = False
    as_of: datetime | None = None
    only_new_data: bool = False


def preflight(case: UseCase, asked: Asked, settings: Settings) -> Located:
    """Everything that can be wrong before a run exists, found before anything is written.

    Raises UsageError or ContractError.
    """
    if asked.budget <= 0:
        raise UsageError("a budget of more than 0 seconds", f"{asked.budget:g}", "give --budget SECONDS")
    if asked.trials < 0:
        raise UsageError("0 trials or more", str(asked.trials), "give --trials NUMBER")
    located = locate(case.name, asked.data, asked.contract, settings)
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


def run(case: UseCase, asked: Asked) -> Outcome:
    """One run of a use case. Raises a Refusal when a gate stops it; the run is then FAILED in MLflow."""
    settings = load()
    located = preflight(case, asked, settings)
    client = tracking.connect(settings)
    about = {"case": case.name, "data": located.data}
    with Presence(settings, str(flow_run.id or uuid4()), about) as presence:
        reap(client, settings)
        record = Record.begin(
            client, settings, case.name, case.question, case.judge.primary, located, asdict(asked), presence
        )
        with record, turn(settings, located.contract.name):
            return _stages(case, asked, located, settings, record)


def _stages(case: UseCase, asked: Asked, located: Located, settings: Settings, record: Record) -> Outcome:
    contract, store = located.contract, Store(settings.home.resolve() / "store", asked.fresh)
    raw = record.stage("source", source(located, store))
    asks = news.question(case, contract, raw, asdict(asked))
    if asked.only_new_data and not asked.fresh:
        known, holder = news.decided(store, asks), registry.champion(record.client, contract.name)
        # A person may have rolled back since.
        if known and holder and holder.number == known["version"]:
            return record.nothing_new(known)

    clean = record.stage("validate", validate(raw, contract, asked.as_of, store))
    parts = record.stage("split", split(clean, contract, case.split, datetime.now(UTC), store))
    fitted = _train(case, asked, parts, settings, store, record)
    board = record.leaderboard(choose(fitted, parts, case.judge))
    leader = next(line for line in board if line["leads"])
    final, baseline = _finalise(case, asked, leader, fitted, parts, settings, store, record)
    judged = record.judged(
        judge_on_test(
            final,
            baseline,
            parts,
            raw,
            case.judge,
            leader["decision"],
            contract.roles.sensitive,
            asked.seed,
        )
    )
    outcome = _register(case, located, leader, final, parts, judged, settings, store, record)
    news.remember(store, asks, asdict(outcome))
    return outcome


def _train(
    case: UseCase, asked: Asked, parts: Stored, settings: Settings, store: Store, record: Record
) -> dict[str, Stored]:
    """Fit the candidates in their order while the budget lasts; the first is always fitted."""
    fitted: dict[str, Stored] = {}
    spent = 0.0
    for name, candidate in case.candidates.items():
        if fitted and spent >= asked.budget:
            record.skipped(name, f"the training budget of {asked.budget:g} s was spent")
            continue
        left = asked.budget - spent
        resources = Resources(asked.seed, settings.threads, left, asked.trials, settings.device)
        trained = training.train(name, candidate, parts, resources, asked.budget, store)
        if isinstance(trained, State):
            record.skipped(name, str(trained.message))
            continue
        fitted[name] = record.stage(f"train {name}", trained)
        spent += fitted[name].facts["seconds"]
    return fitted


def _finalise(
    case: UseCase,
    asked: Asked,
    leader: Mapping[str, Any],
    fitted: Mapping[str, Stored],
    parts: Stored,
    settings: Settings,
    store: Store,
    record: Record,
) -> tuple[Stored, Stored]:
    """The models that test rows will judge: the leader, and the baseline for scale."""

    def final(name: str) -> Stored:
        resources = Resources(asked.seed, settings.threads, trials=asked.trials, device=settings.device)
        made = case.finalise(name, case.candidates[name], fitted[name], parts, resources, store)
        return made if made.digest == fitted[name].digest else record.stage(f"refit {name}", made)

    first, chosen = next(iter(fitted)), leader["candidate"]
    finals = {name: final(name) for name in dict.fromkeys((chosen, first))}
    return finals[chosen], finals[first]


def _register(
    case: UseCase,
    located: Located,
    leader: Mapping[str, Any],
    final: Stored,
    parts: Stored,
    judged: Mapping[str, Any],
    settings: Settings,
    store: Store,
    record: Record,
) -> Outcome:
    """Through the packaging gate, the quality gate and the comparison with the champion, into the registry."""
    name = located.contract.name
    test = part_of(parts, "test")
    learned = [part_of(parts, p) for p in ("train", "valid", "refit") if p in parts.parts]
    entities = np.unique(np.concatenate([case.judge.learned(part) for part in learned]))
    packed = Package(model_of(final), located.contract.source, leader["decision"], entities)
    with tempfile.TemporaryDirectory() as scratch:
        packaged = registry.package_model(packed, test, Path(scratch) / "model", store)
        record.packaged(packaged)
        checks = promote.quality_gate(case.gates, judged, packaged.megabytes, packaged.milliseconds)
        record.checks(checks)
        tags = {
            "candidate": leader["candidate"],
            "data_digest": record.digests["source"],
            "seed": str(record.seed),
        }
        version = registry.register(record.client, name, record.run_id, packaged, tags, case.question)
    return _promote(case, name, version, packed, parts, test, judged, settings, record)


def _promote(
    case: UseCase,
    name: str,
    version: registry.Version,
    packed: Package,
    parts: Stored,
    test: Part,
    judged: Mapping[str, Any],
    settings: Settings,
    record: Record,
) -> Outcome:
    """Decide, and decide again if another run moved the alias in between."""
    client = record.client
    ledger = promote.Ledger(settings.ledger, name)
    alias = promote.Alias(*registry.alias_of(client, name))
    about = {
        "model_digest": version.digest,
        "test_digest": parts.digest,
        "run_id": record.run_id,
        "primary": judged["primary"],
        "value": judged["value"],
    }
    while True:
        champion = registry.champion(client, name)
        verdict, standing = _compare(case, champion, version, packed, test, judged, client)
        with suppress(promote.AliasMovedError):
            expected = champion.number if champion else None
            line, new = promote.commit(ledger, alias, verdict, version.number, expected, about)
            break
    if not new and line["champion"] is not None:
        reason = (
            f"this model was decided about before, on the same test rows (line {line['line']} of the ledger)"
        )
        verdict = promote.Verdict(promote.KEEP, reason)
    holder = registry.champion(client, name)
    candidate = holder.tags.get("candidate", "") if holder else ""
    return record.decided(verdict, version, holder.number if holder else None, candidate, standing, line)


def _compare(
    case: UseCase,
    champion: registry.Version | None,
    version: registry.Version,
    packed: Package,
    test: Part,
    judged: Mapping[str, Any],
    client: Any,
) -> tuple[promote.Verdict, dict[str, Any]]:
    """The verdict on the new version, and the standing (value, low, high) of whoever is champion after it."""
    own = {k: judged[k] for k in ("value", "low", "high")}
    if champion is None:
        return promote.Verdict(promote.PROMOTE, "the first champion: there is none to compare with"), own
    if champion.digest == version.digest:
        return promote.Verdict(promote.KEEP, "this model is the champion already"), own
    try:
        folder = registry.fetch(client, champion)
        known = read_entities(folder / "data" / registry.DATA, champion.digest)
        rows = case.judge.unseen(test, known)
        exam = test.take(rows)
        answers, _ = registry.predict_in_clean_process(folder, exam.frame)
        verdict = promote.compare(
            case.judge, exam, packed.predict(exam.frame), answers, len(test.frame) - len(rows)
        )
        if verdict.verdict == promote.PROMOTE:
            return verdict, own
        standing = asdict(case.judge.interval(exam, answers)) if verdict.difference else dict.fromkeys(own)
        return verdict, standing
    except PackageRefused as refused:
        reason = f"the champion cannot answer on this table: {refused}"
        return promote.Verdict(promote.INCOMPARABLE, reason), dict.fromkeys(own)


def examine_only(case: str, data: str, contract: str | None) -> dict[str, Any]:
    """The contract gate alone: what each rule found. Raises DataRefused. Nothing is recorded but the table read."""
    settings = load()
    located = locate(case, data, contract, settings)
    raw = read_source(located, Store(settings.home.resolve() / "store"))
    *_, facts = examine(raw.part("rows"), located.contract)
    return {**facts, "dropped_columns": raw.facts["dropped_columns"]}

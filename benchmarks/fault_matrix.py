"""Which gate must stop each fault of a simulated batch: `python -m benchmarks.fault_matrix` prints the tables.

    python -m benchmarks.fault_matrix [SIMULATOR ...]

The stages are those of a run, called in its order without a server, with one candidate. docs/faults.md explains the
tables.
"""

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

import pandas as pd

from benchmarks.fault_cases import HOSPITAL, LENDER, MAILBOX, SHOP, CleanData
from flows import customer_service, ecommerce_recommendation, fintech_risk, health_prediction
from flows.run_context import RunContext, final_model, prepare_features, split_batch, validate_batch
from flows.use_case import RunParameters, UseCase
from ml.drift.summary import summarize
from ml.errors import StewardError
from ml.estimator import Candidate
from ml.recommenders.popularity import Popularity
from ml.simulators.faults import FAULTS, faulty_file
from ml.tabular.linear import Linear
from ml.text.tfidf_linear import TfidfLinear
from tasks import promote
from tasks import train as training
from tasks.data_access.locate import DatasetSource
from tasks.drift import Reference, compare_batch, require_no_damage
from tasks.evaluate import (
    EvaluationSettings,
    FinalFit,
    build_leaderboard,
    evaluate_on_test,
    evaluation_facts,
    leaderboard_entries,
    load_fitted_model,
)
from tasks.ledger import PROMOTE
from tasks.settings import Settings
from tasks.source import source
from tasks.storage.content_store import Store, StoredResult
from tasks.stored_datasets import load_dataset
from tasks.validate import apply_contract

REFERENCE_SEED, BATCH_SEED = 1, 2
# What came before a batch: nothing; an accepted batch; an accepted batch and a champion, where an operator gives a
# reason to accept the differences.
History = Literal["first batch", "earlier batch", "accepted differences"]


@dataclass(frozen=True)
class Simulated:
    """A simulator with its use case, the number of rows of a batch, and the candidate that is fitted."""

    data: CleanData
    case: UseCase
    rows: int
    candidate: Candidate


SIMULATED: Mapping[str, Simulated] = {
    "lender": Simulated(LENDER, fintech_risk.CASE, 3000, Linear()),
    "hospital": Simulated(HOSPITAL, health_prediction.CASE, 3000, Linear()),
    "shop": Simulated(SHOP, ecommerce_recommendation.CASE, 6000, Popularity(popularity_days=30)),
    "mailbox": Simulated(MAILBOX, customer_service.CASE, 3000, TfidfLinear()),
}
# The gates, each with the stages that have ended when it stops a batch.
STAGES_BEFORE: Mapping[str, list[str]] = {
    "source": [],
    "contract": ["source"],
    "drift": ["source", "validate"],
    "split": ["source", "validate"],
    "quality": ["source", "validate", "split", "train", "leaderboard", "evaluation"],
    "promotion": ["source", "validate", "split", "train", "leaderboard", "evaluation"],
}
ALL_STAGES = STAGES_BEFORE["promotion"]


class PromotionRefusedError(StewardError):
    """The champion stays."""

    gate = "promotion"


@dataclass(frozen=True)
class Catch:
    """The gate that stops a fault where an earlier batch was accepted, and without one; None: no gate does."""

    gate: str
    without_history: str | None


_HISTORY_ONLY = Catch("drift", None)
_FILES = {"encoding-damage": Catch("source", "source"), "truncated-file": Catch("source", "source")}
_TABLES: Mapping[str, Catch] = {
    **_FILES,
    "null-spike": Catch("contract", "contract"),
    "shifted-decimal": Catch("contract", "contract"),
    "infinities": Catch("contract", "contract"),
    "one-class": Catch("contract", "contract"),
    "duplicated-rows": Catch("split", "split"),
    "future-times": Catch("split", "split"),
    "target-leak": Catch("split", "split"),
    "label-noise": Catch("drift", "quality"),
    "swapped-columns": _HISTORY_ONLY,
    "unit-change": _HISTORY_ONLY,
    "late-column": _HISTORY_ONLY,
    "stale-data": _HISTORY_ONLY,
    "vanished-category": _HISTORY_ONLY,
    "vanished-group": _HISTORY_ONLY,
    "unbounded-categories": _HISTORY_ONLY,
    "covariate-drift": _HISTORY_ONLY,
    "concept-drift": _HISTORY_ONLY,
    "flipped-labels": _HISTORY_ONLY,
    "biased-labels": _HISTORY_ONLY,
}
# Of these the rows that are left are too few for a verdict, or the labels cannot be predicted well.
_UNFIT = dict.fromkeys(("vanished-category", "covariate-drift", "biased-labels"), Catch("drift", "quality"))
MATRIX: Mapping[str, Mapping[str, Catch]] = {
    "lender": {**_TABLES, **_UNFIT},
    "hospital": {**_TABLES, "vanished-category": Catch("drift", "quality")},
    "shop": {
        **_FILES,
        "duplicated-days": Catch("contract", "contract"),
        "missing-users": Catch("contract", "contract"),
        "returned-goods": Catch("contract", "contract"),
        "swapped-columns": Catch("contract", "contract"),
        "shifted-clock": Catch("split", "split"),
        "bot-events": _HISTORY_ONLY,
        "merged-sessions": _HISTORY_ONLY,
        "divided-sessions": _HISTORY_ONLY,
        "exchanged-items": _HISTORY_ONLY,
        "missing-days": _HISTORY_ONLY,
        "renumbered-items": _HISTORY_ONLY,
        "vanished-channel": _HISTORY_ONLY,
        "stale-data": _HISTORY_ONLY,
    },
    "mailbox": {
        **_FILES,
        "garbled-texts": Catch("contract", "contract"),
        "empty-texts": Catch("contract", "contract"),
        "one-class": Catch("contract", "contract"),
        "leaked-label": Catch("split", "split"),
        "label-noise": Catch("drift", "quality"),
        "exchanged-labels": _HISTORY_ONLY,
        "pasted-template": Catch("drift", "quality"),
        "lost-letters": _HISTORY_ONLY,
        "cut-texts": Catch("drift", "quality"),
        "other-language": _HISTORY_ONLY,
        "vanished-language": _HISTORY_ONLY,
        "stale-data": _HISTORY_ONLY,
    },
}
# What stops a fault of loans that an operator has accepted with a reason.
ACCEPTED: Mapping[str, str] = {"late-column": "promotion"}


@dataclass
class StageNames:
    """Records the names of the stages that have ended."""

    names: list[str] = field(default_factory=list)

    def stage_completed(self, name: str, result: StoredResult) -> None:
        self.names.append(name)


def run_until_gate(simulator: str, content: bytes, history: History) -> tuple[list[str], str | None]:
    """Send a file through the stages of a run; return those that have ended, and the gate that stopped it."""
    listener = StageNames()
    with tempfile.TemporaryDirectory() as folder:
        try:
            _run_stages(_context(simulator, content, Path(folder), listener), simulator, history)
        except StewardError as error:
            gate = error.gate if error.gate != "data" else "contract" if listener.names else "source"
            return listener.names, gate
    return listener.names, None


def _context(simulator: str, content: bytes, folder: Path, listener: StageNames) -> RunContext[StageNames]:
    simulated = SIMULATED[simulator]
    path = folder / "table.csv"
    path.write_bytes(content)
    contract = simulated.data.contract()
    dataset = DatasetSource(simulator, contract, (path,))
    settings, store = Settings(state_dir=folder / "state"), Store(folder / "store")
    case = simulated.case.for_contract(contract)
    return RunContext(case, RunParameters(), dataset, settings, store, listener, as_tasks=False)


def _run_stages(context: RunContext[StageNames], simulator: str, history: History) -> None:
    """Run the stages and gates in the order of `flows.pipeline.run`."""
    raw = context.run_stage("source", source, context.source)
    clean = validate_batch(context, raw)
    if history != "first batch":
        reference = Reference("the earlier batch", _summary(simulator))
        facts = compare_batch.fn(clean.table("clean"), context.contract, reference)
        require_no_damage(facts, "a known change" if history == "accepted differences" else None)
    datasets = prepare_features(context, split_batch(context, clean))
    final = _fit(context, datasets, SIMULATED[simulator].candidate)
    settings = EvaluationSettings(context.case.evaluator, context.contract.roles.sensitive)
    evaluated = context.run_stage("evaluation", evaluate_on_test, final, datasets, raw, settings)
    facts_of_test = evaluation_facts(evaluated)
    # Size and speed are those of the candidate, not of the data.
    promote.quality_gate.fn(context.case.thresholds, facts_of_test, megabytes=0.0, latency=0.0)
    if history == "accepted differences":
        _compare(context, simulator, final, datasets)


def _fit(context: RunContext[StageNames], datasets: StoredResult, candidate: Candidate) -> FinalFit:
    resources = replace(context.fit_resources(), seconds=60.0)
    fitted = training.fit("candidate", candidate, datasets, resources, context.store)
    context.listener.stage_completed("train", fitted)
    fits = {"candidate": fitted}
    board = context.run_stage("leaderboard", build_leaderboard, fits, {}, datasets, context.case.evaluator)
    (entry,) = leaderboard_entries(board, fits)
    listener = context.listener
    # A fit on train and valid is no stage of its own here.
    final = final_model(replace(context, listener=StageNames()), "candidate", candidate, fitted, datasets)
    assert listener is context.listener
    return FinalFit("candidate", final, final, entry["decision"])


def _compare(
    context: RunContext[StageNames], simulator: str, challenger: FinalFit, datasets: StoredResult
) -> None:
    """Compare with a champion that was fitted to the earlier batch. Raises PromotionRefusedError where it stays."""
    test = load_dataset(datasets, "test")
    with tempfile.TemporaryDirectory() as folder:
        earlier = _context(simulator, clean_file(simulator, REFERENCE_SEED), Path(folder), StageNames())
        clean = validate_batch(earlier, earlier.run_stage("source", source, earlier.source))
        fit = _fit(earlier, split_batch(earlier, clean), SIMULATED[simulator].candidate)
        champion: pd.DataFrame = load_fitted_model(fit.model).predict(test.frame)
    prediction = load_fitted_model(challenger.model).predict(test.frame)
    verdict = promote.compare_with_champion.fn(context.case.evaluator, test, prediction, champion, 0)
    if verdict.verdict != PROMOTE:
        raise PromotionRefusedError("a challenger that is better", verdict.reason, "the champion stays")


@cache
def _summary(simulator: str) -> bytes:
    """Summarize the batch that was accepted before."""
    simulated = SIMULATED[simulator]
    contract = simulated.data.contract()
    clean = apply_contract(simulated.data.draw(simulated.rows, REFERENCE_SEED), contract).clean
    return summarize(clean, contract).to_json()


def clean_file(simulator: str, seed: int = BATCH_SEED) -> bytes:
    """Return the undamaged batch as a file."""
    simulated = SIMULATED[simulator]
    return simulated.data.draw(simulated.rows, seed).to_csv(index=False).encode()


def faulty_batch(simulator: str, fault: str) -> bytes:
    """Return the batch with a fault as a file."""
    simulated = SIMULATED[simulator]
    return faulty_file(simulated.data.draw(simulated.rows, BATCH_SEED), simulator, fault, 0)


def main() -> None:
    """Put every fault into every simulated batch, and print the gate that stopped it."""
    print("| table | fault | with an earlier batch | without | as expected |\n|---|---|---|---|---|")
    for simulator in sys.argv[1:] or SIMULATED:
        for fault in FAULTS[simulator]:
            content, expected = faulty_batch(simulator, fault), MATRIX[simulator][fault]
            found = Catch(
                run_until_gate(simulator, content, "earlier batch")[1] or "none",
                run_until_gate(simulator, content, "first batch")[1],
            )
            shown = f"{found.gate} | {found.without_history or 'none'}"
            print(f"| {simulator} | {fault} | {shown} | {'yes' if found == expected else 'no'} |", flush=True)
    for fault in ACCEPTED:
        gate = run_until_gate("lender", faulty_batch("lender", fault), "accepted differences")[1]
        print(f"accepted with a reason: {fault} is stopped by {gate or 'none'}")


if __name__ == "__main__":
    main()

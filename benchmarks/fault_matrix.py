"""Which gate must stop each fault of a simulated batch: `python -m benchmarks.fault_matrix` prints the table.

The stages are those of a run, called in its order without a server. docs/faults.md explains the table.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from benchmarks.fault_cases import HOSPITAL, LENDER, CleanData
from flows import fintech_risk, health_prediction
from flows.run_context import RunContext, prepare_features, split_batch, validate_batch
from flows.use_case import RunParameters, UseCase
from ml.drift.summary import summarize
from ml.errors import StewardError
from ml.simulators.faults import FAULTS, faulty_file
from ml.tabular.constant import Constant
from tasks import train as training
from tasks.drift import Reference, compare_batch, require_no_damage
from tasks.locate import DatasetSource
from tasks.settings import Settings
from tasks.source import source
from tasks.storage.content_store import Store, StoredResult
from tasks.validate import apply_contract

ROWS, REFERENCE_SEED, BATCH_SEED = 3000, 1, 2
CASES: Mapping[str, UseCase] = {"lender": fintech_risk.CASE, "hospital": health_prediction.CASE}
DATA: Mapping[str, CleanData] = {"lender": LENDER, "hospital": HOSPITAL}
# The gates in front of training, each with the stages that have ended when it stops a batch.
STAGES_BEFORE: Mapping[str, list[str]] = {
    "source": [],
    "contract": ["source"],
    "drift": ["source", "validate"],
    "split": ["source", "validate"],
}
ALL_STAGES = ["source", "validate", "split", "train"]


@dataclass(frozen=True)
class Catch:
    """The gate that stops a fault where an earlier batch was accepted, and without one; None: no gate does."""

    gate: str
    without_history: str | None


_HISTORY_ONLY = Catch("drift", None)
MATRIX: Mapping[str, Catch] = {
    "encoding-damage": Catch("source", "source"),
    "truncated-file": Catch("source", "source"),
    "null-spike": Catch("contract", "contract"),
    "shifted-decimal": Catch("contract", "contract"),
    "infinities": Catch("contract", "contract"),
    "one-class": Catch("contract", "contract"),
    "duplicated-rows": Catch("split", "split"),
    "future-times": Catch("split", "split"),
    "target-leak": Catch("split", "split"),
    "swapped-columns": _HISTORY_ONLY,
    "unit-change": _HISTORY_ONLY,
    "stale-data": _HISTORY_ONLY,
    "vanished-category": _HISTORY_ONLY,
    "vanished-group": _HISTORY_ONLY,
    "unbounded-categories": _HISTORY_ONLY,
    "covariate-drift": _HISTORY_ONLY,
    "concept-drift": _HISTORY_ONLY,
    "label-noise": _HISTORY_ONLY,
    "flipped-labels": _HISTORY_ONLY,
    "biased-labels": _HISTORY_ONLY,
}


@dataclass
class StageNames:
    """Records the names of the stages that have ended."""

    names: list[str] = field(default_factory=list)

    def stage_completed(self, name: str, result: StoredResult) -> None:
        self.names.append(name)


def run_until_gate(simulator: str, content: bytes, with_history: bool) -> tuple[list[str], str | None]:
    """Send a file through the stages of a run; return those that have ended, and the gate that stopped it."""
    listener = StageNames()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(content)
        dataset = DatasetSource(simulator, DATA[simulator].contract(), (path,))
        settings = Settings(state_dir=Path(folder) / "state")
        store = Store(Path(folder) / "store")
        case = CASES[simulator]
        context = RunContext(case, RunParameters(), dataset, settings, store, listener, as_tasks=False)
        try:
            _run_stages(
                context, Reference("the earlier batch", _summary(simulator)) if with_history else None
            )
        except StewardError as error:
            gate = error.gate if error.gate != "data" else "contract" if listener.names else "source"
            return listener.names, gate
    return listener.names, None


def _run_stages(context: RunContext[StageNames], reference: Reference | None) -> None:
    """Run the stages in the order of `flows.pipeline.run`, with the simplest candidate."""
    raw = context.run_stage("source", source, context.source)
    clean = validate_batch(context, raw)
    if reference:
        facts = compare_batch.fn(clean.table("clean"), context.contract, reference)
        require_no_damage(facts, None)
    splits = split_batch(context, clean)
    datasets = prepare_features(context, splits)
    resources = replace(context.fit_resources(), seconds=60.0)
    fitted = training.fit("constant", Constant(), datasets, resources, context.store)
    context.listener.stage_completed("train", fitted)


@cache
def _summary(simulator: str) -> bytes:
    """Summarize the batch that was accepted before."""
    data = DATA[simulator]
    clean = apply_contract(data.draw(ROWS, REFERENCE_SEED), data.contract()).clean
    return summarize(clean, data.contract()).to_json()


def clean_file(simulator: str) -> bytes:
    """Return the undamaged batch as a file."""
    return DATA[simulator].draw(ROWS, BATCH_SEED).to_csv(index=False).encode()


def faulty_batch(simulator: str, fault: str) -> bytes:
    """Return the batch with a fault as a file."""
    return faulty_file(DATA[simulator].draw(ROWS, BATCH_SEED), simulator, fault, 0)


def main() -> None:
    """Put every fault into both tables, and print the gate that stopped it."""
    print("| fault | table | with an earlier batch | without | as expected |\n|---|---|---|---|---|")
    for fault in FAULTS:
        for simulator in DATA:
            content = faulty_batch(simulator, fault)
            gates = [run_until_gate(simulator, content, history)[1] for history in (True, False)]
            expected = [MATRIX[fault].gate, MATRIX[fault].without_history]
            shown = " | ".join(gate or "none" for gate in gates)
            print(f"| {fault} | {simulator} | {shown} | {'yes' if gates == expected else 'no'} |", flush=True)


if __name__ == "__main__":
    main()

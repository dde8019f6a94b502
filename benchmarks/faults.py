"""What the gates make of damaged data: `python -m benchmarks.faults`.

Every fault goes the way of a file in a run: read, validate, comparison with the last accepted batch, split with its
gates. Nothing is trained. Prints the table fault, expected, got; then the false alarms of each gate on clean batches.
All data are generated from seeds.
"""

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom

from benchmarks.fault_cases import ALL_DATA, CleanData, Fault, Outcome, Phase
from ml.drift.compare import EVERYTHING, Scope
from ml.drift.summary import summarize
from ml.errors import StewardError
from tasks.data_access.locate import DatasetSource
from tasks.drift import Reference, compare_batch, require_no_damage
from tasks.source import read_files
from tasks.split import split
from tasks.storage.content_store import Store, StoredResult
from tasks.validate import apply_contract, validate

FAULT_MODULES = ("benchmarks.table_faults", "benchmarks.batch_faults")
# What the gates say of a batch that is too small to learn from.
ONE_CLASS = "at least two different target values"
PHASES: tuple[Phase, ...] = ("first training", "training", "scoring")
# The seeds of clean batches: the reference, the batch that is damaged, and from here on those of false alarms.
REFERENCE_SEED, BATCH_SEED, CLEAN_SEED = 1, 2, 1000
LARGE = 20_000
CLEAN_SIZES = (40, 100, 300, 1000, 3000)


@dataclass(frozen=True)
class Result:
    """What became of a file: the outcome, and the gates or rules that noticed something."""

    outcome: Outcome
    gates: tuple[str, ...]
    detail: str


def run_file(data: CleanData, content: pd.DataFrame | bytes, phase: Phase, rows: int) -> Result:
    """Send a file through the gates of its phase; `rows` is the size of the reference batch of later phases."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "table.csv"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.to_csv(path, index=False)
        notices: list[tuple[Outcome, str, str]] = []
        try:
            notices += _gates(data, path, phase, rows)
        except StewardError as error:
            notices.append(("refused", error.gate, str(error)))
    for outcome in ("refused", "quarantined", "warned"):
        found = [(gate, detail) for noticed, gate, detail in notices if noticed == outcome]
        if found:
            gates = tuple(dict.fromkeys(gate for gate, _ in found))
            return Result(outcome, gates, "; ".join(detail for _, detail in found))
    return Result("accepted", (), "")


def _gates(data: CleanData, path: Path, phase: Phase, rows: int) -> Iterator[tuple[Outcome, str, str]]:
    """Yield what every gate notices without stopping the file. Raises StewardError when one stops it."""
    contract, store = data.contract(), Store(path.parent / "store")
    raw = read_files(DatasetSource(data.name, contract, (path,)), store)
    if phase == "scoring":
        frame, _, _, facts = apply_contract(raw.table("rows"), contract, scoring=True)
    else:
        clean = validate.fn(raw, contract, None, store)
        facts = clean.facts  # type: ignore[assignment]
    shares = _violations_of_clean_data(data, phase)
    for result in facts["rules"]:
        # More than chance leaves in clean data.
        usual = binom.isf(1e-4, result["rows"], shares.get(result["rule"], 0.0))
        if result["violations"] > usual:
            outcome: Outcome = "warned" if result["action"] == "warn" else "quarantined"
            yield outcome, "contract", f"{result['rule']}: {result['violations']}"
    rows_of_batch = frame if phase == "scoring" else clean.table("clean")
    if phase != "first training":
        yield from _drift_gate(data, rows_of_batch, phase, rows)
    usual_notes = _notes_of_clean_data(data) if phase != "scoring" else frozenset()
    for note in sorted(_notes(facts) - usual_notes):
        yield "warned", "profile", note
    for note in raw.facts["file_notes"]:
        yield "warned", "source", note
    if phase != "scoring":
        yield from _split_gates(data, clean, store)


def _drift_gate(
    data: CleanData, batch: pd.DataFrame, phase: Phase, rows: int
) -> Iterator[tuple[Outcome, str, str]]:
    reference = Reference("the reference batch", _reference_summary(data, rows))
    scope = Scope(labels=False, rows=False) if phase == "scoring" else EVERYTHING
    facts = compare_batch.fn(batch, data.contract(), reference, scope)
    require_no_damage(facts, None)
    for finding in facts["findings"]:
        yield "warned", "drift", f"{finding['column']}: {finding['kind']}, {finding['text']}"


@cache
def _reference_summary(data: CleanData, rows: int) -> bytes:
    clean = apply_contract(data.draw(rows, REFERENCE_SEED), data.contract()).clean
    return summarize(clean, data.contract()).to_json()


def _split_gates(data: CleanData, clean: StoredResult, store: Store) -> Iterator[tuple[Outcome, str, str]]:
    stored = split.fn(clean, data.contract(), data.split_function, datetime.now(UTC), store)
    for warning in stored.facts["checks"].get("warnings", ()):
        yield "warned", "split", warning


def _notes(facts: Mapping[str, Any]) -> frozenset[str]:
    """Return what looks odd, without figures, so that the notes of two tables can be compared."""
    return frozenset(
        f"{column['column']}: {re.sub(r'[0-9.,]+', 'n', note)}"
        for column in facts.get("profile", ())
        for note in column["notes"]
    )


@cache
def _notes_of_clean_data(data: CleanData) -> frozenset[str]:
    """Return what looks odd in undamaged data, which is no sign of a fault."""
    return _notes(apply_contract(data.draw(LARGE, REFERENCE_SEED), data.contract()).facts)


@cache
def _violations_of_clean_data(data: CleanData, phase: Phase) -> dict[str, float]:
    """Return the share of rows that break each rule in undamaged data, which is no sign of a fault."""
    frame = data.draw(LARGE, REFERENCE_SEED)
    facts = apply_contract(frame, data.contract(), scoring=phase == "scoring").facts
    return {result["rule"]: result["violations"] / max(result["rows"], 1) for result in facts["rules"]}


def run_fault(fault: Fault) -> Result:
    """Damage a clean batch and send it through the gates."""
    clean = fault.data.draw(fault.rows, BATCH_SEED)
    damaged = fault.damage(clean, np.random.default_rng(0))
    return run_file(fault.data, damaged, fault.phase, fault.rows)


def load_faults() -> list[Fault]:
    """Return the faults of all modules. Raises ValueError where two have the same name."""
    faults = [fault for name in FAULT_MODULES if find_spec(name) for fault in import_module(name).FAULTS]
    repeated = [name for name, count in Counter(fault.name for fault in faults).items() if count > 1]
    if repeated:
        raise ValueError(f"expected different names of faults; got {repeated} more than once; rename them")
    return faults


def print_faults(faults: Sequence[Fault]) -> int:
    """Run the faults and print the table; return the number of misses without explanation."""
    results = [(fault, run_fault(fault)) for fault in faults]
    print(
        "| family | fault | data | phase | expected | got | gate | as expected |\n|---|---|---|---|---|---|---|---|"
    )
    for fault, got in results:
        good = "yes" if got.outcome in fault.expected else f"no: {fault.explanation or 'not explained'}"
        cells = (fault.family, fault.name, fault.data.name, fault.phase, " or ".join(sorted(fault.expected)))
        print("| " + " | ".join((*cells, got.outcome, ", ".join(got.gates), good)) + " |")
    print("\n| family | faults | as expected |\n|---|---|---|")
    for family in dict.fromkeys(fault.family for fault in faults):
        outcomes = [got.outcome in fault.expected for fault, got in results if fault.family == family]
        print(f"| {family} | {len(outcomes)} | {sum(outcomes)} |")
    misses = [fault for fault, got in results if got.outcome not in fault.expected]
    print(f"| all | {len(results)} | {len(results) - len(misses)} |\n")
    return sum(not fault.explanation for fault in misses)


def print_false_alarms(batches: int) -> None:
    """Send clean batches of all sizes through the gates and print how many each gate noticed something in.

    A batch of so few rows that one of its datasets has one class is no false alarm: nothing can be learned from it.
    """
    alarms: Counter[tuple[Phase, str, Outcome]] = Counter()
    too_small = 0
    for i in range(batches):
        data, phase = ALL_DATA[i % len(ALL_DATA)], PHASES[(i // len(ALL_DATA)) % len(PHASES)]
        rows = CLEAN_SIZES[(i // (len(ALL_DATA) * len(PHASES))) % len(CLEAN_SIZES)]
        rows = max(rows, 1000) if data.name == "shop" else rows
        result = run_file(data, data.draw(rows, CLEAN_SEED + i), phase, rows)
        if result.outcome == "refused" and ONE_CLASS in result.detail:
            too_small += 1
            continue
        for gate in result.gates:
            alarms[phase, gate, result.outcome] += 1
    print(f"False alarms on {batches} clean batches of {CLEAN_SIZES[0]} to {CLEAN_SIZES[-1]} rows:\n")
    print("| phase | gate | outcome | batches |\n|---|---|---|---|")
    for (phase, gate, outcome), count in sorted(alarms.items()):
        print(f"| {phase} | {gate} | {outcome} | {count} |")
    print(f"\nin all: {sum(alarms.values())} of {batches}; {too_small} more had one class in a dataset")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only faults whose name or family contains this text")
    parser.add_argument("--clean", type=int, default=500, help="number of clean batches")
    arguments = parser.parse_args()
    started = time.perf_counter()
    faults = [fault for fault in load_faults() if arguments.only in f"{fault.family} {fault.name}"]
    unexplained = print_faults(faults)
    if arguments.clean:
        print_false_alarms(arguments.clean)
    print(f"\n{time.perf_counter() - started:.0f} s")
    sys.exit(1 if unexplained else 0)


if __name__ == "__main__":
    main()

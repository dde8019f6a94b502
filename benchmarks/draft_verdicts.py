"""Draft a contract of each public data set and run its use case with the draft, to a verdict.

    python -m benchmarks.draft_verdicts [--by-hand] [--time-budget SECONDS] [NAME ...]

For each set: a contract as `steward contract` drafts it, with no more than the hints that benchmarks/doors.py gives;
then the run, in a state directory of its own. Prints the gates that the data passed, or the one that refused them with
its reason, and the champion with its metric; with `--by-hand` the metric with the contract written by hand beside it.
Where rows have an id or a user, the test rows of the two differ, as the salt of a split is the name of the contract.
Needs STEWARD_DATA_DIR.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.doors import HEALTH, SETS, SHOP, DataSet
from ml.errors import StewardError
from tasks.data_access.data_paths import find_files
from tasks.settings import load

if TYPE_CHECKING:
    from flows.recording.outcome import RunOutcome

# Sets of several files, or of which `benchmarks.doors` divides another file or none.
MORE: Mapping[str, DataSet] = {
    "chronic_kidney_disease": DataSet(HEALTH, "chronic_kidney_disease/chronic_kidney_disease_full.arff"),
    "heart_disease_sites": DataSet(HEALTH, "heart_disease"),
    "nhanes1_survival": DataSet(HEALTH, "nhanes1_survival"),
    "snips": DataSet("customer-service", "snips/train_*.json"),
    "taobao_multibehaviour.buy": DataSet(SHOP, "taobao_multibehaviour/buy.train.txt"),
    "movielens_1m.ratings": DataSet(SHOP, "movielens_1m/ratings.parquet"),
}
LARGE_LAST = (
    "yoochoose_100k_sessions", "diabetes_130_hospitals", "give_me_some_credit", "movielens_100k", "online_retail",
    "taobao_multibehaviour", "taobao_multibehaviour.buy", "amazon_toys_games", "amazon_sports_outdoors",
    "movielens_1m.ratings", "movielens_1m",
)  # fmt: skip
PROMOTED = "promoted"


def ordered(folder: Path) -> list[str]:
    """Return the names of the sets, those with the smallest files first, and large logs last."""
    sets = {**SETS, **MORE}
    sizes = {n: sum(f.stat().st_size for f in find_files(str(folder / s.file))) for n, s in sets.items()}
    return sorted(sets, key=lambda name: (LARGE_LAST.index(name) if name in LARGE_LAST else -1, sizes[name]))


def try_run(case: str, data: str, contract: str | None, budget: float) -> tuple[str, "RunOutcome | None"]:
    """Run a use case; return the reason of a refusal, empty where there is none, and the outcome."""
    from operate.notebook import run

    try:
        return "", run(case, data, contract, time_budget=budget)
    except StewardError as error:
        return f"{type(error).__name__}, {error.gate}: {error}", error.outcome


def verdict_of(name: str, chosen: DataSet, folder: Path, scratch: Path, budget: float) -> dict[str, Any]:
    """Draft a contract of a set and run with it; return what there is to print."""
    from operate.notebook import contract

    started = time.perf_counter()
    path = scratch / f"{name.replace('.', '_')}_draft.json"
    try:
        contract(str(folder / chosen.file), chosen.case, path, chosen.target, chosen.positive)
    except StewardError as error:
        return {"drafted": f"no: {error}", "seconds": time.perf_counter() - started}
    drafted = time.perf_counter() - started
    refusal, outcome = try_run(chosen.case, str(folder / chosen.file), str(path), budget)
    return {
        "drafted": f"yes, {drafted:.1f} s",
        "refusal": refusal,
        "outcome": outcome,
        "seconds": time.perf_counter() - started,
    }


def describe(found: Mapping[str, Any]) -> str:
    """Return a line about a run: gates, verdict, candidate, metric, rows, and the reason of a refusal."""
    outcome = found.get("outcome")
    if outcome is None:
        return f"{found['drafted']} | {found.get('refusal', '-')}"
    value = f"{outcome.metric} {outcome.value:.3f}" if outcome.value is not None else "-"
    rows = f"{outcome.rows or 0:,} ({outcome.quarantined or 0:,} quarantined, {outcome.excluded or 0:,} excluded)"
    result = f"{outcome.verdict}: {outcome.candidate or outcome.champion}, {value}"
    reason = f" | {found['refusal']}" if found["refusal"] else ""
    return f"{found['drafted']} | {rows} | {', '.join(outcome.gates)} | {result}{reason}"


def by_hand_value(name: str, chosen: DataSet, budget: float) -> str:
    """Return metric and verdict with the contract written by hand."""
    refusal, outcome = try_run(chosen.case, name.partition(".")[0], None, budget)
    if outcome is None or outcome.value is None:
        return refusal or "-"
    return f"{outcome.candidate}, {outcome.value:.3f}{' (refused)' if refusal else ''}"


def main(names: Sequence[str], budget: float, with_by_hand: bool) -> None:
    """Print a line for each set, and how many ended in which way."""
    folder = load().data_dir
    if folder is None:
        sys.exit("expected STEWARD_DATA_DIR; got no such variable; set it")
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="steward-drafts-") as scratch:
        os.environ["STEWARD_HOME"] = str(Path(scratch) / "state")
        for name in names or ordered(folder):
            chosen = {**SETS, **MORE}[name]
            found = verdict_of(name, chosen, folder, Path(scratch), budget)
            line = f"{name} | {describe(found)} | {found['seconds']:.0f} s"
            print(
                line + (f" | by hand: {by_hand_value(name, chosen, budget)}" if with_by_hand else ""),
                flush=True,
            )
            outcome = found.get("outcome")
            ends[outcome.verdict if outcome is not None else "no run"] += 1
    print(", ".join(f"{end}: {count}" for end, count in ends.most_common()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--time-budget", type=float, default=3.0, help="seconds of training; by default 3")
    parser.add_argument("--by-hand", action="store_true", help="run with contracts written by hand too")
    parser.add_argument("names", nargs="*", metavar="NAME")
    given = parser.parse_args()
    main(given.names, given.time_budget, given.by_hand)

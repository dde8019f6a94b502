"""What hostile contracts do: `python -m benchmarks.contract_fuzz`.

Each contract is loaded from a file, its data files are located, and its rules are evaluated on a small table, in this
process. An audit hook of Python counts programs that start, code that is compiled from text, files that are written
outside of a temporary folder, and sockets; a marker file shows whether a planted program ran.
"""

import argparse
import logging
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.contract_mutations import KINDS, Mutator, base_contracts
from ml.contract.schema import Contract
from ml.errors import StewardError
from tasks.data_access.locate import find_dataset, load_contract
from tasks.settings import Settings
from tasks.validate import apply_contract, check_rules

CASES = ("fintech-risk", "health-prediction", "ecommerce-recommendation")
ROWS = 60
# Columns of a contract above which its table is not made.
MAX_TABLE_COLUMNS = 200
STARTS_A_PROGRAM = (
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.startfile",
)
USES_A_SOCKET = ("socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request")


@dataclass
class AuditHook:
    """Records forbidden events while it is active. Python cannot remove a hook: there is one for the process."""

    folder: str = ""
    active: bool = False
    events: list[str] = field(default_factory=list)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event in STARTS_A_PROGRAM or event in USES_A_SOCKET:
            self.events.append(event)
        elif event == "compile" and isinstance(arguments[0], str):
            self.events.append(f"compile {arguments[0][:80]!r}")
        elif event == "exec" and _is_from_text(arguments[0].co_filename):
            # What `exec` and `eval` run: modules have the path of their file.
            self.events.append(f"exec {arguments[0].co_filename}")
        elif event == "open" and isinstance(arguments[0], str | bytes):
            self._record_open(str(arguments[0]), arguments[1], arguments[2])

    def _record_open(self, path: str, mode: Any, flags: Any) -> None:
        writes = any(c in str(mode or "") for c in "wax+") or bool((flags or 0) & 0o3)
        inside = path.startswith(self.folder)
        if (writes and not inside) or "canary" in path:
            self.events.append(f"open {path!r}")


def _is_from_text(filename: str) -> bool:
    return filename.startswith("<") and not filename.startswith("<frozen ")


@cache
def audit_hook() -> AuditHook:
    """Install the audit hook of this process."""
    hook = AuditHook()
    sys.addaudithook(hook)
    return hook


@dataclass(frozen=True)
class Case:
    """What one contract did: refused, stopped or passed; forbidden events; the exception that was no StewardError."""

    kind: str
    outcome: str
    seconds: float
    events: tuple[str, ...]
    traceback: str | None


@contextmanager
def workshop() -> Iterator[Settings]:
    """Make a temporary folder with a data folder, a link that leaves it, and a canary file outside of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data" / "x").mkdir(parents=True)
        (folder / "canary.csv").write_text("secret\n")
        (folder / "data" / "x" / "link.csv").symlink_to(folder / "canary.csv")
        hook = audit_hook()
        hook.folder = name
        yield Settings(state_dir=folder / "home", data_dir=folder / "data")


def run_case(seed: int, settings: Settings) -> Case:
    """Make the contract of a seed, load it and evaluate it."""
    assert settings.data_dir
    folder = settings.data_dir.parent
    kind, data = Mutator(seed, str(folder / "marker")).make()
    path = folder / "x.json"
    path.write_bytes(data)
    hook = audit_hook()
    hook.events, traceback = [], None
    started = time.perf_counter()
    hook.active = True
    try:
        outcome = _load_and_evaluate(path, settings, seed)
    except BaseException as error:
        outcome, traceback = "traceback", f"{type(error).__name__}: {str(error)[:200]}"
    hook.active = False
    seconds = time.perf_counter() - started
    if (folder / "marker").exists():
        hook.events.append("the planted program ran")
        (folder / "marker").unlink()
    return Case(kind, outcome, seconds, tuple(hook.events), traceback)


def _load_and_evaluate(path: Path, settings: Settings, seed: int) -> str:
    contract = None
    for case in CASES:
        try:
            contract = load_contract(case, str(path), settings)
            check_rules(contract)
            break
        except StewardError as error:
            if "a contract of" not in error.expected:
                return "refused"
    if contract is None:
        return "refused"
    try:
        find_dataset(contract.name.partition(".")[0], "x", str(path), settings)
    except StewardError as error:
        if error.gate == "contract":
            return "refused"
    if len(contract.read.columns) > MAX_TABLE_COLUMNS:
        return "accepted, not run"
    try:
        apply_contract(make_table(contract, seed), contract)
        return "passed"
    except StewardError:
        return "stopped"


def make_table(contract: Contract, seed: int) -> pd.DataFrame:
    """Make a small table with the columns of a contract, some cells missing, hostile or not of their type."""
    generator = np.random.default_rng(seed)
    texts = np.array(
        ["x", "y", "1", "0", "a" * 60 + "!", "Zoë", "2024-05-01", '{"a": 1}', "yes"], dtype=object
    )
    frame = {}
    for column, kind in contract.read.columns.items():
        cells = {
            "number": generator.normal(size=ROWS).round(2).astype(object),
            "integer": generator.integers(0, 9, ROWS).astype(object),
            "category": generator.choice(texts, ROWS),
            "time": np.datetime_as_string(np.datetime64("2024-01-01") + np.arange(ROWS)).astype(object),
            "epoch": (1_700_000_000 + np.arange(ROWS)).astype(object),
        }[kind]
        cells[generator.random(ROWS) < 0.05] = None
        frame[column] = pd.Series(cells).map(str, na_action="ignore").astype("str")
    return pd.DataFrame(frame)


def warm_up(settings: Settings, contracts: int | None = None, cases: int = 40) -> None:
    """Evaluate the contracts of this project once, as libraries compile code when they are first used."""
    assert settings.data_dir
    path = settings.data_dir.parent / "x.json"
    for text in base_contracts()[:contracts]:
        path.write_text(text)
        _load_and_evaluate(path, settings, 0)
    for seed in range(cases):
        run_case(10_000_000 + seed, settings)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    cases = []
    with workshop() as settings:
        warm_up(settings)
        memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        for number in range(options.count):
            cases.append(run_case(options.seed + number, settings))
            if not number % 1000 and number:
                print(
                    f"{number:,} contracts, {time.perf_counter() - started:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
        seconds = time.perf_counter() - started
    print_table(cases, options, seconds, memory_before)
    return int(any(case.events or case.traceback for case in cases))


def print_table(cases: list[Case], options: argparse.Namespace, seconds: float, memory_before: int) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{len(cases):,} contracts, seeds from {options.seed}, {seconds:.0f} s\n")
    outcomes = ("refused", "accepted, not run", "stopped", "passed", "traceback")
    print(f"| kind | contracts | {' | '.join(outcomes)} | executed | slowest (s) |")
    print(f"|---{'|---' * (len(outcomes) + 3)}|")
    for kind in (*KINDS, "all"):
        of_kind = [case for case in cases if kind in (case.kind, "all")]
        counts = Counter(case.outcome for case in of_kind)
        executed = sum(bool(case.events) for case in of_kind)
        slowest = max((case.seconds for case in of_kind), default=0.0)
        cells = " | ".join(str(counts[outcome]) for outcome in outcomes)
        print(f"| {kind} | {len(of_kind)} | {cells} | {executed} | {slowest:.2f} |")
    print(f"\npeak memory {peak / 1024:.0f} MB, {memory_before / 1024:.0f} MB before the first contract")
    for case in [case for case in cases if case.events or case.traceback][:20]:
        print(f"\n{case.kind}: {case.traceback or ''} {', '.join(case.events)}")


if __name__ == "__main__":
    sys.exit(main())

"""Kill runs at random times and look at what is left: `python -m benchmarks.kills --count 100 --seed 0`.

A run of the simulated shop with its first candidate is killed, by SIGKILL mostly, in an empty state directory or in
one with a champion and new data. Then the same command runs again, and `steward doctor` looks at the state directory.
A kill is recovered if every flow run, task run and MLflow run has a final state, the states in Prefect and MLflow
agree, nothing of the killed run is left running or listening, the champion has the digest of an undisturbed run, no
decision is in the ledger twice, and doctor finds nothing that it does not find after an undisturbed run.

Most runs share a Prefect server and are forked from one process that has the libraries loaded; one in ten is a process
of its own with a temporary server. Prints the table phase, signal, kills, recovered, and each miss.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tasks.library_variables import LIBRARY_VARIABLES

ROOT = Path(__file__).resolve().parents[1]
NAME = "ecommerce-recommendation.simulated"
# A budget that only the first candidate gets.
RUN = ("run", "ecommerce-recommendation", "--time-budget", "0.000000001")
ROWS = {"first run": 3000, "later run": 4000}
SIGNALS = {signal.SIGKILL: 0.7, signal.SIGTERM: 0.15, signal.SIGINT: 0.15}
# One in this many kills has a temporary Prefect server, and libraries to import.
ALONE = 10
# Seconds until nothing of a killed run is left, and for a command.
GRACE, TIMEOUT = 10.0, 900.0
FINAL_STATES = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
STATUS = {"COMPLETED": "FINISHED", "FAILED": "FAILED", "CRASHED": "KILLED", "CANCELLED": "KILLED"}


@dataclass
class Place:
    """The state directory, which is always at the same path, with its copies, contracts and the shared server."""

    folder: Path
    api: str = ""
    server_home: Path = Path()
    expected: dict[str, str] = field(default_factory=dict)
    findings: dict[str, set[str]] = field(default_factory=dict)
    seconds: dict[tuple[str, bool], float] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def environment(self, phase: str, alone: bool) -> dict[str, str]:
        """Return the variables of a command; without PREFECT_API_URL it starts a temporary server."""
        variables = {"STEWARD_HOME": str(self.home), "STEWARD_CONTRACTS": str(self.folder / phase)}
        server = {} if alone else {"PREFECT_API_URL": self.api}
        return {**variables, **server, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}

    def prefect_database(self, alone: bool) -> Path:
        return (self.home / "prefect" if alone else self.server_home) / "prefect.db"

    def reset(self, phase: str) -> None:
        """Put the state directory into the state before the phase."""
        shutil.rmtree(self.home, ignore_errors=True)
        if phase == "later run":
            shutil.copytree(self.folder / "prepared", self.home)


class Worker:
    """The process that forks commands (benchmarks/kill_worker.py)."""

    def __init__(self, place: Place) -> None:
        environment = {**clean_environment(), **place.environment("first run", alone=False)}
        environment["STEWARD_HOME"] = str(place.folder / "worker")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.kill_worker"],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, environment: dict[str, str], output: Path, arguments: Sequence[str]) -> int:
        """Start a command; return its process id."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps([environment, str(output), list(arguments)]) + "\n")
        self.process.stdin.flush()
        return self._read("pid")

    def wait(self) -> int:
        """Return the exit code of the command."""
        return self._read("code")

    def _read(self, expected: str) -> int:
        assert self.process.stdout
        line = self.process.stdout.readline()
        name, _, number = line.partition(" ")
        assert name == expected, f"expected a line with {expected}, got {line!r}"
        return int(number)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of Prefect, MLflow and Steward."""
    prefixes = ("PREFECT_", "MLFLOW_", "STEWARD_")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, session, seconds, and what it printed."""

    code: int
    session: int
    seconds: float
    output: str


def run_command(
    place: Place,
    worker: Worker | None,
    phase: str,
    arguments: Sequence[str],
    kill: tuple[signal.Signals, float] | None = None,
) -> Ended:
    """Run a command in a session of its own, and send it a signal after some seconds; without a worker, alone."""
    output = place.folder / "output"
    environment = place.environment(phase, alone=worker is None)
    started = time.monotonic()
    process = None
    if worker:
        pid = worker.start(environment, output, arguments)
    else:
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "steward", *arguments],
                env={**clean_environment(), **environment},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        pid = process.pid
    if kill:
        time.sleep(kill[1])
        # It may have ended before.
        with suppress(ProcessLookupError):
            os.kill(pid, kill[0])
    code = process.wait(TIMEOUT) if process else worker.wait() if worker else 0
    return Ended(code, pid, time.monotonic() - started, output.read_text(errors="replace"))


def left_behind(session: int) -> list[str]:
    """Return the processes of a session that are left some seconds after its leader, with their ports."""
    deadline = time.monotonic() + GRACE
    while processes := list(_processes_of(session)):
        if time.monotonic() > deadline:
            return [_describe(process) for process in processes if process.is_running()]
        time.sleep(0.2)
    return []


def _describe(process: psutil.Process) -> str:
    ports = [port.laddr.port for port in process.net_connections() if port.status == psutil.CONN_LISTEN]
    return f"{process.name()} {process.pid}, listening on {ports or 'nothing'}"


def _processes_of(session: int) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def query(file: Path, statement: str, *values: object) -> list[tuple[str, ...]]:
    """Read from an SQLite database; nothing where it does not exist."""
    if not file.exists():
        return []
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(statement, values).fetchall()


def problems(place: Place, phase: str, alone: bool, since: str) -> Iterator[str]:
    """Yield what is not as it should be after the command that follows a kill."""
    prefect, tracking = place.prefect_database(alone), place.home / "mlflow.db"
    flows = query(prefect, "SELECT id, state_type FROM flow_run WHERE created > ?", since)
    states = {identity.replace("-", ""): state for identity, state in flows}
    for flow_run, state in states.items():
        if state not in FINAL_STATES:
            yield f"flow run {flow_run} is {state}"
    for name, state in query(prefect, "SELECT name, state_type FROM task_run WHERE created > ?", since):
        if state not in FINAL_STATES:
            yield f"task run {name} is {state}"
    linked = query(
        tracking,
        "SELECT runs.run_uuid, status, value FROM runs LEFT JOIN tags"
        " ON tags.run_uuid = runs.run_uuid AND key = 'prefect.flow_run_id'",
    )
    for run_id, status, flow_run_id in linked:
        if status not in STATUS.values():
            yield f"MLflow run {run_id} is {status}"
            continue
        shown = states.get((flow_run_id or "").replace("-", ""), "")
        if STATUS.get(shown, status) != status:
            yield f"MLflow run {run_id} is {status}, its flow run {shown}"
    for folder in ("running", "commands"):
        yield from (f"lock {path.name} is left" for path in (place.home / folder).glob("*"))
    yield from ledger_problems(place, phase)


def ledger_problems(place: Place, phase: str) -> Iterator[str]:
    """Yield duplicate decisions, and another champion than that of an undisturbed run."""
    entries = read_ledger(place)
    decisions = Counter(
        (entry["model_digest"], entry["test_digest"]) for entry in entries if "model_digest" in entry
    )
    yield from (f"{number} decisions about one model" for number in decisions.values() if number > 1)
    if (digest := champion_digest(place)) != place.expected[phase]:
        yield f"champion {digest[:12]}, expected {place.expected[phase][:12]}"


def read_ledger(place: Place) -> list[dict[str, str]]:
    path = place.home / "ledger" / f"{NAME}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def champion_digest(place: Place) -> str:
    """Return the digest of the champion by MLflow's alias; empty without a champion."""
    found = query(
        place.home / "mlflow.db",
        "SELECT tag.value FROM registered_model_aliases AS alias JOIN model_version_tags AS tag"
        " ON tag.name = alias.name AND tag.version = alias.version"
        " WHERE alias.name = ? AND alias.alias = 'champion' AND tag.key = 'steward.digest'",
        NAME,
    )
    return found[0][0] if found else ""


def doctor_findings(place: Place, worker: Worker, phase: str) -> set[str]:
    """Return the checks of doctor with a finding that is not ok, and its message without numbers."""
    ended = run_command(place, worker, phase, ("doctor", "--json"))
    lines = [json.loads(line) for line in ended.output.splitlines() if line.startswith("{")]
    return {f"{line['check']}: {line['message']}" for line in lines if line["status"] != "ok"}


def prepare(place: Place, worker: Worker) -> None:
    """Run both phases undisturbed, for the expected champions, the findings of doctor, and how long a run takes."""
    for phase in ROWS:
        place.reset(phase)
        ended = run_command(place, worker, phase, RUN)
        assert ended.code == 0, ended.output
        place.seconds[phase, False] = ended.seconds
        place.expected[phase] = champion_digest(place)
        place.findings[phase] = doctor_findings(place, worker, phase)
        if phase == "first run":
            shutil.copytree(place.home, place.folder / "prepared")
    place.reset("first run")
    ended = run_command(place, None, "first run", RUN)
    for phase in ROWS:
        place.seconds[phase, True] = ended.seconds


@contextmanager
def shared_server(place: Place) -> Iterator[None]:
    """Start a Prefect server for the forked commands."""
    place.server_home = place.folder / "server"
    os.environ |= {"PREFECT_HOME": str(place.server_home), **LIBRARY_VARIABLES}
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer()
    server.start(timeout=300)
    place.api = server.api_url
    try:
        yield
    finally:
        server.stop()


def write_contracts(place: Place) -> None:
    """Write the simulated shop's contract with fewer rows, once for each phase."""
    source = ROOT / "expectations" / "ecommerce_recommendation" / "simulated.json"
    for phase, rows in ROWS.items():
        contract = json.loads(source.read_text())
        contract["meta"]["read"]["rows"] = rows
        target = place.folder / phase / "ecommerce_recommendation" / "simulated.json"
        target.parent.mkdir(parents=True)
        target.write_text(json.dumps(contract))


def kill_once(
    place: Place, worker: Worker, phase: str, alone: bool, kill: tuple[signal.Signals, float]
) -> list[str]:
    """Kill a run, run the same command again, and return what is wrong."""
    place.reset(phase)
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    used = None if alone else worker
    killed = run_command(place, used, phase, RUN, kill)
    wrong = [f"left behind: {process}" for process in left_behind(killed.session)]
    after = run_command(place, used, phase, RUN)
    if after.code:
        wrong.append(f"the next run ended with {after.code}: {after.output.strip().splitlines()[-1:]}")
    wrong += left_behind(after.session)
    wrong += problems(place, phase, alone, since)
    wrong += sorted(doctor_findings(place, worker, phase) - place.findings[phase])
    return wrong


@dataclass
class Tally:
    """Kills and recovered kills by phase and signal, and what was wrong after the others."""

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    recovered: Counter[tuple[str, str]] = field(default_factory=Counter)
    misses: list[str] = field(default_factory=list)

    def print_table(self) -> None:
        print("\n| phase | signal | kills | recovered |\n|---|---|---|---|")
        for (phase, name), number in sorted(self.kills.items()):
            print(f"| {phase} | {name} | {number} | {self.recovered[phase, name]} |")
        print(f"| all | all | {self.kills.total()} | {self.recovered.total()} |\n")
        print("\n".join(self.misses) or "no miss", flush=True)


def run_kills(place: Place, count: int, seed: int, tally: Tally) -> None:
    """Kill runs one after another and count what became of them."""
    random_numbers = random.Random(seed)
    worker = Worker(place)
    prepare(place, worker)
    for number in range(count):
        alone = number % ALONE == ALONE - 1
        phase = random_numbers.choice(list(ROWS))
        sent = random_numbers.choices(list(SIGNALS), list(SIGNALS.values()))[0]
        delay = random_numbers.uniform(0, place.seconds[phase, alone])
        wrong = kill_once(place, worker, phase, alone, (sent, delay))
        tally.kills[phase, sent.name] += 1
        tally.recovered[phase, sent.name] += not wrong
        where = f"{phase}, {sent.name} after {delay:.1f} s{', temporary server' if alone else ''}"
        print(f"{number + 1:>4} {where}: {'; '.join(wrong) or 'recovered'}", flush=True)
        tally.misses += [f"{where}: {'; '.join(wrong)}"] if wrong else []
    worker.close()


def main() -> None:
    """Kill runs, and print the table; Ctrl-C prints that of the kills so far."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="steward-kills-", ignore_cleanup_errors=True) as folder:
        place = Place(Path(folder))
        write_contracts(place)
        with shared_server(place), suppress(KeyboardInterrupt):
            run_kills(place, options.count, options.seed, tally)
    tally.print_table()
    sys.exit(bool(tally.misses))


if __name__ == "__main__":
    main()

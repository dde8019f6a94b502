"""Fixtures of all tests: real Prefect, MLflow and PostgreSQL, in temporary folders and on free ports."""

import gc
import getpass
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import hypothesis
import psutil
import pytest
from filelock import FileLock

from tests.guard import GUARD

# Set before any test module imports Prefect, which reads these variables once.
_SESSION = Path(tempfile.mkdtemp(prefix="steward-tests-"))
os.environ["STEWARD_HOME"] = str(_SESSION / "home")
os.environ["PREFECT_HOME"] = str(_SESSION / "prefect")
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
# As in tasks/library_variables.py, for tests that import LightGBM before a flow: test processes share the cores.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
    os.environ.pop(name, None)

ROOT = Path(__file__).resolve().parents[1]

# Nothing that is imported for the tests, nor the tests themselves, is ever garbage: it is not searched for any.
gc.disable()

PREFECT_DATABASE = "empty-prefect.db"

# A busy machine takes long for any example, and no property depends on time.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Search for garbage among what is made from now on."""
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests ran on real data, so that their absence is visible."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    real_data = [report for report in reports if "test_real_data.py" in report.nodeid]
    state = "is set" if os.environ.get("STEWARD_DATA_DIR") else "is not set"
    terminalreporter.write_line(f"real data: {len(real_data)} tests ran; STEWARD_DATA_DIR {state}")


def shared_by_workers(tmp_path_factory: pytest.TempPathFactory, name: str) -> tuple[Path, FileLock]:
    """Return a file that all test processes share, and the lock under which the first of them makes it."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    return folder / name, FileLock(folder / f"{name}.lock", timeout=GUARD)


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a Prefect server on a free port with its own database; yield the URL of its API.

    The first server makes its tables, which takes seconds; those of other test processes begin with a copy.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL, temporary_settings

    server, own = SubprocessASGIServer(), Path(os.environ["PREFECT_HOME"]) / "prefect.db"
    template, lock = shared_by_workers(tmp_path_factory, PREFECT_DATABASE)
    with lock:
        if template.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(template, own)
        else:
            server.start(timeout=GUARD)
            copy_database(own, template)
    server.start(timeout=GUARD)
    os.environ["PREFECT_API_URL"] = server.api_url
    with temporary_settings({PREFECT_API_URL: server.api_url}):
        yield server.api_url
        # Deliver pending events and logs before the server stops.
        EventsWorker.drain_all(timeout=GUARD)
        APILogWorker.drain_all(timeout=GUARD)
    del os.environ["PREFECT_API_URL"]
    server.stop()


@pytest.fixture
def mount() -> Iterator[Callable[..., None]]:
    """Yield a function that mounts a file system until the test ends; skip without the right to mount."""
    mounted: list[str] = []

    def run_mount(*arguments: str) -> None:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no permission to mount: {done.stderr.strip()}")
        mounted.append(arguments[-1])

    yield run_mount
    for folder in dict.fromkeys(mounted):
        # Lazy, since databases in it may still be open.
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[str], str]]:
    """Start a PostgreSQL server; yield a function that creates a database and returns its URL with password.

    Skips if PostgreSQL's binaries are not on the PATH.
    """
    missing = [name for name in ("initdb", "postgres") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"PostgreSQL's {' and '.join(missing)} not on the PATH")
    import psycopg2

    folder = Path(tempfile.mkdtemp(prefix="steward-postgres-"))
    password = secrets.token_hex(8)
    (folder / "password").write_text(password)
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.getuid() == 0 else getpass.getuser()
    shutil.chown(folder, user)
    shutil.chown(folder / "password", user)
    data = folder / "data"
    initdb = f"initdb -U steward -A scram-sha-256 --pwfile={folder}/password -E UTF8 --no-locale --no-sync"
    created = subprocess.run(
        [*initdb.split(), "-D", data],
        user=user,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert created.returncode == 0, created.stdout + created.stderr
    port = str(*free_ports(1))
    # No socket in the file system, no fsync.
    command = f"postgres -h 127.0.0.1 -p {port} -k '' -F -c max_connections=300"
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [*shlex.split(command), "-D", data], user=user, cwd=folder, stdout=log, stderr=log
        )

    def connect() -> "psycopg2.extensions.connection":
        deadline = time.monotonic() + GUARD
        while True:
            try:
                return psycopg2.connect(
                    host="127.0.0.1", port=port, user="steward", password=password, dbname="postgres"
                )
            except psycopg2.OperationalError:
                with suppress(subprocess.TimeoutExpired):
                    server.wait(timeout=0.05)
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail((folder / "log").read_text())

    def database(name: str) -> str:
        connection = connect()
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{name}"')
        connection.close()
        return f"postgresql://steward:{password}@127.0.0.1:{port}/{name}"

    try:
        yield database
    finally:
        # Fast shutdown, which closes open sessions.
        server.send_signal(signal.SIGINT)
        server.wait(timeout=GUARD)
        shutil.rmtree(folder)


def copy_database(database: Path, copy: Path) -> None:
    """Copy an SQLite database that another process uses; the copy is whole or absent."""
    unfinished = copy.with_name(f"{copy.name}.unfinished")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(unfinished)) as target:
        source.backup(target)
    unfinished.rename(copy)


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Path:
    """Return the SQLite file with Prefect's tables, as its server makes them."""
    return shared_by_workers(tmp_path_factory, PREFECT_DATABASE)[0]


@pytest.fixture
def home_of_a_server(home: Path, prefect_database: Path) -> Path:
    """Return `home` with Prefect's tables, for a command that starts a server there: to make them takes seconds."""
    folder = home / "prefect"
    folder.mkdir(mode=0o700)
    shutil.copy(prefect_database, folder / "prefect.db")
    return home


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create MLflow's tables once for all test processes; return the SQLite file."""
    from tasks.settings import Settings
    from tasks.tracking import connection as tracking

    template, lock = shared_by_workers(tmp_path_factory, "empty-mlflow.db")
    with lock:
        if not template.exists():
            tracking.connect(Settings(state_dir=_SESSION / "empty"))
            copy_database(_SESSION / "empty" / "mlflow.db", template)
    return template


@pytest.fixture
def home(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set STEWARD_HOME to an empty state directory for one test."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    shutil.copy(empty_database, folder / "mlflow.db")
    monkeypatch.setenv("STEWARD_HOME", str(folder))
    return folder


@pytest.fixture
def known_results(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Begin with the stored results of the tests that asked for this before, and leave this test's to the next.

    Each test has a copy. Only for tests of what happens to results, wherever they come from, and none of whose runs
    wants new data only: the outcome of a run on the same rows is a result too.
    """
    known, lock = shared_by_workers(tmp_path_factory, "results")
    with lock:
        if known.exists():
            shutil.copytree(known, home / "store")
    yield
    if (home / "store").exists():
        with lock:
            shutil.copytree(home / "store", known, dirs_exist_ok=True)


@pytest.fixture
def write_ledger(home: Path) -> Callable[..., None]:
    """Return a function that writes the ledger of a model into `home`, as earlier versions did: without a chain."""

    def write(name: str, *entries: dict[str, object]) -> None:
        path = home / "ledger" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        common = {"at": "2026-01-01T00:00:00+00:00", "model": name, "reason": "better"}
        numbered = [{"line": number, **common, **entry} for number, entry in enumerate(entries, 1)]
        path.write_text("".join(json.dumps(entry) + "\n" for entry in numbered))

    return write


@pytest.fixture
def contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set STEWARD_CONTRACTS to a copy of the contracts with fewer simulated rows, which a test may change."""
    folder = copy_contracts(tmp_path / "contracts")
    monkeypatch.setenv("STEWARD_CONTRACTS", str(folder))
    return folder


def copy_contracts(folder: Path) -> Path:
    """Copy the contracts to `folder`, with fewer simulated rows."""
    rows = {"ecommerce_recommendation": 3000}
    for path in (ROOT / "expectations").glob("*/*.json"):
        contract = json.loads(path.read_text())
        if "simulator" in contract["meta"]["read"]:
            contract["meta"]["read"]["rows"] = rows.get(path.parent.name, 1500)
        target = folder / path.relative_to(ROOT / "expectations")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(contract))
    return folder


@dataclass
class StewardUp:
    """A running `steward up` with its own state directory, on free ports."""

    process: "subprocess.Popen[bytes]"
    state_dir: Path
    output_file: Path
    port: int
    mlflow_port: int

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def api_secret(self) -> str:
        return (self.state_dir / "api_secret").read_text()

    @property
    def auth(self) -> tuple[str, str]:
        """User and password that its servers demand."""
        return "steward", self.api_secret

    @property
    def output(self) -> str:
        """What it has printed so far, stdout and stderr."""
        return self.output_file.read_text()

    @property
    def processes(self) -> list[str]:
        """Id and command of every process that was started with this state directory in its environment."""
        lines = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("STEWARD_HOME") == str(self.state_dir):
                    lines.append(f"{process.pid} {' '.join(process.cmdline())}")
        return lines

    def wait_until(
        self, condition: Callable[[], object], timeout_seconds: float = GUARD, interval: float = 0.1
    ) -> None:
        """Wait for a condition; fail with the output after the timeout."""
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            assert time.monotonic() < deadline, self.output
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=interval)

    def wait_until_ready(self) -> Self:
        self.wait_until(lambda: "Ctrl-C stops all" in self.output or self.process.poll() is not None)
        assert self.process.poll() is None, self.output
        return self

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and wait; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=GUARD)


@pytest.fixture(scope="module")
def steward_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., StewardUp]]:
    """Yield a function that starts `steward up` with options; kill what is left after the tests."""
    with _starter_of_up(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def shared_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], StewardUp]]:
    """Yield a function that returns a running `steward up`, the same one for all tests of the group "deployments"."""
    running: list[StewardUp] = []
    with _starter_of_up(tmp_path_factory) as start:

        def get() -> StewardUp:
            if not running or running[-1].process.poll() is not None:
                running.append(start().wait_until_ready())
            return running[-1]

        yield get


@contextmanager
def _starter_of_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., StewardUp]]:
    started: list[StewardUp] = []

    def start(*options: str, **environment: str) -> StewardUp:
        folder = tmp_path_factory.mktemp("up")
        ports = free_ports(2)
        # As in a new terminal, without the Prefect settings of the tests.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        contracts = copy_contracts(folder / "contracts")
        paths = {"STEWARD_HOME": str(folder / "home"), "STEWARD_CONTRACTS": str(contracts)}
        # Seconds between polls of the worker and of the server's scheduler.
        polling = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "3"}
        command = [Path(sys.executable).parent / "steward", "up"]
        for option, port in zip(("--port", "--mlflow-port"), ports, strict=True):
            command += [] if option in options else [option, str(port)]
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [*command, *options],
                env={**inherited, **paths, **polling, **environment},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        started.append(StewardUp(process, folder / "home", folder / "output", *ports))
        return started[-1]

    yield start
    for up in started:
        up.process.kill()
        up.process.wait()
        for line in up.processes:
            with suppress(ProcessLookupError):
                os.kill(int(line.split()[0]), signal.SIGKILL)


def free_ports(number: int) -> list[int]:
    """Return distinct TCP ports of loopback that no process uses."""
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports

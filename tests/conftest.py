"""Tests run on real Prefect and MLflow, in temporary folders and on free ports; nothing of the checkout is touched."""

import getpass
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

# Before any test module imports Prefect, which reads its home once.
_SESSION = Path(tempfile.mkdtemp(prefix="steward-tests-"))
os.environ["STEWARD_HOME"] = str(_SESSION / "home")
os.environ["PREFECT_HOME"] = str(_SESSION / "prefect")
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
# As in tasks/settings.py, for tests that import LightGBM before any flow: two workers share the cores.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
    os.environ.pop(name, None)

ROOT = Path(__file__).resolve().parents[1]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests ran on real data, so that a suite without them cannot be mistaken for one with them."""
    ended = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    ran = [report for report in ended if "test_real_data.py" in report.nodeid]
    given = "is set" if os.environ.get("STEWARD_DATA_DIR") else "is not set"
    terminalreporter.write_line(f"real data: {len(ran)} tests ran; STEWARD_DATA_DIR {given}")


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """A Prefect server on a free port with a database of its own; its API's address."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL, temporary_settings

    server = SubprocessASGIServer()
    server.start(timeout=120)
    os.environ["PREFECT_API_URL"] = server.api_url
    with temporary_settings({PREFECT_API_URL: server.api_url}):
        yield server.api_url
        # What is still on its way to the server arrives before it stops.
        EventsWorker.drain_all(timeout=10)
        APILogWorker.drain_all(timeout=10)
    del os.environ["PREFECT_API_URL"]
    server.stop()


@pytest.fixture
def mount() -> Iterator[Callable[..., None]]:
    """Mounts, and takes away again. Skips for who may not."""
    mounted: list[str] = []

    def do(*arguments: str) -> None:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting needs rights that this process does not have: {done.stderr.strip()}")
        mounted.append(arguments[-1])

    yield do
    for place in dict.fromkeys(mounted):
        # Databases that are still open there do not hold it back.
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[str], str]]:
    """A PostgreSQL server on a free port of loopback: the address, with password, of the database of a name.

    The database is made where there is none. Skips where PostgreSQL's binaries are not on the PATH.
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
    made = subprocess.run(
        [*initdb.split(), "-D", data],
        user=user,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    port = str(*free_ports(1))
    # No socket in the file system, no fsync.
    command = f"postgres -h 127.0.0.1 -p {port} -k '' -F -c max_connections=300"
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [*shlex.split(command), "-D", data], user=user, cwd=folder, stdout=log, stderr=log
        )

    def connect() -> "psycopg2.extensions.connection":
        until = time.monotonic() + 60
        while True:
            try:
                return psycopg2.connect(
                    host="127.0.0.1", port=port, user="steward", password=password, dbname="postgres"
                )
            except psycopg2.OperationalError:
                with suppress(subprocess.TimeoutExpired):
                    server.wait(timeout=0.05)
                if server.poll() is not None or time.monotonic() > until:
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
        # Fast shutdown: sessions that are still open are ended.
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def migrated() -> Path:
    """An empty MLflow database, migrated once."""
    from tasks.settings import Settings
    from tasks.tracking import connection as tracking

    folder = _SESSION / "migrated"
    tracking.connect(Settings(home=folder))
    return folder / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty memory for one test."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(migrated, folder / "mlflow.db")
    monkeypatch.setenv("STEWARD_HOME", str(folder))
    return folder


@pytest.fixture
def contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the contracts that a test may change, with fewer simulated rows."""
    folder = few_rows(tmp_path / "contracts")
    monkeypatch.setenv("STEWARD_CONTRACTS", str(folder))
    return folder


def few_rows(folder: Path) -> Path:
    """Our contracts in `folder`, with fewer simulated rows."""
    rows = {"fintech_risk": 1500, "health_prediction": 1500, "ecommerce_recommendation": 3000}
    for path in (ROOT / "expectations").glob("*/*.json"):
        contract = json.loads(path.read_text())
        if "simulator" in contract["meta"]["read"]:
            contract["meta"]["read"]["rows"] = rows[path.parent.name]
        target = folder / path.relative_to(ROOT / "expectations")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(contract))
    return folder


@dataclass
class Up:
    """A `steward up` of its own home, on free ports."""

    process: "subprocess.Popen[bytes]"
    home: Path
    output: Path
    port: int
    mlflow_port: int

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def left(self) -> list[str]:
        """Every living process that was started with this home in its environment: id and command."""
        sought, found = f"STEWARD_HOME={self.home}".encode(), []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if sought in (process / "environ").read_bytes().split(b"\0"):
                    found.append(f"{process.name} {(process / 'cmdline').read_text()}")
        return found

    def until(self, ready: Callable[[], object], seconds: float = 240, every: float = 0.1) -> None:
        """Wait for a condition; fail when it does not come, with what was said."""
        until = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < until, self.said
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=every)

    def ready(self) -> Self:
        self.until(lambda: "Ctrl-C ends all" in self.said or self.process.poll() is not None)
        assert self.process.poll() is None, self.said
        return self

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=120)


@pytest.fixture(scope="module")
def steward_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Up]]:
    """Starts `steward up` with options; what a test leaves alive is killed."""
    started: list[Up] = []

    def start(*options: str, **environment: str) -> Up:
        folder = tmp_path_factory.mktemp("up")
        ports = free_ports(2)
        # As at a fresh terminal: the tests' own settings of Prefect are not those of an operator.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        own = {"STEWARD_HOME": str(folder / "home"), "STEWARD_CONTRACTS": str(few_rows(folder / "contracts"))}
        # Seconds between two looks for work, of the worker and of the server's scheduler.
        often = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "3"}
        command = [Path(sys.executable).parent / "steward", "up", "--port", str(ports[0])]
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [*command, "--mlflow-port", str(ports[1]), *options],
                env={**inherited, **own, **often, **environment},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        started.append(Up(process, folder / "home", folder / "output", *ports))
        return started[-1]

    yield start
    for up in started:
        up.process.kill()
        up.process.wait()
        for line in up.left:
            with suppress(ProcessLookupError):
                os.kill(int(line.split()[0]), signal.SIGKILL)


def free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports

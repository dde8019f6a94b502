"""`steward up`: errors at the start, PostgreSQL, and what happens when it or a server is killed."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest

from operate.local_stack import ports, postgres
from operate.local_stack.servers import Servers
from operate.up import request_stop
from tasks.settings import Settings
from tests.guard import GUARD

ROOT = Path(__file__).resolve().parents[2]
# Importing `flows` sets the addresses of running servers.
PRINT_ADDRESSES = """
import json, os
import flows
from tasks.settings import load
login = os.environ.get("PREFECT_API_AUTH_STRING")
# As `steward up` expects it of every run, not only of those that its worker starts.
assert os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
print(json.dumps([os.environ.get("PREFECT_API_URL"), login, load().mlflow_uri]))
"""


@pytest.fixture
def used_port() -> Iterator[int]:
    """Yield a port on which this process listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def addresses_seen_by_commands(home: Path, **environment: str) -> list[str]:
    """Return Prefect's server, the login to it and MLflow's database that a command on this state directory uses."""
    addresses = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "STEWARD_TRACKING_URI")
    addresses += ("PREFECT_FLOWS_HEARTBEAT_FREQUENCY",)
    inherited = {k: v for k, v in os.environ.items() if k not in addresses}
    done = subprocess.run(
        [sys.executable, "-c", PRINT_ADDRESSES],
        cwd=ROOT,
        env={**inherited, "STEWARD_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(done.stdout)
    return found


def worker_id(up: Any) -> str:
    """Return the process id of the worker of `steward up`."""
    (worker,) = [line.split()[0] for line in up.processes if "worker start" in line]
    return str(worker)


def pending_signals(process_id: int) -> int:
    """Return the set of signals that wait for a process, as a bit mask."""
    status = Path(f"/proc/{process_id}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["SigPnd"], 16) | int(fields["ShdPnd"], 16)


@pytest.mark.parametrize("option", ["--port", "--mlflow-port"])
def test_used_port_is_reported_and_nothing_starts(
    option: str, used_port: int, steward_up: Callable[..., Any]
) -> None:
    up = steward_up(option, str(used_port))
    assert up.process.wait() == 2
    server = "Prefect server" if option == "--port" else "MLflow UI"
    assert f"expected port {used_port} free for the {server}; got in use by " in up.output
    assert f", process {os.getpid()}; end it, or give {option} NUMBER" in up.output
    assert len(up.output.splitlines()) == 1
    assert not (up.state_dir / "logs").exists()


@pytest.mark.parametrize(
    ("database", "message"),
    [
        ("mysql://ann:s3cret@127.0.0.1/runs", "got a URL that begins with mysql:"),
        ("postgresql://ann:s3cret@127.0.0.1:9", "expected --database postgresql://USER"),
        ("sqlite:////tmp/runs.db", "expected --database postgresql://USER"),
        ("not an address s3cret", "got text that is not a database URL"),
        ("postgresql://ann:s3cret@127.0.0.1:9/runs", "Connection refused"),
    ],
)
def test_unusable_database_is_rejected_without_secrets(
    database: str, message: str, steward_up: Callable[..., Any]
) -> None:
    up = steward_up("--database", database)
    assert up.process.wait() == 2
    assert message in up.output
    assert "s3cret" not in up.output
    assert len(up.output.splitlines()) == 1
    assert not (up.state_dir / "logs").exists()


def test_wrong_password_is_rejected_and_not_printed(
    postgres: Callable[[str], str], steward_up: Callable[..., Any]
) -> None:
    user, _, server = postgres("refused").rpartition("@")
    up = steward_up("--database", f"{user}x@{server}")
    assert up.process.wait() == 2
    assert "password authentication failed" in up.output
    assert user.rpartition(":")[2] not in up.output


def test_prefect_has_its_own_database() -> None:
    uri = "postgresql://ann:p%40ss%2Fword@db.example:5433/runs?sslmode=require"
    expected = "postgresql+asyncpg://ann:p%40ss%2Fword@db.example:5433/runs_prefect?ssl=require"
    assert postgres.prefect_url(uri) == expected


def test_addresses_of_a_killed_up_are_not_used(tmp_path: Path) -> None:
    addresses = {"pid": 1, "prefect": "http://127.0.0.1:9", "mlflow": "", "own_database": True}
    (tmp_path / "up.json").write_text(json.dumps(addresses))
    (tmp_path / "up.lock").touch()
    assert addresses_seen_by_commands(tmp_path) == [None, None, f"sqlite:///{tmp_path / 'mlflow.db'}"]


def test_run_on_postgresql_goes_on_when_the_worker_is_killed(
    postgres: Callable[[str], str], steward_up: Callable[..., Any]
) -> None:
    uri = postgres("steward")
    password = uri.split(":")[2].split("@")[0]
    up = steward_up("--database", uri).wait_until_ready()

    # A second one on the same state directory.
    second = subprocess.run(
        [Path(sys.executable).parent / "steward", "up", "--port", "1"],
        env={**os.environ, "STEWARD_HOME": str(up.state_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2
    assert (
        f"got one that is running: process {up.process.pid}, http://127.0.0.1:{up.port}; use" in second.stderr
    )

    # Other commands on this state directory use both, unless the environment says otherwise.
    assert addresses_seen_by_commands(up.state_dir) == [up.api, ":".join(up.auth), uri]
    assert addresses_seen_by_commands(
        up.state_dir, PREFECT_API_URL="http://127.0.0.1:9/api", STEWARD_TRACKING_URI="sqlite:///x.db"
    ) == [
        "http://127.0.0.1:9/api",
        None,
        "sqlite:///x.db",
    ]

    (deployment,) = [
        deployment
        for deployment in httpx.post(
            f"{up.api}/deployments/filter", json={}, timeout=GUARD, auth=up.auth
        ).json()
        if deployment["name"] == "fintech-risk"
    ]
    body = {"parameters": {"fresh": True}, "state": {"type": "SCHEDULED"}}
    path = f"deployments/{deployment['id']}/create_flow_run"
    httpx.post(f"{up.api}/{path}", json=body, timeout=GUARD, auth=up.auth)
    running = (up.state_dir / "running").glob
    up.wait_until(
        lambda: any(json.loads(file.read_text()).get("mlflow_run_id") for file in running("*.json"))
    )

    commands = "\n".join(up.processes)
    (engine,) = [line for line in up.processes if "prefect.engine" in line]
    # The run is halted meanwhile: it must not end by itself before the worker is back.
    run_id = int(engine.split()[0])
    os.kill(run_id, signal.SIGSTOP)
    worker = worker_id(up)
    os.kill(int(worker), signal.SIGKILL)
    up.wait_until(lambda: "worker started again; runs that are in progress go on" in up.output)
    assert "worker stopped unexpectedly: killed by SIGKILL; last log line: " in up.output
    assert worker_id(up) != worker
    # Neither the servers nor the run were harmed; the end of `steward up` is the end of the run too.
    assert engine in up.processes
    assert pending_signals(run_id) == 0
    os.kill(run_id, signal.SIGCONT)
    assert up.stop(signal.SIGINT) == 0
    assert up.processes == []

    # The password is nowhere but in environments.
    contents = [path.read_bytes() for path in up.state_dir.rglob("*") if path.is_file()]
    assert password not in commands + up.output
    assert not any(password.encode() in text for text in contents)

    with closing(psycopg2.connect(f"{uri}_prefect")) as prefect, prefect.cursor() as cursor:
        joined = "flow_run JOIN flow_run_state AS state ON state_id = state.id"
        cursor.execute(f"SELECT type, message FROM {joined} WHERE NOT auto_scheduled")
        ((state, message),) = cursor.fetchall()
    # The run itself recorded that it was asked to end, or Prefect did where the signal met Prefect's own code.
    cancelled = "Steward: cancelled by a request to end (SIGTERM)"
    assert (state, message) == ("CANCELLED", cancelled) or (
        state == "CRASHED" and re.search("exit|termination signal", message)
    )
    with closing(psycopg2.connect(uri)) as mlflow, mlflow.cursor() as cursor:
        cursor.execute("SELECT status FROM runs WHERE status != 'FINISHED'")
        assert cursor.fetchall() == [("KILLED",)]


@pytest.mark.matrix
def test_a_run_beside_up_that_is_killed_is_ended_in_prefect_and_mlflow(
    steward_up: Callable[..., Any],
) -> None:
    up = steward_up().wait_until_ready()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    run = subprocess.Popen(
        [sys.executable, "-m", "steward", "run", "fintech-risk"],
        cwd=ROOT,
        env={**inherited, "STEWARD_HOME": str(up.state_dir)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    running = (up.state_dir / "running").glob
    up.wait_until(
        lambda: any(json.loads(file.read_text()).get("mlflow_run_id") for file in running("*.json"))
    )
    run.kill()
    run.wait()

    def states(database: str, query: str) -> list[tuple[str]]:
        with closing(sqlite3.connect(up.state_dir / database)) as connection:
            return connection.execute(query).fetchall()

    up.wait_until(lambda: states("mlflow.db", "SELECT status FROM runs") == [("KILLED",)])
    joined = "flow_run JOIN flow_run_state AS state ON state_id = state.id"
    query = f"SELECT type FROM {joined} WHERE NOT auto_scheduled"
    assert states("prefect/prefect.db", query) == [("CRASHED",)]
    assert up.stop(signal.SIGINT) == 0


def test_servers_end_when_up_is_killed(steward_up: Callable[..., Any]) -> None:
    up = steward_up()
    for command in ("prefect_server", "mlflow_server"):
        up.wait_until(lambda command=command: any(command in line for line in up.processes))
    assert up.stop(signal.SIGKILL) == -signal.SIGKILL
    up.wait_until(lambda: not up.processes)
    assert ports.is_free(up.port)
    assert ports.is_free(up.mlflow_port)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_only_another_ctrl_c_kills_runs_that_take_long(first: signal.Signals, tmp_path: Path) -> None:
    """A service manager and `make` may both send SIGTERM: runs then still record their end."""
    servers = Servers(Settings(state_dir=tmp_path), 1, 2, "secret", {})
    request_stop(servers, first)
    for again in (signal.SIGTERM, signal.SIGHUP):
        request_stop(servers, again)
    assert servers.shutdown_requested.is_set()
    assert not servers.kill_requested.is_set()
    request_stop(servers, signal.SIGINT)
    assert servers.kill_requested.is_set()


def test_ctrl_c_during_the_start_stops_everything(steward_up: Callable[..., Any]) -> None:
    up = steward_up()
    up.wait_until(lambda: len(up.processes) > 1)
    assert up.stop(signal.SIGINT) == 0
    assert up.processes == []
    assert up.output.endswith("all stopped\n")

"""`steward up` where something is in its way, on PostgreSQL, and when it or what it started is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest

from operate.local_stack import postgres

ROOT = Path(__file__).resolve().parents[2]
# Where flows learn what they talk to, before they import anything.
TOLD = """
import json, os
import flows
from tasks.settings import load
print(json.dumps([os.environ.get("PREFECT_API_URL"), load().mlflow_uri]))
"""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def told(home: Path, **environment: str) -> list[str]:
    """The Prefect server and the MLflow database of a command that is given on this home."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("PREFECT_API_URL", "STEWARD_TRACKING_URI")}
    done = subprocess.run(
        [sys.executable, "-c", TOLD],
        cwd=ROOT,
        env={**inherited, "STEWARD_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    answer: list[str] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("option", ["--port", "--mlflow-port"])
def test_a_busy_port_is_named_and_nothing_starts(
    option: str, taken: int, steward_up: Callable[..., Any]
) -> None:
    up = steward_up(option, str(taken))
    assert up.process.wait() == 2
    what = "Prefect server" if option == "--port" else "MLflow UI"
    assert f"expected port {taken} free for the {what}; got in use by " in up.said
    assert f", process {os.getpid()}; end it, or give {option} NUMBER" in up.said
    assert len(up.said.splitlines()) == 1
    assert not (up.home / "logs").exists()


@pytest.mark.parametrize(
    ("database", "why"),
    [
        ("mysql://ann:s3cret@127.0.0.1/runs", "got an address that begins with mysql:"),
        ("postgresql://ann:s3cret@127.0.0.1:9", "expected --database postgresql://USER"),
        ("sqlite:////tmp/runs.db", "expected --database postgresql://USER"),
        ("not an address s3cret", "got something that is no address"),
        ("postgresql://ann:s3cret@127.0.0.1:9/runs", "Connection refused"),
    ],
)
def test_a_database_that_cannot_be_is_refused(
    database: str, why: str, steward_up: Callable[..., Any]
) -> None:
    up = steward_up("--database", database)
    assert up.process.wait() == 2
    assert why in up.said
    assert "s3cret" not in up.said
    assert len(up.said.splitlines()) == 1
    assert not (up.home / "logs").exists()


def test_a_wrong_password_is_refused_and_not_repeated(
    postgres: Callable[[str], str], steward_up: Callable[..., Any]
) -> None:
    user, _, where = postgres("refused").rpartition("@")
    up = steward_up("--database", f"{user}x@{where}")
    assert up.process.wait() == 2
    assert "password authentication failed" in up.said
    assert user.rpartition(":")[2] not in up.said


def test_prefect_gets_a_database_beside() -> None:
    uri = "postgresql://ann:p%40ss%2Fword@db.example:5433/runs?sslmode=require"
    expected = "postgresql+asyncpg://ann:p%40ss%2Fword@db.example:5433/runs_prefect?ssl=require"
    assert postgres.for_prefect(uri) == expected


def test_what_a_killed_up_has_left_is_not_used(tmp_path: Path) -> None:
    left = {"pid": 1, "prefect": "http://127.0.0.1:9", "mlflow": "", "own_database": True}
    (tmp_path / "up.json").write_text(json.dumps(left))
    (tmp_path / "up.lock").touch()
    assert told(tmp_path) == [None, f"sqlite:///{tmp_path / 'mlflow.db'}"]


def test_on_postgresql_until_the_worker_is_killed(
    postgres: Callable[[str], str], steward_up: Callable[..., Any]
) -> None:
    uri = postgres("steward")
    password = uri.split(":")[2].split("@")[0]
    up = steward_up("--database", uri).ready()

    # Another one on the same home.
    second = subprocess.run(
        [Path(sys.executable).parent / "steward", "up", "--port", "1"],
        env={**os.environ, "STEWARD_HOME": str(up.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2
    assert f"got one that runs, process {up.process.pid}, http://127.0.0.1:{up.port}; use" in second.stderr

    # Other commands on this home find both; a person who has said otherwise keeps that.
    assert told(up.home) == [up.api, uri]
    assert told(up.home, PREFECT_API_URL="http://127.0.0.1:9/api", STEWARD_TRACKING_URI="sqlite:///x.db") == [
        "http://127.0.0.1:9/api",
        "sqlite:///x.db",
    ]

    (deployment,) = [
        one
        for one in httpx.post(f"{up.api}/deployments/filter", json={}, timeout=60).json()
        if one["name"] == "fintech-risk"
    ]
    body = {"parameters": {"fresh": True}, "state": {"type": "SCHEDULED"}}
    httpx.post(f"{up.api}/deployments/{deployment['id']}/create_flow_run", json=body, timeout=60)
    begun = (up.home / "running").glob
    up.until(lambda: any(json.loads(one.read_text()).get("mlflow_run_id") for one in begun("*.json")))

    commands = "\n".join(up.left)
    assert "prefect.engine" in commands
    (worker,) = [line.split()[0] for line in up.left if "worker\0start" in line]
    os.kill(int(worker), signal.SIGKILL)
    assert up.process.wait(timeout=120) == 1
    assert "worker ended by itself: killed by SIGKILL; its last words: " in up.said
    assert up.left == []

    # What was seen of the password anywhere but in environments: nothing.
    written = [path.read_bytes() for path in up.home.rglob("*") if path.is_file()]
    assert password not in commands + up.said
    assert not any(password.encode() in text for text in written)

    with closing(psycopg2.connect(f"{uri}_prefect")) as prefect, prefect.cursor() as cursor:
        joined = "flow_run JOIN flow_run_state AS state ON state_id = state.id"
        cursor.execute(f"SELECT type, message FROM {joined} WHERE NOT auto_scheduled")
        ((state, message),) = cursor.fetchall()
    # The run's own words: it lost its worker, and was asked to end.
    assert state == "CRASHED"
    assert message.startswith("Execution was aborted by ")
    with closing(psycopg2.connect(uri)) as mlflow, mlflow.cursor() as cursor:
        cursor.execute("SELECT status FROM runs WHERE status != 'FINISHED'")
        assert cursor.fetchall() == [("KILLED",)]


def test_what_is_started_does_not_outlive_a_killed_up(steward_up: Callable[..., Any]) -> None:
    up = steward_up()
    for what in ("prefect", "mlflow.server"):
        up.until(lambda what=what: any(what in line for line in up.left))
    assert up.end(signal.SIGKILL) == -signal.SIGKILL
    up.until(lambda: not up.left)


def test_ctrl_c_while_it_starts(steward_up: Callable[..., Any]) -> None:
    up = steward_up()
    up.until(lambda: len(up.left) > 1)
    assert up.end(signal.SIGINT) == 0
    assert up.left == []
    assert up.said.endswith("all ended\n")

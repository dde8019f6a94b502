"""`doctor` on the Prefect server, or on the database that a temporary server would open."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import prefect
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from operate.checks.finding import Finding

RunChecks = Callable[..., list[Finding]]


@contextmanager
def fake_server(answers: dict[str, str], date: str | None = None) -> Iterator[str]:
    """Serve fixed answers on a free port, HTML where there are none; yield the URL of the API."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200 if not answers or self.path in answers else 404)
            self.send_header("Date", date or formatdate(usegmt=True))
            self.end_headers()
            self.wfile.write(answers.get(self.path, "<html>").encode())

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api"
        finally:
            server.shutdown()
            thread.join()


def test_running_server_is_ok(home: Path, check: RunChecks, prefect_api: str) -> None:
    assert check("server") == [
        Finding("server", "ok", f"{prefect_api} answers, version {prefect.__version__}")
    ]


def test_missing_working_directory_is_bad_and_pool_without_worker_warns(
    home: Path, check: RunChecks, prefect_api: str, tmp_path: Path
) -> None:
    @flow
    def empty() -> None:
        pass

    def deploy(name: str, folder: Path) -> None:
        step = {"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}
        client.create_deployment(
            flow_id, name, pull_steps=[step], tags=["steward"], work_pool_name="unpolled"
        )

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(empty)
        pool = {"name": "unpolled", "type": "process"}
        client.request("POST", "/work_pools/", json=pool)
        try:
            deploy("here", tmp_path)
            deploy("moved", tmp_path / "gone")
            _, moved, unpolled = check("server")
        finally:
            client.request("DELETE", "/flows/{id}", path_params={"id": flow_id})
            client.request("DELETE", "/work_pools/{name}", path_params={"name": "unpolled"})
    assert (moved.status, moved.fix) == ("bad", "from this checkout: prefect deploy --all")
    assert moved.message.endswith("does not exist: moved")
    assert (unpolled.status, "unpolled" in unpolled.message) == ("warn", True)
    assert len(check("server")) == 1


def test_unreachable_server_is_reported_without_secrets(home: Path, check: RunChecks) -> None:
    with temporary_settings({PREFECT_API_URL: "http://ann:s3cret@127.0.0.1:9/api"}):
        (bad,) = check("server")
    assert (bad.status, bad.message) == (
        "bad",
        "no Prefect server answers at http://127.0.0.1:9/api: ConnectError",
    )


def test_server_without_prefect_api_is_bad(home: Path, check: RunChecks) -> None:
    with fake_server({}) as url, temporary_settings({PREFECT_API_URL: url}):
        (bad,) = check("server")
    assert (bad.status, bad.message) == ("bad", f"the server at {url} has no Prefect API")


def test_other_version_telemetry_and_clock_are_bad(home: Path, check: RunChecks) -> None:
    answers = {
        "/api/admin/version": '"2.0.1"',
        "/api/admin/settings": json.dumps({"server": {"analytics_enabled": True}}),
        "/api/deployments/filter": "[]",
    }
    old_date = formatdate(10**9, usegmt=True)
    with fake_server(answers, old_date) as url, temporary_settings({PREFECT_API_URL: url}):
        version, clock, telemetry = check("server")
    assert {finding.status for finding in (version, clock, telemetry)} == {"bad"}
    assert f"has version 2.0.1, but {prefect.__version__} is installed here" in version.message
    assert "the clock of" in clock.message
    assert "sends usage data" in telemetry.message


@pytest.mark.parametrize(
    ("version", "status", "text"),
    [
        ("ffffffffffff", "bad", "does not know"),
        ("9725c1cbee35", "warn", "is older"),
        (None, "bad", "not a readable Prefect database"),
    ],
)
def test_schema_version_of_the_temporary_database_is_checked(
    home: Path, check: RunChecks, tmp_path: Path, version: str | None, status: str, text: str
) -> None:
    with temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults={PREFECT_API_URL}):
        assert [finding.status for finding in check("server")] == ["ok"]
        with closing(sqlite3.connect(tmp_path / "prefect.db")) as connection, connection:
            connection.execute("CREATE TABLE alembic_version (version_num)")
            connection.execute("INSERT INTO alembic_version VALUES (?)", (version,))
        if version is None:
            (tmp_path / "prefect.db").write_text("no database")
        _, finding = check("server")
    assert (finding.status, text in finding.message) == (status, True)


KILLED_CREATION = """
import asyncio, os, signal, sys
from prefect.server.database.dependencies import provide_database_interface
from sqlalchemy import event
from sqlalchemy.engine import Engine
remaining = [int(sys.argv[1])]

@event.listens_for(Engine, "before_cursor_execute")
def count(*_):
    remaining[0] -= 1
    if remaining[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(provide_database_interface().create_db())
"""


def create_prefect_database(folder: Path, kill_at: int = 0) -> int:
    """Run Prefect's migrations, of 8,747 SQL statements, and kill them at one of these; return the exit code."""
    environment = {**os.environ, "PREFECT_HOME": str(folder)}
    arguments = [sys.executable, "-W", "ignore", "-c", KILLED_CREATION, str(kill_at)]
    return subprocess.run(arguments, env=environment, capture_output=True, check=False).returncode


def test_temporary_database_of_a_server_that_was_killed_at_its_first_start_is_not_reported(
    home: Path, check: RunChecks, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "prefect.db")) as connection:
        # All that is on disk before the first migration is complete.
        connection.execute("PRAGMA journal_mode = WAL")
    with temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults={PREFECT_API_URL}):
        _, finding = check("server")
    assert (finding.status, finding.message) == (
        "ok",
        f"{tmp_path / 'prefect.db'} has no tables yet: the next run creates them",
    )


@pytest.mark.matrix
@pytest.mark.parametrize("statement", [5, 20, 60, 200, 900, 3000, 6000, 8700])
def test_kills_while_prefects_tables_are_created_are_completed_by_the_next_server(
    home: Path, check: RunChecks, tmp_path: Path, statement: int
) -> None:
    assert create_prefect_database(tmp_path, statement) == -signal.SIGKILL
    assert create_prefect_database(tmp_path) == 0
    with temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults={PREFECT_API_URL}):
        assert [finding.status for finding in check("server")] == ["ok"]

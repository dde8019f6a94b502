"""The Prefect server that runs report to, or the memory that a temporary one would begin with."""

import json
import sqlite3
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

Examine = Callable[..., list[Finding]]


@contextmanager
def answering(answers: dict[str, str], date: str | None = None) -> Iterator[str]:
    """Something else than a server of this version, on a free port; its address."""

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


def test_one_that_answers(home: Path, found: Examine, prefect_api: str) -> None:
    assert found("server") == [
        Finding("server", "ok", f"{prefect_api} answers, version {prefect.__version__}")
    ]


def test_deployments_of_a_checkout_that_moved_and_a_pool_without_a_worker(
    home: Path, found: Examine, prefect_api: str, tmp_path: Path
) -> None:
    @flow
    def empty() -> None:
        pass

    def deploy(name: str, folder: Path) -> None:
        step = {"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}
        client.create_deployment(
            flow_id, name, pull_steps=[step], tags=["steward"], work_pool_name="nobody-asks"
        )

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(empty)
        pool = {"name": "nobody-asks", "type": "process"}
        client.request("POST", "/work_pools/", json=pool)
        try:
            deploy("here", tmp_path)
            deploy("moved", tmp_path / "gone")
            _, moved, asleep = found("server")
        finally:
            client.request("DELETE", "/flows/{id}", path_params={"id": flow_id})
            client.request("DELETE", "/work_pools/{name}", path_params={"name": "nobody-asks"})
    assert (moved.state, moved.fix) == ("bad", "from this checkout: prefect deploy --all")
    assert moved.found.endswith("not there: moved")
    assert (asleep.state, "nobody-asks" in asleep.found) == ("warn", True)
    assert len(found("server")) == 1


def test_none_that_answers(home: Path, found: Examine) -> None:
    with temporary_settings({PREFECT_API_URL: "http://ann:s3cret@127.0.0.1:9/api"}):
        (bad,) = found("server")
    assert (bad.state, bad.found) == (
        "bad",
        "no Prefect server answers at http://127.0.0.1:9/api: ConnectError",
    )


def test_something_else_that_answers(home: Path, found: Examine) -> None:
    with answering({}) as url, temporary_settings({PREFECT_API_URL: url}):
        (bad,) = found("server")
    assert (bad.state, bad.found) == ("bad", f"what answers at {url} is no Prefect API")


def test_one_of_another_version_that_reports_and_has_another_time(home: Path, found: Examine) -> None:
    answers = {
        "/api/admin/version": '"2.0.1"',
        "/api/admin/settings": json.dumps({"server": {"analytics_enabled": True}}),
        "/api/deployments/filter": "[]",
    }
    long_ago = formatdate(10**9, usegmt=True)
    with answering(answers, long_ago) as url, temporary_settings({PREFECT_API_URL: url}):
        version, clock, telemetry = found("server")
    assert {one.state for one in (version, clock, telemetry)} == {"bad"}
    assert f"is version 2.0.1, and Prefect here is {prefect.__version__}" in version.found
    assert "the clock of" in clock.found
    assert "reports to its makers" in telemetry.found


@pytest.mark.parametrize(
    ("version", "state", "said"),
    [
        ("ffffffffffff", "bad", "does not know"),
        ("9725c1cbee35", "warn", "is older"),
        (None, "bad", "no database of Prefect"),
    ],
)
def test_the_memory_of_temporary_servers(
    home: Path, found: Examine, tmp_path: Path, version: str | None, state: str, said: str
) -> None:
    with temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults={PREFECT_API_URL}):
        assert [one.state for one in found("server")] == ["ok"]
        with closing(sqlite3.connect(tmp_path / "prefect.db")) as connection, connection:
            connection.execute("CREATE TABLE alembic_version (version_num)")
            connection.execute("INSERT INTO alembic_version VALUES (?)", (version,))
        if version is None:
            (tmp_path / "prefect.db").write_text("no database")
        _, finding = found("server")
    assert (finding.state, said in finding.found) == (state, True)

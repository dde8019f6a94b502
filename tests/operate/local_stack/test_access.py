"""Who can use the servers of `steward up`: neither another web page nor another user; a browser by one click."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.events import Event
from prefect.events.clients import PrefectEventsClient, PrefectEventSubscriber
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings
from prefect.workers.process import ProcessWorker
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from operate.local_stack.deployments import JOB_TEMPLATE, ensure_work_pool
from operate.local_stack.servers import POOL
from tests.guard import GUARD

ROOT = Path(__file__).resolve().parents[3]
# The servers of tests/test_deployments.py.
pytestmark = pytest.mark.xdist_group("deployments")
SET_ALIAS = "/api/2.0/mlflow/registered-models/alias"
# Of a run that nothing starts.
TOMORROW = {
    "type": "SCHEDULED",
    "state_details": {"scheduled_time": (datetime.now(UTC) + timedelta(days=1)).isoformat()},
}
ALIAS = {"name": "fintech-risk.simulated", "alias": "champion", "version": "1"}


@pytest.fixture
def up(shared_up: Callable[[], Any]) -> Any:
    return shared_up()


@pytest.fixture
def requests(up: Any) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Return a request that changes something at each server, as method, address and content."""
    return {
        "create flow run": (
            "POST",
            f"{up.api}/deployments/{deployment_id(up)}/create_flow_run",
            {"state": TOMORROW},
        ),
        "set alias": ("POST", f"http://127.0.0.1:{up.mlflow_port}{SET_ALIAS}", ALIAS),
    }


def send(up: Any, path: str, **content: Any) -> httpx.Response:
    """Post to Prefect's API with the secret; repeat it while a busy server answers that it is unavailable."""
    responses: list[httpx.Response] = []

    def is_available() -> bool:
        responses.append(httpx.post(f"{up.api}{path}", json=content, auth=up.auth, timeout=GUARD))
        return responses[-1].status_code != httpx.codes.SERVICE_UNAVAILABLE

    up.wait_until(is_available, interval=0.5)
    return responses[-1]


def deployment_id(up: Any) -> str:
    deployments = send(up, "/deployments/filter").json()
    return next(str(entry["id"]) for entry in deployments if entry["name"] == "maintenance")


@pytest.mark.parametrize("name", ["create flow run", "set alias"])
def test_requests_of_other_pages_and_users_are_refused(
    name: str, up: Any, requests: dict[str, tuple[str, str, dict[str, Any]]]
) -> None:
    method, url, content = requests[name]
    foreign = {"origin": "http://evil.example"}
    preflight = {**foreign, "access-control-request-method": method}
    rebound = {"host": f"evil.example:{url.split(':')[2].split('/')[0]}"}
    for kind, headers, expected in (
        ("OPTIONS", preflight, 403),
        (method, foreign, 403),
        (method, rebound, 403),
        (method, {}, 401),
    ):
        response = httpx.request(kind, url, json=content, headers=headers, timeout=GUARD)
        assert response.status_code == expected, headers
        assert "access-control-allow-origin" not in response.headers
    # The secret does not help a foreign page.
    for headers in (foreign, rebound):
        assert httpx.request(method, url, json=content, headers=headers, auth=up.auth).status_code == 403
    # Let in: there is no such model, and a busy server may answer that it is unavailable.
    allowed = httpx.request(method, url, json=content, auth=up.auth, timeout=GUARD)
    assert allowed.status_code in {"create flow run": (201, 503), "set alias": (404,)}[name], allowed.text


def test_websockets_demand_the_secret(up: Any) -> None:
    event = Event(event="steward.test", resource={"prefect.resource.id": "steward.test"})

    async def send_and_receive() -> str:
        async with PrefectEventSubscriber(up.api, reconnection_attempts=0) as subscriber:
            async with PrefectEventsClient(up.api, reconnection_attempts=0) as client:
                await client.emit(event)
            async for received in subscriber:
                if received.id == event.id:
                    return received.event
        return "closed"

    with temporary_settings({PREFECT_API_AUTH_STRING: ":".join(up.auth)}):
        assert asyncio.run(send_and_receive()) == "steward.test"
    with (
        temporary_settings({PREFECT_API_AUTH_STRING: "steward:other"}),
        pytest.raises(Exception, match="Unable to authenticate"),
    ):
        asyncio.run(send_and_receive())
    address = f"{up.api.replace('http', 'ws')}/events/out"
    for options in ({}, {"origin": "http://evil.example", "subprotocols": ["prefect"]}):
        with pytest.raises(InvalidStatus) as refused:
            connect(address, **options)
        assert refused.value.response.status_code == (403 if options else 401)


def test_printed_addresses_open_with_one_click(up: Any) -> None:
    calls = {
        "Prefect": ("POST", "/api/flows/filter"),
        "MLflow": ("GET", "/ajax-api/2.0/mlflow/experiments/search"),
    }
    for name, (method, path) in calls.items():
        (address,) = re.findall(rf"^{name} +(\S+)$", up.output, re.MULTILINE)
        with httpx.Client(follow_redirects=True, timeout=GUARD) as browser:
            page = browser.get(address, headers={"accept": "text/html"})
            assert page.status_code == 200
            assert "<html" in page.text
            assert "token" not in str(page.url)
            own = f"{page.url.scheme}://{page.url.netloc.decode()}"
            headers = {"origin": own, "sec-fetch-site": "same-origin"}
            query = {"max_results": "1"} if method == "GET" else None
            called = browser.request(method, f"{own}{path}", params=query, headers=headers, json={})
            assert called.status_code == 200, called.text
            # The page of another server on this machine.
            neighbour = {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}
            assert browser.request(method, f"{own}{path}", headers=neighbour).status_code == 401


def test_secret_is_private_and_in_no_argument_log_or_file(up: Any) -> None:
    file = up.state_dir / "api_secret"
    assert file.stat().st_mode & 0o777 == 0o600
    (token, *_) = re.findall(r"token=(\S+)", up.output)
    arguments = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            arguments.append(" ".join(process.cmdline()))
    assert any("prefect_server" in line for line in arguments)
    contents = [path.read_bytes() for path in up.state_dir.rglob("*") if path.is_file() and path != file]
    for secret in (up.api_secret, token):
        assert not any(secret in line for line in arguments)
        assert not any(secret.encode() in content for content in contents)
    assert up.api_secret not in up.output


def test_servers_listen_on_loopback_only(up: Any) -> None:
    hosts = {
        connection.laddr.ip
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port in (up.port, up.mlflow_port)
    }
    assert hosts == {"127.0.0.1"}


@pytest.mark.parametrize("name", ["command", "env", "working_dir", "env.PATH"])
def test_job_variables_are_refused(name: str, up: Any) -> None:
    value = {"env": {"PYTHONSTARTUP": "/tmp/x.py"}}.get(name, "/tmp")
    path = f"/deployments/{deployment_id(up)}/create_flow_run"
    refused = send(up, path, job_variables={name: value})
    assert refused.status_code == 422
    assert "Additional properties are not allowed" in refused.text


def test_pool_of_an_earlier_version_loses_its_variables_also_for_waiting_runs(
    up: Any, tmp_path: Path
) -> None:
    client = SyncPrefectClient(up.api, auth_string=":".join(up.auth))
    earlier = WorkPoolUpdate(base_job_template=ProcessWorker.get_default_base_job_template())
    client.update_work_pool(POOL, earlier)
    proof = tmp_path / "proof"
    variables = {
        "command": f"touch {proof}",
        "env": {"STEWARD_HOME": str(tmp_path)},
        "working_dir": str(tmp_path),
    }
    created = send(
        up,
        f"/deployments/{deployment_id(up)}/create_flow_run",
        job_variables=variables,
        parameters={"dry_run": True},
        state=TOMORROW,
    )
    assert created.status_code == 201, created.text
    ensure_work_pool(client, POOL)
    assert client.read_work_pool(POOL).base_job_template == JOB_TEMPLATE
    run_id = created.json()["id"]
    send(up, f"/flow_runs/{run_id}/set_state", state={"type": "SCHEDULED"}, force=True)

    def state() -> str:
        (run,) = send(up, "/flow_runs/filter", flow_runs={"id": {"any_": [run_id]}}).json()
        return str(run["state"]["type"])

    up.wait_until(lambda: state() in ("COMPLETED", "FAILED", "CRASHED"), interval=0.5)
    # The flow ran, with the environment of the worker.
    assert state() == "COMPLETED"
    assert list(tmp_path.iterdir()) == []


def test_own_command_finds_servers_and_secret(up: Any) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment["STEWARD_HOME"] = str(up.state_dir)

    command = [sys.executable, "-m", "steward", "doctor", "--json"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert up.api_secret not in done.stdout + done.stderr
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    found = {
        finding["check"]: (finding["status"], finding["message"])
        for finding in findings
        if finding["check"] in ("server", "access")
    }
    assert found["server"][0] == "ok"
    assert f"{up.api} answers" in found["server"][1]
    assert found["access"] == ("ok", f"{up.state_dir / 'api_secret'} is readable by this user only")

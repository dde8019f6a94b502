"""The temporary server of a command: it demands a secret, and does not outlive its command."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tasks.settings import load
from tasks.tracking import connection
from tests.guard import GUARD

ROOT = Path(__file__).resolve().parents[2]
# A command that asks its own temporary server with and without the secret, prints what it got, and waits to be killed.
COMMAND = """
import json, sys
import httpx
from prefect.client.orchestration import get_client
from prefect.server.api.server import SubprocessASGIServer
from flows.temporary_server import local_flow

@local_flow("probe")
def probe():
    with get_client(sync_client=True) as client:
        flows = [flow.name for flow in client.read_flows()]
    server = SubprocessASGIServer()
    stranger = httpx.post(f"{server.api_url}/flows/filter", json={}, timeout=1200).status_code
    print(json.dumps([flows, stranger, server.server_process.pid, server.port]), flush=True)
    sys.stdin.read()

probe()
"""


ENDINGS = [
    signal.SIGKILL,
    # They end by the same pipe, but each starts a server.
    pytest.param(signal.SIGTERM, marks=pytest.mark.matrix),
    pytest.param(signal.SIGINT, marks=pytest.mark.matrix),
]
CANCELLED = {
    signal.SIGINT: (130, "cancelled by Ctrl-C (SIGINT)"),
    signal.SIGTERM: (143, "cancelled by a request to end (SIGTERM)"),
}


@pytest.mark.parametrize("number", ENDINGS)
def test_temporary_server_demands_a_secret_and_ends_with_its_command(
    number: signal.Signals, tmp_path: Path
) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        cwd=ROOT,
        env={**inherited, "STEWARD_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert command.stdout
    flows, stranger, server_id, port = json.loads(command.stdout.readline())
    server = psutil.Process(server_id)
    assert str(port) in server.cmdline()
    assert (flows, stranger) == (["probe"], 401)
    command.send_signal(number)
    command.wait()
    # Within its own time limit; it is no child of this process.
    psutil.wait_procs([server], timeout=GUARD)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.matrix)])
def test_a_run_without_a_server_is_cancelled_in_prefect_and_mlflow_by_ctrl_c(
    number: signal.Signals, home_of_a_server: Path, contracts: Path
) -> None:
    home = home_of_a_server
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = subprocess.Popen(
        [sys.executable, "-m", "steward", "run", "fintech-risk"],
        cwd=ROOT,
        env={**inherited, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell in the background ignores it, and its children do too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert command.stderr
    lines = iter(command.stderr.readline, "")
    assert any(line.startswith("  split: ") for line in lines)
    # A terminal sends it to all processes of the command.
    os.killpg(command.pid, number)
    # On a busy machine, lines say what is running for long.
    remaining = [line for line in lines if not line.startswith("  train ") and " s so far" not in line]
    code, reason = CANCELLED[number]
    assert command.wait() == code
    # One line says so: no traceback, nothing about a server that is gone.
    assert len(remaining) == 1, remaining
    (line,) = remaining
    assert line.startswith(f"  {reason}; report: {home}")
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as prefect:
        joined = "flow_run JOIN flow_run_state AS state ON state_id = state.id"
        states = prefect.execute(f"SELECT type, message FROM {joined}").fetchall()
    assert states == [("CANCELLED", f"Steward: {reason}")]
    client = connection.connect(load())
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert (run.info.status, run.data.tags["steward.verdict"]) == ("KILLED", "cancelled")

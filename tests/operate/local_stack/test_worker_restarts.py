"""The worker is started again when it has ended, later each time."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from operate.local_stack.child_process import ChildProcess
from operate.local_stack.worker_restarts import FIRST_DELAY, MAX_DELAY, STABLE_AFTER, WorkerRestarts

ROOT = Path(__file__).resolve().parents[3]
WAIT = [sys.executable, "-c", "input()"]


@pytest.fixture
def restarts(tmp_path: Path) -> Iterator[WorkerRestarts]:
    started: list[ChildProcess] = []

    def start() -> ChildProcess:
        started.append(ChildProcess.start("worker", WAIT, tmp_path / "worker.log", os.environ, tmp_path))
        return started[-1]

    yield WorkerRestarts(start(), start)
    for child in started:
        child.stop(10)


def kill_worker(restarts: WorkerRestarts) -> str | None:
    """Kill the worker and return the message about it."""
    restarts.worker.process.kill()
    restarts.worker.process.wait()
    return restarts.look()


def restart_now(restarts: WorkerRestarts) -> str | None:
    """Look once more after the delay."""
    restarts.next_start = 0.0
    return restarts.look()


def test_a_killed_worker_is_reported_and_started_again(restarts: WorkerRestarts) -> None:
    first = restarts.worker.process
    assert restarts.look() is None
    message = kill_worker(restarts)
    assert message is not None
    assert message.startswith("worker stopped unexpectedly: killed by SIGKILL; last log line: none; see ")
    assert message.endswith(f"next start in {FIRST_DELAY:g} s")
    # Reported once; the delay has not passed.
    restarts.next_start = float("inf")
    assert restarts.look() is None
    assert restart_now(restarts) == "worker started again; runs that are in progress go on"
    assert restarts.worker.process.pid != first.pid
    assert restarts.worker.exit_status is None


def test_a_worker_that_ends_at_once_is_started_later_each_time(restarts: WorkerRestarts) -> None:
    delays = []
    for _ in range(8):
        message = kill_worker(restarts)
        assert message is not None
        delays.append(float(message.rpartition("next start in ")[2].removesuffix(" s")))
        restart_now(restarts)
    assert delays == [min(FIRST_DELAY * 2**number, MAX_DELAY) for number in range(8)]
    # One that ran long is started soon.
    restarts.started -= STABLE_AFTER + 1
    assert (kill_worker(restarts) or "").endswith(f"next start in {FIRST_DELAY:g} s")


def test_a_worker_that_exits_without_an_error_is_started_again(restarts: WorkerRestarts) -> None:
    restarts.worker.process.send_signal(signal.SIGTERM)
    restarts.worker.process.wait()
    assert "worker stopped unexpectedly" in (restarts.look() or "")


# `steward up` is asked to stop while its worker is dead; the run of that worker writes down which signal it got.
STOP_WITHOUT_WORKER = """
import os, sys
from pathlib import Path
from operate.local_stack.child_process import ChildProcess, adopt_orphans
from operate.local_stack.servers import WORKER, Servers
from tasks.settings import load

run = '''
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("asked to end", flush=True)))
print("running", flush=True)
signal.pause()
'''
worker = f"import signal, subprocess, sys; subprocess.Popen([sys.executable, '-c', {run!r}]); signal.pause()"
log = Path(sys.argv[1])
adopt_orphans()
servers = Servers(load(), 1, 2, "", dict(os.environ))
child = ChildProcess.start(WORKER, [sys.executable, "-c", worker], log, os.environ, log.parent)
servers.children.append(child)
while "running" not in log.read_text():
    pass
child.process.kill()
child.process.wait()
servers.stop()
"""


def test_a_run_whose_worker_has_ended_is_asked_to_end(home: Path, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    command = [sys.executable, "-W", "ignore", "-c", STOP_WITHOUT_WORKER, str(log)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    assert log.read_text().split("\n") == ["running", "asked to end", ""]

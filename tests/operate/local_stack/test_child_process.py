"""Ending processes: each gets one SIGTERM, and SIGKILL only where the patience with it is over."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

from operate.local_stack.child_process import Patience, terminate_all
from tests.guard import GUARD

IGNORE = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
READY = "print('ready', flush=True); "


@contextmanager
def started(code: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start Python code that prints a line when it is ready."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process


def listing(process: "subprocess.Popen[bytes]") -> Callable[[], list[psutil.Process]]:
    return lambda: [psutil.Process(process.pid)] if process.poll() is None else []


def test_a_process_records_its_end_once_asked_once() -> None:
    code = (
        "import signal, sys; asked = []\n"
        "def end(*_):\n    asked.append(1)\n    sum(range(10**6))\n    print(len(asked), flush=True)\n    sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, end); print('ready', flush=True)\nwhile True: signal.pause()"
    )
    with started(code) as process:
        terminate_all(listing(process), Patience(GUARD, GUARD))
        assert process.stdout
        assert (process.returncode, process.stdout.read()) == (7, b"1\n")


@pytest.mark.parametrize(
    ("code", "processor_seconds", "clock_seconds"),
    [("while True: pass", 0.2, GUARD), ("signal.pause()", GUARD, 0.2)],
    ids=["busy", "waiting"],
)
def test_a_process_that_does_not_end_is_killed(
    code: str, processor_seconds: float, clock_seconds: float
) -> None:
    with started(IGNORE + READY + "\n" + code) as process:
        terminate_all(listing(process), Patience(processor_seconds, clock_seconds))
        assert process.returncode == -9


def test_patience_can_be_ended_before_its_time() -> None:
    with started(IGNORE + READY + "\nsignal.pause()") as process:
        looks: list[bool] = []

        def is_over() -> bool:
            looks.append(process.poll() is None)
            return len(looks) > 3

        terminate_all(listing(process), Patience(GUARD, GUARD, is_over))
        assert process.returncode == -9
        assert looks[:4] == [True] * 4

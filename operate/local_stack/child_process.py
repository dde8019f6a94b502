"""Child processes that write to a log file and end with their parent; searching and ending processes. Linux only."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

# Options of prctl (<sys/prctl.h>), which psutil does not offer.
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class ChildProcess:
    """A running command: `name` is for messages, `log` receives its stdout and stderr."""

    name: str
    log: Path
    process: "subprocess.Popen[bytes]"

    @classmethod
    def start(
        cls, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path
    ) -> Self:
        """Start a command in its own session, so that Ctrl-C does not reach it. An existing log is kept."""
        if log.exists():
            log.replace(log.with_suffix(".log.before"))
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=folder,
                # The servers end when it closes, however this process ends.
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent(os.getpid()),
            )
        return cls(name, log, process)

    @property
    def exit_status(self) -> str | None:
        """Exit code or signal; None while the process is running."""
        code = self.process.poll()
        if code is None:
            return None
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    @property
    def exit_summary(self) -> str:
        """Exit status, last log line, log path."""
        lines = self.log.read_text(errors="replace").strip().splitlines() or ["none"]
        return f"{self.exit_status}; last log line: {lines[-1].strip()}; see {self.log}"

    def stop(self, timeout_seconds: float) -> None:
        """Send SIGTERM; after the timeout, send SIGKILL to every process of its session."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout_seconds)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.close()

    def close(self) -> None:
        """Close the pipe to its standard input."""
        if self.process.stdin:
            self.process.stdin.close()


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent ends."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def running_children(pid: int) -> list[psutil.Process]:
    """Return the direct children of a process, without zombies; none if the process has ended."""
    running = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            with suppress(psutil.NoSuchProcess):
                if child.status() != psutil.STATUS_ZOMBIE:
                    running.append(child)
    return running


def has_process_with_variable(name: str, value: str) -> bool:
    """Tell whether a process was started with this environment variable; processes of other users are skipped."""
    processes = psutil.process_iter(["environ"])
    return any((process.info["environ"] or {}).get(name) == value for process in processes)


@dataclass(frozen=True)
class Patience:
    """How long processes may take to end after SIGTERM: processor seconds of each, and seconds of the clock in all.

    A run first records its end, which takes a moment on an idle machine and minutes on a busy one: there it waits
    without using the processor. `is_over` ends the patience at once.
    """

    processor_seconds: float
    clock_seconds: float
    is_over: Callable[[], bool] = lambda: False


def terminate_all(list_processes: Callable[[], list[psutil.Process]], patience: Patience) -> None:
    """End processes until `list_processes` returns none.

    Each listed process gets one SIGTERM, also if it is new; SIGKILL where the patience with it is over.
    """
    used_before: dict[psutil.Process, float] = {}
    deadline = time.monotonic() + patience.clock_seconds
    while processes := list_processes():
        is_late = patience.is_over() or time.monotonic() > deadline
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                used = _processor_seconds(process)
                if is_late or used - used_before.get(process, used) > patience.processor_seconds:
                    process.kill()
                elif process not in used_before:
                    used_before[process] = used
                    process.terminate()
        time.sleep(0.1)


def _processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _end_with_parent(parent: int) -> Callable[[], None]:
    def set_death_signal() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        # The parent may have ended before prctl took effect.
        if os.getppid() != parent:
            os._exit(1)

    return set_death_signal

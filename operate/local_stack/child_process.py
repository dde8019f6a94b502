"""A child process with a log file of its own, which cannot outlive the process that started it. Linux."""

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

# <sys/prctl.h>
SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Child:
    """`name` is how people call it; `log` is where everything goes that it says."""

    name: str
    log: Path
    process: "subprocess.Popen[bytes]"

    @classmethod
    def start(
        cls, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path
    ) -> Self:
        """In a session of its own, so that Ctrl-C does not reach it before its turn. The log before is kept."""
        if log.exists():
            log.replace(log.with_suffix(".log.before"))
        with log.open("wb") as said:
            process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_dies_with(os.getpid()),
            )
        return cls(name, log, process)

    @property
    def ended(self) -> str | None:
        """How it ended, or None while it is alive."""
        code = self.process.poll()
        if code is None:
            return None
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    @property
    def obituary(self) -> str:
        """How it ended, its last words, and where the others are."""
        lines = self.log.read_text(errors="replace").strip().splitlines() or ["nothing"]
        return f"{self.ended}; its last words: {lines[-1].strip()}; see {self.log}"

    def end(self, patience: float) -> None:
        """SIGTERM; after `patience` seconds SIGKILL, to all that it started in its session too."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def adopt_orphans() -> None:
    """Whatever a descendant of this process leaves behind becomes a child of this process."""
    LIBC.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_of(pid: int) -> list[int]:
    """Living children of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in brackets, may hold anything; state and parent come after it.
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(stat.parent.name))
    return found


def any_with(variable: str, value: str) -> bool:
    """Whether a process that this user may look into was started with this in its environment."""
    sought = f"{variable}={value}".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if sought in environment.read_bytes().split(b"\0"):
                return True
    return False


def end_all(which: Callable[[], list[int]], patience: float) -> None:
    """SIGTERM to each process that `which` names, newcomers too; SIGKILL to those left after `patience` seconds."""
    told: set[int] = set()
    until = time.monotonic() + patience
    while living := which():
        late = time.monotonic() > until
        for pid in living:
            if late or pid not in told:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        told.update(living)
        time.sleep(0.1)


def _dies_with(parent: int) -> Callable[[], None]:
    def ask() -> None:
        LIBC.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
        # It may have died before it was asked for.
        if os.getppid() != parent:
            os._exit(1)

    return ask

"""Find out whether a process of this machine may hold the lock of a run. Linux only.

The lock file of a living run may be missing, because it was deleted, or be free, because its folder was copied.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROCESSES = Path("/proc")
# Words in the command line of a process that may run a flow.
COMMANDS = (b"steward", b"prefect")


def may_be_running(identity: str) -> bool:
    """Tell whether a process of this machine may hold the run lock `identity`, in whichever state directory.

    A process of another user, whose files cannot be seen, may do so if its command line names Steward or Prefect.
    """
    names = {f"{identity}.lock", f"{identity}.lock (deleted)"}
    return any(_holds(process, names) for process in _processes())


def _processes() -> Iterator[Path]:
    return (path for path in PROCESSES.iterdir() if path.name.isdigit())


def _holds(process: Path, names: set[str]) -> bool:
    try:
        files = list((process / "fd").iterdir())
    except PermissionError:
        return _may_run_a_flow(process)
    except OSError:
        return False
    for file in files:
        # The process may have closed it, or ended.
        with suppress(OSError):
            if file.readlink().name in names:
                return True
    return False


def _may_run_a_flow(process: Path) -> bool:
    with suppress(OSError):
        command = (process / "cmdline").read_bytes()
        return any(word in command for word in COMMANDS)
    return False

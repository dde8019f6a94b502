"""A run without a lock file may live as long as a process has its lock open."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tasks.locks.open_locks import may_be_running

# Unique on this machine: the lock of a living process is searched for in all of them.
RUN_ID = f"run-{uuid4()}"

CHILD = "import sys; file = open(sys.argv[1]); print('open', flush=True); sys.stdin.readline()"


@contextmanager
def held_lock(folder: Path, identity: str) -> Iterator[Path]:
    """Let another process have a lock file open."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{identity}.lock"
    file.touch()
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "open\n"
    yield file
    process.communicate("\n")


def test_a_run_may_live_while_a_process_has_its_lock_open_even_if_the_file_is_deleted(tmp_path: Path) -> None:
    assert not may_be_running(RUN_ID)
    with held_lock(tmp_path, RUN_ID) as file:
        assert may_be_running(RUN_ID)
        assert not may_be_running(f"{RUN_ID}-2")
        file.unlink()
        assert may_be_running(RUN_ID)
    assert not may_be_running(RUN_ID)

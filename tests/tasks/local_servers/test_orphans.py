"""Temporary servers that an earlier version left behind are ended; those of living commands are not."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from tasks.local_servers.orphans import APPLICATION, end_orphaned_servers

# As Prefect starts a temporary server: by an argument of Python, in the session of its command. Prints its id.
SERVER = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
COMMAND = """
import os, subprocess, sys
server = subprocess.Popen([sys.executable, "-c", sys.argv[1], os.environ["APPLICATION"]])
if sys.argv[2] == "waits":
    server.wait()
"""


def start(home: Path, ending: str) -> "tuple[subprocess.Popen[str], int]":
    """Start a command, in a session of its own, that starts a server; return it and the server's id."""
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, SERVER, ending],
        env={
            **os.environ,
            "PREFECT__SERVER_EPHEMERAL": "1",
            "PREFECT_HOME": str(home),
            "APPLICATION": APPLICATION,
        },
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert command.stdout
    return command, int(command.stdout.readline())


def test_only_servers_without_a_command_are_ended(tmp_path: Path) -> None:
    command, served = start(tmp_path, "waits")
    other, elsewhere = start(tmp_path / "other", "ends")
    ended, orphan = start(tmp_path, "ends")
    ended.wait()
    other.wait()
    try:
        assert end_orphaned_servers(tmp_path) == [orphan]
        assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE
        assert psutil.pid_exists(served)
        assert psutil.pid_exists(elsewhere)
    finally:
        for pid in (served, elsewhere):
            psutil.Process(pid).kill()
        command.wait()

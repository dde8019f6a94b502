"""Temporary Prefect servers that earlier versions left behind; those of this version end with their command."""

import os
from contextlib import suppress
from pathlib import Path

import psutil

# An argument by which Prefect starts a temporary server.
APPLICATION = "prefect.server.api.server:create_app"
STOP_TIMEOUT = 5  # seconds


def end_orphaned_servers(prefect_home: Path) -> list[int]:
    """End this user's temporary servers on a Prefect folder that have lost their parent; return their ids."""
    orphans = []
    for process in psutil.process_iter():
        # Processes of other users, and those that end meanwhile.
        with suppress(psutil.Error):
            if _is_temporary_server(process, prefect_home) and _is_orphan(process):
                process.terminate()
                orphans.append(process)
    _, remaining = psutil.wait_procs(orphans, timeout=STOP_TIMEOUT)
    for process in remaining:
        with suppress(psutil.Error):
            process.kill()
    return [process.pid for process in orphans]


def _is_temporary_server(process: psutil.Process, prefect_home: Path) -> bool:
    if APPLICATION not in process.cmdline():
        return False
    variables = process.environ()
    is_temporary = variables.get("PREFECT__SERVER_EPHEMERAL") == "1"
    return is_temporary and variables.get("PREFECT_HOME") == str(prefect_home)


def _is_orphan(process: psutil.Process) -> bool:
    """Tell whether a process was adopted: the command that started it has the same interpreter and session."""
    parent = process.parent()
    if parent is None:
        return True
    try:
        return parent.exe() != process.exe() or os.getsid(parent.pid) != os.getsid(process.pid)
    except psutil.AccessDenied:
        # The parent is another user's, so it did not start this process.
        return True

"""Find the servers of a running `steward up`, for other processes on the same state directory (operate/up.py)."""

import fcntl
import json
from pathlib import Path
from typing import Any

import psutil

from ml.errors import UsageError

# In the state directory: the addresses of the servers, and the lock that `steward up` holds while they run.
SERVER_INFO, SERVER_LOCK = "up.json", "up.lock"


def running_server_env(state_dir: Path, has_database: bool) -> dict[str, str]:
    """Return the variables that name Prefect's server and, unless this process `has_database`, MLflow's database.

    Empty if no `steward up` is running. Raises UsageError if this user may not read the address of the database.
    """
    info = state_dir / SERVER_INFO
    if not info.exists() or not _is_locked(state_dir / SERVER_LOCK):
        return {}
    servers: dict[str, Any] = json.loads(info.read_text())
    variables = {"PREFECT_API_URL": f"{servers['prefect']}/api"}
    if servers["own_database"] and not has_database:
        variables["STEWARD_TRACKING_URI"] = _environment_of(servers["pid"])["STEWARD_TRACKING_URI"]
    return variables


def _is_locked(lock: Path) -> bool:
    """Return whether a process holds the lock; the kernel releases it however that process ends."""
    try:
        with lock.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _environment_of(pid: int) -> dict[str, str]:
    """Return the environment a process was started with, the only place of an address that may hold a password."""
    try:
        return psutil.Process(pid).environ()
    except psutil.Error as error:
        raise UsageError(
            f"the database of the running `steward up`, process {pid}",
            "no permission to read it" if isinstance(error, psutil.AccessDenied) else "no such process",
            "set STEWARD_TRACKING_URI to the same address, or run as the same user",
        ) from None

"""Find the servers of a running `steward up`, for other processes on the same state directory (operate/up.py)."""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from ml.errors import UsageError
from tasks.local_servers import api_secret

# In the state directory: the addresses of the servers, and the lock that `steward up` holds while they run.
SERVER_INFO, SERVER_LOCK = "up.json", "up.lock"


def running_server_env(state_dir: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to set, beside those of `environment`, to use the servers of a running `steward up`.

    Server and database that the environment names stay; the secret is for our own server only. Empty if no `steward up`
    is running. Raises UsageError if this user may not read the address of the database.
    """
    servers = running_servers(state_dir)
    if servers is None:
        return {}
    api_url = f"{servers['prefect']}/api"
    variables = {}
    if (environment.get("PREFECT_API_URL") or api_url).rstrip("/") == api_url:
        variables["PREFECT_API_URL"] = api_url
        if secret := api_secret.read_api_secret(state_dir):
            variables["PREFECT_API_AUTH_STRING"] = api_secret.auth_string(secret)
    if servers["own_database"] and "STEWARD_TRACKING_URI" not in environment:
        variables["STEWARD_TRACKING_URI"] = _environment_of(servers["pid"])["STEWARD_TRACKING_URI"]
    return variables


def running_servers(state_dir: Path) -> dict[str, Any] | None:
    """Return what a running `steward up` wrote about its servers; None if none is running."""
    info = state_dir / SERVER_INFO
    if not info.exists() or not _is_locked(state_dir / SERVER_LOCK):
        return None
    servers: dict[str, Any] = json.loads(info.read_text())
    return servers


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

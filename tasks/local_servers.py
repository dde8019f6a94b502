"""Where the servers of a living `steward up` are, for whoever works on the same home. See operate/up.py."""

import fcntl
import json
from pathlib import Path
from typing import Any

from ml.errors import UsageError

# What the servers say of themselves, and the lock that is held while they live.
TOLD, LOCK = "up.json", "up.lock"


def living(home: Path, has_database: bool) -> dict[str, str]:
    """Variables that name Prefect's server and, unless this process `has_database`, MLflow's database.

    Raises UsageError where this user may not know the latter.
    """
    told = home / TOLD
    if not told.exists() or not _is_held(home / LOCK):
        return {}
    up: dict[str, Any] = json.loads(told.read_text())
    found = {"PREFECT_API_URL": f"{up['prefect']}/api"}
    if up["own_database"] and not has_database:
        found["STEWARD_TRACKING_URI"] = _environment_of(up["pid"])["STEWARD_TRACKING_URI"]
    return found


def _is_held(lock: Path) -> bool:
    """The kernel lets go of it whatever ends the process that holds it."""
    try:
        with lock.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _environment_of(pid: int) -> dict[str, str]:
    """What a process was started with: the only place of an address that may hold a password."""
    try:
        pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    except OSError as error:
        raise UsageError(
            f"the database of the `steward up` that runs, process {pid}",
            error.strerror or str(error),
            "set STEWARD_TRACKING_URI to the same, or be the same user",
        ) from None
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

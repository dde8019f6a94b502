"""Who can read the state directory: only its owner, or with STEWARD_SHARED_HOME also its group."""

import fcntl
import os
import stat
from pathlib import Path

# Content of a state directory, by which a folder is recognised as one before its mode is changed.
STATE_NAMES = ("mlflow.db", "mlflow.lock", "artifacts", "store", "ledger", "running", "prefect", "cache")

_user_umask: int | None = None


def create_private(folder: Path, shared: bool) -> None:
    """Create a folder, or restrict an existing one; files that this process creates from now on are private too.

    Raises OSError where the folder cannot be created.
    """
    global _user_umask
    previous = os.umask(0o007 if shared else 0o077)
    _user_umask = previous if _user_umask is None else _user_umask
    folder.mkdir(mode=0o770 if shared else 0o700, parents=True, exist_ok=True)
    if _is_own_state(folder):
        restrict(folder, shared)


def probe(folder: Path) -> None:
    """Write and lock a file in a folder, and remove it. Raises OSError, also on a disk without file locks."""
    path = folder / f".writable-{os.getpid()}"
    try:
        with path.open("w") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        path.unlink(missing_ok=True)


def restrict(folder: Path, shared: bool) -> bool:
    """Take away what others may do with a folder of this user; return whether anything was."""
    excess = excess_mode(folder, shared)
    if excess and folder.stat().st_uid == os.geteuid():
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~excess)
        return True
    return False


def excess_mode(folder: Path, shared: bool) -> int:
    """Return the bits of the folder's mode by which others can read, write or enter it."""
    return stat.S_IMODE(folder.stat().st_mode) & (0o007 if shared else 0o077)


def user_file_mode() -> int:
    """Return the mode of a file that this user asked for outside of the state directory, by the user's own umask."""
    return 0o666 & ~(_user_umask if _user_umask is not None else 0o077)


def _is_own_state(folder: Path) -> bool:
    """Return whether a folder is a state directory: STEWARD_HOME may be set to a folder that others need by mistake."""
    is_sticky = bool(folder.stat().st_mode & stat.S_ISVTX)
    content = {path.name for path in folder.iterdir()} if os.access(folder, os.R_OK | os.X_OK) else {""}
    return not is_sticky and (not content or bool(content & set(STATE_NAMES)))

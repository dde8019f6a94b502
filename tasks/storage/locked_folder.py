"""The folder of the content store under its lock, and the deletion of what is damaged in it."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml.errors import StoredResultError
from tasks.storage.key_file import read_key
from tasks.storage.object_folder import find_damage


@contextmanager
def store_lock(store: Path, mode: int) -> Iterator[None]:
    """Lock the folder of a store, which must exist: `fcntl.LOCK_SH` for shared or `fcntl.LOCK_EX` for exclusive."""
    handle = os.open(store, os.O_RDONLY)
    try:
        fcntl.flock(handle, mode)
        yield
    finally:
        os.close(handle)


def delete_damaged(store: Path, path: Path) -> None:
    """Delete a damaged object or key, unless another process has replaced it in the meantime.

    It is moved away under the exclusive lock, so that nobody reads a half-deleted object. Raises StoredResultError
    where it cannot be moved.
    """
    try:
        trash = store / "trash"
        trash.mkdir(exist_ok=True)
        with store_lock(store, fcntl.LOCK_EX):
            if not os.path.lexists(path) or _is_intact(path):
                return
            aside = Path(tempfile.mkdtemp(prefix="damaged-", dir=trash))
            path.rename(aside / path.name)
    except OSError as error:
        raise StoredResultError(
            "a damaged result that can be deleted",
            f"{error.strerror or type(error).__name__} in {path.parent}",
            f"delete {path}, then repeat the command",
        ) from None
    shutil.rmtree(aside, ignore_errors=True)


def _is_intact(path: Path) -> bool:
    if path.suffix != ".json":
        return not find_damage(path)
    try:
        read_key(path)
    except StoredResultError:
        return False
    return True

"""Identify a state directory: several of them may share one tracking server."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

from ml.errors import UsageError
from tasks.settings import Settings

FILE_NAME = "state_dir_id"
# Bytes; a file that is longer holds no identity.
MAX_BYTES = 100


def state_dir_id(settings: Settings) -> str:
    """Return the random identity of the state directory, which is made on first use.

    Two processes that make it at once get the same one. Raises UsageError for a file with other content.
    """
    path = settings.state_dir / FILE_NAME
    if (identity := _read(path)) is None:
        _create(path)
        identity = _read(path)
    if identity is None:
        raise UsageError(f"a file {path}", "none: it was deleted while it was made", "repeat the command")
    return identity


def read_state_dir_id(settings: Settings) -> str | None:
    """Return the identity, or None where none was made yet; creates nothing. Raises UsageError."""
    return _read(settings.state_dir / FILE_NAME)


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES)
    except FileNotFoundError:
        return None
    try:
        return str(UUID(content.decode("ascii").strip()))
    except ValueError:
        next_step = (
            "restore it from a backup; without one, delete it: runs and ledgers of this directory then"
            " count as those of another one"
        )
        raise UsageError(f"an identity (UUID) in {path}", "something else", next_step) from None


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{FILE_NAME}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{uuid4()}\n")
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, fails where another process was first: its identity stays.
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()

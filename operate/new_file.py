"""Write the files that a user names; nothing is overwritten."""

import os
from collections.abc import Sequence
from pathlib import Path

from ml.errors import UsageError


def require_new(path: Path, endings: Sequence[str]) -> None:
    """Raise UsageError for a file that exists, has another ending, or whose folder does not exist."""
    if path.suffix not in endings or not path.resolve().parent.is_dir():
        expected = " or ".join(f"FILE{ending}" for ending in endings)
        raise UsageError(f"{expected} in a folder that exists", str(path), "name such a file")
    if path.exists():
        raise UsageError("a new file", f"{path}, which exists", "name another one")


def write_new(path: Path, text: str) -> None:
    """Write a new file, under another name first, so that a full disk leaves no half of it.

    Raises UsageError for a file that exists, or a folder that does not.
    """
    require_new(path, [path.suffix])
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

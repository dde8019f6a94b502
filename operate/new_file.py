"""Write the files that a user names; nothing is overwritten."""

import os
from pathlib import Path

from ml.errors import UsageError


def write_new(path: Path, text: str) -> None:
    """Write a new file, under another name first, so that a full disk leaves no half of it.

    Raises UsageError for a file that exists, or a folder that does not.
    """
    if path.exists():
        raise UsageError("a new file", f"{path}, which exists", "name another one")
    if not path.resolve().parent.is_dir():
        raise UsageError("a file in a folder that exists", str(path), "create the folder, or name another")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

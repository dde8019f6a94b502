"""Read regular files in full, without following symbolic links and without waiting for pipes."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path


class NotRegularFileError(OSError):
    """The path names a folder, a symbolic link, a pipe, a socket or a device."""


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file to read. Raises OSError, also for everything that is not a regular file."""
    # Without O_NONBLOCK, opening a pipe would wait until another process writes to it.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise NotRegularFileError(f"expected a regular file; got another kind; see {path.name}")
        file = os.fdopen(handle, "rb")
    except BaseException:
        # `fdopen` refuses a folder without closing it.
        os.close(handle)
        raise
    with file:
        yield file


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Read a regular file. Raises OSError, and ValueError where it has more than `max_bytes`."""
    with open_regular(path) as file:
        # The size first: a buffer for `max_bytes` would be allocated at once. One more byte shows that the file grew.
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1) if size <= max_bytes else b""
    if max(size, len(data)) > max_bytes:
        raise ValueError(f"expected at most {max_bytes:,} bytes; got more; see {path.name}")
    return data


def file_sha256(path: Path, size: int) -> str:
    """Compute the SHA-256 of a regular file of this size; empty for another size, which is not read."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size != size:
            return ""
        return hashlib.file_digest(file, "sha256").hexdigest()

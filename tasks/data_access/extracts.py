"""Extracts: private Parquet files, named by their digest, with what came from a database or from Python.

A run reads them as any other file, so that it can be traced and reproduced. Maintenance deletes those that no model
needs.
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ml.errors import UsageError

FOLDER = "extracts"


@dataclass(frozen=True)
class ExpiredExtract:
    """A file that is past its retention."""

    path: Path
    size_bytes: int


def is_extract(path: Path) -> bool:
    """Return whether a file is an extract, whose name says nothing to people."""
    return path.parent.name == FOLDER and path.suffix == ".parquet" and len(path.stem) == 64


def write_extract(store: Path, schema: pa.Schema, blocks: Iterable[pa.Table | pa.RecordBatch]) -> Path:
    """Write blocks of rows below the folder of the store, and return the file; it appears whole or not at all.

    Raises UsageError where the disk is full.
    """
    folder = store / FOLDER
    with _room_for(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _temporary(folder) as path:
            with pq.ParquetWriter(path, schema) as writer:
                for block in blocks:
                    writer.write(block)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            # The same content has the same name: its time says when it was last used.
            return path.replace(folder / f"{digest}.parquet")


def expired_extracts(store: Path, required: frozenset[str], before: int) -> Iterator[ExpiredExtract]:
    """Yield the extracts last used before an instant (nanoseconds) whose digests are not required.

    Files that were never finished have no digest, and are required by nothing.
    """
    folder = store / FOLDER
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        found = path.stat()
        if path.stem not in required and found.st_mtime_ns < before:
            yield ExpiredExtract(path, found.st_size)


@contextmanager
def _room_for(folder: Path) -> Iterator[None]:
    """Report a full disk as one message; the unfinished file is gone by then."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UsageError(
            f"space in {folder} for a private copy of the rows",
            "a full disk",
            "free some, such as by `steward maintain`, and run again: nothing of the rows was kept",
        ) from None


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix=".writing-", dir=folder)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)

"""Find out how a file is written, for a draft of its contract: its first bytes, or the schema of a Parquet file."""

import codecs
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ml.contract.values import MAX_COLUMN
from ml.drafting.dialect import find_dialect
from ml.errors import UsageError
from tasks.read_limits import ReadLimits

# Bytes from which the dialect of a text file is found.
START = 2_000_000
# What a damaged archive or Parquet file raises.
READ_ERRORS = (ValueError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile, pa.ArrowException)


@dataclass(frozen=True)
class FileDialect:
    """How a file is read: `meta.read` without columns and files, the names of its columns, and doubts by key."""

    read: Mapping[str, Any]
    columns: tuple[str, ...]
    doubts: Mapping[str, str]


def file_dialect(path: Path, is_log: bool, limits: ReadLimits) -> FileDialect:
    """Return how a file is read. Raises UsageError for one that cannot be read at all, or that has no columns."""
    limits.check_file_size(path.name, path.stat().st_size)
    try:
        if path.suffix == ".parquet":
            return FileDialect({"format": "parquet"}, tuple(pq.read_schema(path).names), {})
        start = _start(path)
    except READ_ERRORS as error:
        raise UsageError(
            "a file of text with rows, one in a zip archive, or Parquet",
            f"{path.name}, which cannot be read ({type(error).__name__})",
            "bring another file",
        ) from None
    if b"\0" in start and not start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UsageError(
            f"text in {path.name}", "bytes of 0", "save it as text in UTF-8, or name it .parquet or .zip"
        )
    found = find_dialect(start, is_log)
    if not found.names:
        raise UsageError(f"rows in {path.name}", "none", "bring a file with rows")
    if repeated := sorted({name for name in found.names if found.names.count(name) > 1}):
        raise UsageError(
            f"each column once in {path.name}", f"{repeated} more than once", "rename one of each"
        )
    limits.check_columns(path.name, len(found.names))
    if max(map(len, found.names)) > MAX_COLUMN:
        raise UsageError(
            f"names of columns with at most {MAX_COLUMN} characters in {path.name}",
            "a longer one",
            "rename it",
        )
    read: dict[str, Any] = {
        "format": found.format,
        "encoding": found.encoding,
        "separator": found.separator,
        "header": found.header,
        "strip": found.strip,
    }
    defaults = {"format": "csv", "encoding": "utf-8", "separator": ",", "header": True, "strip": False}
    given = {key: value for key, value in read.items() if value != defaults[key]}
    return FileDialect(given, found.names, found.doubts)


def _start(path: Path) -> bytes:
    if path.suffix != ".zip":
        with path.open("rb") as file:
            return file.read(START)
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
        if len(members) != 1:
            raise UsageError("one file in the archive", f"{len(members)}", f"repack {path.name}")
        with archive.open(members[0]) as member:
            return member.read(START)

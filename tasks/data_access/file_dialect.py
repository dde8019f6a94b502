"""Find out how a file is written, for a draft of its contract: from its first bytes, or from the schema that it has."""

import codecs
import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ml.contract.read_options import MAX_SKIPPED_LINES, ReadOptions
from ml.contract.values import MAX_COLUMN
from ml.drafting.dialect import find_dialect
from ml.errors import UsageError
from tasks.formats.file_formats import read_file
from tasks.formats.file_names import format_of, packing
from tasks.formats.packed_files import text_file
from tasks.formats.read_limits import ReadLimits

# Bytes from which the dialect of a text file is found.
START = 2_000_000
# Messages by intent begin with the first intent, and the parts of a message.
INTENTS = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"[^"]*"\s*:\s*\[\s*\{\s*"data"\s*:\s*\[')
# What a damaged archive or file with a schema raises.
READ_ERRORS = (ValueError, RuntimeError, EOFError, OSError, zlib.error, zipfile.BadZipFile, pa.ArrowException)
DEFAULTS = {"format": "csv", "encoding": "utf-8", "separator": ",", "header": True, "strip": False}


@dataclass(frozen=True)
class FileDialect:
    """How a file is read: `meta.read` without columns and files, the names of its columns, and doubts by key."""

    read: Mapping[str, Any]
    columns: tuple[str, ...]
    doubts: Mapping[str, str]


class _EveryName(dict[str, str]):
    """Columns of a reader that is to find the names: every name is one of them."""

    def __contains__(self, name: object) -> bool:
        return True


def file_dialect(path: Path, is_log: bool, limits: ReadLimits) -> FileDialect:
    """Return how a file is read. Raises UsageError for one that cannot be read at all, or that has no columns."""
    limits.check_file_size(path.name, path.stat().st_size)
    try:
        found = _find(path, is_log, limits)
    except READ_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UsageError(
            "a data file that can be read",
            f"{path.name}, which is damaged or of another format ({type(error).__name__})",
            "bring another file",
        ) from None
    names = found.columns
    if not names:
        raise UsageError(f"rows in {path.name}", "none", "bring a file with rows")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"each column once in {path.name}", f"{repeated} more than once", "rename one of each"
        )
    limits.check_columns(path.name, len(names))
    if max(map(len, names)) > MAX_COLUMN:
        expected = f"names of columns with at most {MAX_COLUMN} characters in {path.name}"
        raise UsageError(expected, "a longer one", "rename it")
    return found


def _find(path: Path, is_log: bool, limits: ReadLimits) -> FileDialect:
    options = ReadOptions(columns={})
    kind = format_of(path.name, options)
    if kind == "parquet":
        return FileDialect({"format": kind}, tuple(pq.read_schema(path).names), {})
    if kind == "feather":
        with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as reader:
            return FileDialect({"format": kind}, tuple(reader.schema.names), {})
    if kind == "excel" and not packing(path.name):
        return _with_read_names(path, kind, limits)
    with text_file(path, limits, zeros=True) as file:
        kind = format_of(file.content_name, options)
        with file.open() as opened:
            start = opened.read(START)
    if b"\0" in start and not start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        next_step = "save it as text in UTF-8, or under the ending of its format"
        raise UsageError(f"text in {path.name}", "bytes of 0", next_step)
    if kind == "arff":
        return _with_read_names(path, kind, limits)
    if kind == "jsonl":
        return FileDialect({"format": kind}, _keys(start), {})
    if PurePath(file.content_name).suffix.lower() == ".json":
        return _json(start, path.name)
    found = find_dialect(start, is_log)
    read: dict[str, Any] = {key: getattr(found, key) for key in DEFAULTS}
    given = {key: value for key, value in read.items() if value != DEFAULTS[key]}
    return FileDialect(given, found.names, found.doubts)


def _json(start: bytes, name: str) -> FileDialect:
    """Return the dialect of JSON: an object in each line, or messages by intent."""
    try:
        if start.count(b"\n") > 1:
            return FileDialect({"format": "jsonl"}, _keys(start), {})
    except ValueError:
        pass  # objects that take several lines
    if not INTENTS.match(start):
        raise UsageError(
            f"an object in each line, or messages by intent, in {name}",
            "other JSON",
            "write one object per line",
        )
    return FileDialect({"format": "intents"}, ("intent", "text"), {})


def _with_read_names(path: Path, kind: str, limits: ReadLimits) -> FileDialect:
    known = {"columns": _EveryName(), "format": kind, "ragged_lines": MAX_SKIPPED_LINES}
    options = ReadOptions(columns={}).model_copy(update=known)
    return FileDialect({"format": kind}, tuple(read_file(path, options, limits).table.column_names), {})


def _keys(start: bytes) -> tuple[str, ...]:
    """Return the keys of the objects in the first lines, in the order in which they appear."""
    # As the reader divides lines: the line separator of Unicode may be in a text.
    lines = io.StringIO(
        start.decode("utf-8", errors="replace").removeprefix("\ufeff"), newline=None
    ).readlines()
    keys: dict[str, None] = {}
    # The last line may be cut.
    for line in lines[:-1] if len(lines) > 1 else lines:
        row = json.loads(line) if line.strip() else {}
        if not isinstance(row, dict):
            raise ValueError("a line that is no object")
        keys |= dict.fromkeys(row)
    return tuple(keys)

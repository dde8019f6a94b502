"""Read one data file, as the contract's read options say, into an Arrow table whose cells are text.

Formats: CSV, Parquet (keeps its types), lines of a user with items or of items only, and JSON with messages by intent.
A zip archive holds one file.
"""

import io
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO

from ml.contract.read_options import ReadOptions
from ml.errors import DataGateError
from tasks.file_content import FileContent, unreadable_error
from tasks.intent_format import read_intents
from tasks.parquet_format import read_parquet
from tasks.read_limits import LimitedFile, ReadLimits
from tasks.text_formats import TextFile, read_text

# What readers raise for a file that is not as expected: bad text, unknown encoding, damaged or encrypted archive.
READ_ERRORS = (ValueError, LookupError, RuntimeError, EOFError, OSError, zlib.error, zipfile.BadZipFile)
# What is wrong, by what Arrow's messages begin with; the rest of a message may quote the line.
ARROW_REASONS = {
    "Empty CSV file": "an empty file",
    "CSV parse error: Empty CSV file": "an empty file",
}


def read_file(path: Path, options: ReadOptions, limits: ReadLimits) -> FileContent:
    """Read a file as `options` say, within the limits.

    Raises DataGateError, which quotes no cell, if the file is not so, and OSError if the disk fails.
    """
    limits.check_file_size(path.name, path.stat().st_size)
    try:
        return _read(path, options, limits)
    except READ_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk failed; the file may be valid
        if "straddling object" in str(error):  # a line that does not fit into one of Arrow's blocks
            raise limits.line_error(path.name) from None
        raise unreadable_error(path.name, options, _describe(error)) from None


def _read(path: Path, options: ReadOptions, limits: ReadLimits) -> FileContent:
    if path.suffix == ".parquet":
        return read_parquet(path, options, limits)
    packed = path.stat().st_size
    if path.suffix != ".zip":
        # What is not packed is as large as the file.
        file = TextFile(path.name, lambda: _limited(path.open("rb"), path, packed, limits))
        return _read_text(file, options, limits)
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
        if len(members) != 1:
            raise DataGateError("one file in the archive", f"{len(members)}", f"repack {path.name}")
        limits.check_unpacked_size(path.name, members[0].file_size, packed)
        file = TextFile(path.name, lambda: _limited(archive.open(members[0]), path, packed, limits))
        return _read_text(file, options, limits)


def _read_text(file: TextFile, options: ReadOptions, limits: ReadLimits) -> FileContent:
    if options.format != "intents":
        return read_text(file, options, limits)
    with file.open() as opened:
        return read_intents(file.name, opened, options, limits)


def _limited(file: IO[bytes], path: Path, packed: int, limits: ReadLimits) -> io.BufferedReader:
    return io.BufferedReader(LimitedFile(file, path.name, packed, limits))


def _describe(error: BaseException) -> str:
    """Describe why a file cannot be read, without the text of the error: names of members and cells may be in it."""
    text = str(error)
    if cells := re.search(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+)", text):
        row, expected, got = cells.groups()
        return f"{got} cells instead of {expected} in {f'line {row}' if row else 'a line'}"
    if isinstance(error, UnicodeError):
        return "bytes that are not text in this encoding"
    if isinstance(error, zipfile.BadZipFile | zlib.error | EOFError):
        return "a damaged archive, or none"
    if isinstance(error, RuntimeError) and "encrypted" in text:
        return "an encrypted archive"
    if isinstance(error, LookupError) and "encoding" in text:
        return "an unknown encoding"
    reason = next((reason for start, reason in ARROW_REASONS.items() if text.startswith(start)), None)
    return reason or f"a file that cannot be read ({type(error).__name__})"

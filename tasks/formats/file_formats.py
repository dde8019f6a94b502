"""Read one data file, as the contract's read options say, into an Arrow table.

Text files (CSV, JSON lines, ARFF, lines of a user with items or of items only, JSON with messages by intent) and
workbooks become texts; Parquet and Feather keep their types. Text files may be packed by gzip, bzip2 or zip.
"""

import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ml.contract.read_options import LINE_FORMATS, TEXT_FORMATS, ReadOptions
from ml.device import available_cores
from ml.errors import DataGateError
from tasks.formats.arff_format import read_arff
from tasks.formats.feather_format import read_feather
from tasks.formats.file_content import FileContent, unreadable_error
from tasks.formats.file_names import OTHER_WORKBOOKS, format_of, packing
from tasks.formats.intent_format import read_intents
from tasks.formats.json_lines_format import read_json_lines
from tasks.formats.packed_files import TextFile, text_file
from tasks.formats.parquet_format import read_parquet
from tasks.formats.read_limits import ReadLimits
from tasks.formats.text_diagnosis import diagnose
from tasks.formats.text_formats import read_csv, read_item_lines
from tasks.formats.workbook_format import read_workbook

BINARY_READERS = {"parquet": read_parquet, "feather": read_feather, "excel": read_workbook}
TEXT_READERS = {
    "csv": read_csv,
    "jsonl": read_json_lines,
    "arff": read_arff,
    "intents": read_intents,
    **dict.fromkeys(LINE_FORMATS, read_item_lines),
}
# What readers raise for a file that is not as expected: bad text, unknown encoding, damaged or encrypted archive.
READ_ERRORS = (ValueError, LookupError, RuntimeError, EOFError, OSError, zlib.error, zipfile.BadZipFile)
# What is wrong, by what Arrow's messages begin with; the rest of a message may quote the line.
ARROW_REASONS = {
    "Empty CSV file": "an empty file",
    "CSV parse error: Empty CSV file": "an empty file",
}

# Arrow decodes these without Python's interpreter lock, so that threads gain time; files read at once.
PARALLEL_FORMATS = ("parquet", "feather")
MAX_PARALLEL_FILES = 4


def read_in_order(
    files: Sequence[Path], options: ReadOptions, limits: ReadLimits
) -> Iterator[tuple[Path, FileContent]]:
    """Yield each file with its content, in the order given; a few files are read ahead where that gains time.

    Raises the error of the first file that has one; files after it may have been read, and are given up.
    """
    is_parallel = all(format_of(file.name, options) in PARALLEL_FORMATS for file in files)
    threads = min(available_cores(), MAX_PARALLEL_FILES, len(files)) if is_parallel else 1
    if threads < 2:
        for file in files:
            yield file, read_file(file, options, limits)
        return
    waiting = deque(files)
    ahead: deque[tuple[Path, Future[FileContent]]] = deque()
    pool = ThreadPoolExecutor(threads, "read")
    try:
        while waiting or ahead:
            while waiting and len(ahead) < threads:
                file = waiting.popleft()
                ahead.append((file, pool.submit(read_file, file, options, limits)))
            file, future = ahead.popleft()
            yield file, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_file(path: Path, options: ReadOptions, limits: ReadLimits) -> FileContent:
    """Read a file as `options` say, within the limits.

    Raises DataGateError, which quotes no cell, if the file is not so, and OSError if the disk fails.
    """
    limits.check_file_size(path.name, path.stat().st_size)
    if path.suffix.lower() in OTHER_WORKBOOKS:
        raise DataGateError(
            "a workbook without macros, .xlsx",
            f"{path.name}, which may have macros or is of another format",
            "save it as .xlsx or .csv: nothing in a workbook is executed",
        )
    try:
        return _read(path, options, limits)
    except READ_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk failed; the file may be valid
        if "straddling object" in str(error):  # a line that does not fit into one of Arrow's blocks
            raise limits.line_error(path.name) from None
        raise unreadable_error(path.name, options, _describe(error)) from None


def _read(path: Path, options: ReadOptions, limits: ReadLimits) -> FileContent:
    if not packing(path.name):
        kind = format_of(path.name, options)
        if reader := BINARY_READERS.get(kind):
            return reader(path, options, limits)
    with text_file(path, limits, zeros=options.encoding_is_wide) as file:
        return _read_text(file, options, limits)


def _read_text(file: TextFile, options: ReadOptions, limits: ReadLimits) -> FileContent:
    kind = format_of(file.content_name, options)
    if kind not in TEXT_FORMATS:
        raise DataGateError(
            f"a packed text file in {file.name}", f"one of the format {kind}", "unpack it and give that file"
        )
    try:
        return TEXT_READERS[kind](file, options, limits)
    except (ValueError, LookupError) as error:
        if found := diagnose(file, error, options):
            raise unreadable_error(file.name, options, found.reason, found.next_step) from None
        raise


def _describe(error: BaseException) -> str:
    """Describe why a file cannot be read, without the text of the error: names of members and cells may be in it."""
    text = str(error)
    if isinstance(error, zipfile.BadZipFile | zlib.error | EOFError) or "gzipped file" in text:
        return "a damaged archive, or none"
    if isinstance(error, RuntimeError) and "encrypted" in text:
        return "an encrypted archive"
    if isinstance(error, LookupError) and "encoding" in text:
        return "an unknown encoding"
    reason = next((reason for start, reason in ARROW_REASONS.items() if text.startswith(start)), None)
    return reason or f"a file that cannot be read ({type(error).__name__})"

"""Read one data file, as the contract's read options say, into an Arrow table whose cells are text.

Formats: CSV, Parquet (keeps its types), and lines of a user with items or of items only. A zip archive holds one file.
"""

import io
import zipfile
import zlib
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from ml.contract.read_options import LINE_FORMATS, ReadOptions
from ml.errors import DataGateError

BYTE_ORDER_MARK = "\ufeff"
# What readers raise for a file that is not as expected: bad text, unknown encoding, damaged or encrypted archive.
READ_ERRORS = (ValueError, LookupError, RuntimeError, EOFError, OSError, zlib.error, zipfile.BadZipFile)


def read_file(path: Path, options: ReadOptions) -> pa.Table:
    """Read a file as `options` say.

    Raises DataGateError, which quotes no cell, if the file is not so, and OSError if the disk fails.
    """
    try:
        table = _read_table(path, options)
        table.column_names  # noqa: B018 (raises for names that are not text)
        return table
    except READ_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk failed; the file may be valid
        # Arrow's message quotes the line after a colon: cell values of people do not belong in messages.
        reason = str(error).split(":")[0]
        raise DataGateError(
            f"{path.name} as the contract's meta.read describes it"
            f" ({options.format}, separator {options.separator!r}, {options.encoding})",
            reason,
            "correct the file, or meta.read",
        ) from None


def _read_table(path: Path, options: ReadOptions) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
            if len(members) != 1:
                raise DataGateError("one file in the archive", f"{len(members)}", f"repack {path.name}")
            with archive.open(members[0]) as member:
                return _read_text(member, options)
    with path.open("rb") as file:
        return _read_text(file, options)


def _read_text(file: IO[bytes], options: ReadOptions) -> pa.Table:
    return _read_lines(file, options) if options.format in LINE_FORMATS else _read_csv(file, options)


def _read_csv(file: IO[bytes], options: ReadOptions) -> pa.Table:
    """Read every cell as text: validation decides what it means, and reports it."""
    names = None if options.header else list(options.file_columns)
    # Padded cells are compared with the words for missing values after the padding is removed.
    missing = [] if options.strip else list(options.missing)
    table = pacsv.read_csv(
        file,
        pacsv.ReadOptions(encoding=options.encoding, column_names=names),
        pacsv.ParseOptions(delimiter=options.separator, newlines_in_values=True),
        pacsv.ConvertOptions(
            column_types=dict.fromkeys(options.columns, pa.string()),
            null_values=missing,
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    return _strip_cells(table, options) if options.strip else table


def _read_lines(file: IO[bytes], options: ReadOptions) -> pa.Table:
    """Read one row for each item of each line, in their order; empty lines are counted and have no items.

    Raises ValueError if no line has an item, as with another separator.
    """
    users: list[str] = []
    items: list[str] = []
    with io.TextIOWrapper(file, options.encoding) as lines:
        for number, line in enumerate(lines, 1):
            cells = _split_line(line, number, options)
            has_user = options.format == "sequences"
            line_items = cells[1:] if has_user else cells
            users += [cells[0] if has_user else str(number)] * len(line_items) if line_items else []
            items += line_items
    if not items:
        raise ValueError("no line has an item")
    columns = [pa.array(users, pa.string()), pa.array(items, pa.string())]
    table = pa.table(columns, list(options.file_columns))
    # Words for missing values and white space mean the same as in CSV files.
    return _strip_cells(table, options) if options.strip else _mark_missing(table, options)


def _split_line(line: str, number: int, options: ReadOptions) -> list[str]:
    line = line.rstrip("\n").removeprefix(BYTE_ORDER_MARK if number == 1 else "")
    return line.split(options.separator) if line.strip() else []


def _mark_missing(table: pa.Table, options: ReadOptions) -> pa.Table:
    columns = [_without_missing_words(column, options) for column in table.columns]
    return pa.table(columns, table.column_names)


def _strip_cells(table: pa.Table, options: ReadOptions) -> pa.Table:
    """Remove white space around the cells of the contract's columns, then mark missing values."""
    for position, name in enumerate(table.column_names):
        if name in options.columns:
            cells = _without_missing_words(pc.utf8_trim_whitespace(table.column(position)), options)
            table = table.set_column(position, name, cells)
    return table


def _without_missing_words(cells: pa.ChunkedArray, options: ReadOptions) -> pa.ChunkedArray:
    words = pa.array(options.missing, pa.string())
    return pc.if_else(pc.is_in(cells, words), pa.scalar(None, pa.string()), cells)

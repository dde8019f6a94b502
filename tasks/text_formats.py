"""Read text files in blocks into Arrow tables whose cells are text: CSV, and lines of items."""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as pacsv

from ml.contract.read_options import LINE_FORMATS, ReadOptions
from tasks.file_content import (
    FileContent,
    check_cells,
    check_column_names,
    clean_cells,
    strip_cells,
    unreadable_error,
)
from tasks.read_limits import ReadLimits

BYTE_ORDER_MARK = "\ufeff"
# Items of line formats that are turned into Arrow arrays at a time: Python's strings are ten times as large.
BLOCK_ITEMS = 2**16


@dataclass(frozen=True)
class TextFile:
    """A text file; `open` opens it from its start, each time it is called."""

    name: str
    open: Callable[[], io.BufferedReader]


def read_text(file: TextFile, options: ReadOptions, limits: ReadLimits) -> FileContent:
    """Read a file as the options say. Raises DataGateError where it exceeds a limit, and the errors of Arrow."""
    return (
        _read_lines(file, options, limits)
        if options.format in LINE_FORMATS
        else _read_csv(file, options, limits)
    )


def _read_csv(file: TextFile, options: ReadOptions, limits: ReadLimits) -> FileContent:
    """Read the cells of the contract's columns as text: validation decides what they mean, and reports it."""
    names = _column_names(file, options, limits)
    if names:
        check_column_names(file.name, names, options)
    known = [name for name in names if name in options.columns]
    with file.open() as opened, _open_csv(opened, options, limits, known) as reader:
        batches, rows = [], 0
        for batch in reader:
            rows += batch.num_rows
            limits.check_rows(file.name, rows)
            for column in batch.columns:
                check_cells(file.name, column, limits)
            batches.append(strip_cells(batch, options) if options.strip else batch)
        # Each block is converted before the next is read: memory holds the table and a few blocks.
        table = pa.Table.from_batches(batches, reader.schema)
    return FileContent.of(table, names, options)


def _open_csv(
    opened: io.BufferedReader, options: ReadOptions, limits: ReadLimits, known: list[str]
) -> pacsv.CSVStreamingReader:
    # Padded cells are compared with the words for missing values after the padding is removed.
    missing = [] if options.strip else list(options.missing)
    return pacsv.open_csv(
        opened,
        pacsv.ReadOptions(
            encoding=options.encoding,
            column_names=None if options.header else list(options.file_columns),
            # A line must fit into a block.
            block_size=limits.line_length,
        ),
        pacsv.ParseOptions(delimiter=options.separator, newlines_in_values=True),
        pacsv.ConvertOptions(
            include_columns=known,
            column_types=dict.fromkeys(options.columns, pa.string()),
            null_values=missing,
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )


def _column_names(file: TextFile, options: ReadOptions, limits: ReadLimits) -> list[str]:
    """Return the names of all columns as Arrow reads them; none for an empty file, which Arrow reports.

    Arrow would use a kilobyte for each column of a hostile file, and infer types from a whole block.
    """
    if not options.header:
        return list(options.file_columns)
    with file.open() as opened:
        start = opened.read(limits.line_length + 1)
    if len(start) > limits.line_length and not {*b"\r\n"} & {*start}:
        raise limits.line_error(file.name)
    text = start.decode(options.encoding, errors="replace").removeprefix(BYTE_ORDER_MARK)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=options.separator)
        names = next((row for row in rows if row), [])
    except (csv.Error, TypeError):
        raise unreadable_error(
            file.name,
            options,
            "a first line that has no names of columns, or a separator that is no character",
        ) from None
    limits.check_columns(file.name, len(names))
    return names


def _read_lines(file: TextFile, options: ReadOptions, limits: ReadLimits) -> FileContent:
    """Read one row for each item of each line, in their order; empty lines are counted and have no items.

    Raises DataGateError if no line has an item, as with another separator.
    """
    schema = pa.schema([(name, pa.string()) for name in options.file_columns])
    batches: list[pa.RecordBatch] = []
    users: list[str] = []
    items: list[str] = []
    rows = 0

    def end_block() -> None:
        columns = [pa.array(users, pa.string()), pa.array(items, pa.string())]
        for column in columns:
            check_cells(file.name, column, limits)
        batch = pa.RecordBatch.from_arrays(columns, schema=schema)
        # Words for missing values and white space mean the same as in CSV files.
        batches.append(clean_cells(batch, options))
        users.clear()
        items.clear()

    for number, line in enumerate(_lines(file, options, limits), 1):
        cells = _split_line(line, number, options)
        has_user = options.format == "sequences"
        line_items = cells[1:] if has_user else cells
        users += [cells[0] if has_user else str(number)] * len(line_items) if line_items else []
        items += line_items
        rows += len(line_items)
        limits.check_rows(file.name, rows)
        if len(items) >= BLOCK_ITEMS:
            end_block()
    if not rows:
        raise unreadable_error(file.name, options, "no line has an item")
    end_block()
    return FileContent.of(pa.Table.from_batches(batches, schema), schema.names, options)


def _lines(file: TextFile, options: ReadOptions, limits: ReadLimits) -> Iterator[str]:
    with file.open() as opened, io.TextIOWrapper(opened, options.encoding) as lines:
        # One character more than a line may have, as a line of that length may lack its end.
        while line := lines.readline(limits.line_length + 1):
            if len(line) > limits.line_length:
                raise limits.line_error(file.name)
            yield line


def _split_line(line: str, number: int, options: ReadOptions) -> list[str]:
    line = line.rstrip("\n").removeprefix(BYTE_ORDER_MARK if number == 1 else "")
    return line.split(options.separator) if line.strip() else []

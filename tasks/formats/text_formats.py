"""Read text files in blocks into Arrow tables whose cells are text: CSV, and lines of items."""

import csv
import io
from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.csv as pacsv

from ml.contract.read_options import ReadOptions
from tasks.formats.file_content import (
    FileContent,
    RaggedLines,
    check_cells,
    check_column_names,
    clean_cells,
    strip_cells,
    unreadable_error,
)
from tasks.formats.packed_files import TextFile
from tasks.formats.read_limits import ReadLimits
from tasks.formats.text_diagnosis import header_step

BYTE_ORDER_MARK = "\ufeff"
# Items of line formats that are turned into Arrow arrays at a time: Python's strings are ten times as large.
BLOCK_ITEMS = 2**16


def read_csv(file: TextFile, options: ReadOptions, limits: ReadLimits) -> FileContent:
    """Read the cells of the contract's columns as text: validation decides what they mean, and reports it."""
    written = _column_names(file, options, limits)
    names = [name.strip() for name in written] if options.strip_header else written
    if names:
        check_column_names(file.name, names, options, header_step(written, options))
    known = {raw: name for raw, name in zip(written, names, strict=True) if name in options.columns}
    ragged = RaggedLines(options.ragged_lines)
    with file.open() as opened, _open_csv(opened, options, limits, known, ragged) as reader:
        batches, rows = [], 0
        for batch in reader:
            rows += batch.num_rows
            limits.check_rows(file.name, rows)
            for column in batch.columns:
                check_cells(file.name, column, limits)
            batches.append(strip_cells(batch, options) if options.strip else batch)
        # Each block is converted before the next is read: memory holds the table and a few blocks.
        table = pa.Table.from_batches(batches, reader.schema)
    return FileContent.of(table.rename_columns(known), names, options, ragged.count)


def _open_csv(
    opened: io.BufferedReader,
    options: ReadOptions,
    limits: ReadLimits,
    known: Collection[str],
    ragged: RaggedLines,
) -> pacsv.CSVStreamingReader:
    # Padded cells are compared with the words for missing values after the padding is removed.
    missing = [] if options.strip else list(options.missing)
    return pacsv.open_csv(
        opened,
        pacsv.ReadOptions(
            encoding=options.encoding,
            skip_rows=options.skip_lines,
            column_names=None if options.header else list(options.file_columns),
            # A line must fit into a block.
            block_size=limits.line_length,
        ),
        pacsv.ParseOptions(
            delimiter=options.separator,
            newlines_in_values=True,
            # Arrow decodes the line for it, and prints where it is no text.
            invalid_row_handler=ragged.leave_out if ragged.allowed else None,
        ),
        pacsv.ConvertOptions(
            include_columns=list(known),
            column_types=dict.fromkeys(known, pa.string()),
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
    lines = io.StringIO(text, newline="")
    for _ in range(options.skip_lines):
        lines.readline()
    try:
        rows = csv.reader(lines, delimiter=options.separator)
        names = next((row for row in rows if row), [])
    except (csv.Error, TypeError):
        raise unreadable_error(
            file.name,
            options,
            "a first line that has no names of columns, or a separator that is no character",
        ) from None
    limits.check_columns(file.name, len(names))
    return names


def read_item_lines(file: TextFile, options: ReadOptions, limits: ReadLimits) -> FileContent:
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

    for number, line in enumerate(text_lines(file, options, limits), 1):
        cells = _split_line(line, options)
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


def text_lines(file: TextFile, options: ReadOptions, limits: ReadLimits) -> Iterator[str]:
    """Yield the lines after the skipped ones, without a byte-order mark. Raises DataGateError for a line too long."""
    start, number = BYTE_ORDER_MARK, 0
    with file.open() as opened, io.TextIOWrapper(opened, options.encoding) as lines:
        # One character more than a line may have, as a line of that length may lack its end.
        while line := lines.readline(limits.line_length + 1):
            if len(line) > limits.line_length:
                raise limits.line_error(file.name)
            number += 1
            if number > options.skip_lines:
                yield line.removeprefix(start)
            start = ""


def _split_line(line: str, options: ReadOptions) -> list[str]:
    line = line.rstrip("\n")
    return line.split(options.separator) if line.strip() else []

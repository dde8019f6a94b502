"""Read a sheet of an Excel workbook: the values that it stores. Formulas and macros are never executed."""

import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from openpyxl import load_workbook

from ml.contract.read_options import ReadOptions
from ml.errors import DataGateError
from tasks.formats.cell_blocks import CellBlocks
from tasks.formats.cell_text import cell_text
from tasks.formats.file_content import FileContent, check_column_names, unreadable_error
from tasks.formats.read_limits import LimitedFile, ReadLimits

MACROS = "vbaproject.bin"
FORMULA = b"<f"
BLOCK_BYTES = 1 << 20
# Sheets that a message names.
MAX_NAMED_SHEETS = 5
Cells = Sequence[Any]


def read_workbook(path: Path, options: ReadOptions, limits: ReadLimits) -> FileContent:
    """Read the contract's columns as texts, from the sheet `meta.read.sheet` or the only one that has cells.

    Raises DataGateError for a workbook with macros, and for a formula whose value is not stored.
    """
    has_formulas = _check_archive(path, limits)
    content = _read(path, options, limits)
    if has_formulas:
        _require_stored_values(path, options)
    return content


def _check_archive(path: Path, limits: ReadLimits) -> bool:
    """Bound what the archive unpacks to, refuse macros, and return whether there are formulas."""
    packed, unpacked, has_formulas = path.stat().st_size, 0, False
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.lower().endswith(MACROS):
                raise DataGateError(
                    f"a workbook without macros in {path.name}", "one with macros", "save it as .xlsx or .csv"
                )
            # Sizes that an archive declares may be wrong: what counts is what comes out of it.
            tail = b""
            with io.BufferedReader(
                LimitedFile(archive.open(member), path.name, packed, limits), BLOCK_BYTES
            ) as opened:
                while block := opened.read(BLOCK_BYTES):
                    unpacked += len(block)
                    limits.check_unpacked_size(path.name, unpacked, packed)
                    is_sheet = "worksheets/" in member.filename
                    has_formulas |= is_sheet and FORMULA in tail + block
                    tail = block[-len(FORMULA) :]
    return has_formulas


def _read(path: Path, options: ReadOptions, limits: ReadLimits) -> FileContent:
    with _open(path, values=True) as book:
        rows = _rows(_sheet(book, path.name, options), path.name, limits)
        for _ in range(options.skip_lines):
            next(rows, None)
        if options.header:
            names = _names(next(rows, ()), options)
            check_column_names(path.name, names, options)
        else:
            names = list(options.file_columns)
        known = [k for k, name in enumerate(names) if name in options.columns]
        blocks = CellBlocks(path.name, [names[k] for k in known], options, limits)
        for number, row in enumerate(rows, options.skip_lines + options.header + 1):
            if not any(cell is not None for cell in row):
                continue
            if any(cell is not None for cell in row[len(names) :]):
                raise unreadable_error(
                    path.name, options, f"a cell to the right of the header in row {number:,}"
                )
            blocks.add([cell_text(row[k]) if k < len(row) else None for k in known])
    return FileContent.of(blocks.table(), names, options)


def _open(path: Path, values: bool) -> Any:
    class Closing:
        def __enter__(self) -> Any:
            with warnings.catch_warnings():
                # About styles and extensions, which are not read.
                warnings.simplefilter("ignore")
                self.book = load_workbook(path, read_only=True, data_only=values, keep_links=False)
            return self.book

        def __exit__(self, *error: object) -> None:
            self.book.close()

    return Closing()


def _sheet(book: Any, file: str, options: ReadOptions) -> Any:
    """Return the sheet that the contract names, or the only one that has cells."""
    sheets = list(book.worksheets)
    for sheet in sheets:
        # What a sheet declares about its size may be wrong: rows would be lost.
        sheet.reset_dimensions()
    if options.sheet is None:
        sheets = [
            s for s in sheets if any(c is not None for row in s.iter_rows(values_only=True) for c in row)
        ]
    else:
        sheets = [sheet for sheet in sheets if sheet.title == options.sheet]
    if len(sheets) == 1:
        return sheets[0]
    if options.sheet is not None:
        raise DataGateError(f"the sheet {options.sheet!r} in {file}", "none", "correct meta.read.sheet")
    titles = [sheet.title for sheet in sheets[:MAX_NAMED_SHEETS]]
    more = ", ..." if len(sheets) > MAX_NAMED_SHEETS else ""
    raise DataGateError(
        f"one sheet with cells in {file}",
        f"{len(sheets)}: {', '.join(map(repr, titles))}{more}" if sheets else "none",
        "name it in meta.read.sheet" if sheets else "correct the file",
    )


def _rows(sheet: Any, file: str, limits: ReadLimits) -> Iterator[Cells]:
    """Yield the rows, also empty ones between others. Raises DataGateError for too many rows or columns."""
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        limits.check_rows(file, number)
        limits.check_columns(file, len(row))
        yield row


def _names(row: Cells, options: ReadOptions) -> list[str]:
    names = [cell_text(cell) or "" for cell in row]
    while names and not names[-1]:
        names.pop()
    return [name.strip() for name in names] if options.strip_header else names


def _require_stored_values(path: Path, options: ReadOptions) -> None:
    """Raise DataGateError where a formula has no stored value: its cell would be read as missing."""
    with _open(path, values=True) as stored, _open(path, values=False) as written:
        pairs = zip_longest(
            *(_sheet(book, path.name, options).iter_rows(values_only=True) for book in (stored, written)),
            fillvalue=(),
        )
        lacking = sum(
            value is None and isinstance(cell, str) and cell.startswith("=")
            for values, cells in pairs
            for value, cell in zip_longest(values, cells)
        )
    if lacking:
        raise DataGateError(
            f"values in all cells of {path.name}",
            f"{lacking:,} formulas whose value is not stored",
            "open it in Excel, save it and try again: formulas are not computed here",
        )

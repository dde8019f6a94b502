"""Say why a text file cannot be read as its contract describes it: where the fault is, and what would fit instead.

No cell is quoted: bytes are named by their numbers.
"""

import codecs
import csv
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ml.contract.read_options import ReadOptions
from tasks.formats.packed_files import TextFile

# Separators that files have, the most frequent first.
SEPARATORS = (",", ";", "\t", "|")
NAMES = {"\t": "a tab"}
BLOCK_BYTES = 1 << 20
WIDE_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
CELL_COUNTS = re.compile(r"Expected (\d+) columns, got (\d+)")


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a file, and the next step where there is a likely one."""

    reason: str
    next_step: str | None = None


def diagnose(file: TextFile, error: Exception, options: ReadOptions) -> Diagnosis | None:
    """Return the diagnosis of an error of a reader; None for an error that has none."""
    text = str(error)
    if isinstance(error, UnicodeError) or "invalid UTF8" in text:
        return _undecodable(file, options)
    if counts := CELL_COUNTS.search(text):
        expected, got = int(counts[1]), int(counts[2])
        reason = f"{got} cells instead of {expected} in {_line_with(got, file, options)}"
        if got == expected + 1 and options.header:
            reason += ": one more than the header has names, which may be shifted by one column"
            return Diagnosis(reason, "name all columns in the header, also that of an index")
        separator = likely_separator(_first_line(file, options), options) if got == 1 else None
        return Diagnosis(reason, separator_step(separator) if separator else None)
    return None


def likely_separator(line: str, options: ReadOptions, names: Collection[str] = ()) -> str | None:
    """Return the separator by which a line has the most cells, or of `names`; None where no other one divides it."""

    def found(separator: str) -> int:
        try:
            cells = next(csv.reader([line], delimiter=separator), [])
        except csv.Error:
            return 0
        return sum(cell.strip() in names for cell in cells) if names else len(cells) - 1

    counts = {separator: found(separator) for separator in SEPARATORS if separator != options.separator}
    best = max(counts, key=lambda separator: counts[separator])
    return best if counts[best] else None


def separator_step(separator: str) -> str:
    """Return the next step for a file with another separator."""
    name = NAMES.get(separator, repr(separator))
    return f"it looks like {name} as separator: set meta.read.separator to {separator!r}"


def header_step(names: Sequence[str], options: ReadOptions) -> str | None:
    """Return the next step for a header that has no name of the contract; None where none is likely."""
    if len(names) == 1 and (separator := likely_separator(names[0], options, options.columns)):
        return separator_step(separator)
    if any(name.strip() in options.columns for name in names):
        return "names have blanks around them: set meta.read.strip_header to true"
    folded = {name.casefold() for name in options.columns}
    if any(name.strip().casefold() in folded for name in names):
        return "names differ in upper and lower case only: correct meta.read.columns"
    return None


def _first_line(file: TextFile, options: ReadOptions) -> str:
    with file.open() as opened:
        start = opened.read(BLOCK_BYTES).decode(options.encoding, errors="replace")
    lines = io.StringIO(start)
    for _ in range(options.skip_lines):
        lines.readline()
    return lines.readline().rstrip("\n")


def _line_with(cells: int, file: TextFile, options: ReadOptions) -> str:
    """Return the number of the first line with so many cells after the header, which Arrow does not know."""
    with (
        file.open() as opened,
        io.TextIOWrapper(opened, options.encoding, errors="replace", newline="") as text,
    ):
        for _ in range(options.skip_lines):
            text.readline()
        rows = csv.reader(text, delimiter=options.separator)
        try:
            if options.header:
                next(rows, None)
            for row in rows:
                if len(row) == cells and row:
                    return f"line {rows.line_num + options.skip_lines:,}"
        except csv.Error:
            pass  # a cell that is longer than Python's reader allows
    return "a line"


def _undecodable(file: TextFile, options: ReadOptions) -> Diagnosis:
    """Find the first bytes that are no text in the contract's encoding."""
    decoder = codecs.getincrementaldecoder(options.encoding)()
    line, position = 1, 0
    with file.open() as opened:
        start = opened.read(len(codecs.BOM_UTF16_LE))
        block = start + opened.read(BLOCK_BYTES)
        while True:
            pending = len(decoder.getstate()[0])
            try:
                line += decoder.decode(block, final=not block).count("\n")
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(options.encoding, errors="replace")
                byte = error.object[error.start]
                at = position - pending + error.start + 1
                reason = (
                    f"byte 0x{byte:02X} in line {line + before.count(chr(10)):,} (byte {at:,} of the file)"
                )
                return Diagnosis(f"{reason}, which is no text in {options.encoding}", _encoding_step(start))
            if not block:
                break
            position += len(block)
            block = opened.read(BLOCK_BYTES)
    return Diagnosis("bytes that are not text in this encoding", _encoding_step(start))


def _encoding_step(start: bytes) -> str:
    if wide := WIDE_MARKS.get(start):
        return f"it looks like {wide}: set meta.read.encoding to {wide!r}"
    return "set meta.read.encoding to that of the file, such as cp1252 or latin-1, or save it in this one"

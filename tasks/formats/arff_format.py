"""Read ARFF files: columns and their types in the header, then rows of cells between commas."""

import re
from collections.abc import Iterator

from ml.contract.read_options import ReadOptions
from tasks.formats.cell_blocks import CellBlocks
from tasks.formats.file_content import FileContent, RaggedLines, check_column_names, unreadable_error
from tasks.formats.packed_files import TextFile
from tasks.formats.read_limits import ReadLimits
from tasks.formats.text_formats import text_lines

# Quoted by ' or " with a backslash before a quote, or any text without commas; white space around it.
CELL = re.compile(r"""\s*+(?:'((?:[^'\\]|\\.)*+)'\s*+|"((?:[^"\\]|\\.)*+)"\s*+|((?!['"])[^,]*+))(,|$)""")
# `@attribute name type`, with the name in quotes where it has blanks.
ATTRIBUTE = re.compile(r"""@attribute\s+(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s{]+))\s*\S""", re.I)
ESCAPED = re.compile(r"\\(.)")
COMMENT = "%"
MISSING = "?"


def read_arff(file: TextFile, options: ReadOptions, limits: ReadLimits) -> FileContent:
    """Read the contract's columns as texts. `?` without quotes is a missing value.

    Raises DataGateError for a file that is no ARFF, a row of another length, and sparse rows.
    """
    lines = _content(file, options, limits)
    names = _attributes(lines, file.name, options)
    limits.check_columns(file.name, len(names))
    check_column_names(file.name, names, options)
    positions = [k for k, name in enumerate(names) if name in options.columns]
    blocks = CellBlocks(file.name, [names[k] for k in positions], options, limits)
    ragged = RaggedLines(options.ragged_lines)
    for number, line in lines:
        cells = _cells(line)
        if cells is not None and len(cells) != len(names) and ragged.leave_out() == "skip":
            continue
        if cells is None or len(cells) != len(names):
            got = "a cell whose quotes are not closed" if cells is None else _lengths(line, cells, names)
            raise unreadable_error(file.name, options, f"{got} in line {number:,}")
        blocks.add([cells[k] for k in positions])
    return FileContent.of(blocks.table(), names, options, ragged.count)


def _content(file: TextFile, options: ReadOptions, limits: ReadLimits) -> Iterator[tuple[int, str]]:
    """Yield the lines that are neither empty nor comments, with their numbers."""
    for number, line in enumerate(text_lines(file, options, limits), options.skip_lines + 1):
        if (text := line.strip()) and not text.startswith(COMMENT):
            yield number, text


def _attributes(lines: Iterator[tuple[int, str]], file: str, options: ReadOptions) -> list[str]:
    """Return the names of the columns, and leave `lines` at the first row."""
    names: list[str] = []
    for number, line in lines:
        keyword = line.split(maxsplit=1)[0].lower()
        if keyword == "@data":
            return names
        if keyword == "@relation":
            continue
        found = ATTRIBUTE.match(line)
        if not found:
            raise unreadable_error(file, options, f"neither @attribute nor @data in line {number:,}")
        names.append(_unescaped(next(group for group in found.groups() if group is not None)))
    raise unreadable_error(file, options, "no line @data")


def _cells(line: str) -> list[str | None] | None:
    """Return the cells of a row; None where a quote is not closed."""
    if "'" not in line and '"' not in line:
        return [None if (cell := text.strip()) == MISSING else cell for text in line.split(",")]
    cells: list[str | None] = []
    position = 0
    while found := CELL.match(line, position):
        single, double, plain, end = found.groups()
        quoted = single if single is not None else double
        if quoted is not None:
            cells.append(_unescaped(quoted))
        else:
            cells.append(None if (cell := plain.strip()) == MISSING else cell)
        if not end:
            return cells
        position = found.end()
    return None


def _lengths(line: str, cells: list[str | None], names: list[str]) -> str:
    sparse = ", as in sparse ARFF, which is not read" if line.startswith("{") else ""
    return f"{len(cells)} cells instead of {len(names)}{sparse}"


def _unescaped(text: str) -> str:
    return ESCAPED.sub(r"\1", text)

"""Find out how a text file is written: encoding, separator, header, padding, or lines of items."""

import codecs
import contextlib
import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ml.data.casting import MAX_EXACT_INTEGER
from ml.errors import UsageError

BYTE_ORDER_MARK = "\ufeff"
SEPARATORS = (",", ";", "\t", "|", " ")
# Lines that are looked at: enough to count cells, few enough to be fast.
MAX_LINES = 2_000
# Share of the lines that must have the same number of cells for a table.
TABLE_SHARE = 0.98
# Share of cells with numbers below a name in the first line, from which on the name is a header.
NUMBER_SHARE = 0.9
# Share of the characters above ASCII that must be Chinese where bytes are read as GB 18030.
CHINESE_SHARE = 0.8
# What a first line with another number of cells takes from the regularity of a separator.
FIRST_LINE_DIFFERS = 0.1
# 1.234,56 or 1234,5, but no list such as 1,2,3.
MARKED_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:[.,' ]\d{3})+|\d+)(?:[.,]\d+)?")
CHINESE = ("\u4e00", "\u9fff")


@dataclass(frozen=True)
class Dialect:
    """How a text file is written. `doubts` say what is uncertain, by key of meta.read."""

    encoding: str
    separator: str
    header: bool
    strip: bool
    names: tuple[str, ...]
    format: str = "csv"
    doubts: dict[str, str] = field(default_factory=dict)


def find_dialect(start: bytes, is_log: bool = False) -> Dialect:
    """Return the dialect of a file that begins with `start`; `is_log` allows for lines of items.

    A file without lines is a table with no columns. Raises UsageError for a first line that is no row of any table.
    """
    encoding, doubt = find_encoding(start)
    text = start.decode(encoding, errors="replace").removeprefix(BYTE_ORDER_MARK)
    doubts = {"encoding": doubt} if doubt else {}
    if not text.strip():
        return Dialect(encoding, ",", True, False, (), doubts=doubts)
    # As readers divide lines: other signs, such as the line separator of Unicode, and blank lines are parts of cells.
    lines = list(itertools.islice(io.StringIO(text.lstrip("\r\n"), newline=""), MAX_LINES))
    # The last line may be cut.
    lines = lines[:-1] if len(lines) > 2 else lines
    of_items = (
        _lines_of_items([line.rstrip("\r\n") for line in lines if line.strip()], encoding) if is_log else None
    )
    if of_items:
        return replace(of_items, doubts={**doubts, **of_items.doubts})
    separator, rows = _best_separator("".join(lines))
    if not rows:
        raise UsageError(
            "a first line with the names of columns", "a longer one", "bring a file with a header"
        )
    header, header_doubt = has_header(rows)
    if header_doubt:
        doubts["header"] = header_doubt
    width = len(rows[0])
    names = tuple(rows[0]) if header else tuple(f"column_{n}" for n in range(1, width + 1))
    strip = any(cell != cell.strip() for row in rows for cell in row)
    return Dialect(encoding, separator, header, strip, names, doubts=doubts)


def find_encoding(start: bytes) -> tuple[str, str]:
    """Return the encoding of a text, and why it is doubtful."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", ""
    try:
        # The last character may be cut.
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        pass
    else:
        return "utf-8", ""
    decoded = start.decode("gb18030", errors="replace")
    foreign = [c for c in decoded if ord(c) > 127]
    chinese = sum(CHINESE[0] <= c <= CHINESE[1] for c in foreign)
    if len(foreign) >= 10 and chinese > CHINESE_SHARE * len(foreign):
        return "gb18030", "bytes above ASCII are Chinese characters in GB 18030"
    try:
        start.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1", "not UTF-8, and has bytes that Windows-1252 lacks"
    return "cp1252", "not UTF-8; Western European letters of Windows are assumed"


def _best_separator(text: str) -> tuple[str, list[list[str]]]:
    """Return the separator by which most lines have the same number of cells, and more than one."""
    found = {separator: rows for separator in SEPARATORS if (rows := _split(text, separator))}
    regular = {separator: _regularity(rows) for separator, rows in found.items()}
    best, most = ",", (0.0, 0)
    for separator, (share, width) in regular.items():
        # Sentences have spaces, and times have commas, at random: only regular ones separate cells.
        if width > 1 and (share > most[0] + 0.02 or (share > most[0] - 0.02 and width > most[1])):
            best, most = separator, (share, width)
    if best == ",":
        # Where commas are decimal marks, they are as regular as what separates the numbers.
        others = [
            s for s in (";", "\t", "|") if s in found and regular[s][1] > 1 and regular[s][0] > most[0] - 0.02
        ]
        best = next((s for s in others if _has_decimal_commas(found[s])), best)
    return best, found.get(best, [])


def _regularity(rows: Sequence[Sequence[str]]) -> tuple[float, int]:
    """Return the share of lines with the usual number of cells, and this number; less where the first line differs."""
    width, count = Counter(map(len, rows)).most_common(1)[0]
    share = count / len(rows)
    return (share if len(rows[0]) == width else share - FIRST_LINE_DIFFERS, width)


def _has_decimal_commas(rows: Sequence[Sequence[str]]) -> bool:
    cells = [cell.strip() for row in rows[1:] for cell in row if "," in cell]
    return bool(cells) and sum(map(is_marked_number, cells)) > NUMBER_SHARE * len(cells)


def is_marked_number(cell: str) -> bool:
    """Return whether a cell is a number with marks for decimals or thousands."""
    return MARKED_NUMBER.fullmatch(cell) is not None


def _split(text: str, separator: str) -> list[list[str]]:
    """Return the cells of each line, up to one that is no row with this separator."""
    rows: list[list[str]] = []
    # Raised for a cell that is too long for Python's reader.
    with contextlib.suppress(csv.Error):
        rows.extend(row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row)
    return rows


def has_header(rows: Sequence[Sequence[str]]) -> tuple[bool, str]:
    """Return whether the first row has the names of the columns, and why that is doubtful."""
    if len(rows) < 2:
        return True, "there is only one line"
    first, others = rows[0], rows[1:]
    columns = [[row[i].strip() for row in others if i < len(row)] for i in range(len(first))]
    named = [cell.strip() for cell in first]
    above_numbers = 0
    for name, cells in zip(named, columns, strict=True):
        numbers = _number_share(cells)
        if is_number(name) or is_marked_number(name):
            if numbers > NUMBER_SHARE:
                return False, ""
        elif numbers > NUMBER_SHARE:
            above_numbers += 1
    if above_numbers:
        return True, ""
    if len(set(named)) < len(named) or not all(named):
        return False, "the first line has empty or equal cells, and no column has numbers"
    repeated = sum(name in cells for name, cells in zip(named, columns, strict=True))
    if repeated:
        return False, "" if repeated > 1 else "one cell of the first line is repeated below"
    return True, "no column has numbers, so that the first line may be a row"


def _number_share(cells: Sequence[str]) -> float:
    present = [cell for cell in cells if cell]
    return (
        sum(is_number(cell) or is_marked_number(cell) for cell in present) / len(present) if present else 0.0
    )


def is_number(cell: str) -> bool:
    """Return whether a cell is a finite number as readers read it."""
    try:
        return abs(float(cell)) < MAX_EXACT_INTEGER and "_" not in cell
    except ValueError:
        return False


def _lines_of_items(lines: Sequence[str], encoding: str) -> Dialect | None:
    """Return the dialect of a file with one history per line; None where lines have the same number of cells."""
    if len(lines) < 2:
        return None
    for separator in (" ", ",", ";", "\t"):
        cells = [[cell.strip() for cell in line.split(separator) if cell.strip()] for line in lines]
        lengths = Counter(map(len, cells))
        is_ragged = len(lengths) > 2 and lengths.most_common(1)[0][1] < TABLE_SHARE * len(cells)
        if not is_ragged or any('"' in line for line in lines):
            continue
        users = [line[0] for line in cells if line]
        ids = [all(map(is_number, line)) for line in cells]
        if separator != "," and sum(ids) < TABLE_SHARE * len(ids):
            continue  # sentences
        strip = any(line != line.strip() or f"{separator} " in line for line in lines) and separator != " "
        has_user = len(set(users)) == len(users) and all(ids)
        names = ("user", "item") if has_user else ("basket", "item")
        return Dialect(encoding, separator, False, strip, names, "sequences" if has_user else "baskets")
    return None

"""Read JSON lines: an object in each line is a row, and its keys are the columns."""

import json
from collections.abc import Sequence
from typing import Any

from ml.contract.read_options import ReadOptions
from ml.errors import DataGateError
from tasks.formats.cell_blocks import CellBlocks
from tasks.formats.file_content import FileContent, check_column_names, unreadable_error
from tasks.formats.packed_files import TextFile
from tasks.formats.read_limits import ReadLimits
from tasks.formats.text_formats import text_lines


class _RepeatedKeyError(ValueError):
    """An object has a key twice."""


def read_json_lines(file: TextFile, options: ReadOptions, limits: ReadLimits) -> FileContent:
    """Read the contract's columns as texts: numbers as they are written, true as `True`, null as missing.

    A key that an object lacks is missing too. Raises DataGateError for a line that is no object.
    """
    known = options.file_columns
    blocks = CellBlocks(file.name, known, options, limits)
    # In the order in which they appear.
    names: dict[str, None] = {}
    for number, line in enumerate(text_lines(file, options, limits), options.skip_lines + 1):
        if not line.strip():
            continue
        row = _parse(line, number, file.name, options)
        if not row.keys() <= names.keys():
            names |= dict.fromkeys(row)
            limits.check_columns(file.name, len(names))
        blocks.add([_cell(row.get(name), name, number, file.name) for name in known])
    if not names:
        raise unreadable_error(file.name, options, "an empty file")
    check_column_names(file.name, list(names), options)
    table = blocks.table()
    return FileContent.of(table.select([name for name in known if name in names]), list(names), options)


def _parse(line: str, number: int, file: str, options: ReadOptions) -> dict[str, Any]:
    try:
        row = json.loads(
            line,
            # Numbers stay as they are written, but for a fraction of a whole one.
            parse_float=lambda text: text.removesuffix(".0"),
            parse_int=str,
            parse_constant=str,
            object_pairs_hook=_unique,
        )
    except _RepeatedKeyError:
        raise unreadable_error(file, options, f"a key twice in line {number:,}") from None
    except (ValueError, RecursionError):
        raise unreadable_error(file, options, f"no JSON in line {number:,}") from None
    if not isinstance(row, dict):
        raise unreadable_error(file, options, f"no object in line {number:,}")
    return row


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise _RepeatedKeyError
    return row


def _cell(value: Any, column: str, number: int, file: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value)
    raise DataGateError(
        f"numbers, texts, true, false or null in {column!r} of {file}",
        f"a list or an object in line {number:,}",
        "write each value into a column of its own",
    )

"""Find text files that were cut short while they were written or copied, as far as their end shows it."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ml.contract.read_options import TEXT_FORMATS, ReadOptions
from ml.errors import DataGateError
from tasks.formats.file_names import format_of, packing

# Copies and full disks end at whole blocks; by chance one file in 4096 has such a size.
BLOCK_BYTES = 4096


def check_file_end(path: Path, table: pa.Table, options: ReadOptions) -> list[str]:
    """Return what may mean that a file is cut short, for the report. Raises DataGateError where it is certain.

    `table` is what the file was read into. Archives, Parquet and JSON files have ends that their
    readers check.
    """
    kind = format_of(path.name, options)
    if (
        packing(path.name)
        or kind not in TEXT_FORMATS
        or options.encoding_is_wide
        or kind in ("intents", "jsonl")
    ):
        return []
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - 1, 0))
        last = file.read(1)
    if last == b"\0":
        raise _cut(path, "zero bytes at its end")
    if kind == "csv" and _last_row_has_line_breaks(table) and _has_open_quote(path):
        raise _cut(path, "a quoted cell that is not closed before the end of the file")
    if last in (b"\n", b"\r"):
        return []
    if size and size % BLOCK_BYTES == 0:
        raise _cut(
            path, f"no line break at its end, and a size of exactly {size:,} bytes, whole blocks of the disk"
        )
    return [f"the last line of {path.name} has no line break: the file may be cut short"]


def _last_row_has_line_breaks(table: pa.Table) -> bool:
    last = table.slice(max(len(table) - 1, 0))
    return any(
        bool(pc.any(pc.match_substring(column, "\n")).as_py())
        for column in last.columns
        if pa.types.is_string(column.type)
    )


def _has_open_quote(path: Path) -> bool:
    return sum(block.count(b'"') for block in _blocks(path)) % 2 == 1


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block


def _cut(path: Path, got: str) -> DataGateError:
    return DataGateError(
        f"the whole file {path.name}", got, "copy or export the file again: it seems to be cut short"
    )

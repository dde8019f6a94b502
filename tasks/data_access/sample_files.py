"""Read the files of a draft: every cell as it came, and how a contract says that they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from ml.contract.read_options import MAX_SKIPPED_LINES, ReadOptions
from ml.contract.values import MAX_FILES
from ml.errors import UsageError
from tasks.data_access.data_paths import file_labels
from tasks.data_access.file_dialect import FileDialect, file_dialect
from tasks.data_access.stacked_files import FilePart, join, stack
from tasks.formats.file_content import FileContent
from tasks.formats.file_ending import check_file_end
from tasks.formats.file_formats import read_file
from tasks.formats.file_names import format_of, unpacked_name
from tasks.formats.read_limits import ReadLimits

# Share of the lines that may have another number of cells; with more, the file is another one than it seems.
MAX_RAGGED = 0.01
# Formats in which some lines may be left out.
WITH_RAGGED_LINES = ("csv", "arff")


@dataclass(frozen=True)
class SampleFiles:
    """The rows of all files, `meta.read` without columns, and what is doubtful about it, by key."""

    rows: pd.DataFrame
    read: Mapping[str, Any]
    doubts: Mapping[str, str]


def read_sample_files(files: Sequence[Path], is_log: bool, limits: ReadLimits) -> SampleFiles:
    """Read files that are stacked, or joined where they share one column only.

    Raises UsageError or DataGateError for files that cannot be read, or not together.
    """
    dialects = [file_dialect(file, is_log, limits) for file in files]
    first = dialects[0]
    for file, dialect in zip(files, dialects, strict=True):
        if dialect.read != first.read:
            raise UsageError(
                f"files that are written as {files[0].name}", file.name, "draft from one of them"
            )
    key = _join_key(dialects)
    parts, ragged, lines = [], 0, 0
    for file, dialect in zip(files, dialects, strict=True):
        content = _read(file, dialect, limits)
        ragged += content.ragged_lines
        lines += content.ragged_lines + content.table.num_rows
        limits.check_rows("all files together", lines)
        parts.append(FilePart(file.name, content.table))
    rows = stack(parts) if key is None else join(parts, key)
    doubts = dict(first.doubts)
    read = {"files": _contract_names(files, first.read.get("format", "csv")), **first.read}
    if len(read["files"]) < len(files):
        doubts["files"] = (
            f"names only the first of {len(files):,} files: give all with --data, or name a folder"
        )
    if key is not None:
        read["join"] = key
        doubts["join"] = (
            f"{key!r} is the only column that all files have: rows with equal cells belong together"
        )
    if ragged:
        # Another batch of as many lines has about as many.
        read["ragged_lines"] = min(2 * ragged, MAX_SKIPPED_LINES)
        doubts["ragged_lines"] = (
            f"{ragged:,} of {lines:,} lines have too many cells or too few, and are left out"
        )
    return SampleFiles(rows[_columns(dialects)], read, doubts)


def _read(file: Path, dialect: FileDialect, limits: ReadLimits) -> FileContent:
    """Read a file without the lines of another length, as long as these are few."""
    # The draft decides what a cell means.
    options = ReadOptions(columns=dict.fromkeys(dialect.columns, "category"), **dialect.read)
    if format_of(unpacked_name(file.name), options) in WITH_RAGGED_LINES:
        content = read_file(file, options.model_copy(update={"ragged_lines": MAX_SKIPPED_LINES}), limits)
        if content.ragged_lines > MAX_RAGGED * (content.table.num_rows + content.ragged_lines):
            content = read_file(file, options, limits)  # the error says which line is the first
    else:
        content = read_file(file, options, limits)
    check_file_end(file, content.table, options)
    return content


def _join_key(dialects: Sequence[FileDialect]) -> str | None:
    """Return the only column that files with different columns share; None where they are stacked."""
    columns = [{*dialect.columns} for dialect in dialects]
    common = set.intersection(*columns)
    return common.pop() if len(common) == 1 and any(names != columns[0] for names in columns) else None


def _columns(dialects: Sequence[FileDialect]) -> list[str]:
    return list(dict.fromkeys(name for dialect in dialects for name in dialect.columns))


def _contract_names(files: Sequence[Path], kind: str) -> list[str]:
    """Return the names that the contract gives the files, with folders as far as they are needed.

    Only that of the first, where a contract cannot name several: names that could leave a folder are refused there.
    """
    labels = file_labels(files)
    if all(map(_is_usable, labels)) and len({*labels}) == len(files) <= MAX_FILES and kind != "baskets":
        return [*labels]
    return [files[0].name if _is_usable(files[0].name) else f"data{files[0].suffix}"]


def _is_usable(name: str) -> bool:
    try:
        ReadOptions(columns={}, files=(name,))
    except ValidationError:
        return False
    return True

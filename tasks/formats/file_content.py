"""What was read from one file: the columns that the contract names, and the positions of the others.

Names that the contract does not know are treated as cells, as they are the first row of a file without a header.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from ml.contract.read_options import ReadOptions
from ml.errors import DataGateError
from tasks.formats.file_names import format_of, unpacked_name
from tasks.formats.read_limits import ReadLimits


@dataclass(frozen=True)
class FileContent:
    """The table of the known columns; `dropped` are the positions of the other columns, from 1.

    `ragged_lines` counts the lines that were left out because of their number of cells.
    """

    table: pa.Table
    dropped: tuple[int, ...]
    ragged_lines: int = 0

    @classmethod
    def of(cls, table: pa.Table, names: Sequence[str], options: ReadOptions, ragged_lines: int = 0) -> Self:
        """Combine a table with the positions of the `names` that the contract does not have."""
        positions = (position for position, name in enumerate(names, 1) if name not in options.columns)
        return cls(table, tuple(positions), ragged_lines)


class RaggedLines:
    """Counts lines with too many or too few cells, of which a contract allows some."""

    def __init__(self, allowed: int) -> None:
        self.allowed, self.count = allowed, 0

    def leave_out(self, line: object = None) -> str:
        """Count a line; return `skip`, or `error` where it is one too many, as Arrow expects."""
        self.count += 1
        return "skip" if self.count <= self.allowed else "error"


def check_cells(file: str, cells: pa.Array, limits: ReadLimits) -> None:
    """Raise DataGateError for a text that is too long; `cells` are text or binary."""
    # The number of bytes is at least that of characters, and costs nothing.
    longest = pc.max(pc.binary_length(cells)).as_py() or 0
    if longest > limits.cell_length and not pa.types.is_binary(cells.type):
        longest = pc.max(pc.utf8_length(cells)).as_py()
    limits.check_cell_length(file, longest)


def check_column_names(
    file: str, names: Sequence[str], options: ReadOptions, next_step: str | None = None
) -> None:
    """Raise DataGateError where the contract knows none of the columns, or where one that it knows is there twice.

    `next_step` is the likely one where it knows none.
    """
    known = [name for name in names if name in options.columns]
    if not known:
        columns = "1 column" if len(names) == 1 else f"{len(names)} columns"
        may_lack_header = format_of(unpacked_name(file), options) in ("csv", "excel")
        no_header = "; the file may have no header" if may_lack_header else ""
        raise DataGateError(
            f"a column in {file} that the contract's meta.read.columns names",
            f"{columns}, none of them named there{no_header}",
            next_step
            or "correct meta.read.columns or the names in the file"
            + (", or set meta.read.header to false" if may_lack_header else ""),
        )
    all_names = [*known, options.source_column, options.row_column]
    repeated = sorted({name for name in known if all_names.count(name) > 1})
    if repeated:
        raise DataGateError(f"each column once in {file}", f"{repeated} more than once", "keep one of each")


def clean_cells(batch: pa.RecordBatch, options: ReadOptions) -> pa.RecordBatch:
    """Remove white space around the cells where the contract says so, and mark missing values."""
    if options.strip:
        return strip_cells(batch, options)
    columns = [_without_missing_words(column, options) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def strip_cells(batch: pa.RecordBatch, options: ReadOptions) -> pa.RecordBatch:
    """Remove white space around the cells, then mark missing values."""
    columns = [_without_missing_words(pc.utf8_trim_whitespace(column), options) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _without_missing_words(cells: pa.Array, options: ReadOptions) -> pa.Array:
    words = pa.array(options.missing, pa.string())
    return pc.if_else(pc.is_in(cells, words), pa.scalar(None, pa.string()), cells)


def unreadable_error(
    file: str, options: ReadOptions, reason: str, next_step: str | None = None
) -> DataGateError:
    """Return the error for a file that is not as the contract says; `reason` quotes nothing of it."""
    return DataGateError(
        f"{file} as the contract's meta.read describes it"
        f" ({options.format}, separator {options.separator!r}, {options.encoding})",
        reason,
        next_step or "correct the file, or meta.read",
    )

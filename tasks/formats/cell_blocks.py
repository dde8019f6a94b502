"""Collect rows of texts in blocks of Arrow arrays: Python's strings are ten times as large."""

from collections.abc import Iterable, Sequence

import pyarrow as pa

from ml.contract.read_options import ReadOptions
from tasks.formats.file_content import check_cells, clean_cells
from tasks.formats.read_limits import ReadLimits

BLOCK_CELLS = 2**17
Row = Sequence[str | None]


class CellBlocks:
    """Rows of one file with these columns, of which all cells are texts or missing."""

    def __init__(self, file: str, names: Sequence[str], options: ReadOptions, limits: ReadLimits) -> None:
        self._file, self._options, self._limits = file, options, limits
        self._schema = pa.schema([(name, pa.string()) for name in names])
        self._block_rows = max(BLOCK_CELLS // max(len(names), 1), 1)
        self._batches: list[pa.RecordBatch] = []
        self._rows: list[Row] = []
        self.row_count = 0

    def add(self, row: Row) -> None:
        """Add a row with one cell for each column. Raises DataGateError past a limit."""
        self._rows.append(row)
        self.row_count += 1
        if len(self._rows) >= self._block_rows:
            self._end_block()

    def extend(self, rows: Iterable[Row]) -> None:
        """Add several rows."""
        for row in rows:
            self.add(row)

    def table(self) -> pa.Table:
        """Return all rows, with missing values as the contract describes them."""
        self._end_block()
        return pa.Table.from_batches(self._batches, self._schema)

    def _end_block(self) -> None:
        if not self._rows:
            return
        self._limits.check_rows(self._file, self.row_count)
        columns = [pa.array(cells, pa.string()) for cells in zip(*self._rows, strict=True)]
        for column in columns:
            check_cells(self._file, column, self._limits)
        batch = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        # Words for missing values and white space mean the same as in CSV files.
        self._batches.append(clean_cells(batch, self._options))
        self._rows.clear()

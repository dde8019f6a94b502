"""Read a Parquet file in batches, after its metadata were checked; what these declare is not trusted."""

from pathlib import Path

import pyarrow.parquet as pq

from ml.contract.read_options import ReadOptions
from tasks.arrow_blocks import ArrowBlocks
from tasks.file_content import FileContent
from tasks.read_limits import ReadLimits

# Cells of a batch; the rows of a batch are these, divided by the number of columns.
BATCH_CELLS = 2**21
MIN_BATCH_ROWS, MAX_BATCH_ROWS = 2**10, 2**16


def read_parquet(path: Path, options: ReadOptions, limits: ReadLimits) -> FileContent:
    """Read the contract's columns with their types. Raises DataGateError past a limit, and the errors of Arrow."""
    with pq.ParquetFile(path) as described:
        metadata, schema = described.metadata, described.schema_arrow
    limits.check_rows(path.name, metadata.num_rows)
    limits.check_columns(path.name, metadata.num_columns)
    blocks = ArrowBlocks(path.name, schema, path.stat().st_size, options, limits)
    rows_at_once = min(max(BATCH_CELLS // len(blocks.known), MIN_BATCH_ROWS), MAX_BATCH_ROWS)
    with pq.ParquetFile(path, read_dictionary=blocks.texts) as file:
        for batch in file.iter_batches(rows_at_once, columns=blocks.known):
            blocks.add(batch)
    return blocks.content()

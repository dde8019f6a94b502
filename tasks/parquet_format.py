"""Read a Parquet file in batches, after its metadata were checked; what these declare is not trusted."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml.contract.read_options import ReadOptions
from ml.errors import DataGateError
from tasks.file_content import FileContent, check_cells, check_column_names
from tasks.read_limits import ReadLimits

# Cells of a batch; the rows of a batch are these, divided by the number of columns.
BATCH_CELLS = 2**21
MIN_BATCH_ROWS, MAX_BATCH_ROWS = 2**10, 2**16


def read_parquet(path: Path, options: ReadOptions, limits: ReadLimits) -> FileContent:
    """Read the contract's columns with their types. Raises DataGateError past a limit, and the errors of Arrow."""
    size = path.stat().st_size
    with pq.ParquetFile(path) as described:
        metadata, schema = described.metadata, described.schema_arrow
    limits.check_rows(path.name, metadata.num_rows)
    limits.check_columns(path.name, metadata.num_columns)
    check_column_names(path.name, schema.names, options)
    known = [name for name in schema.names if name in options.columns]
    fields = {name: schema.field(name).type for name in known}
    if any(pa.types.is_nested(kind) for kind in fields.values()):
        raise DataGateError(
            f"columns of numbers, texts or times in {path.name}", "lists or structures", "correct the file"
        )
    # A dictionary of one long text and a few bytes of indices can be terabytes of text: texts stay encoded until their
    # length was checked.
    texts = [name for name, kind in fields.items() if _is_text(kind)]
    rows_at_once = min(max(BATCH_CELLS // len(known), MIN_BATCH_ROWS), MAX_BATCH_ROWS)
    batches, rows, unpacked = [], 0, 0
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(rows_at_once, columns=known):
            rows += batch.num_rows
            limits.check_rows(path.name, rows)
            for column in batch.columns:
                unpacked += _decoded_bytes(column)
                limits.check_unpacked_size(path.name, unpacked, size)
                if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type):
                    check_cells(path.name, column.dictionary, limits)
            batches.append(_decode(batch, fields))
    decoded = pa.schema([pa.field(name, fields[name]) for name in known])
    return FileContent.of(pa.Table.from_batches(batches, decoded), schema.names, options)


def _is_text(kind: pa.DataType) -> bool:
    return any(check(kind) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary))


def _decoded_bytes(column: pa.Array) -> int:
    """Return the bytes of a column when its texts are no longer encoded."""
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return int(column.nbytes)
    lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
    return int(pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0)


def _decode(batch: pa.RecordBatch, fields: dict[str, pa.DataType]) -> pa.RecordBatch:
    columns = [
        column if column.type == fields[name] else column.cast(fields[name])
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    schema = pa.schema([pa.field(name, fields[name]) for name in batch.schema.names])
    return pa.RecordBatch.from_arrays(columns, schema=schema)

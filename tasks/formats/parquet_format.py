"""Read a Parquet file in batches, after its metadata were checked; what these declare is not trusted."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml.contract.read_options import ReadOptions
from ml.errors import DataGateError
from tasks.formats.arrow_blocks import ArrowBlocks, plain_text
from tasks.formats.file_content import FileContent, check_cells
from tasks.formats.read_limits import ReadLimits

# Cells of a batch; the rows of a batch are these, divided by the number of columns.
BATCH_CELLS = 2**21
MIN_BATCH_ROWS, MAX_BATCH_ROWS = 2**10, 2**16
# Encodings by which a few bytes can be a long text again and again, and whose texts cannot be measured beforehand.
UNMEASURED_ENCODINGS = ("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY")
# Bytes of the texts of one column in a batch, if all were as long as the longest one.
MAX_TEXT_BYTES = 2**24


def read_parquet(path: Path, options: ReadOptions, limits: ReadLimits) -> FileContent:
    """Read the contract's columns with their types. Raises DataGateError past a limit, and the errors of Arrow."""
    with pq.ParquetFile(path) as described:
        metadata, schema = described.metadata, described.schema_arrow
    limits.check_rows(path.name, metadata.num_rows)
    limits.check_columns(path.name, metadata.num_columns)
    blocks = ArrowBlocks(path.name, schema, path.stat().st_size, options, limits)
    _check_encodings(path.name, metadata, blocks.texts)
    rows_at_once = min(max(BATCH_CELLS // len(blocks.known), MIN_BATCH_ROWS), MAX_BATCH_ROWS)
    with pq.ParquetFile(path, read_dictionary=blocks.texts) as encoded, pq.ParquetFile(path) as file:
        for group in range(metadata.num_row_groups):
            longest = _longest_repeated_text(encoded, group, blocks.texts, path.name, limits)
            rows = min(rows_at_once, max(MAX_TEXT_BYTES // max(longest, 1), 1))
            for batch in file.iter_batches(rows, row_groups=[group], columns=blocks.known):
                blocks.add(batch)
    return blocks.content()


def _check_encodings(file: str, metadata: pq.FileMetaData, texts: list[str]) -> None:
    """Raise DataGateError for texts in an encoding that is not read; a file that hides it is refused all the same."""
    places = [i for i in range(metadata.num_columns) if metadata.schema.column(i).path in texts]
    for group in range(metadata.num_row_groups):
        for column in (metadata.row_group(group).column(i) for i in places):
            found = [name for name in UNMEASURED_ENCODINGS if name in column.encodings]
            if found:
                raise DataGateError(
                    f"texts in the encoding PLAIN or RLE_DICTIONARY in {file}",
                    f"{found[0]} in {column.path_in_schema!r}",
                    "write the file again, such as with pandas or pyarrow, which use these encodings by default",
                )


def _longest_repeated_text(
    encoded: pq.ParquetFile, group: int, texts: list[str], file: str, limits: ReadLimits
) -> int:
    """Return the length in bytes of the longest text in the dictionaries of a row group.

    A dictionary of one long text and a few bytes of indices can be terabytes of text. Only dictionaries repeat texts,
    so these are read first, with one row. Raises DataGateError for a text that is too long.
    """
    if not texts:
        return 0
    longest = 0
    for batch in encoded.iter_batches(1, row_groups=[group], columns=texts):
        for column in batch.columns:
            values = plain_text(column.dictionary if pa.types.is_dictionary(column.type) else column)
            check_cells(file, values, limits)
            longest = max(longest, pc.max(pc.binary_length(values)).as_py() or 0)
        break
    return longest

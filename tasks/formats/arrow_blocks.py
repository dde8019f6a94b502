"""Collect blocks of an Arrow table, as files of Parquet and Feather have them; what these declare is not trusted."""

import pyarrow as pa
import pyarrow.compute as pc

from ml.contract.read_options import ReadOptions
from ml.errors import DataGateError
from tasks.formats.file_content import FileContent, check_cells, check_column_names
from tasks.formats.read_limits import ReadLimits


class ArrowBlocks:
    """The blocks of one file of `size` bytes; `known` are the names of the contract's columns in it.

    Raises DataGateError where it has none of them, or lists or structures.
    """

    def __init__(
        self, file: str, schema: pa.Schema, size: int, options: ReadOptions, limits: ReadLimits
    ) -> None:
        self._file, self._size, self._options, self._limits = file, size, options, limits
        self._names = list(schema.names)
        check_column_names(file, self._names, options)
        self.known = [name for name in self._names if name in options.columns]
        kinds = {name: _value_type(schema.field(name).type) for name in self.known}
        if any(pa.types.is_nested(kind) for kind in kinds.values()):
            raise DataGateError(
                f"columns of numbers, texts or times in {file}", "lists or structures", "correct the file"
            )
        self.texts = [name for name, kind in kinds.items() if _is_text(kind)]
        self._schema = pa.schema([(name, _read_type(kind)) for name, kind in kinds.items()])
        self._blocks: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def add(self, block: pa.RecordBatch) -> None:
        """Add a block of the known columns. Raises DataGateError past a limit."""
        self._rows += block.num_rows
        self._limits.check_rows(self._file, self._rows)
        cells = [plain_text(column) for column in block.columns]
        for column in cells:
            self._bytes += _decoded_bytes(column)
            self._limits.check_unpacked_size(self._file, self._bytes, self._size)
            text = column.dictionary if pa.types.is_dictionary(column.type) else column
            if _is_text(text.type):
                check_cells(self._file, text, self._limits)
        columns = [
            column if column.type == field.type else _converted(column, field.type)
            for column, field in zip(cells, self._schema, strict=True)
        ]
        self._blocks.append(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def content(self) -> FileContent:
        """Return all rows; the blocks are given up for them."""
        blocks, self._blocks = self._blocks, []
        return FileContent.of(pa.Table.from_batches(blocks, self._schema), self._names, self._options)


def plain_text(column: pa.Array) -> pa.Array:
    """Return texts in the form that Arrow can measure: views have no lengths."""
    return column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _read_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column is read as: decimal numbers, as databases have them, become floating ones."""
    if pa.types.is_string_view(kind):
        return pa.large_string()
    return pa.float64() if pa.types.is_decimal(kind) else kind


def _converted(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column if column.type == kind else column.cast(kind)


def _is_text(kind: pa.DataType) -> bool:
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_string_view)
    return any(check(kind) for check in checks)


def _decoded_bytes(column: pa.Array) -> int:
    """Return the bytes of a column when its texts are no longer encoded."""
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return int(column.nbytes)
    lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
    return int(pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0)

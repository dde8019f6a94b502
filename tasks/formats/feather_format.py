"""Read a Feather file (version 2, which is Arrow's file format) block by block, after the size of each was checked."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ml.contract.read_options import ReadOptions
from tasks.formats.arrow_blocks import ArrowBlocks
from tasks.formats.file_content import FileContent, unreadable_error
from tasks.formats.read_limits import ReadLimits

MAGIC = b"ARROW1"
# Where a message's header is in its table, and a record batch's buffers and compression in theirs.
HEADER_FIELD, BUFFERS_FIELD, COMPRESSION_FIELD, DICTIONARY_DATA_FIELD = 2, 2, 3, 1
NOT_COMPRESSED = -1


def read_feather(path: Path, options: ReadOptions, limits: ReadLimits) -> FileContent:
    """Read the contract's columns with their types. Raises DataGateError past a limit, and the errors of Arrow."""
    _check_sizes(path, options, limits)
    with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as reader:
        limits.check_columns(path.name, len(reader.schema.names))
        blocks = ArrowBlocks(path.name, reader.schema, path.stat().st_size, options, limits)
        for number in range(reader.num_record_batches):
            blocks.add(reader.get_batch(number).select(blocks.known))
        return blocks.content()


def _check_sizes(path: Path, options: ReadOptions, limits: ReadLimits) -> None:
    """Bound the data of all blocks together, as their compressed buffers declare them, before any is unpacked."""
    size, unpacked = path.stat().st_size, 0
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise unreadable_error(path.name, options, "a file that does not begin as Feather version 2 does")
        file.seek(8)
        for message in pa.ipc.MessageReader.open_stream(pa.PythonFile(file, mode="r")):
            if message.type in ("record batch", "dictionary"):
                unpacked += sum(_buffer_sizes(message))
                limits.check_unpacked_size(path.name, unpacked, size)


def _buffer_sizes(message: pa.ipc.Message) -> Iterator[int]:
    """Yield the size of each buffer when it is unpacked. Raises struct.error or ValueError for a damaged message."""
    data, body = memoryview(message.metadata), memoryview(message.body)
    header = _table_at(data, _field(data, _table_at(data, 0), HEADER_FIELD))
    if message.type == "dictionary":
        header = _table_at(data, _field(data, header, DICTIONARY_DATA_FIELD))
    is_compressed = bool(_field(data, header, COMPRESSION_FIELD))
    buffers = _table_at(data, _field(data, header, BUFFERS_FIELD))
    (count,) = struct.unpack_from("<I", data, buffers)
    for number in range(count):
        offset, length = struct.unpack_from("<qq", data, buffers + 4 + 16 * number)
        unpacked = NOT_COMPRESSED
        if is_compressed and length >= 8:
            (unpacked,) = struct.unpack_from("<q", body, offset)
        yield length if unpacked == NOT_COMPRESSED else unpacked


def _table_at(data: memoryview, position: int) -> int:
    """Return where the FlatBuffers table or vector is that the offset at `position` refers to."""
    return int(position + struct.unpack_from("<I", data, position)[0])


def _field(data: memoryview, table: int, number: int) -> int:
    """Return the position of a field of a FlatBuffers table, 0 where it is not set."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    (size,) = struct.unpack_from("<H", data, vtable)
    at = 4 + 2 * number
    (offset,) = struct.unpack_from("<H", data, vtable + at) if at < size else (0,)
    return int(table + offset) if offset else 0

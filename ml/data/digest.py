"""Digests of tables, entities and rows that depend on content only, not on file format, library or time."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml.errors import DataGateError

TICKS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_BYTES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)


def table_digest(frame: pd.DataFrame) -> str:
    """Compute the SHA-256 of column names, types and values, in order. NaN and null are the same missing value.

    Timestamps have one digest in every unit of time, as Parquet has no unit of seconds. Raises DataGateError for a
    column of other types than numbers, text, bytes, booleans, times, categories or lists of these.
    """
    digest = hashlib.sha256()
    for column in frame.columns:
        try:
            array = pa.array(frame[column], from_pandas=True)
        except (TypeError, ValueError, OverflowError, NotImplementedError):
            # Arrow's message quotes the cell, and messages must not contain cell values.
            raise _unsupported("cells without a common Arrow type", str(column)) from None
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        digest.update(json.dumps(str(column)).encode())
        _update(digest, array, str(column))
    return digest.hexdigest()


def _update(digest: Any, array: pa.Array, column: str) -> None:
    """Add one column to the digest in a canonical form: missing mask, type, values with a fill value where missing."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), None, array)  # inside lists, Arrow distinguishes NaN from null
    valid = np.asarray(pc.is_valid(array))
    digest.update(np.packbits(valid).tobytes() + len(valid).to_bytes(8, "little"))
    arrow_type = array.type
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type):
        digest.update(b"list")
        digest.update(np.asarray(pc.fill_null(pc.list_value_length(array), 0), dtype=np.int64).tobytes())
        elements = pc.list_flatten(array)
        if len(elements):  # libraries give different types to lists that are all empty
            _update(digest, elements, column)
    elif any(is_type(arrow_type) for is_type in _BYTES):
        text_like = pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type)
        digest.update(b"str" if text_like else b"bytes")
        text = pc.fill_null(array.cast(pa.large_string() if text_like else pa.large_binary()), b"")
        digest.update(np.asarray(pc.binary_length(text), dtype=np.int64).tobytes())
        # A slice shares the buffers of the whole array: take only the bytes of the slice.
        buffers: list[pa.Buffer | None] = text.buffers()
        offsets, data = buffers[1], buffers[2]
        if offsets is not None and data is not None:
            ends = np.frombuffer(offsets, dtype=np.int64)[text.offset : text.offset + len(text) + 1]
            digest.update(data[ends[0] : ends[-1]])
    elif pa.types.is_timestamp(arrow_type):
        digest.update(f"timestamp {arrow_type.tz}".encode())
        ticks = TICKS_PER_SECOND[arrow_type.unit]
        seconds, rest = np.divmod(np.asarray(pc.fill_null(array.cast(pa.int64()), 0)), ticks)
        digest.update(seconds.tobytes() + (rest * (TICKS_PER_SECOND["ns"] // ticks)).tobytes())
    else:
        digest.update(str(arrow_type).encode())
        digest.update(np.ascontiguousarray(_plain(array, column)).tobytes())


def _plain(array: pa.Array, column: str) -> np.ndarray:
    """Convert a column of numbers, booleans or times to numpy, with 0 or False where missing."""
    arrow_type = array.type
    if pa.types.is_null(arrow_type):
        return np.empty(0)
    if pa.types.is_temporal(arrow_type):
        array = array.cast(pa.int32() if arrow_type.bit_width == 32 else pa.int64())
    elif not any(
        is_type(arrow_type) for is_type in (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
    ):
        raise _unsupported(f"the type {arrow_type}", column)
    return np.asarray(pc.fill_null(array, False if pa.types.is_boolean(arrow_type) else 0))


def _unsupported(got: str, column: str) -> DataGateError:
    return DataGateError(
        "columns of numbers, text, booleans, times or lists",
        f"{got} in {column!r}",
        "write the file again with one of these types",
    )


def entity_hashes(entity: pd.Series, salt: str) -> np.ndarray:
    """Compute a salted 64-bit hash (uint64) of each value; equal values always have equal hashes."""
    # One by one: for a whole column, pandas omits the time of day where all cells are at midnight.
    text = entity.map(str) if entity.dtype.kind in "mM" else entity.astype("str")
    codes, uniques = pd.factorize(text, use_na_sentinel=False)
    key = hashlib.blake2b(salt.encode(), digest_size=16).digest()
    hashes = [
        int.from_bytes(hashlib.blake2b(str(value).encode(), digest_size=8, key=key).digest(), "little")
        for value in uniques
    ]
    return np.array(hashes, dtype=np.uint64)[codes]


def row_hashes(frame: pd.DataFrame) -> np.ndarray:
    """Compute a 64-bit hash (uint64) of each row; equal rows have equal hashes."""
    return pd.util.hash_pandas_object(frame, index=False).to_numpy()


def json_digest(value: Mapping[str, Any]) -> str:
    """Compute the SHA-256 of a mapping as JSON, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()

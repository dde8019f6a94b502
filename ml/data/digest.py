"""Digests of tables and entities: equal content has an equal digest, whoever wrote the file and when."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml.errors import DataGateError

TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # of each unit of time, per second
_BYTES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)


def table_digest(frame: pd.DataFrame) -> str:
    """SHA-256 over column names, types and values, in order. NaN and null are the same missing value.

    Instants are equal in every unit of time, as Parquet keeps no seconds. Raises DataGateError for a column that holds
    other things than numbers, text, bytes, truth values, times, categories or lists of them.
    """
    digest = hashlib.sha256()
    for column in frame.columns:
        try:
            array = pa.array(frame[column], from_pandas=True)
        except (TypeError, ValueError, OverflowError, NotImplementedError):
            # Arrow quotes the cell that it takes offence at; cells do not belong in messages.
            raise _refused("cells that Arrow has no one type for", str(column)) from None
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        digest.update(json.dumps(str(column)).encode())
        _update(digest, array, str(column))
    return digest.hexdigest()


def _update(digest: Any, array: pa.Array, column: str) -> None:
    """Feed one column in a canonical form: type, missing mask, values with a neutral value where missing."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), None, array)  # inside lists, Arrow keeps NaN and null apart
    valid = np.asarray(pc.is_valid(array))
    digest.update(np.packbits(valid).tobytes() + len(valid).to_bytes(8, "little"))
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        digest.update(b"list")
        digest.update(np.asarray(pc.fill_null(pc.list_value_length(array), 0), dtype=np.int64).tobytes())
        elements = pc.list_flatten(array)
        if len(elements):  # lists without any element have no type that all libraries agree on
            _update(digest, elements, column)
    elif any(is_kind(kind) for is_kind in _BYTES):
        text_like = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        digest.update(b"str" if text_like else b"bytes")
        text = pc.fill_null(array.cast(pa.large_string() if text_like else pa.large_binary()), b"")
        digest.update(np.asarray(pc.binary_length(text), dtype=np.int64).tobytes())
        # A slice shares the buffers of the whole: take only the bytes that are its own.
        buffers: list[pa.Buffer | None] = text.buffers()
        offsets, data = buffers[1], buffers[2]
        if offsets is not None and data is not None:
            ends = np.frombuffer(offsets, dtype=np.int64)[text.offset : text.offset + len(text) + 1]
            digest.update(data[ends[0] : ends[-1]])
    elif pa.types.is_timestamp(kind):
        digest.update(f"timestamp {kind.tz}".encode())
        ticks = TICKS[kind.unit]
        seconds, rest = np.divmod(np.asarray(pc.fill_null(array.cast(pa.int64()), 0)), ticks)
        digest.update(seconds.tobytes() + (rest * (TICKS["ns"] // ticks)).tobytes())
    else:
        digest.update(str(kind).encode())
        digest.update(np.ascontiguousarray(_plain(array, column)).tobytes())


def _plain(array: pa.Array, column: str) -> np.ndarray:
    """Numbers or truth values, 0 or False where missing."""
    kind = array.type
    if pa.types.is_null(kind):
        return np.empty(0)
    if pa.types.is_temporal(kind):
        array = array.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    elif not any(
        is_kind(kind) for is_kind in (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
    ):
        raise _refused(f"the type {kind}", column)
    return np.asarray(pc.fill_null(array, False if pa.types.is_boolean(kind) else 0))


def _refused(got: str, column: str) -> DataGateError:
    return DataGateError(
        "columns of numbers, text, truth values, times or lists",
        f"{got} in {column!r}",
        "write the file anew with one of those types",
    )


def entity_hashes(entity: pd.Series, salt: str) -> np.ndarray:
    """Salted 64-bit hash (uint64) of each value; one value always has one hash, in every table and on every day."""
    # All at once, pandas would write an instant with or without a time of day, as its neighbours need it.
    text = entity.map(str) if entity.dtype.kind in "mM" else entity.astype("str")
    codes, uniques = pd.factorize(text, use_na_sentinel=False)
    key = hashlib.blake2b(salt.encode(), digest_size=16).digest()
    hashes = [
        int.from_bytes(hashlib.blake2b(str(value).encode(), digest_size=8, key=key).digest(), "little")
        for value in uniques
    ]
    return np.array(hashes, dtype=np.uint64)[codes]


def row_hashes(frame: pd.DataFrame) -> np.ndarray:
    """64-bit hash (uint64) of each row's content; equal rows have equal hashes."""
    return pd.util.hash_pandas_object(frame, index=False).to_numpy()


def digest_of(value: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON-able mapping, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()

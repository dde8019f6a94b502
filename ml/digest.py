"""Digests of tables and entities: equal content has an equal digest, whoever wrote the file and when."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc


def table_digest(frame: pd.DataFrame) -> str:
    """SHA-256 over column names, types and values, in order. NaN and null are the same missing value."""
    digest = hashlib.sha256()
    for column in frame.columns:
        array = pa.array(frame[column], from_pandas=True)
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        digest.update(json.dumps(str(column)).encode())
        _update(digest, array)
    return digest.hexdigest()


def _update(digest: Any, array: pa.Array) -> None:
    """Feed one column in a canonical form: type, missing mask, values with a neutral value where missing."""
    valid = np.asarray(pc.is_valid(array))
    digest.update(np.packbits(valid).tobytes() + len(valid).to_bytes(8, "little"))
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        digest.update(b"list")
        digest.update(np.asarray(pc.fill_null(pc.list_value_length(array), 0), dtype=np.int64).tobytes())
        _update(digest, pc.list_flatten(array))
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        digest.update(b"str")
        text = pc.fill_null(array.cast(pa.large_string()), "")
        digest.update(np.asarray(pc.binary_length(text), dtype=np.int64).tobytes())
        # A slice shares the buffers of the whole: take only the bytes that are its own.
        buffers: list[pa.Buffer | None] = text.buffers()
        offsets, data = buffers[1], buffers[2]
        if offsets is not None and data is not None:
            ends = np.frombuffer(offsets, dtype=np.int64)[text.offset : text.offset + len(text) + 1]
            digest.update(data[ends[0] : ends[-1]])
    else:
        digest.update(str(kind).encode())
        if pa.types.is_temporal(kind):
            array = array.cast(pa.int64())
        neutral = False if pa.types.is_boolean(kind) else 0
        values = np.asarray(pc.fill_null(array, neutral)) if len(array) else np.empty(0)
        digest.update(np.ascontiguousarray(values).tobytes())


def entity_hashes(entity: pd.Series, salt: str) -> np.ndarray:
    """Salted 64-bit hash (uint64) of each value; one value always has one hash, in every table and on every day."""
    codes, uniques = pd.factorize(entity.astype("str"), use_na_sentinel=False)
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

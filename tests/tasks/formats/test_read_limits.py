"""Limits on what is read: the error of each names its setting, and comes while the file is read."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.contract.read_options import ReadOptions
from ml.errors import DataGateError
from tasks.formats.file_formats import read_file
from tasks.formats.parquet_format import MAX_TEXT_BYTES, UNMEASURED_ENCODINGS
from tasks.formats.read_limits import ReadLimits
from tasks.settings import Settings

COLUMNS = {"id": "category", "amount": "number"}
LIMITS = ReadLimits(
    file_bytes=30_000_000,
    unpacked_bytes=200_000_000,
    compression_ratio=100.0,
    rows=1000,
    columns=20,
    cell_length=1000,
    line_length=5000,
)


def csv_rows(count: int) -> bytes:
    return b"id,amount\n" + b"a,1\n" * count


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("loans.csv", data)
    return buffer.getvalue()


def parquet(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def one_text_for_all_rows(length: int, rows: int) -> bytes:
    """Return a file that repeats one long text: a few bytes for a page, `length` characters for each row."""
    indices = pa.array(np.zeros(rows, np.int32))
    table = pa.table({"id": pa.DictionaryArray.from_arrays(indices, ["a" * length])})
    # The schema of the file is that of plain texts.
    return parquet(table, store_schema=False)


def read(folder: Path, name: str, data: bytes, limits: ReadLimits = LIMITS, **options: Any) -> pa.Table:
    path = folder / name
    path.write_bytes(data)
    return read_file(path, ReadOptions(columns=COLUMNS, files=(name,), **options), limits).table


TOO_LARGE = {
    "file size": ("a.csv", csv_rows(8_000_000), "MAX_FILE_GIGABYTES", {}),
    "rows": ("a.csv", csv_rows(1001), "MAX_ROWS", {}),
    "rows of an archive": ("a.zip", zipped(csv_rows(1001)), "MAX_ROWS", {}),
    "unpacked size": ("a.zip", zipped(b"id,amount\n" + bytes(200_000_000)), "MAX_UNPACKED", {}),
    "compression ratio": ("a.zip", zipped(b"id,amount\n" + b"a,1\n" * 3_000_000), "MAX_COMPRESSION", {}),
    "columns": ("a.csv", b"id," * 21, "MAX_COLUMNS", {}),
    "a cell": ("a.csv", b"id,amount\n" + b"x" * 1001 + b",1\n", "MAX_CELL_LENGTH", {}),
    "a line": ("a.csv", b"id,amount\n" + b"x" * 12_000 + b",1\n", "MAX_LINE_LENGTH", {}),
    "a header": ("a.csv", b"x" * 12_000 + b",id\n", "MAX_LINE_LENGTH", {}),
    "a line of items": ("a.txt", b"u " + b"i " * 3000, "MAX_LINE_LENGTH", {"format": "sequences"}),
    "items": ("a.txt", (b"u" + b" i" * 600 + b"\n") * 2, "MAX_ROWS", {"format": "sequences"}),
    "an item": ("a.txt", b"u " + b"i" * 1001, "MAX_CELL_LENGTH", {"format": "sequences"}),
    "rows of Parquet": ("a.parquet", parquet(pa.table({"id": ["a"] * 1001})), "MAX_ROWS", {}),
    "columns of Parquet": (
        "a.parquet",
        parquet(pa.table({f"c{n}": [1] for n in range(20)} | {"id": ["a"]})),
        "MAX_COLUMNS",
        {},
    ),
    "a cell of Parquet": ("a.parquet", parquet(pa.table({"id": ["a" * 1001]})), "MAX_CELL_LENGTH", {}),
}


@pytest.mark.parametrize("what", TOO_LARGE)
def test_a_file_above_a_limit_is_refused_with_the_name_of_the_setting(tmp_path: Path, what: str) -> None:
    name, data, setting, options = TOO_LARGE[what]
    separator = " " if "format" in options else ","
    with pytest.raises(DataGateError, match=f"expected .*; got .*; .*STEWARD_{setting}") as error:
        read(tmp_path, name, data, separator=separator, **options)
    assert "xxxx" not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None


def test_files_at_the_limits_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", csv_rows(1000)).num_rows == 1000
    wide = b"id," + b",".join(b"c%d" % n for n in range(19)) + b"\n" + b"x" * 1000 + b",1" * 19 + b"\n"
    assert read(tmp_path, "b.csv", wide)["id"].to_pylist() == ["x" * 1000]
    sequence = b"u" + b" i" * 1000
    table = read(tmp_path, "c.txt", sequence, separator=" ", format="sequences")
    assert table.num_rows == 1000
    # Characters count, not bytes.
    assert read(tmp_path, "d.csv", b"id,amount\n" + "ö".encode() * 1000 + b",1\n").num_rows == 1


def test_the_texts_of_a_dictionary_are_repeated_in_small_blocks(tmp_path: Path) -> None:
    """Ten gigabytes of text in a file of a few kilobytes: memory has the limit and one block, which may be copied."""
    data = one_text_for_all_rows(100_000, 100_000)
    assert pq.ParquetFile(io.BytesIO(data)).schema_arrow.field("id").type == pa.string()
    assert len(data) < 20_000
    limits = replace(LIMITS, rows=10**6, unpacked_bytes=10**8, compression_ratio=1e9, cell_length=100_000)
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(DataGateError, match="STEWARD_MAX_UNPACKED_GIGABYTES"):
        read(tmp_path, "a.parquet", data, limits)
    assert pa.default_memory_pool().max_memory() < before + 10**8 + 2 * MAX_TEXT_BYTES


@pytest.mark.parametrize("encoding", UNMEASURED_ENCODINGS)
def test_texts_whose_length_is_not_known_beforehand_are_refused_by_name(
    tmp_path: Path, encoding: str
) -> None:
    table = pa.table({"id": ["a", "b"], "amount": [1.0, 2.0]})
    encodings = {"id": encoding, "amount": "PLAIN"}
    data = parquet(table, use_dictionary=False, column_encoding=encodings)
    with pytest.raises(DataGateError, match=f"PLAIN or RLE_DICTIONARY in a.parquet; got {encoding} in 'id'"):
        read(tmp_path, "a.parquet", data)
    # Numbers are as long as they are.
    encodings = {"id": "PLAIN", "amount": "BYTE_STREAM_SPLIT"}
    data = parquet(table, use_dictionary=False, column_encoding=encodings)
    assert read(tmp_path, "b.parquet", data).equals(table)


def test_lists_in_parquet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataGateError, match="lists or structures"):
        read(tmp_path, "a.parquet", parquet(pa.table({"id": [["a"]]})))


def test_a_file_that_declares_two_thousand_million_rows_is_refused_before_it_is_read(tmp_path: Path) -> None:
    data = bytearray(parquet(pa.table({"id": ["a"] * 9})))
    # Rows in the footer (Thrift): a field of type i64, the zigzag number 9.
    footer = data.index(b"\x16\x12\x19", len(data) - 8 - int.from_bytes(data[-8:-4], "little"))
    declared = data[:footer] + b"\x16\x80\x80\x80\x80\x10" + data[footer + 2 :]
    length = int.from_bytes(declared[-8:-4], "little") + 4
    declared[-8:-4] = length.to_bytes(4, "little")
    assert pq.ParquetFile(io.BytesIO(bytes(declared))).metadata.num_rows == 2**31
    with pytest.raises(DataGateError, match=r"at most 1,000 rows .*STEWARD_MAX_ROWS"):
        read(tmp_path, "a.parquet", bytes(declared))


def test_texts_of_parquet_are_read_as_they_are(tmp_path: Path) -> None:
    """Texts are read as dictionaries and decoded, and so are columns that are dictionaries."""
    texts = ["a", None, "b", "a"] * 50_000
    expected = pa.table(
        {
            "id": pa.array(texts),
            "amount": pa.array(np.arange(200_000.0)),
            "large": pa.array(texts, pa.large_string()),
            "bytes": pa.array(texts, pa.binary()),
            "categories": pa.array(texts).dictionary_encode(),
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(expected, path, row_group_size=70_000)
    options = ReadOptions(columns=dict.fromkeys(expected.column_names, "category"), files=("a.parquet",))
    table = read_file(path, options, ReadLimits()).table
    expected = expected.set_column(4, "categories", pa.chunked_array([texts], pa.string()))
    assert table.schema.equals(expected.schema)
    assert table.to_pydict() == expected.to_pydict()


def test_limits_come_from_the_settings(tmp_path: Path) -> None:
    assert Settings(state_dir=tmp_path).read_limits == ReadLimits()
    settings = Settings(state_dir=tmp_path, max_rows=7, max_unpacked_gigabytes=0.5)
    assert settings.read_limits == replace(ReadLimits(), rows=7, unpacked_bytes=500_000_000)

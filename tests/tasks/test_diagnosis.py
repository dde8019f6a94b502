"""Refusals are diagnosed: each says what is wrong, where, and what would fit; it quotes no cell and leaves nothing."""

import gzip
import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pyarrow.feather as feather
import pytest

from ml.errors import DataGateError
from tasks.data_access.locate import DatasetSource
from tasks.formats.read_limits import ReadLimits
from tasks.source import read_files
from tasks.storage.content_store import Store
from tasks.validate import apply_contract
from tests.tasks.test_doors import FRAME, clean_table, contract, csv_text, json_lines, write_workbook

SECRET = "Jane-Doe-4711"
NAMES = list(FRAME)


def refusal(folder: Path, name: str, data: bytes, limits: ReadLimits | None = None, **read: Any) -> str:
    """Return the message about a file; nothing is stored of it."""
    (folder / name).write_bytes(data)
    source = DatasetSource("small", contract(**read), (folder / name,), limits=limits or ReadLimits())
    with pytest.raises(DataGateError) as error:
        read_files(source, Store(folder / "store"))
    assert name in str(error.value)
    assert SECRET not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None
    assert not (folder / "store").exists()
    return str(error.value)


@pytest.mark.parametrize(("separator", "name"), [(";", "';'"), ("\t", "a tab"), ("|", "'|'")])
def test_another_separator_is_named(tmp_path: Path, separator: str, name: str) -> None:
    text = csv_text(sep=separator)
    message = f"it looks like {name} as separator: set meta.read.separator to {separator!r}"
    assert message in refusal(tmp_path, "loans.csv", text)
    without_header = text.partition(b"\n")[2].replace(b",", b"")
    assert message in refusal(tmp_path, "rows.csv", without_header, header=False)


def test_a_header_in_another_spelling_is_named(tmp_path: Path) -> None:
    assert "strip_header to true" in refusal(tmp_path, "a.csv", csv_text(FRAME.rename(columns=" {}".format)))
    upper = csv_text(FRAME.rename(columns=str.upper))
    assert "upper and lower case only" in refusal(tmp_path, "b.csv", upper)


@pytest.mark.parametrize("name", ["loans.csv", "loans.jsonl"])
@pytest.mark.parametrize("filler", [0, 2_000_000], ids=["in the first block", "in a later block"])
def test_bytes_that_are_no_text_are_located(tmp_path: Path, name: str, filler: int) -> None:
    good = csv_text() if name.endswith("csv") else json_lines()
    good += good[good.index(b"\n") + 1 :] * (filler // len(good))
    data = good + good.splitlines(keepends=True)[-1].replace(b"-", f"{SECRET}é".encode("latin-1"), 1)
    line, byte = good.count(b"\n") + 1, data.index(b"\xe9") + 1
    message = refusal(tmp_path, name, data)
    assert f"byte 0xE9 in line {line:,} (byte {byte:,} of the file), which is no text in utf-8" in message
    assert "such as cp1252 or latin-1" in message


def test_utf_16_is_recognised(tmp_path: Path) -> None:
    data = csv_text().decode().encode("utf-16")
    assert "utf-16" in refusal(tmp_path, "loans.csv", data)
    assert "utf-16" in refusal(tmp_path, "loans.jsonl", json_lines().decode().encode("utf-16"))


@pytest.mark.parametrize("name", ["loans.csv", "loans.csv.gz", "loans.jsonl"])
def test_bytes_of_zero_are_located(tmp_path: Path, name: str) -> None:
    data = (json_lines() if "json" in name else csv_text()).replace(b"Zo", b"Z\0", 1)
    packed = gzip.compress(data) if name.endswith("gz") else data
    assert f"a byte of 0 at byte {data.index(0) + 1:,}" in refusal(tmp_path, name, packed)


def test_a_header_that_is_shifted_is_named(tmp_path: Path) -> None:
    """As R writes it: the column of row names has no name."""
    text = FRAME.to_csv().encode().removeprefix(b",")
    message = refusal(tmp_path, "loans.csv", text)
    assert "8 cells instead of 7 in line 2: one more than the header has names" in message
    assert "also that of an index" in message


def test_ragged_rows_and_repeated_columns_are_named(tmp_path: Path) -> None:
    assert "2 cells instead of 7 in line 26" in refusal(
        tmp_path, "a.csv", csv_text() + f"{SECRET},1\n".encode()
    )
    twice = csv_text().replace(b"id,name", b"id,id", 1)
    assert "got ['id'] more than once" in refusal(tmp_path, "b.csv", twice)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f'{{"id": "{SECRET}"', "no JSON in line 25"),
        (f'["{SECRET}"]', "no object in line 25"),
        (f'{{"id": 1, "id": "{SECRET}"}}', "a key twice in line 25"),
        (f'{{"name": ["{SECRET}"]}}', "a list or an object in line 25"),
        ("[" * 5_000, "no JSON in line 25"),
    ],
)
def test_lines_that_are_no_rows_are_located(tmp_path: Path, line: str, message: str) -> None:
    assert message in refusal(tmp_path, "loans.jsonl", json_lines() + line.encode() + b"\n")


ARFF = "@relation x\n@attribute id string\n@attribute amount numeric\n@data\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ARFF + f"'{SECRET}, 5\n", "a cell whose quotes are not closed in line 5"),
        (ARFF + f"{SECRET}, 5, 6\n", "3 cells instead of 2 in line 5"),
        (ARFF + f"{{0 {SECRET}}}\n", "sparse ARFF"),
        (ARFF.replace("@data\n", ""), "no line @data"),
        (f"id,amount\n{SECRET},5\n", "neither @attribute nor @data in line 1"),
    ],
)
def test_faults_of_arff_are_located(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(tmp_path, "loans.arff", text.encode())


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: zipped("a.csv", data)], ids=["gzip", "zip"])
def test_a_bomb_is_not_unpacked(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    name = "loans.zip" if pack is not gzip.compress else "loans.csv.gz"
    bomb = pack(csv_text() + b"x" * 40_000_000)
    assert "MAX_COMPRESSION_RATIO" in refusal(tmp_path, name, bomb)
    limits = ReadLimits(unpacked_bytes=10**6, compression_ratio=1e6)
    assert "MAX_UNPACKED_GIGABYTES" in refusal(tmp_path, name, bomb, limits)


def zipped(member: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, data)
    return buffer.getvalue()


def test_a_path_in_an_archive_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loans.zip").write_bytes(zipped("../../escaped.csv", csv_text()))
    assert len(clean_table(tmp_path, tmp_path / "loans.zip")) == len(FRAME)
    assert {path.name for path in tmp_path.iterdir()} == {"loans.zip", "store"}


@pytest.mark.parametrize(
    "name", ["loans.csv.gz", "loans.csv.bz2", "loans.xlsx", "loans.feather", "loans.parquet"]
)
def test_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    from tests.tasks.test_doors import DOORS

    DOORS[name](tmp_path / name)
    data = (tmp_path / name).read_bytes()
    for damaged in (data[: len(data) * 2 // 3], b"", SECRET.encode() * 50):
        assert refusal(tmp_path, name, damaged).startswith("expected ")


def test_a_packed_table_of_another_format_is_refused(tmp_path: Path) -> None:
    assert "unpack it" in refusal(tmp_path, "loans.parquet.gz", gzip.compress(b"x"))


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    parts = [tmp_path / f"part-{k}.parquet" for k in range(3)]
    for part in parts:
        FRAME.to_parquet(part)
    data = bytearray(parts[1].read_bytes())
    data[4:60] = bytes(56)
    parts[1].write_bytes(data)
    with pytest.raises(DataGateError, match=r"part-1\.parquet"):
        clean_table(tmp_path, *parts)


def book(path: Path, **sheets: list[list[Any]]) -> Path:
    made = openpyxl.Workbook()
    made.remove(made.active)
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


def test_a_workbook_with_several_sheets_needs_the_name_of_one(tmp_path: Path) -> None:
    path = book(tmp_path / "loans.xlsx", notes=[["a note"]], rows=[["id", "amount"], ["a", 1.5]])
    message = refusal(tmp_path, "loans.xlsx", path.read_bytes())
    assert "2: 'notes', 'rows'; name it in meta.read.sheet" in message
    assert "the sheet 'x'" in refusal(tmp_path, "loans.xlsx", path.read_bytes(), sheet="x")
    stored = read_files(DatasetSource("small", contract(sheet="rows"), (path,)), Store(tmp_path / "store"))
    assert stored.table("rows").to_numpy().tolist() == [["a", "1.5"]]


def test_formulas_are_not_computed(tmp_path: Path) -> None:
    path = book(tmp_path / "loans.xlsx", rows=[["id", "amount"], ["a", "=1+1"], ["b", "=2+2"]])
    assert "2 formulas whose value is not stored" in refusal(tmp_path, "loans.xlsx", path.read_bytes())


def test_workbooks_with_macros_are_refused(tmp_path: Path) -> None:
    write_workbook(tmp_path / "plain.xlsx")
    with zipfile.ZipFile(tmp_path / "plain.xlsx", "a") as archive:
        archive.writestr("xl/vbaProject.bin", b"macro")
    data = (tmp_path / "plain.xlsx").read_bytes()
    assert "one with macros" in refusal(tmp_path, "plain.xlsx", data)
    assert "save it as .xlsx or .csv" in refusal(tmp_path, "loans.xlsm", data)


def test_a_workbook_is_bounded(tmp_path: Path) -> None:
    path = book(tmp_path / "loans.xlsx", rows=[["id"], *[[k] for k in range(50)]])
    assert "MAX_ROWS" in refusal(tmp_path, "loans.xlsx", path.read_bytes(), ReadLimits(rows=20))
    wide = book(tmp_path / "wide.xlsx", rows=[["id", *range(60)]])
    assert "MAX_COLUMNS" in refusal(tmp_path, "wide.xlsx", wide.read_bytes(), ReadLimits(columns=20))
    limits = ReadLimits(unpacked_bytes=1000)
    assert "MAX_UNPACKED" in refusal(tmp_path, "loans.xlsx", path.read_bytes(), limits)


def test_a_feather_file_is_bounded_by_what_its_blocks_declare(tmp_path: Path) -> None:
    feather.write_feather(pd.DataFrame({"amount": [0.0] * 5_000_000}), str(tmp_path / "a.feather"), "zstd")
    data = (tmp_path / "a.feather").read_bytes()
    assert len(data) < 1_000_000
    assert "MAX_COMPRESSION_RATIO" in refusal(tmp_path, "a.feather", data)


@pytest.mark.parametrize(
    ("amount", "step"),
    [
        ("{:,.2f}", "24 values of 'amount' look like 1,234.56: set meta.read.thousands to ','"),
        ("{:.2f}", "24 values of 'amount' look like 1.234,56: set meta.read.decimal to ','"),
        ("{:,.2f}.", "24 values of 'amount' look like 1.234,56: set meta.read.decimal to ','"),
    ],
)
def test_numbers_with_other_marks_are_recognised(amount: str, step: str) -> None:
    text = [amount.removesuffix(".").format(4321.5 + 1000 * k) for k in range(24)]
    if "1.234" in step:
        text = [cell.translate(str.maketrans(",.", ".,")) for cell in text]
    with pytest.raises(DataGateError) as error:
        apply_contract(FRAME.assign(amount=text), contract())
    assert step in str(error.value)


def test_times_in_another_format_are_recognised() -> None:
    days = [f"{day:%d/%m/%Y}" for day in FRAME["day"]]
    with pytest.raises(DataGateError, match="24 values of 'day' are times in another format"):
        apply_contract(FRAME.assign(day=days), contract())


def test_a_ragged_line_that_is_no_text_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    message = refusal(tmp_path, "loans.csv", csv_text() + b"1,\xc2,3,4,5,6,7,8\n")
    assert "loans.csv" in message
    assert printed == []


def test_a_column_with_dates_in_two_formats_is_named() -> None:
    days = [f"{day:%d/%m/%Y}" if n % 2 else str(day) for n, day in enumerate(FRAME["day"])]
    with pytest.raises(DataGateError, match="12 values of 'day' are times in another format"):
        apply_contract(FRAME.assign(day=days), contract())


def test_a_column_of_mixed_types_is_named(tmp_path: Path) -> None:
    rows = json.loads(FRAME.astype({"day": str}).to_json(orient="records"))
    for row in rows[::2]:
        row["count"] = "many" if row["count"] % 4 else True
    path = tmp_path / "mixed.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataGateError, match=r"type\(count\).* 12"):
        clean_table(tmp_path, path)

"""Random tables through readers and drafter: the same cells come back, or one message says what is wrong."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.contract.json_text import read_json
from ml.contract.parser import parse
from ml.contract.read_options import ReadOptions
from ml.drafting.request import CaseKind
from ml.errors import StewardError
from operate.contract import draft_cells, read_cells
from tasks.data_access.stacked_files import to_frame
from tasks.formats.file_formats import read_file
from tasks.formats.read_limits import ReadLimits
from tasks.validate import apply_contract

LIMITS = ReadLimits()
CASES = (
    CaseKind("fintech-risk", numbers=True),
    CaseKind("symptom-triage", several_classes=True, reads_texts=True),
    CaseKind("ecommerce-recommendation", is_log=True),
)
# Columns by name, with the number of their values: of tables, and of logs.
NEEDED = ((("target", 2),), (("user", 9), ("item", 6)))
BOUNDED = settings(
    max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=[*HealthCheck]
)
SPECIAL = [
    "", " ", "a", "A", "a ", ",", ";", '"', '""', "'", "a,b", 'say "x"', "two\nlines", "two\r\nlines", "\r", "\t", "|",
    "0", "1", "-9", "007", "1.5", "1,5", "1.234,56", "1e308", "1e999", "nan", "inf", "NA", "?", "2024-02-29",
    "31/12/2024", "2024-02-29T12:00:00Z", "0001-01-01", "9999-12-31", "true", "None", "١٢", "Zoë", "客",
    "\ufeff", "\u2028", "\x85",
    "\x0b", "\x00", "\x1f", "=1+1", "#N/A", "{", "[1]", "%d", "\\", "x" * 300,
]  # fmt: skip
CELLS = st.one_of(
    st.sampled_from(SPECIAL),
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False).map(repr),
    st.dates().map(str),
    st.text(max_size=6),
)
NAMES = st.one_of(
    st.sampled_from(
        ["id", "age", "target", "user", "item", "time", "file", "row", "", " ", "a.b", "a\nb", 'a"b', "a,b"]
    ),
    st.text(max_size=4),
)
Table = tuple[list[str], list[list[str | None]]]


def as_csv(table: Table, draw: Callable[..., object]) -> tuple[bytes, dict[str, object]]:
    names, rows = table
    text = io.StringIO(newline="")
    separator = draw(st.sampled_from([",", ";", "\t", "|"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    if any("\r" in (cell or "") for row in [names, *rows] for cell in row):
        quoting = csv.QUOTE_ALL  # Python leaves a line end of its own kind without quotes
    writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=ending)  # type: ignore[arg-type]
    writer.writerows([names, *rows])
    written = text.getvalue()
    encoding = str(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252", "gb18030"])))
    try:
        content = written.encode(encoding)
    except UnicodeEncodeError:
        content, encoding = written.encode(), "utf-8"
    return content, {"separator": separator, "encoding": encoding.removesuffix("-sig")}


def as_json_lines(table: Table, draw: Callable[..., object]) -> tuple[bytes, dict[str, object]]:
    names, rows = table
    ascii_only = bool(draw(st.booleans()))
    lines = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=ascii_only) for row in rows]
    return "\n".join(lines).encode(), {"format": "jsonl"}


def arrow(table: Table) -> pa.Table:
    names, rows = table
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.Table.from_arrays(columns, names)


def as_parquet(table: Table, draw: Callable[..., object]) -> tuple[bytes, dict[str, object]]:
    out = io.BytesIO()
    dictionary = bool(draw(st.booleans()))
    pq.write_table(arrow(table), out, use_dictionary=dictionary)
    return out.getvalue(), {"format": "parquet"}


def as_feather(table: Table, draw: Callable[..., object]) -> tuple[bytes, dict[str, object]]:
    out = io.BytesIO()
    feather.write_feather(arrow(table), out, compression=draw(st.sampled_from(["lz4", "uncompressed"])))
    return out.getvalue(), {"format": "feather"}


def workbook_text(cell: str | None) -> str:
    """Return what a workbook can hold of a text: few control characters, and one kind of line end."""
    text = openpyxl.cell.cell.ILLEGAL_CHARACTERS_RE.sub("", cell or "")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def as_workbook(table: Table, draw: Callable[..., object]) -> tuple[bytes, dict[str, object]]:
    names, rows = table
    book, out = openpyxl.Workbook(), io.BytesIO()
    for r, row in enumerate([names, *rows], 1):
        for c, cell in enumerate(row, 1):
            if text := workbook_text(cell):
                book.active.cell(r, c).value = text
                book.active.cell(r, c).data_type = "s"
    book.save(out)
    return out.getvalue(), {"format": "excel"}


FORMATS = {
    ".csv": as_csv, ".jsonl": as_json_lines, ".parquet": as_parquet, ".feather": as_feather, ".xlsx": as_workbook
}  # fmt: skip


@st.composite
def tables(draw: st.DrawFn, rows: int | None = None) -> Table:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=draw(st.integers(0, 9)) > 0))
    pools = [draw(st.lists(st.one_of(st.none(), CELLS), min_size=1, max_size=6)) for _ in names]
    count = rows or draw(st.integers(1, 6))
    places = [draw(st.lists(st.integers(0, len(pool) - 1), min_size=4, max_size=8)) for pool in pools]
    cells = [[pool[p[r % len(p)]] for pool, p in zip(pools, places, strict=True)] for r in range(count)]
    return names, cells


def damaged(content: bytes, draw: Callable[..., object]) -> bytes:
    """Leave a file as it is, cut it, or put some bytes in."""
    kind = draw(st.sampled_from(["", "", "", "cut", "insert"]))
    # Of a workbook, the length depends on the time.
    place = len(content) * draw(st.integers(0, 99)) // 100  # type: ignore[operator]
    if kind == "cut":
        return content[:place]
    inserted = draw(st.sampled_from([b",", b"\n", b'"', b"\0", b"\xff"])) if kind else b""
    return content[:place] + inserted + content[place:]  # type: ignore[operator]


def expected_cells(table: Table, ending: str) -> dict[str, list[str | None]]:
    """Return the cells that come back: an empty text is a missing value, but in formats that have missing values."""
    names, rows = table
    if ending == ".xlsx":
        names = list(map(workbook_text, names))
        rows = [cells for row in rows if any(cells := [workbook_text(cell) or None for cell in row])]
    keeps_empty = ending in (".parquet", ".feather")
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    cells = ([cell if keeps_empty else cell or None for cell in column] for column in columns)
    return dict(zip(names, cells, strict=True))


def check_round_trip(ending: str, data: st.DataObject, folder: Path) -> None:
    """Write a random table, read it with a contract that fits, and compare; a damaged file gives one message."""
    names, _ = table = data.draw(tables())
    path = folder / f"t{ending}"
    content, read = FORMATS[ending](table, data.draw)
    changed = damaged(content, data.draw)
    path.write_bytes(changed)
    options = ReadOptions(columns=dict.fromkeys(names, "category"), **read)  # type: ignore[arg-type]
    try:
        frame = to_frame([read_file(path, options, LIMITS).table])
    except StewardError:
        return
    if changed == content:
        for column, cells in expected_cells(table, ending).items():
            # A workbook may lack characters of a name, or a column without a name.
            if column in names and (column or ending != ".xlsx"):
                assert [None if pd.isna(cell) else cell for cell in frame[column]] == cells


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet", ".feather"])
@BOUNDED
@given(data=st.data())
def test_the_same_cells_come_back_or_one_message(
    ending: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_round_trip(ending, data, tmp_path_factory.getbasetemp())


@settings(BOUNDED, max_examples=12)
@given(data=st.data())
def test_the_same_cells_come_back_from_a_workbook(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_round_trip(".xlsx", data, tmp_path_factory.getbasetemp())


@BOUNDED
@given(data=st.data())
def test_a_draft_loads_and_reads_its_own_file_or_there_is_one_message(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names, rows = data.draw(tables(rows=data.draw(st.sampled_from([44, 60]))))
    case = data.draw(st.sampled_from(CASES))
    # What a case needs, as often as not.
    for name, count in NEEDED[case.is_log] if data.draw(st.booleans()) else ():
        if name not in names:
            names, rows = [*names, name], [[*row, f"{name} {r * 7 % count}"] for r, row in enumerate(rows)]
    table = names, rows
    ending = data.draw(st.sampled_from([".csv", *FORMATS]))
    path = tmp_path_factory.getbasetemp() / f"t{ending}"
    content, _ = FORMATS[ending](table, data.draw)
    path.write_bytes(damaged(content, data.draw))
    try:
        cells, request = read_cells(str(path), case)
        draft = draft_cells(cells, request)
    except StewardError:
        return
    contract = parse(read_json(json.dumps(draft.source).encode(), "draft"))
    frame = to_frame([read_file(path, contract.read, LIMITS).table])
    assert len(frame) == len(cells)
    if contract.read.row_column:
        frame[contract.read.row_column] = range(1, len(frame) + 1)
    try:
        apply_contract(frame, contract)
    except StewardError:
        return

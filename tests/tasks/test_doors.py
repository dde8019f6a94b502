"""The same values end as the same table, with the same digest, through every door."""

import bz2
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.digest import table_digest
from ml.errors import ContractError, DataGateError, UsageError
from tasks.data_access.data_paths import find_files, is_file
from tasks.data_access.locate import DatasetSource
from tasks.data_access.tables_in_memory import is_table, table_file
from tasks.formats.file_formats import read_in_order
from tasks.formats.read_limits import ReadLimits
from tasks.source import read_files
from tasks.storage.content_store import Store
from tasks.validate import apply_contract

ROWS = 24
FRAME = pd.DataFrame(
    {
        "id": [f"{number:03d}" for number in range(ROWS)],
        "name": ["Zoë", None, 'a, "b"', "O'Brien; x", " c ", "-"] * 4,
        "count": range(ROWS),
        "amount": [0.1, None, 1e-7, 12345678.25, -3.0, 2.0] * 4,
        "day": [date(2024, 2, 29), date(2024, 3, 1)] * 12,
        "active": [True, False, True] * 8,
        "bad": [0, 1] * 12,
    }
)
TYPES = {
    "id": "category",
    "name": "category",
    "count": "integer",
    "amount": "number",
    "day": "time",
    "active": "category",
    "bad": "category",
}


def contract(**read: Any) -> Contract:
    return parse(
        {
            "name": "loans.small",
            "expectations": [],
            "meta": {
                "schema_version": 2,
                "read": {"files": ["loans.csv"], "columns": TYPES, **read},
                "roles": {"target": {"column": "bad", "positive": ["1"]}, "id": "id", "time": "day"},
            },
        }
    )


def clean_table(folder: Path, *files: Path, **read: Any) -> pd.DataFrame:
    """Read and validate files; return the table that all later stages start from."""
    rules = contract(**read)
    stored = read_files(DatasetSource("small", rules, files), Store(folder / "store"))
    return apply_contract(stored.table("rows"), rules).clean


def csv_text(frame: pd.DataFrame = FRAME, **options: Any) -> bytes:
    return frame.to_csv(index=False, **options).encode()


def json_lines() -> bytes:
    rows = FRAME.assign(day=FRAME["day"].astype(str)).astype(object).where(FRAME.notna(), None)
    return "".join(json.dumps(row) + "\n" for row in rows.to_dict("records")).encode()


def arff() -> bytes:
    kinds = ["string", "string", "integer", "NUMERIC", 'date "yyyy-MM-dd"', "{True,False}", "{0, 1}"]
    head = [f"@attribute {name} {kind}" for name, kind in zip(FRAME, kinds, strict=True)]

    def cell(value: object) -> str:
        text = str(value)
        return (
            "?"
            if pd.isna(value)
            else "'" + text.replace("'", r"\'") + "'"
            if isinstance(value, str)
            else text
        )

    rows = [",\t ".join(map(cell, row)) + "  " for row in FRAME.itertuples(index=False)]
    return "\n".join(["% a comment", "@RELATION loans", *head, "", "@data", *rows, ""]).encode()


def write_zip(path: Path, data: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/loans.csv", data)


def write_workbook(path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(list(FRAME))
    for row in FRAME.astype(object).where(FRAME.notna(), None).itertuples(index=False):
        book.active.append(list(row))
    book.create_sheet("empty")
    book.save(path)


TABLE = pa.Table.from_pandas(FRAME)
DOORS: dict[str, Callable[[Path], None]] = {
    "loans.csv": lambda path: path.write_bytes(csv_text()),
    "byte-order mark.csv": lambda path: path.write_bytes(b"\xef\xbb\xbf" + csv_text()),
    "loans.csv.gz": lambda path: path.write_bytes(gzip.compress(csv_text())),
    "loans.csv.bz2": lambda path: path.write_bytes(bz2.compress(csv_text())),
    "loans.zip": lambda path: write_zip(path, csv_text()),
    "loans.jsonl": lambda path: path.write_bytes(json_lines()),
    "loans.jsonl.gz": lambda path: path.write_bytes(gzip.compress(json_lines())),
    "loans.arff": lambda path: path.write_bytes(arff()),
    "loans.xlsx": write_workbook,
    "loans.feather": lambda path: feather.write_feather(TABLE, str(path)),
    "lz4.feather": lambda path: feather.write_feather(FRAME.astype({"name": "category"}), str(path), "lz4"),
    "loans.parquet": lambda path: pq.write_table(TABLE, path),
}


@pytest.fixture(scope="module")
def expected() -> str:
    """Digest of the table that pandas has in memory."""
    return table_digest(apply_contract(FRAME, contract()).clean)


@pytest.mark.parametrize("name", DOORS)
def test_every_format_ends_as_the_same_table(tmp_path: Path, name: str, expected: str) -> None:
    DOORS[name](tmp_path / name)
    assert table_digest(clean_table(tmp_path, tmp_path / name)) == expected


def test_parts_end_as_the_same_table(tmp_path: Path, expected: str) -> None:
    """Also where a column has no value in a part."""
    bounds = [0, 1, 2, 10, ROWS]
    parts = [tmp_path / f"part-{start:02d}.parquet" for start in bounds[:-1]]
    for path, start, end in zip(parts, bounds, bounds[1:], strict=False):
        part = pa.Table.from_pandas(FRAME.iloc[start:end], preserve_index=False)
        if part["name"].null_count == len(part):
            part = part.set_column(1, "name", pa.nulls(len(part)))
        pq.write_table(part, path)
    assert pa.types.is_null(pq.read_schema(parts[1]).field("name").type)
    assert table_digest(clean_table(tmp_path, *parts)) == expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            FRAME.rename(columns={"amount": "sum"}),
            r"in b\.parquet as in a\.parquet; got 'amount' in one of them",
        ),
        (FRAME.assign(count="x"), r"in b\.parquet as in a\.parquet; got 'count' as text and as int64"),
    ],
    ids=["columns", "types"],
)
def test_parts_of_different_schemas_are_refused_by_name(
    tmp_path: Path, changed: pd.DataFrame, message: str
) -> None:
    FRAME.to_parquet(tmp_path / "a.parquet")
    changed.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataGateError, match=message):
        clean_table(tmp_path, tmp_path / "a.parquet", tmp_path / "b.parquet")


def test_parts_that_are_read_at_once_keep_their_order_and_the_first_error(tmp_path: Path) -> None:
    """More parts than threads; a damaged part is named although a later one is damaged too."""
    parts = [tmp_path / f"part-{number:02d}.parquet" for number in range(12)]
    for number, path in enumerate(parts):
        FRAME.assign(count=number).to_parquet(path)
    read = list(read_in_order(parts, contract().read, ReadLimits()))
    assert [path for path, _ in read] == parts
    assert [content.table["count"][0].as_py() for _, content in read] == list(range(12))
    for damaged in (parts[9], parts[7]):
        damaged.write_bytes(b"PAR1 no more")
        with pytest.raises(DataGateError, match=damaged.name):
            list(read_in_order(parts, contract().read, ReadLimits()))


def test_a_folder_and_a_wildcard_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for name in ("b.csv", "a.csv", "_SUCCESS", ".a.csv.crc"):
        (folder / name).write_bytes(csv_text())
    expected = (folder / "a.csv", folder / "b.csv")
    assert (
        find_files(str(folder)) == find_files(f"{folder}/") == find_files(f"{folder}/[a-z]*.csv") == expected
    )
    assert find_files(f"{tmp_path}/*/b.csv") == find_files(f"{tmp_path}/**/b.csv") == expected[1:]
    assert find_files([str(folder / "b.csv"), str(folder / "a.csv")]) == expected[::-1]


def test_paths_may_be_relative_or_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loans.csv").write_bytes(csv_text())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert find_files("~/loans.csv") == (tmp_path / "loans.csv",)
    assert find_files("./loans.csv") == find_files("loans.csv") == (Path("loans.csv"),)
    assert [is_file(name) for name in ("loans.csv", "~/loans.csv", "loans.csv.gz", "*.csv")] == [True] * 4
    assert not is_file("give_me_some_credit")


def test_files_that_cannot_be_listed_are_one_clear_error(tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "a.csv").write_bytes(b"")
    with pytest.raises(UsageError, match=r"mixed/a\.csv twice"):
        find_files([str(mixed / "a.csv"), f"{mixed}/*.csv"])
    (mixed / "b.parquet").write_bytes(b"")
    with pytest.raises(UsageError, match=r"one format.*got \.csv, \.parquet"):
        find_files(str(mixed))
    with pytest.raises(UsageError, match=r"files that match .*\*\.xlsx; got none"):
        find_files(f"{mixed}/*.xlsx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="data files in"):
        find_files(str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="no such user"):
        find_files("~nobody-at-all/a.csv")
    with pytest.raises(UsageError, match="a file with --data; got none"):
        find_files([])


def test_links_that_leave_a_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (tmp_path / "secret.csv").write_bytes(csv_text())
    (folder / "a.csv").symlink_to(tmp_path / "secret.csv")
    for name in (str(folder), f"{folder}/*.csv"):
        with pytest.raises(ContractError, match="a link that leads out of it"):
            find_files(name)
    # Named by the operator.
    assert find_files(str(folder / "a.csv")) == (folder / "a.csv",)


def test_an_unreadable_folder_is_one_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir(mode=0)
    user = os.geteuid()
    # Root can read everything.
    os.seteuid(user or 65534)
    try:
        with pytest.raises(UsageError, match="that can be read; got no permission"):
            find_files(str(folder))
    finally:
        os.seteuid(user)


def test_files_of_one_stem_keep_their_endings_in_the_source_column(tmp_path: Path) -> None:
    """So that the test file of a publisher can be the test dataset: `split.test_values` is `["census.test"]`."""
    files = (tmp_path / "census.data", tmp_path / "census.test", tmp_path / "more.csv")
    for path in files:
        path.write_bytes(csv_text())
    rules = contract(columns={**TYPES, "file": "category"}, source_column="file")
    rows = read_files(DatasetSource("small", rules, files), Store(tmp_path / "store")).table("rows")
    assert rows["file"].tolist() == ["census.data"] * ROWS + ["census.test"] * ROWS + ["more"] * ROWS


def test_an_archive_of_several_files_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "loans.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("2024/a.csv", "2024/b.csv", "jane_doe_4711.pdf"):
            archive.writestr(name, csv_text())
    message = r"one file in the archive loans\.zip; got 3 \(2 \.csv, 1 other\); unpack it by `(.*)`, then give .*'(.*)'"
    with pytest.raises(DataGateError, match=message) as error:
        clean_table(tmp_path, path)
    assert "4711" not in str(error.value)
    found = re.search(message, str(error.value))
    assert found
    subprocess.run([sys.executable, *found[1].split()[1:]], cwd=tmp_path, check=True)
    assert [file.name for file in find_files(str(tmp_path / found[2]))] == ["a.csv", "b.csv"]
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(DataGateError, match=r"one file in the archive loans\.zip; got none"):
        clean_table(tmp_path, path)


def test_files_of_one_name_keep_their_folders(tmp_path: Path) -> None:
    paths = []
    for year in ("2023", "2024"):
        (tmp_path / year).mkdir()
        paths.append(tmp_path / year / "loans.csv")
        paths[-1].write_bytes(csv_text(FRAME.assign(id=FRAME["id"] + year)))
    stored = read_files(DatasetSource("small", contract(), tuple(paths)), Store(tmp_path / "store"))
    assert list(stored.facts["origin"]["files"]) == ["2023/loans.csv", "2024/loans.csv"]
    assert stored.facts["rows"] == 2 * ROWS


def test_lines_before_the_header_are_skipped(tmp_path: Path, expected: str) -> None:
    (tmp_path / "loans.csv").write_bytes(b'Report;of "2024\r\n\n' + csv_text())
    assert table_digest(clean_table(tmp_path, tmp_path / "loans.csv", skip_lines=2)) == expected
    (tmp_path / "loans.jsonl").write_bytes(b"exported today\n" + json_lines())
    assert table_digest(clean_table(tmp_path, tmp_path / "loans.jsonl", skip_lines=1)) == expected


def test_blanks_around_names_of_the_header_are_stripped(tmp_path: Path, expected: str) -> None:
    (tmp_path / "loans.csv").write_bytes(csv_text(FRAME.rename(columns=" {}\t".format)))
    with pytest.raises(DataGateError, match="none of them named there"):
        clean_table(tmp_path, tmp_path / "loans.csv")
    assert table_digest(clean_table(tmp_path, tmp_path / "loans.csv", strip_header=True)) == expected


def test_other_marks_and_formats_of_dates_end_as_the_same_table(tmp_path: Path, expected: str) -> None:
    text = csv_text(FRAME.assign(day=FRAME["day"].map(lambda day: f"{day:%d.%m.%Y}")), sep=";", decimal=",")
    (tmp_path / "loans.csv").write_bytes(text.replace(b"12345678,25", b"12.345.678,25"))
    read = {"separator": ";", "decimal": ",", "thousands": ".", "date_formats": {"day": "%d.%m.%Y"}}
    assert table_digest(clean_table(tmp_path, tmp_path / "loans.csv", **read)) == expected


def test_repairs_are_counted_like_rules(tmp_path: Path, expected: str) -> None:
    rules = contract(replace={"active": {"yes": "True", "no": "False"}})
    frame = FRAME.assign(active=FRAME["active"].map({True: "yes", False: "no"}))
    clean, _, _, facts = apply_contract(frame, rules)
    assert table_digest(clean) == expected
    (repair,) = (rule for rule in facts["rules"] if rule["action"] == "repair")
    assert (repair["rule"], repair["violations"], repair["verdict"]) == ("replace(active)", ROWS, "applied")
    assert repair["kinds"] == {"'yes' to 'True'": 16, "'no' to 'False'": 8}


def test_codes_of_several_columns(tmp_path: Path) -> None:
    meta = dict(contract().source["meta"])
    source = {**contract().source, "meta": meta}
    meta["sentinel_values"] = {"count": {"98": "not known"}}
    meta["shared_sentinel_values"] = [{"codes": {"-9": "none"}}, {"codes": {"7": "x"}, "columns": ["amount"]}]
    assert parse(source).sentinel_values == {"count": (-9.0, 98.0), "amount": (-9.0, 7.0)}
    meta["shared_sentinel_values"] = [{"codes": {"98": "again"}}, {"codes": {"1": "x"}, "columns": ["name"]}]
    with pytest.raises(
        ContractError, match=r"(?s)each code of 'count' once.*columns of type number or integer"
    ):
        parse(source)


def polars_frame() -> Any:
    import polars

    return polars.DataFrame(FRAME.replace({float("nan"): None}).to_dict("list"))


TABLES: dict[str, Callable[[], Any]] = {
    "pandas": lambda: FRAME,
    "pandas with an index": lambda: FRAME.set_axis(range(5, 5 + ROWS)),
    "pandas with categories": lambda: FRAME.astype({"name": "category", "bad": "int8", "count": "Int32"}),
    "polars": polars_frame,
    "pyarrow": lambda: TABLE,
    "a batch of pyarrow": lambda: TABLE.to_batches()[0],
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_python_end_as_the_same_table(tmp_path: Path, name: str, expected: str) -> None:
    table = TABLES[name]()
    assert is_table(table)
    file = table_file(table, tmp_path)
    assert file.stem == hashlib.sha256(file.read_bytes()).hexdigest()
    assert file == table_file(table, tmp_path)
    assert file.parent.stat().st_mode & 0o077 == 0
    assert table_digest(clean_table(tmp_path, file)) == expected


def test_a_table_with_columns_of_several_types_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataGateError, match="cells of one type") as error:
        table_file(pd.DataFrame({"name": ["Jane Doe", 4711]}), tmp_path)
    assert "Jane" not in str(error.value)
    assert error.value.__suppress_context__
    assert not is_table([1])
    assert not is_table("loans.csv")

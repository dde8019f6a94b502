"""Reading files and simulators: cells stay as they are, and errors quote no cells; finding datasets and contracts."""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.casting import TEXT_DTYPE, cast_columns
from ml.errors import ContractError, DataGateError, UsageError
from ml.simulators import SIMULATORS
from tasks.data_access.locate import DatasetSource, find_dataset, load_contract
from tasks.settings import Settings
from tasks.source import read_files, read_source, source
from tasks.storage.content_store import Store, StoredResult

COLUMNS = {"id": "category", "amount": "number", "bad": "integer"}
SECRET = "Jane-Doe-4711"


def make_contract(publication: Mapping[str, Any] | None = None, **read: Any) -> Contract:
    read = {"files": ["loans.csv"], "columns": COLUMNS, **read}
    roles = {"target": {"column": "bad", "positive": ["1"]}}
    return parse(
        {
            "name": "loans.small",
            "expectations": [],
            "meta": {"schema_version": 2, "read": read, "roles": roles, **(publication or {})},
        }
    )


def read_stored(folder: Path, files: Mapping[str, bytes], **read: Any) -> StoredResult:
    """Write the files and read them with these options."""
    paths = []
    for name, data in files.items():
        paths.append(folder / name)
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        paths[-1].write_bytes(data)
    read = {"files": list(files), **read}
    return read_files(DatasetSource("small", make_contract(**read), tuple(paths)), Store(folder / "store"))


def read_rows(folder: Path, data: bytes, name: str = "loans.csv", **read: Any) -> list[list[Any]]:
    table = read_stored(folder, {name: data}, **read).table("rows")
    return table.astype(object).where(table.notna(), None).to_numpy().tolist()


def zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            # With a fixed time: the bytes are part of test ids, which must be equal in all pytest workers.
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def as_parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


PLAIN = b"id,amount,bad\n007,1e3,0\nx, 5,1\n"
CELLS = [["007", "1e3", "0"], ["x", " 5", "1"]]


@pytest.mark.parametrize(
    ("name", "data", "read"),
    [
        ("loans.csv", PLAIN, {}),
        ("loans.csv", PLAIN.replace(b"\n", b"\r\n"), {}),
        ("loans.csv", b"\xef\xbb\xbf" + PLAIN, {}),
        ("loans.csv", PLAIN.rstrip(b"\n"), {}),
        ("loans.tsv", PLAIN.replace(b",", b"\t"), {"separator": "\t"}),
        ("loans.txt", PLAIN.replace(b",", b";"), {"separator": ";"}),
        ("u.data", PLAIN.partition(b"\n")[2], {"header": False}),
        ("loans.csv", PLAIN.decode().encode("utf-16"), {"encoding": "utf-16"}),
        ("loans.zip", zipped({"loans.csv": PLAIN}), {}),
        ("loans.zip", zipped({"a/": b"", "a/loans.csv": PLAIN, "__MACOSX/a/._loans.csv": b"junk"}), {}),
        ("loans.csv", b'"bad","amount","id"\n0,1e3,"007"\n"1"," 5",x\n', {}),
    ],
)
def test_cells_of_text_files_stay_text(tmp_path: Path, name: str, data: bytes, read: dict[str, Any]) -> None:
    """Leading zeros, exponents and spaces are kept for validation."""
    table = read_stored(tmp_path, {name: data}, **read).table("rows")
    assert table.to_numpy().tolist() == CELLS
    assert list(table.columns) == list(COLUMNS)
    assert set(table.dtypes) == {TEXT_DTYPE}


def test_quoted_cells_may_have_separators_and_line_ends(tmp_path: Path) -> None:
    data = b'id,amount,bad\n"a\nb","1,5",0\n"say ""hi""",2,1\n'
    assert read_rows(tmp_path, data) == [["a\nb", "1,5", "0"], ['say "hi"', "2", "1"]]


RAGGED = b"007,1e3,0\nx,1,0,\n1,2\ny, 5,1\n"
ARFF = b"@relation loans\n@attribute id string\n@attribute amount numeric\n@attribute bad {0,1}\n@data\n"


@pytest.mark.parametrize(("name", "data"), [("loans.csv", b"id,amount,bad\n"), ("loans.arff", ARFF)])
def test_lines_with_another_number_of_cells_are_left_out_where_the_contract_allows_them(
    tmp_path: Path, name: str, data: bytes
) -> None:
    stored = read_stored(tmp_path, {name: data + RAGGED}, ragged_lines=2)
    assert [row[0] for row in stored.table("rows").to_numpy().tolist()] == ["007", "y"]
    assert stored.facts["file_notes"] == [f"{name}: 2 lines were left out, with too many cells or too few"]
    for allowed in (0, 1):
        with pytest.raises(DataGateError, match="cells instead of"):
            read_stored(tmp_path, {name: data + RAGGED}, ragged_lines=allowed)


def test_files_are_joined_on_a_column_without_a_name(tmp_path: Path) -> None:
    files = {"a.csv": b",amount\n0,5\n1,6\n", "b.csv": b",bad\n1,1\n0,0\n"}
    columns = {"": "integer", "amount": "number", "bad": "category"}
    stored = read_stored(tmp_path, files, columns=columns, join="")
    assert stored.table("rows").to_numpy().tolist() == [["0", "5", "0"], ["1", "6", "1"]]


def test_files_are_decoded_with_the_encoding_of_the_contract(tmp_path: Path) -> None:
    text = "id,amount,bad\nZoë,1,0\n"
    assert read_rows(tmp_path, text.encode("latin-1"), encoding="latin-1") == [["Zoë", "1", "0"]]
    assert read_rows(tmp_path, text.encode()) == [["Zoë", "1", "0"]]


def test_words_for_missing_values_are_those_of_the_contract(tmp_path: Path) -> None:
    data = b'id,amount,bad\n?,NA,0\n"?",,1\n'
    assert read_rows(tmp_path, data) == [["?", "NA", "0"], ["?", None, "1"]]
    assert read_rows(tmp_path, data, missing=["?", "NA"]) == [[None, None, "0"], [None, "", "1"]]


def test_cells_are_stripped_before_they_are_compared_with_missing_words(tmp_path: Path) -> None:
    """As in files of SAS: quoted, padded, a full stop for missing. Blanks inside a cell are kept."""
    data = b'\xef\xbb\xbf"id","amount","bad","note"\n"  a b ","     .","\t1"," . "\n.,   2.5,"  ",x\n'
    read = {"missing": [".", ""], "strip": True}
    assert read_rows(tmp_path, data, **read) == [["a b", None, "1"], [None, "2.5", None]]
    # Without `strip`, only cells that equal a word are missing.
    assert read_rows(tmp_path, data, missing=[".", ""])[1] == [None, "   2.5", "  "]
    without_header = read_rows(tmp_path, b" x ;. ; 1\n", separator=";", header=False, **read)
    assert without_header == [["x", None, "1"]]


LINES = {
    "columns": {"user": "category", "item": "category", "row": "integer"},
    "format": "sequences",
    "separator": " ",
    "header": False,
    "row_column": "row",
}


def read_log(folder: Path, files: Mapping[str, bytes], **options: Any) -> list[list[Any]]:
    """Return the cells of files that a contract of a log reads."""
    read = {**LINES, "files": list(files), **options}
    meta = {
        "schema_version": 2,
        "read": read,
        "roles": {"user": "user", "item": "item", "event_order": "row"},
    }
    paths = [folder / name for name in files]
    for path in paths:
        path.write_bytes(files[path.name])
    contract = parse({"name": "loans.log", "expectations": [], "meta": meta})
    table = read_files(DatasetSource("log", contract, tuple(paths)), Store(folder / "store")).table("rows")
    return table.astype(object).where(table.notna(), None).to_numpy().tolist()


@pytest.mark.parametrize(
    "data",
    [b"7 b a\n08 b\n", b"\xef\xbb\xbf7 b a\r\n08 b", b"7 b a\n\n9\n08 b\n"],
    ids=["plain", "Windows line ends", "lines without items"],
)
def test_lines_of_sequences_are_a_user_and_items(tmp_path: Path, data: bytes) -> None:
    expected = [["7", "b", 1], ["7", "a", 2], ["08", "b", 3]]
    assert read_log(tmp_path, {"log.txt": data}) == expected
    assert read_log(tmp_path, {"log.zip": zipped({"log.txt": data})}) == expected


def test_lines_of_baskets_are_items(tmp_path: Path) -> None:
    options = {"format": "baskets", "separator": ",", "strip": True}
    cells = read_log(tmp_path, {"log.csv": b"milk, rye bread\n\ntea ,,jam\n"}, **options)
    # The user is the number of the line in the file; a missing item is left to validation.
    assert cells == [
        ["1", "milk", 1],
        ["1", "rye bread", 2],
        ["3", "tea", 3],
        ["3", None, 4],
        ["3", "jam", 5],
    ]


def test_lines_may_have_missing_items(tmp_path: Path) -> None:
    cells = read_log(tmp_path, {"log.txt": b"7 b  ? a\n"}, missing=["", "?"])
    assert [item for _, item, _ in cells] == ["b", None, None, "a"]


def test_lines_with_another_separator_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataGateError, match="no line has an item"):
        read_log(tmp_path, {"log.txt": f"{SECRET},b,a\n".encode()})


def test_lines_in_another_encoding_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataGateError) as error:
        read_log(tmp_path, {"log.txt": f"{SECRET} b\xff\n".encode("latin-1")})
    assert SECRET not in str(error.value)


def test_the_row_column_numbers_the_rows_of_all_files(tmp_path: Path) -> None:
    """Where the only order is that of files and lines."""
    options: dict[str, Any] = {"format": "csv", "header": True, "separator": ",", "source_column": "file"}
    options["columns"] = {**LINES["columns"], "file": "category"}
    files = {"old.csv": b"user,item\nu,a\nv,b\n", "new.csv": b"item,user\nc,u\n"}
    cells = read_log(tmp_path, files, **options)
    assert cells == [["u", "a", 1, "old"], ["v", "b", 2, "old"], ["u", "c", 3, "new"]]
    with pytest.raises(DataGateError, match="each column once"):
        read_log(tmp_path, {"old.csv": b"user,item,row\nu,a,9\n"}, **options)


def test_large_ids_stay_distinct_beside_a_missing_one(tmp_path: Path) -> None:
    ids = [2**53, 2**53 + 1, None]
    table = pa.table({"id": pa.array(ids, pa.int64()), "age": [1, 2, 3]})
    types = {"id": "category", "age": "number", "bad": "integer"}
    rows = read_stored(tmp_path, {"loans.parquet": as_parquet(table)}, columns=types).table("rows")
    assert rows["id"].dtype == pd.Int64Dtype()
    typed, invalid = cast_columns(rows, {"id": "category", "age": "number"})
    assert typed["id"].tolist()[:2] == ["9007199254740992", "9007199254740993"]
    assert typed["id"].isna().tolist() == [False, False, True]
    assert invalid == {}
    # As numbers, float64 cannot distinguish the second from the first.
    assert cast_columns(rows, {"id": "integer"})[1]["id"].tolist() == [True, True, False]


def test_parquet_keeps_types_and_index_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["007", None], "amount": [1.5, np.nan], "bad": [0, 1]})
    plain = read_stored(tmp_path, {"loans.parquet": as_parquet(pa.Table.from_pandas(frame))}).table("rows")
    pd.testing.assert_frame_equal(plain, frame)
    # Pandas' metadata in the file say that the column was the index.
    indexed = as_parquet(pa.Table.from_pandas(frame.set_index("id")))
    pd.testing.assert_frame_equal(read_stored(tmp_path, {"indexed.parquet": indexed}).table("rows"), frame)


def test_columns_that_the_contract_does_not_name_are_dropped_and_reported(tmp_path: Path) -> None:
    stored = read_stored(tmp_path, {"loans.csv": b"z,id,bad,a,amount,z\n1,2,3,4,5,\xff\n"})
    assert stored.table("rows").to_numpy().tolist() == [["2", "5", "3"]]
    assert stored.facts["dropped_columns"] == {"count": 3, "positions": {"loans.csv": [1, 4, 6]}}


def test_a_missing_column_is_left_to_validation(tmp_path: Path) -> None:
    assert list(read_stored(tmp_path, {"loans.csv": b"bad,id\n0,a\n"}).table("rows").columns) == ["id", "bad"]


STACKED = {"columns": {**COLUMNS, "year": "category"}, "source_column": "year"}


def test_stacked_files_have_a_source_column(tmp_path: Path) -> None:
    """Files may differ in the order of columns and in the types of dropped columns."""
    files = {
        "2023.csv": b"id,amount,bad,note\na,1,0,7\n",
        "2024.csv": b"bad,id,amount,note\n1,b,2,seven\n0,c,3,x\n",
    }
    stored = read_stored(tmp_path, files, **STACKED)
    assert stored.table("rows").to_numpy().tolist() == [
        ["a", "1", "0", "2023"],
        ["b", "2", "1", "2024"],
        ["c", "3", "0", "2024"],
    ]
    assert stored.facts["dropped_columns"] == {
        "count": 2,
        "positions": {"2023.csv": [4], "2024.csv": [4]},
    }
    without_header = read_stored(
        tmp_path, {"2023.csv": b"a,1,0\n", "2024.csv": b"b,2,1\n"}, header=False, **STACKED
    )
    assert without_header.table("rows")["year"].tolist() == ["2023", "2024"]


@pytest.mark.parametrize(
    "second",
    [b"id,amount\nb,2\n", b"id,amount,bad,year\nb,2,1,1999\n"],
    ids=["a missing column", "the source column"],
)
def test_stacked_files_with_different_columns_are_an_error(tmp_path: Path, second: bytes) -> None:
    with pytest.raises(DataGateError):
        read_stored(tmp_path, {"2023.csv": PLAIN, "2024.csv": second}, **STACKED)


JOINED = {"columns": {**COLUMNS, "town": "category", "branch": "category"}, "join": "id"}


def test_joined_files_keep_the_rows_of_the_first_file(tmp_path: Path) -> None:
    ids = [f"{n:04d}" for n in np.random.default_rng(0).permutation(3000)]
    loans = "id,amount,bad\n" + "".join(f"{i},1,0\n" for i in [*ids, ids[0], "unknown", ""])
    towns = "id,town\n" + "".join(f"{i},T{i}\n" for i in sorted(ids)) + ",nowhere\n"
    files = {
        "loans.csv": loans.encode(),
        "towns.csv": towns.encode(),
        "branches.csv": b"branch,id\nB,unknown\n",
    }
    table = read_stored(tmp_path, files, **JOINED).table("rows")
    assert table["id"].fillna("").tolist() == [*ids, ids[0], "unknown", ""]
    assert table["town"].fillna("").tolist() == [*(f"T{i}" for i in ids), f"T{ids[0]}", "", ""]
    assert table["branch"].fillna("").tolist() == [""] * 3001 + ["B", ""]


@pytest.mark.parametrize(
    "second",
    [b"id,town\na,T\na,U\n", b"town\nT\n", b"id,town,amount\na,T,5\n"],
    ids=["repeated key", "no key", "a column of the first file"],
)
def test_files_that_cannot_be_joined_are_an_error(tmp_path: Path, second: bytes) -> None:
    with pytest.raises(DataGateError, match="'id' in every file"):
        read_stored(tmp_path, {"loans.csv": PLAIN, "towns.csv": second}, **JOINED)


def encrypted() -> bytes:
    """Return an archive whose only member is marked as encrypted."""
    data = bytearray(zipped({"loans.csv": PLAIN}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def damaged(data: bytes, start: int, end: int) -> bytes:
    return data[:start] + bytes(end - start) + data[end:]


ARCHIVE = zipped({"loans.csv": PLAIN * 100})
TABLE = as_parquet(
    pa.table({"id": [f"{i:06d}" for i in range(2000)], "bad": np.random.default_rng(0).random(2000)})
)


@pytest.mark.parametrize(
    ("name", "data", "read"),
    [
        ("a row too long.csv", PLAIN + f"{SECRET},1,0,{SECRET}\n".encode(), {}),
        ("a row too short.csv", PLAIN + f"{SECRET}\n".encode(), {}),
        ("a quote left open.csv", PLAIN + f'"{SECRET},1,0\n'.encode(), {}),
        ("empty.csv", b"", {}),
        ("noise.csv", np.random.default_rng(0).bytes(4000), {}),
        ("bytes for names.csv", b"\x00\x01\xff\xfe\n\xff\xff\n", {}),
        ("wrong encoding.csv", f"id,amount,bad\n{SECRET}-Zoë,1,0\n".encode("latin-1"), {}),
        ("no ascii.csv", f"id,amount,bad\n{SECRET}-Zoë,1,0\n".encode(), {"encoding": "ascii"}),
        ("long separator.csv", PLAIN, {"separator": ";;"}),
        ("a column twice.csv", f"id,amount,bad,id\na,1,0,{SECRET}\n".encode(), {}),
        ("more columns than names.csv", b"a,1,0,5\n", {"header": False}),
        ("two.zip", zipped({"a.csv": PLAIN, "b.csv": PLAIN}), {}),
        ("none.zip", zipped({}), {}),
        ("no archive.zip", PLAIN, {}),
        ("encrypted.zip", encrypted(), {}),
        ("damaged.zip", damaged(ARCHIVE, 40, 60), {}),
        ("cut.zip", ARCHIVE[:-30], {}),
        ("no table.parquet", PLAIN, {}),
        ("damaged.parquet", damaged(TABLE, 2000, 2200), {}),
        ("cut.parquet", TABLE[:-10], {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unreadable_files_are_an_error_that_quotes_no_cells(
    tmp_path: Path, name: str, data: bytes, read: dict[str, Any]
) -> None:
    with pytest.raises(DataGateError) as error:
        read_stored(tmp_path, {name: data}, **read)
    assert name in str(error.value)
    assert SECRET not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None


def test_an_error_of_the_disk_is_no_data_error(tmp_path: Path) -> None:
    """The task may be retried: the file may be valid."""
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        read_files(
            DatasetSource("small", make_contract(), (tmp_path / "folder.csv",)), Store(tmp_path / "store")
        )


def test_the_digest_depends_on_the_content_only(tmp_path: Path) -> None:
    here = read_stored(tmp_path, {"here/loans.csv": PLAIN})
    there = read_stored(tmp_path, {"there/loans.csv": PLAIN})
    renamed = read_stored(tmp_path, {"there/other.csv": PLAIN})
    changed = read_stored(tmp_path, {"there/loans.csv": PLAIN.replace(b"007", b"7")})
    assert here.digest == there.digest == renamed.digest != changed.digest
    assert (here.reused, changed.reused) == (False, False)
    assert read_files(
        DatasetSource("small", make_contract(files=["here/loans.csv"]), (tmp_path / "here" / "loans.csv",)),
        Store(tmp_path / "store"),
    ).reused


def test_read_options_are_part_of_the_key(tmp_path: Path) -> None:
    """Without a header, columns are named in the order of the contract."""
    columns = {"a": "number", "bad": "integer"}
    reordered = dict(reversed(columns.items()))
    data = {"loans.csv": b"1,2\n"}
    first = read_stored(tmp_path, data, header=False, columns=columns).table("rows")
    second = read_stored(tmp_path, data, header=False, columns=reordered).table("rows")
    assert first.iloc[0].to_dict() == {"a": "1", "bad": "2"}
    assert second.iloc[0].to_dict() == {"bad": "1", "a": "2"}


def test_files_are_compared_with_published_digests(tmp_path: Path) -> None:
    plain = read_stored(tmp_path, {"loans.csv": PLAIN})
    sha = plain.facts["origin"]["files"]["loans.csv"]
    assert plain.facts["differs_from_published"] == []
    for published, differing in ((sha, []), ("0" * 64, ["loans.csv"])):
        publication = {"sha256": {"loans.csv": published}, "url": "https://example.org"}
        stored = read_stored(tmp_path, {"loans.csv": PLAIN}, publication=publication)
        assert stored.facts["differs_from_published"] == differing
        assert stored.facts["origin"]["url"] == "https://example.org"


def test_simulated_data_are_cached_by_name_rows_and_seed(tmp_path: Path) -> None:
    def simulate(**options: Any) -> StoredResult:
        options = {"simulator": "lender", "rows": 60, "seed": 1, **options}
        return read_source(
            DatasetSource("simulated", make_contract(files=[], **options), ()), Store(tmp_path)
        )

    first = simulate()
    expected = SIMULATORS["lender"](60, 1)
    pd.testing.assert_frame_equal(first.table("rows"), expected.rows, check_dtype=False)
    pd.testing.assert_frame_equal(first.table("oracle"), expected.oracle)
    assert first.facts["origin"] == {"simulator": "lender", "rows": 60, "seed": 1}
    assert simulate().reused
    others = [simulate(rows=61), simulate(seed=2), simulate(simulator="hospital")]
    assert len({first.digest, *(other.digest for other in others)}) == 4


def test_the_task_reads_the_files(tmp_path: Path) -> None:
    (tmp_path / "loans.csv").write_bytes(PLAIN)
    stored = source.fn(DatasetSource("small", make_contract(), (tmp_path / "loans.csv",)), Store(tmp_path))
    assert stored.facts["rows"] == len(CELLS)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with two contracts of the case loans, one of them simulated, and the data of the other."""
    folder = tmp_path / "contracts" / "loans"
    folder.mkdir(parents=True)
    (folder / "small.json").write_text(json.dumps(make_contract().source))
    simulated = make_contract(files=[], simulator="lender", rows=60).source
    (folder / "simulated.json").write_text(json.dumps(simulated))
    (tmp_path / "data" / "small").mkdir(parents=True)
    (tmp_path / "data" / "small" / "loans.csv").write_bytes(PLAIN)
    return Settings(state_dir=tmp_path, data_dir=tmp_path / "data", contracts=tmp_path / "contracts")


def test_a_dataset_is_found_by_name(settings: Settings) -> None:
    assert settings.data_dir
    dataset = find_dataset("loans", "small", None, settings)
    assert dataset.files == (settings.data_dir / "small" / "loans.csv",)
    assert dataset.contract == make_contract()
    assert find_dataset("loans", "simulated", None, settings).files == ()


def test_a_dataset_is_found_by_the_path_of_its_file(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "small.csv"
    file.parent.mkdir()
    file.write_bytes(PLAIN)
    dataset = find_dataset("loans", str(file), None, settings)
    assert (dataset.data, dataset.files, dataset.contract.name) == ("small", (file,), "loans.small")
    # A file takes the place of the simulator.
    assert find_dataset("loans", str(file), "simulated", settings).files == (file,)
    with pytest.raises(UsageError, match="can be read"):
        find_dataset("loans", str(tmp_path / "elsewhere" / "none.csv"), "small", settings)
    with pytest.raises(UsageError, match="only files in"):
        find_dataset("loans", f"{tmp_path}/", "small", settings)


def test_two_contracts_may_use_the_same_folder(settings: Settings) -> None:
    folder = settings.contracts / "loans"
    other = {**make_contract(folder="small").source, "name": "loans.other"}
    (folder / "other.json").write_text(json.dumps(other))
    dataset = find_dataset("loans", "other", None, settings)
    assert dataset.files == find_dataset("loans", "small", None, settings).files
    assert (dataset.data, dataset.contract.name) == ("other", "loans.other")
    with pytest.raises(UsageError, match="a folder small/"):
        find_dataset("loans", "other", None, settings.model_copy(update={"data_dir": None}))


def test_a_contract_is_found_by_path(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({**make_contract().source, "name": "loans.own"}))
    assert find_dataset("loans", "small", str(path), settings).contract.name == "loans.own"


def test_the_error_for_an_unknown_dataset_lists_the_known_ones(settings: Settings) -> None:
    with pytest.raises(UsageError, match=r"simulated, small.*got smal;"):
        find_dataset("loans", "smal", None, settings)
    with pytest.raises(UsageError, match="data set of nothing"):
        find_dataset("nothing", "small", None, settings)


def test_the_error_for_missing_data_names_the_next_step(settings: Settings) -> None:
    with pytest.raises(UsageError, match=r"STEWARD_DATA_DIR.*--data"):
        find_dataset("loans", "small", None, settings.model_copy(update={"data_dir": None}))
    assert settings.data_dir
    (settings.data_dir / "small" / "loans.csv").unlink()
    with pytest.raises(UsageError, match=r"loans\.csv; got none; put the file there"):
        find_dataset("loans", "small", None, settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "JSON"),
        ("[]", "an object"),
        (json.dumps({**make_contract().source, "name": "others.small"}), "a contract of loans"),
        (
            json.dumps(make_contract(files=[], simulator="lander", rows=5).source),
            "a simulator of",
        ),
    ],
)
def test_an_invalid_contract_is_an_error(settings: Settings, text: str, message: str) -> None:
    (settings.contracts / "loans" / "small.json").write_text(text)
    with pytest.raises(ContractError, match=message):
        load_contract("loans", "small", settings)


def test_a_contract_that_is_not_text_is_an_error(settings: Settings) -> None:
    (settings.contracts / "loans" / "small.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ContractError, match="UTF-8 text"):
        load_contract("loans", "small", settings)


def test_a_contract_can_read_another_file(tmp_path: Path) -> None:
    """In scoring, the given file replaces those of the contract."""
    (tmp_path / "new.csv").write_bytes(b"id,amount\na,1\n")
    contract = make_contract(files=[], simulator="lender", rows=5)
    contract = replace(
        contract, read=contract.read.model_copy(update={"files": ("new.csv",), "simulator": None})
    )
    stored = read_files(DatasetSource("small", contract, (tmp_path / "new.csv",)), Store(tmp_path / "store"))
    assert stored.table("rows").to_numpy().tolist() == [["a", "1"]]

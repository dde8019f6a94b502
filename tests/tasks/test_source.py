"""Files and simulators: what is read, what stays as it came, and what is refused without quoting anyone's cells."""

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
from ml.data.casting import TEXT, cast
from ml.errors import ContractError, DataGateError, UsageError
from ml.simulators import SIMULATORS
from tasks.locate import DatasetSource, find_dataset, load_contract
from tasks.settings import Settings
from tasks.source import read, read_files, source
from tasks.storage.content_store import Store, StoredResult

COLUMNS = {"id": "category", "amount": "number", "bad": "integer"}
SECRET = "Jane-Doe-4711"


def contract(about: Mapping[str, Any] | None = None, **how: Any) -> Contract:
    how = {"files": ["loans.csv"], "columns": COLUMNS, **how}
    roles = {"target": {"column": "bad", "positive": ["1"]}}
    return parse(
        {"name": "loans.small", "expectations": [], "meta": {"read": how, "roles": roles, **(about or {})}}
    )


def taken(folder: Path, files: Mapping[str, bytes], **how: Any) -> StoredResult:
    """What the store holds after reading these files."""
    paths = []
    for name, data in files.items():
        paths.append(folder / name)
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        paths[-1].write_bytes(data)
    how = {"files": list(files), **how}
    return read_files(DatasetSource("small", contract(**how), tuple(paths)), Store(folder / "store"))


def rows(folder: Path, data: bytes, name: str = "loans.csv", **how: Any) -> list[list[Any]]:
    part = taken(folder, {name: data}, **how).table("rows")
    return part.astype(object).where(part.notna(), None).to_numpy().tolist()


def zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            # At one time, so that the bytes, which name tests, are the same in every worker.
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def as_parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


PLAIN = b"id,amount,bad\n007,1e3,0\nx, 5,1\n"
READ = [["007", "1e3", "0"], ["x", " 5", "1"]]


@pytest.mark.parametrize(
    ("name", "data", "how"),
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
def test_every_cell_stays_text(tmp_path: Path, name: str, data: bytes, how: dict[str, Any]) -> None:
    """Leading zeros, exponents and spaces are there until validation decides in the open."""
    part = taken(tmp_path, {name: data}, **how).table("rows")
    assert part.to_numpy().tolist() == READ
    assert list(part.columns) == list(COLUMNS)
    assert set(part.dtypes) == {TEXT}


def test_quotes_hold_separators_and_line_ends(tmp_path: Path) -> None:
    data = b'id,amount,bad\n"a\nb","1,5",0\n"say ""hi""",2,1\n'
    assert rows(tmp_path, data) == [["a\nb", "1,5", "0"], ['say "hi"', "2", "1"]]


def test_encodings(tmp_path: Path) -> None:
    text = "id,amount,bad\nZoë,1,0\n"
    assert rows(tmp_path, text.encode("latin-1"), encoding="latin-1") == [["Zoë", "1", "0"]]
    assert rows(tmp_path, text.encode()) == [["Zoë", "1", "0"]]


def test_missing_words_are_those_of_the_contract(tmp_path: Path) -> None:
    data = b'id,amount,bad\n?,NA,0\n"?",,1\n'
    assert rows(tmp_path, data) == [["?", "NA", "0"], ["?", None, "1"]]
    assert rows(tmp_path, data, missing=["?", "NA"]) == [[None, None, "0"], [None, "", "1"]]


def test_padding_goes_before_missing_words_are_found(tmp_path: Path) -> None:
    """As SAS writes: quoted, padded, a full stop for missing; blanks inside of a cell are its own."""
    data = b'\xef\xbb\xbf"id","amount","bad","note"\n"  a b ","     .","\t1"," . "\n.,   2.5,"  ",x\n'
    how = {"missing": [".", ""], "strip": True}
    assert rows(tmp_path, data, **how) == [["a b", None, "1"], [None, "2.5", None]]
    # Without it, only what is the word itself is missing.
    assert rows(tmp_path, data, missing=[".", ""])[1] == [None, "   2.5", "  "]
    bare = rows(tmp_path, b" x ;. ; 1\n", separator=";", header=False, **how)
    assert bare == [["x", None, "1"]]


LINES = {
    "columns": {"user": "category", "item": "category", "row": "integer"},
    "format": "sequences",
    "separator": " ",
    "header": False,
    "row_column": "row",
}


def log_rows(folder: Path, files: Mapping[str, bytes], **how: Any) -> list[list[Any]]:
    """Cells that were read by a contract of a log."""
    read_ = {**LINES, "files": list(files), **how}
    meta = {"read": read_, "roles": {"user": "user", "item": "item", "position": "row"}}
    paths = [folder / name for name in files]
    for path in paths:
        path.write_bytes(files[path.name])
    its = parse({"name": "loans.log", "expectations": [], "meta": meta})
    part = read_files(DatasetSource("log", its, tuple(paths)), Store(folder / "store")).table("rows")
    return part.astype(object).where(part.notna(), None).to_numpy().tolist()


@pytest.mark.parametrize(
    "data",
    [b"7 b a\n08 b\n", b"\xef\xbb\xbf7 b a\r\n08 b", b"7 b a\n\n9\n08 b\n"],
    ids=["plain", "as Windows writes", "lines without items"],
)
def test_a_line_is_a_user_and_then_items(tmp_path: Path, data: bytes) -> None:
    expected = [["7", "b", 1], ["7", "a", 2], ["08", "b", 3]]
    assert log_rows(tmp_path, {"log.txt": data}) == expected
    assert log_rows(tmp_path, {"log.zip": zipped({"log.txt": data})}) == expected


def test_a_line_is_a_basket(tmp_path: Path) -> None:
    how = {"format": "baskets", "separator": ",", "strip": True}
    read_ = log_rows(tmp_path, {"log.csv": b"milk, rye bread\n\ntea ,,jam\n"}, **how)
    # The number is that of the line, as an editor shows it; an item that is missing is left to validation.
    assert read_ == [
        ["1", "milk", 1],
        ["1", "rye bread", 2],
        ["3", "tea", 3],
        ["3", None, 4],
        ["3", "jam", 5],
    ]


def test_a_missing_item_of_a_line_is_missing(tmp_path: Path) -> None:
    read_ = log_rows(tmp_path, {"log.txt": b"7 b  ? a\n"}, missing=["", "?"])
    assert [item for _, item, _ in read_] == ["b", None, None, "a"]


def test_another_separator_is_no_empty_table(tmp_path: Path) -> None:
    with pytest.raises(DataGateError, match="no line has an item"):
        log_rows(tmp_path, {"log.txt": f"{SECRET},b,a\n".encode()})


def test_lines_in_another_encoding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataGateError) as refusal:
        log_rows(tmp_path, {"log.txt": f"{SECRET} b\xff\n".encode("latin-1")})
    assert SECRET not in str(refusal.value)


def test_rows_are_numbered_over_all_files(tmp_path: Path) -> None:
    """Where the order of files and lines is the only one that there is."""
    how = {"format": "csv", "header": True, "separator": ",", "source_column": "file"}
    how["columns"] = {**LINES["columns"], "file": "category"}
    files = {"old.csv": b"user,item\nu,a\nv,b\n", "new.csv": b"item,user\nc,u\n"}
    read_ = log_rows(tmp_path, files, **how)
    assert read_ == [["u", "a", 1, "old"], ["v", "b", 2, "old"], ["u", "c", 3, "new"]]
    with pytest.raises(DataGateError, match="each column once"):
        log_rows(tmp_path, {"old.csv": b"user,item,row\nu,a,9\n"}, **how)


def test_large_ids_beside_a_missing_one_stay_apart(tmp_path: Path) -> None:
    ids = [2**53, 2**53 + 1, None]
    table = pa.table({"id": pa.array(ids, pa.int64()), "age": [1, 2, 3]})
    kinds = {"id": "category", "age": "number", "bad": "integer"}
    rows = taken(tmp_path, {"loans.parquet": as_parquet(table)}, columns=kinds).table("rows")
    assert rows["id"].dtype == pd.Int64Dtype()
    typed, misfits = cast(rows, {"id": "category", "age": "number"})
    assert typed["id"].tolist()[:2] == ["9007199254740992", "9007199254740993"]
    assert typed["id"].isna().tolist() == [False, False, True]
    assert misfits == {}
    # As a number the second is none that float64 can tell from the first.
    assert cast(rows, {"id": "integer"})[1]["id"].tolist() == [True, True, False]


def test_parquet_keeps_its_types_and_all_its_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["007", None], "amount": [1.5, np.nan], "bad": [0, 1]})
    plain = taken(tmp_path, {"loans.parquet": as_parquet(pa.Table.from_pandas(frame))}).table("rows")
    pd.testing.assert_frame_equal(plain, frame)
    # Pandas notes in the file that a column was its index: it is a column all the same.
    indexed = as_parquet(pa.Table.from_pandas(frame.set_index("id")))
    pd.testing.assert_frame_equal(taken(tmp_path, {"indexed.parquet": indexed}).table("rows"), frame)


def test_columns_that_the_contract_does_not_name_are_dropped_and_named(tmp_path: Path) -> None:
    stored = taken(tmp_path, {"loans.csv": b"z,id,bad,a,amount,z\n1,2,3,4,5,\xff\n"})
    assert stored.table("rows").to_numpy().tolist() == [["2", "5", "3"]]
    assert stored.facts["dropped_columns"] == ["a", "z"]


def test_a_column_that_is_missing_is_left_to_validation(tmp_path: Path) -> None:
    assert list(taken(tmp_path, {"loans.csv": b"bad,id\n0,a\n"}).table("rows").columns) == ["id", "bad"]


STACKED = {"columns": {**COLUMNS, "year": "category"}, "source_column": "year"}


def test_stacked_files_say_which_row_is_from_where(tmp_path: Path) -> None:
    """Columns may be in another order, and files may disagree about what is dropped."""
    files = {
        "2023.csv": b"id,amount,bad,note\na,1,0,7\n",
        "2024.csv": b"bad,id,amount,note\n1,b,2,seven\n0,c,3,x\n",
    }
    stored = taken(tmp_path, files, **STACKED)
    assert stored.table("rows").to_numpy().tolist() == [
        ["a", "1", "0", "2023"],
        ["b", "2", "1", "2024"],
        ["c", "3", "0", "2024"],
    ]
    assert stored.facts["dropped_columns"] == ["note"]
    bare = taken(tmp_path, {"2023.csv": b"a,1,0\n", "2024.csv": b"b,2,1\n"}, header=False, **STACKED)
    assert bare.table("rows")["year"].tolist() == ["2023", "2024"]


@pytest.mark.parametrize(
    "second", [b"id,amount\nb,2\n", b"id,amount,bad,year\nb,2,1,1999\n"], ids=["one fewer", "its own source"]
)
def test_stacked_files_with_other_columns_are_refused(tmp_path: Path, second: bytes) -> None:
    with pytest.raises(DataGateError):
        taken(tmp_path, {"2023.csv": PLAIN, "2024.csv": second}, **STACKED)


JOINED = {"columns": {**COLUMNS, "town": "category", "branch": "category"}, "join": "id"}


def test_joined_files_keep_the_rows_of_the_first_in_their_order(tmp_path: Path) -> None:
    ids = [f"{n:04d}" for n in np.random.default_rng(0).permutation(3000)]
    loans = "id,amount,bad\n" + "".join(f"{i},1,0\n" for i in [*ids, ids[0], "unknown", ""])
    towns = "id,town\n" + "".join(f"{i},T{i}\n" for i in sorted(ids)) + ",nowhere\n"
    files = {
        "loans.csv": loans.encode(),
        "towns.csv": towns.encode(),
        "branches.csv": b"branch,id\nB,unknown\n",
    }
    part = taken(tmp_path, files, **JOINED).table("rows")
    assert part["id"].fillna("").tolist() == [*ids, ids[0], "unknown", ""]
    assert part["town"].fillna("").tolist() == [*(f"T{i}" for i in ids), f"T{ids[0]}", "", ""]
    assert part["branch"].fillna("").tolist() == [""] * 3001 + ["B", ""]


@pytest.mark.parametrize(
    "second",
    [b"id,town\na,T\na,U\n", b"town\nT\n", b"id,town,amount\na,T,5\n"],
    ids=["a key twice", "no key", "a column of the first"],
)
def test_files_that_cannot_be_joined_are_refused(tmp_path: Path, second: bytes) -> None:
    with pytest.raises(DataGateError, match="'id' in every file"):
        taken(tmp_path, {"loans.csv": PLAIN, "towns.csv": second}, **JOINED)


def locked() -> bytes:
    """An archive whose one member says that it is encrypted."""
    data = bytearray(zipped({"loans.csv": PLAIN}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def damaged(data: bytes, begin: int, end: int) -> bytes:
    return data[:begin] + bytes(end - begin) + data[end:]


ARCHIVE = zipped({"loans.csv": PLAIN * 100})
TABLE = as_parquet(
    pa.table({"id": [f"{i:06d}" for i in range(2000)], "bad": np.random.default_rng(0).random(2000)})
)


@pytest.mark.parametrize(
    ("name", "data", "how"),
    [
        ("a row too long.csv", PLAIN + f"{SECRET},1,0,{SECRET}\n".encode(), {}),
        ("a row too short.csv", PLAIN + f"{SECRET}\n".encode(), {}),
        ("a quote left open.csv", PLAIN + f'"{SECRET},1,0\n'.encode(), {}),
        ("empty.csv", b"", {}),
        ("noise.csv", np.random.default_rng(0).bytes(4000), {}),
        ("bytes for names.csv", b"\x00\x01\xff\xfe\n\xff\xff\n", {}),
        ("wrong encoding.csv", f"id,amount,bad\n{SECRET}-Zoë,1,0\n".encode("latin-1"), {}),
        ("no ascii.csv", f"id,amount,bad\n{SECRET}-Zoë,1,0\n".encode(), {"encoding": "ascii"}),
        ("unknown encoding.csv", PLAIN, {"encoding": "klingon"}),
        ("long separator.csv", PLAIN, {"separator": ";;"}),
        ("a column twice.csv", f"id,amount,bad,id\na,1,0,{SECRET}\n".encode(), {}),
        ("more columns than names.csv", b"a,1,0,5\n", {"header": False}),
        ("two.zip", zipped({"a.csv": PLAIN, "b.csv": PLAIN}), {}),
        ("none.zip", zipped({}), {}),
        ("no archive.zip", PLAIN, {}),
        ("locked.zip", locked(), {}),
        ("damaged.zip", damaged(ARCHIVE, 40, 60), {}),
        ("cut.zip", ARCHIVE[:-30], {}),
        ("no table.parquet", PLAIN, {}),
        ("damaged.parquet", damaged(TABLE, 2000, 2200), {}),
        ("cut.parquet", TABLE[:-10], {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_refused_without_quoting_it(
    tmp_path: Path, name: str, data: bytes, how: dict[str, Any]
) -> None:
    with pytest.raises(DataGateError) as refused:
        taken(tmp_path, {name: data}, **how)
    assert name in str(refused.value)
    assert SECRET not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_disk_that_fails_is_no_refusal(tmp_path: Path) -> None:
    """Trying again may help there: the file may be well."""
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        read_files(DatasetSource("small", contract(), (tmp_path / "folder.csv",)), Store(tmp_path / "store"))


def test_one_content_has_one_digest_wherever_it_lies(tmp_path: Path) -> None:
    here = taken(tmp_path, {"here/loans.csv": PLAIN})
    there = taken(tmp_path, {"there/loans.csv": PLAIN})
    renamed = taken(tmp_path, {"there/other.csv": PLAIN})
    changed = taken(tmp_path, {"there/loans.csv": PLAIN.replace(b"007", b"7")})
    assert here.digest == there.digest == renamed.digest != changed.digest
    assert (here.reused, changed.reused) == (False, False)
    assert read_files(
        DatasetSource("small", contract(files=["here/loans.csv"]), (tmp_path / "here" / "loans.csv",)),
        Store(tmp_path / "store"),
    ).reused


def test_how_it_is_read_is_part_of_the_key(tmp_path: Path) -> None:
    """Without a header the order of names in the contract says which column is which."""
    one = {"a": "number", "bad": "integer"}
    other = dict(reversed(one.items()))
    data = {"loans.csv": b"1,2\n"}
    first = taken(tmp_path, data, header=False, columns=one).table("rows")
    second = taken(tmp_path, data, header=False, columns=other).table("rows")
    assert first.iloc[0].to_dict() == {"a": "1", "bad": "2"}
    assert second.iloc[0].to_dict() == {"bad": "1", "a": "2"}


def test_a_file_is_compared_with_what_was_published(tmp_path: Path) -> None:
    plain = taken(tmp_path, {"loans.csv": PLAIN})
    sha = plain.facts["origin"]["files"]["loans.csv"]
    assert plain.facts["unlike_published"] == []
    for published, unlike in ((sha, []), ("0" * 64, ["loans.csv"])):
        about = {"sha256": {"loans.csv": published}, "url": "https://example.org"}
        stored = taken(tmp_path, {"loans.csv": PLAIN}, about=about)
        assert stored.facts["unlike_published"] == unlike
        assert stored.facts["origin"]["url"] == "https://example.org"


def test_a_simulator_is_remembered_by_name_rows_and_seed(tmp_path: Path) -> None:
    def simulated(**how: Any) -> StoredResult:
        how = {"simulator": "lender", "rows": 60, "seed": 1, **how}
        return read(DatasetSource("simulated", contract(files=[], **how), ()), Store(tmp_path))

    first = simulated()
    expected = SIMULATORS["lender"](60, 1)
    pd.testing.assert_frame_equal(first.table("rows"), expected.rows, check_dtype=False)
    pd.testing.assert_frame_equal(first.table("oracle"), expected.oracle)
    assert first.facts["origin"] == {"simulator": "lender", "rows": 60, "seed": 1}
    assert simulated().reused
    others = [simulated(rows=61), simulated(seed=2), simulated(simulator="hospital")]
    assert len({first.digest, *(o.digest for o in others)}) == 4


def test_the_task_reads_what_was_located(tmp_path: Path) -> None:
    (tmp_path / "loans.csv").write_bytes(PLAIN)
    stored = source.fn(DatasetSource("small", contract(), (tmp_path / "loans.csv",)), Store(tmp_path))
    assert stored.facts["rows"] == len(READ)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two contracts of the case loans, one of which is simulated, and the data of the other."""
    folder = tmp_path / "contracts" / "loans"
    folder.mkdir(parents=True)
    (folder / "small.json").write_text(json.dumps(contract().source))
    simulated = contract(files=[], simulator="lender", rows=60).source
    (folder / "simulated.json").write_text(json.dumps(simulated))
    (tmp_path / "data" / "small").mkdir(parents=True)
    (tmp_path / "data" / "small" / "loans.csv").write_bytes(PLAIN)
    return Settings(home=tmp_path, data_dir=tmp_path / "data", contracts=tmp_path / "contracts")


def test_a_data_set_is_found_by_its_name(settings: Settings) -> None:
    assert settings.data_dir
    located = find_dataset("loans", "small", None, settings)
    assert located.files == (settings.data_dir / "small" / "loans.csv",)
    assert located.contract == contract()
    assert find_dataset("loans", "simulated", None, settings).files == ()


def test_a_file_is_found_by_its_path(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "small.csv"
    file.parent.mkdir()
    file.write_bytes(PLAIN)
    located = find_dataset("loans", str(file), None, settings)
    assert (located.data, located.files, located.contract.name) == ("small", (file,), "loans.small")
    # A file takes the place of the simulator.
    assert find_dataset("loans", str(file), "simulated", settings).files == (file,)
    with pytest.raises(UsageError, match="can be read"):
        find_dataset("loans", str(tmp_path / "elsewhere" / "none.csv"), "small", settings)
    with pytest.raises(UsageError, match="can be read"):
        find_dataset("loans", f"{tmp_path}/", "small", settings)


def test_a_contract_may_be_about_files_of_another_folder(settings: Settings) -> None:
    folder = settings.contracts / "loans"
    other = {**contract(folder="small").source, "name": "loans.other"}
    (folder / "other.json").write_text(json.dumps(other))
    located = find_dataset("loans", "other", None, settings)
    assert located.files == find_dataset("loans", "small", None, settings).files
    assert (located.data, located.contract.name) == ("other", "loans.other")
    with pytest.raises(UsageError, match="a folder small/"):
        find_dataset("loans", "other", None, settings.model_copy(update={"data_dir": None}))


def test_a_contract_is_found_by_its_path(settings: Settings, tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({**contract().source, "name": "loans.mine"}))
    assert find_dataset("loans", "small", str(mine), settings).contract.name == "loans.mine"


def test_an_unknown_data_set_is_refused_with_the_known_ones(settings: Settings) -> None:
    with pytest.raises(UsageError, match=r"simulated, small.*got smal;"):
        find_dataset("loans", "smal", None, settings)
    with pytest.raises(UsageError, match="data set of nothing"):
        find_dataset("nothing", "small", None, settings)


def test_data_that_is_not_there_is_refused_with_what_to_do(settings: Settings) -> None:
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
        (json.dumps({**contract().source, "name": "others.small"}), "a contract of loans"),
        (
            json.dumps(contract(files=[], simulator="lander", rows=5).source),
            "a simulator of",
        ),
    ],
)
def test_a_contract_that_is_wrong_is_refused(settings: Settings, text: str, message: str) -> None:
    (settings.contracts / "loans" / "small.json").write_text(text)
    with pytest.raises(ContractError, match=message):
        load_contract("loans", "small", settings)


def test_a_contract_that_is_no_text_is_refused(settings: Settings) -> None:
    (settings.contracts / "loans" / "small.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ContractError, match="JSON"):
        load_contract("loans", "small", settings)


def test_a_champions_contract_reads_another_file(tmp_path: Path) -> None:
    """As scoring does: the file that is given takes the place of those that the contract names."""
    (tmp_path / "new.csv").write_bytes(b"id,amount\na,1\n")
    own = contract(files=[], simulator="lender", rows=5)
    own = replace(own, read=replace(own.read, files=("new.csv",), simulator=None))
    stored = read_files(DatasetSource("small", own, (tmp_path / "new.csv",)), Store(tmp_path / "store"))
    assert stored.table("rows").to_numpy().tolist() == [["a", "1"]]

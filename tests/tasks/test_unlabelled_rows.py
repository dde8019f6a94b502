"""Files to score that are made of a data set: its reader reads them, and they have no target."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.errors import UsageError
from tasks.data_access.locate import DatasetSource
from tasks.source import read_files
from tasks.storage.content_store import Store
from tasks.unlabelled_rows import select_rows, write_rows
from tasks.validate import apply_contract

TABLE_COLUMNS = {"id": "category", "a": "number", "y": "integer"}
LOG_COLUMNS = {"user": "category", "item": "category", "at": "epoch", "place": "integer"}
TABLE_ROLES = {"target": {"column": "y", "positive": ["1"]}, "id": "id"}
LOG_ROLES = {"user": "user", "item": "item", "time": "at", "event_order": "place"}
TABLE = pd.DataFrame({"id": list("abcdefgh"), "a": ["1", None, "3", "4", "5", "6", "7", "8"], "y": "1"})
LOG = pd.DataFrame(
    {"user": list("aabbbcd"), "item": list("xyxyzxz"), "at": list("1234567"), "place": range(1, 8)}
)


def make_contract(columns: dict[str, str], roles: dict[str, Any], **read: Any) -> Contract:
    options = {"files": ["x.csv"], "columns": columns, **read}
    meta = {"schema_version": 2, "read": options, "roles": roles}
    return parse({"name": "toy.rows", "expectations": [], "meta": meta})


TABLES = {
    "comma": {},
    "no header": {"header": False, "separator": ";", "missing": ["?"]},
    "encoding": {"encoding": "latin-1", "separator": "\t", "missing": ["NA", ""]},
    "parquet": {"format": "parquet"},
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("kind", TABLES)
def test_the_reader_of_the_contract_reads_what_was_written(kind: str, suffix: str, tmp_path: Path) -> None:
    contract = make_contract(TABLE_COLUMNS, TABLE_ROLES, **TABLES[kind])
    path = tmp_path / f"new{suffix}"
    chosen = select_rows(TABLE, contract, 5)
    assert list(chosen.columns) == ["id", "a"]
    write_rows(chosen, contract, path)
    read = read_files(DatasetSource("new", contract, (path,)), Store(tmp_path / "store")).table("rows")
    if "y" in read:
        assert read["y"].isna().all()
    clean, *_ = apply_contract(read, contract, scoring=True)
    assert clean["id"].tolist() == chosen["id"].tolist()
    assert clean["a"].fillna(-1).tolist() == chosen["a"].astype(float).fillna(-1).tolist()


def test_rows_of_a_log_are_whole_histories() -> None:
    contract = make_contract(LOG_COLUMNS, LOG_ROLES, row_column="place")
    for count in range(1, 9):
        chosen = select_rows(LOG, contract, count)
        assert list(chosen.columns) == ["user", "item", "at"]
        users = chosen["user"].unique()
        assert len(chosen) == LOG["user"].isin(users).sum()
        assert len(users) == 1 or len(chosen) <= count


def test_lines_of_items_are_written_as_parquet_only(tmp_path: Path) -> None:
    roles = {"user": "user", "item": "item", "event_order": "place"}
    columns = {"user": "category", "item": "category", "place": "integer"}
    contract = make_contract(columns, roles, format="sequences", header=False, row_column="place")
    with pytest.raises(UsageError, match=r"got new.csv; name it new.parquet"):
        write_rows(LOG[["user", "item"]], contract, tmp_path / "new.csv")
    assert list(tmp_path.iterdir()) == []

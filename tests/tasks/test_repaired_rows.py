"""Rows leave quarantine with their cells, and come back into their batch only where they pass the rules."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.errors import UsageError
from tasks.data_access.locate import DatasetSource
from tasks.formats.read_limits import ReadLimits
from tasks.repaired_rows import ROW, RULES, files_of_batch, quarantined_cells, read_repaired, release_rows
from tasks.source import read_files
from tasks.storage.content_store import Store
from tasks.validate import apply_contract


def contract(reading: Mapping[str, Any] = {}, **meta: Any) -> Contract:
    columns = {"id": "category", "amount": "number", "day": "time", "town": "category", "bad": "category"}
    rules = [
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "amount", "max_value": 100},
            "meta": {"action": "quarantine", "reason": "a bound"},
        }
    ]
    roles = {"target": {"column": "bad", "positive": ["1"]}, "id": "id", "ignored": ["day"]}
    added = {name: kind for name, kind in (("file", "category"), ("number", "integer")) if reading}
    read = {"files": ["x.csv"], "columns": columns | added, **reading}
    return parse(
        {
            "name": "toy.rows",
            "expectations": rules,
            "meta": {"schema_version": 2, "read": read, "roles": roles, **meta},
        }
    )


def batch(typed: bool) -> pd.DataFrame:
    """Return a batch as a CSV file has it, or with the types that a Parquet file may have."""
    numbers = np.arange(40)
    frame = pd.DataFrame(
        {
            "id": [f"c{n}" for n in numbers],
            "amount": numbers.astype(float),
            "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(numbers, unit="D"),
            "town": numbers % 3 + 1.0,
            "bad": numbers % 2,
        }
    )
    frame.loc[[5, 9, 20], "amount"] = [500.0, 900.0, 2000.0]
    return frame if typed else frame.astype(object).map(str)


@pytest.mark.parametrize("typed", [True, False], ids=["typed", "text"])
def test_repaired_rows_take_their_places_where_they_pass(typed: bool, tmp_path: Path) -> None:
    rows, of = batch(typed), contract()
    cells = quarantined_cells(rows, of)
    assert list(cells[ROW]) == [5, 9, 20]
    assert set(cells[RULES]) == {"column_values_to_be_between(amount)"}
    repaired = cells.assign(amount=[5, 9, 2000])
    file = tmp_path / "repaired.csv"
    repaired.to_csv(file, index=False)
    read = read_repaired(file, of, ReadLimits(), Store(tmp_path / "store"))
    released = release_rows(rows, read, of)
    assert (released.released, released.remaining) == (2, {"column_values_to_be_between(amount)": 1})
    result = apply_contract(released.rows, of)
    assert list(result.quarantine["row"]) == [20]
    expected = batch(typed=True)
    expected.loc[[5, 9], "amount"] = [5.0, 9.0]
    expected = expected.drop(index=20).reset_index(drop=True)
    assert result.clean["amount"].tolist() == expected["amount"].tolist()
    assert result.clean["day"].tolist() == expected["day"].tolist()
    assert set(result.clean["town"]) == ({"1", "2", "3"} if typed else {"1.0", "2.0", "3.0"})


def test_a_repair_that_repeats_another_row_is_not_released() -> None:
    rows, of = batch(typed=False), contract()
    cells = quarantined_cells(rows, of).assign(amount="1", id="c1")
    released = release_rows(rows, cells, of)
    assert released.released == 0
    assert released.rows.astype(str).equals(rows.astype(str))
    assert set(released.remaining) == {"one_row_per(id)"}


@pytest.mark.parametrize(("numbers", "message"), [([5, 9, 7], "1 others"), ([5, 9, 9], "one of them twice")])
def test_rows_that_are_not_in_quarantine_are_refused(numbers: list[int], message: str) -> None:
    rows, of = batch(typed=False), contract()
    with pytest.raises(UsageError, match=message):
        release_rows(rows, quarantined_cells(rows, of).assign(**{ROW: numbers}), of)


def test_a_file_without_a_column_is_refused(tmp_path: Path) -> None:
    cells = quarantined_cells(batch(typed=False), contract())
    file = tmp_path / "repaired.csv"
    cells.drop(columns=[ROW, "town"]).to_csv(file, index=False)
    with pytest.raises(UsageError, match=r"no column 'quarantined_row', 'town'; keep all columns"):
        read_repaired(file, contract(), ReadLimits(), Store(tmp_path / "store"))


def test_a_batch_of_several_files_is_released_as_these_files(tmp_path: Path) -> None:
    """Read again, rows have the same file and number; changes of these in the exported file are no repairs."""
    of = contract({"source_column": "file", "row_column": "number", "files": ["b.data", "b.test"]})
    store = Store(tmp_path / "store")
    for name, part in (("b.data", batch(typed=False)[:30]), ("b.test", batch(typed=False)[30:])):
        part.to_csv(tmp_path / name, index=False)
    files = (tmp_path / "b.data", tmp_path / "b.test")
    rows = read_files(DatasetSource("rows", of, files), store).table("rows")
    assert list(rows["file"].unique()) == ["b.data", "b.test"]
    exported = tmp_path / "repaired.csv"
    quarantined_cells(rows, of).assign(amount=[5, 9, 20], file="other", number=1).to_csv(
        exported, index=False
    )
    released = release_rows(rows, read_repaired(exported, of, ReadLimits(), store), of)
    assert released.released == 3
    parts = files_of_batch(released.rows, of)
    assert [(name, list(part)) for name, part in parts.items()] == [
        (name, ["id", "amount", "day", "town", "bad"]) for name in ("b.data", "b.test")
    ]
    for name, part in parts.items():
        part.astype("str").to_parquet(tmp_path / f"{name}.parquet")
    again = tuple(tmp_path / f"{name}.parquet" for name in parts)
    read = read_files(DatasetSource("rows", of, again), store).table("rows")
    assert read[["id", "file", "number"]].equals(rows[["id", "file", "number"]])
    assert apply_contract(read, of).quarantine.empty


def test_files_that_are_joined_are_not_released() -> None:
    of = contract({"join": "id", "files": ["x.csv", "y.csv"]})
    with pytest.raises(UsageError, match=r"joins no files.*; repair the files themselves"):
        files_of_batch(batch(typed=False), of)

"""Numbers with other marks, other formats of dates, and repaired values: read as the contract says, or not at all."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.read_options import ReadOptions
from ml.data.casting import TEXT_DTYPE, cast_columns
from ml.data.replacements import replace_values
from ml.errors import ContractError


def options(kind: str = "number", **read: Any) -> ReadOptions:
    return ReadOptions(columns={"a": kind}, files=("a.csv",), **read)


def cast(cells: list[Any], kind: str = "number", **read: Any) -> tuple[list[Any], list[bool]]:
    frame = pd.DataFrame({"a": pd.Series(cells, dtype=TEXT_DTYPE)})
    typed, invalid = cast_columns(frame, {"a": kind}, options(kind, **read))
    return typed["a"].tolist(), invalid.get("a", np.zeros(len(cells), bool)).tolist()


@pytest.mark.parametrize(
    ("cells", "read", "expected"),
    [
        (["1.234,56", "-0,5", ",5"], {"decimal": ",", "thousands": "."}, [1234.56, -0.5, 0.5]),
        (["12", " 1.000 ", "1,5e3"], {"decimal": ",", "thousands": "."}, [12, 1000, 1500]),
        (["1,234,567.5", "+7"], {"thousands": ","}, [1234567.5, 7]),
        (["1 234,5", "12 345 678"], {"decimal": ",", "thousands": " "}, [1234.5, 12345678]),
        (["1'000.25"], {"thousands": "'"}, [1000.25]),
        (["1234,5"], {"decimal": ",", "thousands": "."}, [1234.5]),
    ],
)  # fmt: skip
def test_marks_of_numbers(cells: list[str], read: dict[str, str], expected: list[float]) -> None:
    assert cast(cells, **read) == (expected, [False] * len(cells))


@pytest.mark.parametrize(
    "cell", ["1.5", "1.23.456", "12.34,5", "1,2,3", "1,234.5", ".5", "x", "1.", "1.2345"]
)
def test_numbers_with_other_marks_are_invalid(cell: str) -> None:
    """1.5 is no one and a half where the comma is the decimal mark."""
    values, invalid = cast([cell], decimal=",", thousands=".")
    assert np.isnan(values[0])
    assert invalid == [True]


def test_missing_cells_stay_missing_with_marks() -> None:
    values, invalid = cast([None, "1,5"], decimal=",")
    assert np.isnan(values[0])
    assert (values[1], invalid) == (1.5, [False, False])


def test_numbers_that_are_typed_have_no_marks() -> None:
    frame = pd.DataFrame({"a": [1.5, np.nan]})
    typed, invalid = cast_columns(frame, {"a": "number"}, options(decimal=","))
    assert typed["a"].iloc[0] == 1.5
    assert invalid == {}


def test_formats_of_dates() -> None:
    cells = ["03/04/2024", "31/12/2023", "2024-04-03", "12/31/2023", None]
    values, invalid = cast(cells, "time", date_formats={"a": "%d/%m/%Y"})
    assert [str(value)[:10] for value in values[:2]] == ["2024-04-03", "2023-12-31"]
    assert invalid == [False, False, True, True, False]


def test_replaced_values_are_counted() -> None:
    frame = pd.DataFrame(
        {"a": ["female", "Female", None, "n/a", "female"], "b": [1.0, 2.0, 9.0, np.nan, 9.0]}
    )
    read = ReadOptions(
        columns={"a": "category", "b": "category", "c": "category"},
        files=("a.csv",),
        replace={"a": {"female": "Female", "n/a": None, "none": "x"}, "b": {"9": "3"}, "c": {"x": "y"}},
    )
    repaired, counts = replace_values(frame, read, ["a", "b"])
    assert repaired["a"].fillna("").tolist() == ["Female", "Female", "", "", "Female"]
    # Codes that are numbers are compared as categories.
    assert repaired["b"].fillna("").tolist() == ["1", "2", "3", "", "3"]
    assert counts == {"a": {"'female' to 'Female'": 2, "'n/a' to missing": 1}, "b": {"'9' to '3'": 2}}
    assert frame["a"].iloc[0] == "female"


@pytest.mark.parametrize(
    ("read", "message"),
    [
        ({"decimal": ";"}, r"'\.' or ',' in meta\.read\.decimal"),
        ({"thousands": "x"}, r"a blank, an apostrophe or an empty text in meta\.read\.thousands"),
        ({"thousands": "."}, "different marks"),
        ({"date_formats": {"a": "%d/%m/%Y"}}, r"columns of type time in meta\.read\.date_formats"),
        ({"date_formats": {"t": "%d/%d"}}, "a format of dates"),
        ({"date_formats": {"z": "%d/%m/%Y"}}, "meta.read.date_formats; got .'z'"),
        ({"replace": {"a": {"1": "2"}}}, r"columns of type category in meta\.read\.replace"),
        ({"replace": {"y": {"1": "2", "2": "3"}}}, "not replaced themselves"),
        ({"skip_lines": -1}, "meta.read.skip_lines"),
    ],
)
def test_mistakes_are_reported_with_their_place(read: dict[str, Any], message: str) -> None:
    meta = {
        "schema_version": 2,
        "read": {"files": ["a.csv"], "columns": {"a": "number", "t": "time", "y": "category"}, **read},
        "roles": {"target": {"column": "y", "positive": ["1"]}, "time": "t"},
    }
    with pytest.raises(ContractError, match=message):
        parse({"name": "toy.table", "expectations": [], "meta": meta})

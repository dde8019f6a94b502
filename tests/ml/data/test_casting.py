"""Casting: each cell on its own, invalid cells reported, typed columns unchanged."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.contract.read_options import COLUMN_TYPES
from ml.data.casting import MAX_EXACT_INTEGER, TEXT_DTYPE, cast_columns

INVALID = "invalid"
TYPES = {
    "number": "float64",
    "integer": "float64",
    "category": TEXT_DTYPE,
    "time": "M8[us]",
    "epoch": "M8[us]",
}


def cast_cells(cells: Any, kind: str, dtype: Any = TEXT_DTYPE) -> list[Any]:
    """Cast a column; return its cells, None for missing and INVALID for invalid ones."""
    column = pd.Series(cells, dtype=dtype)
    typed, invalid_masks = cast_columns(column.to_frame("c"), {"c": kind})
    assert typed["c"].dtype == TYPES[kind]
    mask = invalid_masks.get("c", np.zeros(len(column), dtype=bool))
    values = typed["c"].astype(object).where(typed["c"].notna(), None).tolist()
    assert not [value for value, invalid in zip(values, mask, strict=True) if invalid and value is not None]
    return [INVALID if invalid else value for value, invalid in zip(values, mask, strict=True)]


def utc(*parts: int) -> pd.Timestamp:
    return pd.Timestamp(datetime(*parts))  # type: ignore[arg-type]


# --- text, as read from a CSV file ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "number"),
    [("1", 1.0), (" 7 ", 7.0), ("+3", 3.0), ("1.", 1.0), (".5", 0.5), ("-2.5e3", -2500.0), ("1e-400", 0.0)],
)
def test_number_formats(cell: str, number: float) -> None:
    assert cast_cells([cell], "number") == [number]


NOT_NUMBERS = ["", "-", "one", "1,5", "1_000", "0x10", "1 2", "True", "nan", "NA", "2020-01-01", "1\0"]
NOT_FINITE = ["inf", "-inf", "Infinity", "1e400"]


@pytest.mark.parametrize("cell", NOT_NUMBERS + NOT_FINITE)
def test_text_that_is_not_a_finite_number_is_invalid(cell: str) -> None:
    for kind in ("number", "integer", "epoch"):
        assert cast_cells(["1", cell, None], kind)[1:] == [INVALID, None]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
@settings(deadline=None, max_examples=50)
def test_numbers_are_parsed_exactly(numbers: list[float]) -> None:
    assert cast_cells([repr(number) for number in numbers], "number") == numbers


@given(st.lists(st.integers(-(2**70), 2**70) | st.integers(2**53 - 3, 2**53 + 3), min_size=1))
@settings(deadline=None, max_examples=50)
def test_integers_are_exact_or_invalid(numbers: list[int]) -> None:
    expected = [number if abs(number) < MAX_EXACT_INTEGER else INVALID for number in numbers]
    assert cast_cells([str(number) for number in numbers], "integer") == expected


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_integers_beyond_float64_precision_are_invalid(dtype: str) -> None:
    cells = [2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1]
    assert cast_cells(cells, "integer", dtype) == [2**53 - 1, INVALID, INVALID, INVALID]


def test_fractions_are_invalid_integers() -> None:
    cells = ["1.0", "-3", "1e3", "1.5", "0.999", None]
    assert cast_cells(cells, "integer") == [1.0, -3.0, 1000.0, INVALID, INVALID, None]


@given(st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=1))
@settings(deadline=None, max_examples=50)
def test_code_has_the_same_category_as_text_integer_and_float(codes: list[int]) -> None:
    written = [str(code) for code in codes]
    for dtype in (TEXT_DTYPE, "int64", "float64"):
        assert cast_cells(codes, "category", dtype) == written
    assert cast_cells([*codes, None], "category", "float64") == [*written, None]


@given(st.lists(st.none() | st.text()))
@settings(deadline=None, max_examples=50)
def test_text_category_is_unchanged(cells: list[str | None]) -> None:
    assert cast_cells(cells, "category") == cells


@pytest.mark.parametrize(
    ("cell", "instant"),
    [
        ("2020", utc(2020, 1, 1)),
        ("20200229", utc(2020, 2, 29)),
        ("2020-02-29T12:30:01", utc(2020, 2, 29, 12, 30, 1)),
        ("2020-02-29 12:30", utc(2020, 2, 29, 12, 30)),
        ("2020-01-01T00:30:00+02:00", utc(2019, 12, 31, 22, 30)),
        ("2020-01-01T00:30:00Z", utc(2020, 1, 1, 0, 30)),
        ("2020-01-01T00:30:00-0330", utc(2020, 1, 1, 4)),
        ("2020-01-01T00:00:00.999999999", utc(2020, 1, 1, 0, 0, 0, 999999)),
        ("1969-12-31T23:59:59.999999999Z", utc(1969, 12, 31, 23, 59, 59, 999999)),
        ("0001-01-01", utc(1, 1, 1)),
        ("9999-12-31T23:59:59", utc(9999, 12, 31, 23, 59, 59)),
    ],
)
def test_iso_8601_times_become_utc(cell: str, instant: pd.Timestamp) -> None:
    assert cast_cells([cell], "time") == [instant]


@pytest.mark.parametrize(
    "cell",
    [
        "now",
        "today",
        "2020-13-01",
        "2021-02-29",
        "1/2/2020",
        "12:30",
        "1577836800",
        "10000-01-01",
        "5",
        "NaT",
        "",
    ],
)
def test_text_that_is_not_an_iso_8601_time_is_invalid(cell: str) -> None:
    assert cast_cells(["2020", cell, None], "time") == [utc(2020, 1, 1), INVALID, None]


ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INSTANTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.none() | ZONES)


@given(st.lists(st.tuples(INSTANTS, st.sampled_from(["", "0", "999", "123456"])), min_size=1))
@settings(deadline=None, max_examples=50)
def test_times_agree_with_standard_library(instants: list[tuple[datetime, str]]) -> None:
    """Any number of digits after the microseconds is truncated."""
    written, expected = [], []
    for instant, digits in instants:
        text = instant.isoformat(timespec="microseconds")
        written.append(text[:26] + digits + text[26:])
        in_utc = instant.astimezone(UTC) if instant.tzinfo else instant
        expected.append(pd.Timestamp(in_utc.replace(tzinfo=None)))
    assert cast_cells(written, "time") == expected


def test_epoch_seconds() -> None:
    cells = ["0", "1577836800", "1577836800.5", "-86400", None]
    expected = [utc(1970, 1, 1), utc(2020, 1, 1), utc(2020, 1, 1, 0, 0, 0, 500000), utc(1969, 12, 31), None]
    assert cast_cells(cells, "epoch") == expected


@pytest.mark.parametrize("cell", ["1577836800000", "1577836800000000", "-8800000000", "now", "2020-01-01"])
def test_milliseconds_and_text_are_invalid_epochs(cell: str) -> None:
    assert cast_cells(["1", cell], "epoch") == [utc(1970, 1, 1, 0, 0, 1), INVALID]


@given(st.lists(st.integers(-8_799_999_999, 8_799_999_999), min_size=1))
@settings(deadline=None, max_examples=50)
def test_epoch_agrees_with_standard_library(seconds: list[int]) -> None:
    start = datetime(1970, 1, 1)
    assert cast_cells(seconds, "epoch", "int64") == [
        pd.Timestamp(start + timedelta(seconds=s)) for s in seconds
    ]


# --- independence of other cells ---------------------------------------------------------------------------------

UNUSUAL_CELLS = [
    *NOT_NUMBERS,
    *NOT_FINITE,
    *("0", "-0", "1.0", "1.5", "1e3", "9007199254740993", "-9007199254740991", "18446744073709551615"),
    *(
        "2020",
        "20200101",
        "0001-01-01",
        "9999-12-31",
        "2020-01-01T00:00:00.123456789",
        "2020-01-01 10:00+23:59",
    ),
    *("now", "1577836800", "1577836800.25", "1577836800123", "8799999999", "8799999999.9"),
]


@pytest.mark.parametrize("kind", COLUMN_TYPES)
@given(st.data())
@settings(deadline=None, max_examples=20)
def test_text_cell_is_cast_independently_of_other_cells(kind: str, data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.sampled_from(UNUSUAL_CELLS) | st.none() | st.text(max_size=4), max_size=8))
    assert cast_cells(cells, kind) == [cast_cells([cell], kind)[0] for cell in cells]


TYPED_CELLS: dict[str, st.SearchStrategy[Any]] = {
    "float64": st.floats() | st.sampled_from([1.0, -0.0, 2.0**53, 1577836800.0]) | st.none(),
    "int64": st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3),
    "uint64": st.integers(0, 2**64 - 1),
    "bool": st.booleans(),
    "datetime64[ns]": st.integers(-(10**15), 10**15).map(lambda t: t * 10**3)
    | st.sampled_from([0, -(2**63)]),
    "timedelta64[s]": st.integers(0, 10**6) | st.just(86400),
    "object": st.none() | st.booleans() | st.dates() | st.sampled_from([b"1", b"\xff", Decimal("1.50"), [1]]),
}


@pytest.mark.parametrize("dtype", TYPED_CELLS)
@given(st.data())
@settings(deadline=None, max_examples=15)
def test_typed_cell_is_cast_independently_of_other_cells(dtype: str, data: st.DataObject) -> None:
    cells = data.draw(st.lists(TYPED_CELLS[dtype], max_size=6))
    for kind in COLUMN_TYPES:
        assert cast_cells(cells, kind, dtype) == [cast_cells([cell], kind, dtype)[0] for cell in cells]


# --- columns with types of their own -----------------------------------------------------------------------------


def through_parquet(folder: Path, array: pa.Array) -> pd.Series:
    """Write the column to a Parquet file and read it without pandas' metadata."""
    pq.write_table(pa.table({"c": array}), folder / "c.parquet")
    return pq.read_table(folder / "c.parquet").to_pandas(ignore_metadata=True)["c"]


TIME = datetime(2020, 1, 1, 12, 0, 0, 5)
PARQUET: dict[str, tuple[Callable[[], pa.Array], dict[str, list[Any]]]] = {
    "whole numbers": (
        lambda: pa.array([1, 0, -7]),
        {
            "number": [1.0, 0.0, -7.0],
            "integer": [1.0, 0.0, -7.0],
            "category": ["1", "0", "-7"],
            "epoch": [utc(1970, 1, 1, 0, 0, 1), utc(1970, 1, 1), utc(1969, 12, 31, 23, 59, 53)],
        },
    ),
    "whole numbers with a gap": (
        lambda: pa.array([1, None, 2020]),
        {
            "integer": [1.0, None, 2020.0],
            "category": ["1", None, "2020"],
            "time": [INVALID, None, utc(2020, 1, 1)],
        },
    ),
    "numbers": (
        lambda: pa.array([1.0, 2.5, float("inf"), float("nan"), None, -0.0, 1e300]),
        {
            "number": [1.0, 2.5, INVALID, None, None, 0.0, 1e300],
            "integer": [1.0, INVALID, INVALID, None, None, 0.0, INVALID],
            "category": ["1", "2.5", "inf", None, None, "0", "1e+300"],
        },
    ),
    "short numbers": (lambda: pa.array([1.0, 0.1], pa.float32()), {"category": ["1", "0.1"]}),
    "decimals": (
        lambda: pa.array([Decimal("1.50"), None]),
        {"number": [1.5, None], "integer": [INVALID, None], "category": ["1.50", None]},
    ),
    "truth values": (
        lambda: pa.array([True, False, None]),
        {"number": [1.0, 0.0, None], "integer": [1.0, 0.0, None], "category": ["True", "False", None]},
    ),
    "text": (lambda: pa.array(["1", "x", None]), {"number": [1.0, INVALID, None]}),
    "a dictionary": (
        lambda: pa.array(["1", "x", "1", None]).dictionary_encode(),
        {
            "number": [1.0, INVALID, 1.0, None],
            "category": ["1", "x", "1", None],
            "time": [INVALID, INVALID, INVALID, None],
        },
    ),
    "bytes": (
        lambda: pa.array([b"1", "Ä".encode(), b"\xc4", None]),
        {
            "number": [1.0, INVALID, INVALID, None],
            "category": ["1", "Ä", INVALID, None],
            "time": [INVALID] * 3 + [None],
        },
    ),
    "instants": (
        lambda: pa.array([TIME, None, datetime(2020, 1, 2)], pa.timestamp("us")),
        {
            "time": [TIME, None, utc(2020, 1, 2)],
            "epoch": [TIME, None, utc(2020, 1, 2)],
            "category": ["2020-01-01 12:00:00.000005", None, "2020-01-02 00:00:00"],
            "number": [INVALID, None, INVALID],
            "integer": [INVALID, None, INVALID],
        },
    ),
    "instants of a zone": (
        lambda: pa.array([TIME, None], pa.timestamp("ns", "+02:00")),
        {"time": [TIME, None], "epoch": [TIME, None], "number": [INVALID, None]},
    ),
    "days": (
        lambda: pa.array([date(2020, 2, 29), None]),
        {"time": [utc(2020, 2, 29), None], "category": ["2020-02-29", None], "number": [INVALID, None]},
    ),
    "durations": (
        lambda: pa.array([timedelta(1)]),
        {"number": [INVALID], "time": [INVALID], "epoch": [INVALID]},
    ),
    "lists": (lambda: pa.array([[1], None]), {"number": [INVALID, None], "time": [INVALID, None]}),
    "structures": (lambda: pa.array([{"a": 1}, None]), {"number": [INVALID, None], "time": [INVALID, None]}),
    "nothing": (lambda: pa.array([None, None]), {kind: [None, None] for kind in COLUMN_TYPES}),
}


@pytest.mark.parametrize("name", PARQUET)
def test_parquet_column(tmp_path: Path, name: str) -> None:
    make, expected = PARQUET[name]
    column = through_parquet(tmp_path, make())
    assert {kind: cast_cells(column, kind, column.dtype) for kind in expected} == expected


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_every_unit(unit: str) -> None:
    column = pd.Series(pd.to_datetime(["2020-01-01T10:00:00", None])).astype(f"datetime64[{unit}]")
    assert cast_cells(column, "time", column.dtype) == [utc(2020, 1, 1, 10), None]


@given(st.data())
@settings(deadline=None, max_examples=25)
def test_cast_is_idempotent(data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.sampled_from(UNUSUAL_CELLS) | st.none() | st.text(max_size=4)))
    frame = pd.DataFrame({kind: pd.Series(cells, dtype=TEXT_DTYPE) for kind in COLUMN_TYPES})
    once, _ = cast_columns(frame, {kind: kind for kind in COLUMN_TYPES})
    twice, invalid_masks = cast_columns(once, {kind: kind for kind in COLUMN_TYPES})
    pd.testing.assert_frame_equal(once, twice, check_exact=True)
    assert invalid_masks == {}


# --- the table ----------------------------------------------------------------------------------------------------


def test_only_columns_with_invalid_cells_have_a_mask_and_index_is_kept() -> None:
    cells = {"a": ["1", "x", None], "b": ["1", "2", None], "c": ["?", "", "-"], "unnamed": ["p", "q", "r"]}
    frame = pd.DataFrame(cells, index=[7, 7, 3], dtype=TEXT_DTYPE)
    typed, invalid_masks = cast_columns(frame, {"c": "epoch", "a": "integer", "b": "number"})
    assert typed.columns.tolist() == ["c", "a", "b"]
    assert typed.index.tolist() == [7, 7, 3]
    assert {c: mask.tolist() for c, mask in invalid_masks.items()} == {
        "a": [False, True, False],
        "c": [True] * 3,
    }
    assert all(mask.dtype == bool for mask in invalid_masks.values())


def test_table_without_rows_is_typed() -> None:
    typed, invalid_masks = cast_columns(
        pd.DataFrame(columns=list(COLUMN_TYPES)), {kind: kind for kind in COLUMN_TYPES}
    )
    assert dict(typed.dtypes) == TYPES
    assert invalid_masks == {}


def test_changing_the_typed_table_does_not_change_the_input() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": pd.Series(["x", "y"], dtype=TEXT_DTYPE)})
    typed, _ = cast_columns(frame, {"a": "number", "b": "category"})
    typed.loc[0, "a"], typed.loc[0, "b"] = 9.0, "z"
    assert frame["a"].tolist() == [1.0, 2.0]
    assert frame["b"].tolist() == ["x", "y"]


def test_unknown_type_or_column_raises() -> None:
    frame = pd.DataFrame({"a": ["1"]})
    for kinds in ({"a": "text"}, {"b": "number"}):
        with pytest.raises(KeyError):
            cast_columns(frame, kinds)

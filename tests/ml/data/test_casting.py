"""What a cell becomes, and that it hangs on no other cell; a misfit is told, and what was typed stays as it is."""

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

from ml.contract.schema import COLUMN_TYPES
from ml.data.casting import EXACT, TEXT, cast

MISFIT = "a misfit"
TYPES = {"number": "float64", "integer": "float64", "category": TEXT, "time": "M8[us]", "epoch": "M8[us]"}


def become(cells: Any, kind: str, dtype: Any = TEXT) -> list[Any]:
    """What cells become, None where they are missing; as text unless said otherwise."""
    column = pd.Series(cells, dtype=dtype)
    typed, misfits = cast(column.to_frame("c"), {"c": kind})
    assert typed["c"].dtype == TYPES[kind]
    mask = misfits.get("c", np.zeros(len(column), dtype=bool))
    found = typed["c"].astype(object).where(typed["c"].notna(), None).tolist()
    assert not [cell for cell, misfit in zip(found, mask, strict=True) if misfit and cell is not None]
    return [MISFIT if misfit else cell for cell, misfit in zip(found, mask, strict=True)]


def utc(*parts: int) -> pd.Timestamp:
    return pd.Timestamp(datetime(*parts))  # type: ignore[arg-type]


# --- text, as it comes from a CSV file ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "number"),
    [("1", 1.0), (" 7 ", 7.0), ("+3", 3.0), ("1.", 1.0), (".5", 0.5), ("-2.5e3", -2500.0), ("1e-400", 0.0)],
)
def test_a_number_may_be_written_in_several_ways(cell: str, number: float) -> None:
    assert become([cell], "number") == [number]


NO_NUMBERS = ["", "-", "one", "1,5", "1_000", "0x10", "1 2", "True", "nan", "NA", "2020-01-01", "1\0"]
NOT_FINITE = ["inf", "-inf", "Infinity", "1e400"]


@pytest.mark.parametrize("cell", NO_NUMBERS + NOT_FINITE)
def test_what_is_no_finite_number_is_a_misfit(cell: str) -> None:
    for kind in ("number", "integer", "epoch"):
        assert become(["1", cell, None], kind)[1:] == [MISFIT, None]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
@settings(deadline=None, max_examples=50)
def test_numbers_are_read_to_the_last_bit(numbers: list[float]) -> None:
    assert become([repr(number) for number in numbers], "number") == numbers


@given(st.lists(st.integers(-(2**70), 2**70) | st.integers(2**53 - 3, 2**53 + 3), min_size=1))
@settings(deadline=None, max_examples=50)
def test_a_whole_number_is_exact_or_a_misfit(numbers: list[int]) -> None:
    expected = [number if abs(number) < EXACT else MISFIT for number in numbers]
    assert become([str(number) for number in numbers], "integer") == expected


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_whole_numbers_that_float64_would_blend_are_misfits(dtype: str) -> None:
    cells = [2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1]
    assert become(cells, "integer", dtype) == [2**53 - 1, MISFIT, MISFIT, MISFIT]


def test_an_integer_is_whole() -> None:
    cells = ["1.0", "-3", "1e3", "1.5", "0.999", None]
    assert become(cells, "integer") == [1.0, -3.0, 1000.0, MISFIT, MISFIT, None]


@given(st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=1))
@settings(deadline=None, max_examples=50)
def test_a_code_is_one_category_as_text_integer_and_float(codes: list[int]) -> None:
    written = [str(code) for code in codes]
    for dtype in (TEXT, "int64", "float64"):
        assert become(codes, "category", dtype) == written
    assert become([*codes, None], "category", "float64") == [*written, None]


@given(st.lists(st.none() | st.text()))
@settings(deadline=None, max_examples=50)
def test_a_category_of_text_is_that_text(cells: list[str | None]) -> None:
    assert become(cells, "category") == cells


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
def test_times_of_iso_8601_in_utc(cell: str, instant: pd.Timestamp) -> None:
    assert become([cell], "time") == [instant]


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
def test_what_is_no_time_of_iso_8601_is_a_misfit(cell: str) -> None:
    assert become(["2020", cell, None], "time") == [utc(2020, 1, 1), MISFIT, None]


ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INSTANTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.none() | ZONES)


@given(st.lists(st.tuples(INSTANTS, st.sampled_from(["", "0", "999", "123456"])), min_size=1))
@settings(deadline=None, max_examples=50)
def test_times_agree_with_the_standard_library(instants: list[tuple[datetime, str]]) -> None:
    """Digits below the microsecond are cut off, whatever there are of them."""
    written, expected = [], []
    for instant, digits in instants:
        text = instant.isoformat(timespec="microseconds")
        written.append(text[:26] + digits + text[26:])
        in_utc = instant.astimezone(UTC) if instant.tzinfo else instant
        expected.append(pd.Timestamp(in_utc.replace(tzinfo=None)))
    assert become(written, "time") == expected


def test_seconds_since_1970() -> None:
    cells = ["0", "1577836800", "1577836800.5", "-86400", None]
    expected = [utc(1970, 1, 1), utc(2020, 1, 1), utc(2020, 1, 1, 0, 0, 0, 500000), utc(1969, 12, 31), None]
    assert become(cells, "epoch") == expected


@pytest.mark.parametrize("cell", ["1577836800000", "1577836800000000", "-8800000000", "now", "2020-01-01"])
def test_milliseconds_and_words_are_no_seconds(cell: str) -> None:
    assert become(["1", cell], "epoch") == [utc(1970, 1, 1, 0, 0, 1), MISFIT]


@given(st.lists(st.integers(-8_799_999_999, 8_799_999_999), min_size=1))
@settings(deadline=None, max_examples=50)
def test_seconds_agree_with_the_standard_library(seconds: list[int]) -> None:
    start = datetime(1970, 1, 1)
    assert become(seconds, "epoch", "int64") == [pd.Timestamp(start + timedelta(seconds=s)) for s in seconds]


# --- a cell's fate is its own ------------------------------------------------------------------------------------

ODD = [
    *NO_NUMBERS,
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
def test_what_a_cell_of_text_becomes_hangs_on_no_other(kind: str, data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.sampled_from(ODD) | st.none() | st.text(max_size=4), max_size=8))
    assert become(cells, kind) == [become([cell], kind)[0] for cell in cells]


TYPED: dict[str, st.SearchStrategy[Any]] = {
    "float64": st.floats() | st.sampled_from([1.0, -0.0, 2.0**53, 1577836800.0]) | st.none(),
    "int64": st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3),
    "uint64": st.integers(0, 2**64 - 1),
    "bool": st.booleans(),
    "datetime64[ns]": st.integers(-(10**15), 10**15).map(lambda t: t * 10**3)
    | st.sampled_from([0, -(2**63)]),
    "timedelta64[s]": st.integers(0, 10**6) | st.just(86400),
    "object": st.none() | st.booleans() | st.dates() | st.sampled_from([b"1", b"\xff", Decimal("1.50"), [1]]),
}


@pytest.mark.parametrize("dtype", TYPED)
@given(st.data())
@settings(deadline=None, max_examples=15)
def test_what_a_typed_cell_becomes_hangs_on_no_other(dtype: str, data: st.DataObject) -> None:
    cells = data.draw(st.lists(TYPED[dtype], max_size=6))
    for kind in COLUMN_TYPES:
        assert become(cells, kind, dtype) == [become([cell], kind, dtype)[0] for cell in cells]


# --- columns that were typed before --------------------------------------------------------------------------------


def in_parquet(folder: Path, array: pa.Array) -> pd.Series:
    """The column as a Parquet file gives it back without pandas' own notes."""
    pq.write_table(pa.table({"c": array}), folder / "c.parquet")
    return pq.read_table(folder / "c.parquet").to_pandas(ignore_metadata=True)["c"]


NOON = datetime(2020, 1, 1, 12, 0, 0, 5)
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
            "time": [MISFIT, None, utc(2020, 1, 1)],
        },
    ),
    "numbers": (
        lambda: pa.array([1.0, 2.5, float("inf"), float("nan"), None, -0.0, 1e300]),
        {
            "number": [1.0, 2.5, MISFIT, None, None, 0.0, 1e300],
            "integer": [1.0, MISFIT, MISFIT, None, None, 0.0, MISFIT],
            "category": ["1", "2.5", "inf", None, None, "0", "1e+300"],
        },
    ),
    "short numbers": (lambda: pa.array([1.0, 0.1], pa.float32()), {"category": ["1", "0.1"]}),
    "decimals": (
        lambda: pa.array([Decimal("1.50"), None]),
        {"number": [1.5, None], "integer": [MISFIT, None], "category": ["1.50", None]},
    ),
    "truth values": (
        lambda: pa.array([True, False, None]),
        {"number": [1.0, 0.0, None], "integer": [1.0, 0.0, None], "category": ["True", "False", None]},
    ),
    "text": (lambda: pa.array(["1", "x", None]), {"number": [1.0, MISFIT, None]}),
    "a dictionary": (
        lambda: pa.array(["1", "x", "1", None]).dictionary_encode(),
        {
            "number": [1.0, MISFIT, 1.0, None],
            "category": ["1", "x", "1", None],
            "time": [MISFIT, MISFIT, MISFIT, None],
        },
    ),
    "bytes": (
        lambda: pa.array([b"1", "Ä".encode(), b"\xc4", None]),
        {
            "number": [1.0, MISFIT, MISFIT, None],
            "category": ["1", "Ä", MISFIT, None],
            "time": [MISFIT] * 3 + [None],
        },
    ),
    "instants": (
        lambda: pa.array([NOON, None, datetime(2020, 1, 2)], pa.timestamp("us")),
        {
            "time": [NOON, None, utc(2020, 1, 2)],
            "epoch": [NOON, None, utc(2020, 1, 2)],
            "category": ["2020-01-01 12:00:00.000005", None, "2020-01-02 00:00:00"],
            "number": [MISFIT, None, MISFIT],
            "integer": [MISFIT, None, MISFIT],
        },
    ),
    "instants of a zone": (
        lambda: pa.array([NOON, None], pa.timestamp("ns", "+02:00")),
        {"time": [NOON, None], "epoch": [NOON, None], "number": [MISFIT, None]},
    ),
    "days": (
        lambda: pa.array([date(2020, 2, 29), None]),
        {"time": [utc(2020, 2, 29), None], "category": ["2020-02-29", None], "number": [MISFIT, None]},
    ),
    "durations": (
        lambda: pa.array([timedelta(1)]),
        {"number": [MISFIT], "time": [MISFIT], "epoch": [MISFIT]},
    ),
    "lists": (lambda: pa.array([[1], None]), {"number": [MISFIT, None], "time": [MISFIT, None]}),
    "structures": (lambda: pa.array([{"a": 1}, None]), {"number": [MISFIT, None], "time": [MISFIT, None]}),
    "nothing": (lambda: pa.array([None, None]), {kind: [None, None] for kind in COLUMN_TYPES}),
}


@pytest.mark.parametrize("name", PARQUET)
def test_a_column_of_a_parquet_file(tmp_path: Path, name: str) -> None:
    make, expected = PARQUET[name]
    column = in_parquet(tmp_path, make())
    assert {kind: become(column, kind, column.dtype) for kind in expected} == expected


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_instants_of_every_unit(unit: str) -> None:
    column = pd.Series(pd.to_datetime(["2020-01-01T10:00:00", None])).astype(f"datetime64[{unit}]")
    assert become(column, "time", column.dtype) == [utc(2020, 1, 1, 10), None]


@given(st.data())
@settings(deadline=None, max_examples=25)
def test_what_was_cast_stays_as_it_is(data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.sampled_from(ODD) | st.none() | st.text(max_size=4)))
    frame = pd.DataFrame({kind: pd.Series(cells, dtype=TEXT) for kind in COLUMN_TYPES})
    once, _ = cast(frame, {kind: kind for kind in COLUMN_TYPES})
    twice, misfits = cast(once, {kind: kind for kind in COLUMN_TYPES})
    pd.testing.assert_frame_equal(once, twice, check_exact=True)
    assert misfits == {}


# --- the table ----------------------------------------------------------------------------------------------------


def test_only_columns_with_misfits_have_a_mask_and_rows_keep_their_names() -> None:
    cells = {"a": ["1", "x", None], "b": ["1", "2", None], "c": ["?", "", "-"], "unnamed": ["p", "q", "r"]}
    frame = pd.DataFrame(cells, index=[7, 7, 3], dtype=TEXT)
    typed, misfits = cast(frame, {"c": "epoch", "a": "integer", "b": "number"})
    assert typed.columns.tolist() == ["c", "a", "b"]
    assert typed.index.tolist() == [7, 7, 3]
    assert {c: mask.tolist() for c, mask in misfits.items()} == {"a": [False, True, False], "c": [True] * 3}
    assert all(mask.dtype == bool for mask in misfits.values())


def test_a_table_without_rows_is_typed_too() -> None:
    typed, misfits = cast(pd.DataFrame(columns=list(COLUMN_TYPES)), {kind: kind for kind in COLUMN_TYPES})
    assert dict(typed.dtypes) == TYPES
    assert misfits == {}


def test_a_change_of_the_typed_table_leaves_the_cells_as_they_came() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": pd.Series(["x", "y"], dtype=TEXT)})
    typed, _ = cast(frame, {"a": "number", "b": "category"})
    typed.loc[0, "a"], typed.loc[0, "b"] = 9.0, "z"
    assert frame["a"].tolist() == [1.0, 2.0]
    assert frame["b"].tolist() == ["x", "y"]


def test_an_unknown_kind_or_column_is_an_error() -> None:
    frame = pd.DataFrame({"a": ["1"]})
    for kinds in ({"a": "text"}, {"b": "number"}):
        with pytest.raises(KeyError):
            cast(frame, kinds)

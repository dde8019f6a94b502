"""Declared features have the known answers, in a batch and in single rows, and nothing that is not finite."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from ml.contract.declared_features import KINDS, DeclaredFeature
from ml.features.declared import compute_declared, describe

A = [6.0, 1.0, np.nan, 1e308, -98.0]
B = [3.0, 0.0, 2.0, 1e-308, 2.0]
START = pd.to_datetime(
    ["2024-01-01", "2024-02-29T23:59:59", None, "2024-12-29T12:00", "1969-12-31T18:00"], format="ISO8601"
)
END = pd.to_datetime(
    ["2024-01-02T12:00", "2024-02-29", "2024-01-01", "2024-12-29T12:00", "1970-01-01"], format="ISO8601"
)
FRAME = pd.DataFrame({"a": A, "b": B, "start": START, "end": END, "town": ["x", None, "y", "", "z"]})


def compute(kind: str, *columns: str, codes: tuple[float, ...] = ()) -> list[float]:
    declared = {"new": DeclaredFeature(kind=kind, columns=columns)}  # type: ignore[arg-type]
    frame = compute_declared(FRAME, declared, {"a": codes} if codes else {})
    assert frame["new"].dtype == np.float64
    return [None if np.isnan(value) else value for value in frame["new"].tolist()]


@pytest.mark.parametrize(
    ("kind", "columns", "expected"),
    [
        ("ratio", ("a", "b"), [2, None, None, None, -49]),
        ("difference", ("a", "b"), [3, 1, None, 1e308, -100]),
        ("product", ("a", "b"), [18, 0, None, 1, -196]),
        ("days_between", ("start", "end"), [1.5, -86399 / 86400, None, 0, 0.25]),
        ("hour", ("start",), [0, 23, None, 12, 18]),
        ("weekday", ("start",), [1, 4, None, 7, 3]),
        ("month", ("start",), [1, 2, None, 12, 12]),
        ("missing", ("a",), [0, 0, 1, 0, 0]),
        ("missing", ("start",), [0, 0, 1, 0, 0]),
        ("missing", ("town",), [0, 1, 0, 0, 0]),
    ],
)
def test_each_kind_has_the_known_answer(kind: str, columns: tuple[str, ...], expected: list[Any]) -> None:
    assert compute(kind, *columns) == pytest.approx(expected)


def test_sentinel_values_are_no_quantities() -> None:
    assert compute("difference", "a", "b", codes=(-98.0,))[-1] is None
    assert compute("missing", "a", codes=(-98.0,)) == [0, 0, 1, 0, 1]


def test_a_description_names_the_columns_of_every_kind() -> None:
    for kind, (count, _) in KINDS.items():
        columns = ("debt", "income")[:count]
        assert all(column in describe(kind, columns) for column in columns)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match=r"without \['a'\]"):
        compute_declared(
            FRAME.drop(columns="a"), {"r": DeclaredFeature(kind="ratio", columns=("a", "b"))}, {}
        )


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_have_one_answer_in_every_unit_and_zone(unit: str) -> None:
    declared = {
        "days": DeclaredFeature(kind="days_between", columns=("start", "end")),
        "hour": DeclaredFeature(kind="hour", columns=("start",)),
    }
    expected = compute_declared(FRAME, declared, {})
    other = FRAME.assign(**{c: FRAME[c].astype(f"datetime64[{unit}]") for c in ("start", "end")})
    assert_frame_equal(compute_declared(other, declared, {}), expected)
    zoned = FRAME.assign(start=FRAME["start"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    assert_frame_equal(compute_declared(zoned, declared, {}), expected)


@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=20))
def test_arithmetic_is_finite_or_missing_and_the_same_for_single_rows(
    pairs: list[tuple[float, float]],
) -> None:
    frame = pd.DataFrame(pairs, columns=["a", "b"])
    declared = {k: DeclaredFeature(kind=k, columns=("a", "b")) for k in ("ratio", "difference", "product")}  # type: ignore[arg-type]
    batch = compute_declared(frame, declared, {})
    assert not np.isinf(batch.to_numpy()).any()
    single = pd.concat([compute_declared(frame.iloc[[n]], declared, {}) for n in range(len(frame))])
    assert_frame_equal(batch, single)

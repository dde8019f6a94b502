"""A part is taken apart row by row, and comes back whole from a Parquet file."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_series_equal

from ml.data.dataset import Dataset

names = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["x:", "about:", "truth", "unit", "x:x:a", "about:x:truth", "a:b", "x:\n"]
)
columns = st.lists(names, max_size=4, unique=True)
floats = st.floats(allow_nan=True, allow_infinity=True)
texts = st.none() | st.text(st.characters(codec="utf-8"), max_size=4)


@st.composite
def tabular(draw: st.DrawFn) -> Dataset:
    """Any names, numbers and texts, some of them missing."""
    rows = draw(st.integers(0, 5))

    def table(of: list[str]) -> pd.DataFrame:
        def cells(kind: st.SearchStrategy[object], dtype: str) -> pd.Series:
            return pd.Series(draw(st.lists(kind, min_size=rows, max_size=rows)), dtype=dtype)

        kinds = [draw(st.booleans()) for _ in of]
        series = [cells(floats, "float64") if number else cells(texts, "str") for number in kinds]
        return pd.DataFrame(dict(zip(of, series, strict=True)), index=range(rows))

    units = draw(st.lists(st.integers(0, 2**64 - 1), min_size=rows, max_size=rows))
    truth = pd.Series(draw(st.lists(floats, min_size=rows, max_size=rows)), dtype="float64")
    return Dataset(table(draw(columns)), truth, np.array(units, dtype=np.uint64), table(draw(columns)))


def through_parquet(part: Dataset) -> Dataset:
    """As the store writes and reads it."""
    file = BytesIO()
    part.to_table().to_parquet(file, index=False)
    return Dataset.from_table(pd.read_parquet(file))


def assert_same(part: Dataset, expected: Dataset) -> None:
    for found, wanted in ((part.frame, expected.frame), (part.metadata, expected.metadata)):
        assert list(found.columns) == list(wanted.columns)
        assert_frame_equal(
            found.set_axis(range(found.shape[1]), axis=1), wanted.set_axis(range(wanted.shape[1]), axis=1)
        )
    assert_series_equal(part.truth, expected.truth, check_names=False)
    np.testing.assert_array_equal(part.units, expected.units)
    assert part.units.dtype == np.uint64


@settings(max_examples=60, deadline=None)
@given(tabular())
def test_a_table_becomes_the_part_again_whatever_its_columns_are_called(part: Dataset) -> None:
    assert_same(Dataset.from_table(part.to_table()), part)
    assert_same(through_parquet(part), part)


@settings(max_examples=60, deadline=None)
@given(tabular(), st.data())
def test_rows_are_taken_by_position_all_sides_together(part: Dataset, data: st.DataObject) -> None:
    """Some rows of some rows are those rows of the whole, in the order wanted, as often as wanted."""
    rows = len(part.frame)
    some = st.lists(st.integers(0, max(rows - 1, 0)), max_size=6 if rows else 0)
    first = np.array(data.draw(some), dtype=np.int64)
    again = np.array(data.draw(st.permutations(range(len(first)))), dtype=np.int64)
    taken = part.take(first).take(again)
    assert taken.frame.index.tolist() == first[again].tolist()
    by_table = part.to_table().iloc[first[again]]
    assert_same(taken, Dataset.from_table(by_table))
    assert_same(part.take(np.arange(rows)), part)


def test_rows_are_taken_by_position_also_under_another_index() -> None:
    index = [30, 10, 20]
    frame, about = pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index), pd.DataFrame({"id": ["A", "B", "C"]}, index)
    part = Dataset(frame, pd.Series([0.1, 0.2, 0.3], index), np.array([7, 8, 9], dtype=np.uint64), about)
    taken = part.take(np.array([2, 0]))
    assert taken.frame["a"].tolist() == [3.0, 1.0]
    assert taken.truth.tolist() == [0.3, 0.1]
    assert taken.units.tolist() == [9, 7]
    assert taken.metadata["id"].tolist() == ["C", "A"]
    assert_same(Dataset.from_table(taken.to_table()), taken)


lists = st.lists(st.lists(st.sampled_from(["a", "b:c", "é", ""]), max_size=4), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(lists, st.booleans())
def test_histories_come_back_from_parquet(items: list[list[str]], learning: bool) -> None:
    """Lists come back as arrays with the same elements; also where all of them are empty."""
    frame = pd.DataFrame(
        {
            "user": pd.Series([f"u{n}" for n in range(len(items))], dtype="str"),
            "items": pd.Series(items, dtype=object),
            "times": pd.Series([[float(n) for n in range(len(i))] for i in items], dtype=object),
            "weights": pd.Series([[n + 0.5 for n in range(len(i))] for i in items], dtype=object),
        }
    )
    truth = pd.Series([[]] * len(items) if learning else items[::-1], dtype=object)
    part = Dataset(frame, truth, np.arange(len(items), dtype=np.uint64))
    back = through_parquet(part)
    assert back.frame["user"].tolist() == frame["user"].tolist()
    assert back.frame["items"].map(list).tolist() == items
    assert back.frame["times"].map(list).tolist() == frame["times"].tolist()
    assert back.frame["weights"].map(list).tolist() == frame["weights"].tolist()
    assert back.truth.map(list).tolist() == truth.tolist()
    assert back.metadata.shape == (len(items), 0)


def test_a_part_without_facts_can_be_taken_from() -> None:
    part = Dataset(pd.DataFrame({"a": [1.0, 2.0]}), pd.Series([0.0, 1.0]), np.arange(2, dtype=np.uint64))
    taken = part.take(np.array([1, 1]))
    assert taken.frame["a"].tolist() == [2.0, 2.0]
    assert taken.metadata.empty
    assert Dataset.from_table(taken.to_table()).truth.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("side", ["truth", "about"])
def test_sides_of_another_index_are_refused_before_their_cells_go_missing(side: str) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=[5, 6])
    same = {"truth": pd.Series([0.0, 1.0], [5, 6]), "about": pd.DataFrame({"id": ["A", "B"]}, [5, 6])}
    units = np.arange(2, dtype=np.uint64)
    assert not Dataset(frame, units=units, **same).to_table().isna().any(axis=None)
    for index in ([6, 5], [0, 1]):
        odd = Dataset(frame, units=units, **{**same, side: same[side].set_axis(index)})
        with pytest.raises(ValueError, match="one index of frame, truth and about"):
            odd.to_table()

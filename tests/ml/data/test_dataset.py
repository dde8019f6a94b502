"""Selecting rows of a dataset, and storing it as a Parquet table."""

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
    """Draw a dataset with any column names, numbers and texts, some of them missing."""
    rows = draw(st.integers(0, 5))

    def table(names: list[str]) -> pd.DataFrame:
        def cells(values: st.SearchStrategy[object], dtype: str) -> pd.Series:
            return pd.Series(draw(st.lists(values, min_size=rows, max_size=rows)), dtype=dtype)

        is_number = [draw(st.booleans()) for _ in names]
        series = [cells(floats, "float64") if number else cells(texts, "str") for number in is_number]
        return pd.DataFrame(dict(zip(names, series, strict=True)), index=range(rows))

    units = draw(st.lists(st.integers(0, 2**64 - 1), min_size=rows, max_size=rows))
    truth = pd.Series(draw(st.lists(floats, min_size=rows, max_size=rows)), dtype="float64")
    return Dataset(table(draw(columns)), truth, np.array(units, dtype=np.uint64), table(draw(columns)))


def through_parquet(dataset: Dataset) -> Dataset:
    """Write and read the dataset as the store does."""
    file = BytesIO()
    dataset.to_table().to_parquet(file, index=False)
    return Dataset.from_table(pd.read_parquet(file))


def assert_same(dataset: Dataset, expected: Dataset) -> None:
    for left, right in ((dataset.frame, expected.frame), (dataset.metadata, expected.metadata)):
        assert list(left.columns) == list(right.columns)
        assert_frame_equal(
            left.set_axis(range(left.shape[1]), axis=1), right.set_axis(range(right.shape[1]), axis=1)
        )
    assert_series_equal(dataset.truth, expected.truth, check_names=False)
    np.testing.assert_array_equal(dataset.units, expected.units)
    assert dataset.units.dtype == np.uint64


@settings(max_examples=60, deadline=None)
@given(tabular())
def test_table_round_trip_with_any_column_names(dataset: Dataset) -> None:
    assert_same(Dataset.from_table(dataset.to_table()), dataset)
    assert_same(through_parquet(dataset), dataset)


@settings(max_examples=60, deadline=None)
@given(tabular(), st.data())
def test_take_selects_rows_of_all_fields_by_position(dataset: Dataset, data: st.DataObject) -> None:
    """Rows are returned in the given order, and as often as given; selections can be chained."""
    rows = len(dataset.frame)
    some = st.lists(st.integers(0, max(rows - 1, 0)), max_size=6 if rows else 0)
    first = np.array(data.draw(some), dtype=np.int64)
    again = np.array(data.draw(st.permutations(range(len(first)))), dtype=np.int64)
    taken = dataset.take(first).take(again)
    assert taken.frame.index.tolist() == first[again].tolist()
    by_table = dataset.to_table().iloc[first[again]]
    assert_same(taken, Dataset.from_table(by_table))
    assert_same(dataset.take(np.arange(rows)), dataset)


def test_take_uses_positions_not_index_labels() -> None:
    index = [30, 10, 20]
    frame, metadata = (
        pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index),
        pd.DataFrame({"id": ["A", "B", "C"]}, index),
    )
    dataset = Dataset(
        frame, pd.Series([0.1, 0.2, 0.3], index), np.array([7, 8, 9], dtype=np.uint64), metadata
    )
    taken = dataset.take(np.array([2, 0]))
    assert taken.frame["a"].tolist() == [3.0, 1.0]
    assert taken.truth.tolist() == [0.3, 0.1]
    assert taken.units.tolist() == [9, 7]
    assert taken.metadata["id"].tolist() == ["C", "A"]
    assert_same(Dataset.from_table(taken.to_table()), taken)


lists = st.lists(st.lists(st.sampled_from(["a", "b:c", "é", ""]), max_size=4), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(lists, st.booleans())
def test_histories_round_trip_through_parquet(items: list[list[str]], training: bool) -> None:
    """Lists are read as arrays with the same elements, even if all of them are empty."""
    frame = pd.DataFrame(
        {
            "user": pd.Series([f"u{n}" for n in range(len(items))], dtype="str"),
            "items": pd.Series(items, dtype=object),
            "times": pd.Series([[float(n) for n in range(len(i))] for i in items], dtype=object),
            "weights": pd.Series([[n + 0.5 for n in range(len(i))] for i in items], dtype=object),
        }
    )
    truth = pd.Series([[]] * len(items) if training else items[::-1], dtype=object)
    dataset = Dataset(frame, truth, np.arange(len(items), dtype=np.uint64))
    back = through_parquet(dataset)
    assert back.frame["user"].tolist() == frame["user"].tolist()
    assert back.frame["items"].map(list).tolist() == items
    assert back.frame["times"].map(list).tolist() == frame["times"].tolist()
    assert back.frame["weights"].map(list).tolist() == frame["weights"].tolist()
    assert back.truth.map(list).tolist() == truth.tolist()
    assert back.metadata.shape == (len(items), 0)


def test_take_without_metadata() -> None:
    dataset = Dataset(pd.DataFrame({"a": [1.0, 2.0]}), pd.Series([0.0, 1.0]), np.arange(2, dtype=np.uint64))
    taken = dataset.take(np.array([1, 1]))
    assert taken.frame["a"].tolist() == [2.0, 2.0]
    assert taken.metadata.empty
    assert Dataset.from_table(taken.to_table()).truth.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("field", ["truth", "metadata"])
def test_to_table_rejects_fields_with_another_index(field: str) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=[5, 6])
    fields = {"truth": pd.Series([0.0, 1.0], [5, 6]), "metadata": pd.DataFrame({"id": ["A", "B"]}, [5, 6])}
    units = np.arange(2, dtype=np.uint64)
    assert not Dataset(frame, units=units, **fields).to_table().isna().any(axis=None)
    for index in ([6, 5], [0, 1]):
        misaligned = Dataset(frame, units=units, **{**fields, field: fields[field].set_axis(index)})
        with pytest.raises(ValueError, match="one index of frame, truth and metadata"):
            misaligned.to_table()

"""Rows that stop a fit: stratified, whole units, independent of the order of rows."""

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.data.stopping_rows import stopping_split
from ml.data.target import Target


def table(truth: np.ndarray, units: np.ndarray) -> Dataset:
    frame = pd.DataFrame({"x": np.arange(len(truth), dtype=float)})
    return Dataset(frame, pd.Series(truth, dtype="float64"), units.astype(np.uint64))


@pytest.mark.parametrize(("target", "classes"), [("binary", 2), ("multiclass", 4), ("numeric", 50)])
def test_a_fifth_is_set_aside_with_its_share_of_each_class(target: Target, classes: int) -> None:
    truth = np.repeat(np.arange(classes), 100)
    rows = table(truth, np.arange(len(truth)) * 977)
    fitted, stopping = stopping_split(rows, target, 3)
    assert sorted([*fitted, *stopping]) == list(range(len(truth)))
    assert len(stopping) == len(truth) // 5
    if target != "numeric":
        assert set(np.bincount(truth[stopping])) == {20}


def test_units_are_not_divided_and_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    units = rng.integers(0, 120, 600)
    rows = table(rng.integers(0, 2, 600), units)
    fitted, stopping = stopping_split(rows, "binary", 1)
    assert not set(units[fitted]) & set(units[stopping])
    assert 60 < len(stopping) <= 120
    order = rng.permutation(600)
    shuffled = stopping_split(rows.take(order), "binary", 1)[1]
    assert set(order[shuffled]) == set(stopping)
    assert set(stopping_split(rows, "binary", 2)[1]) != set(stopping)


def test_large_tables_set_five_thousand_rows_aside() -> None:
    truth = np.tile([0, 0, 0, 1], 25_000)
    stopping = stopping_split(table(truth, np.arange(100_000)), "binary", 0)[1]
    assert len(stopping) == 5000
    assert truth[stopping].sum() == 1250


@pytest.mark.parametrize(
    ("truth", "units", "fitted", "stopping"),
    [
        # One positive: it stays among the rows to fit to.
        ([0, 0, 0, 1], [1, 2, 3, 4], 3, 1),
        # One unit has all rows, so rows are divided.
        ([0, 0, 0, 0, 1, 1], [7, 7, 7, 7, 7, 7], 4, 2),
        # Nothing can be set aside, so all rows serve for both.
        ([0, 1], [1, 2], 2, 2),
    ],
)
def test_tables_that_hardly_can_be_divided(
    truth: list[int], units: list[int], fitted: int, stopping: int
) -> None:
    parts = stopping_split(table(np.array(truth), np.array(units)), "binary", 0)
    assert [len(part) for part in parts] == [fitted, stopping]
    assert np.array(truth)[parts[0]].any()

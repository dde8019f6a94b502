"""Folds: whole units, stratified classes, and an error where that is not possible."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.data.folds import assign_folds, max_folds


def units(*sizes: int) -> np.ndarray:
    return np.repeat(np.arange(len(sizes), dtype=np.uint64) * 17, sizes)


def counts(fold: np.ndarray, truth: np.ndarray, folds: int) -> np.ndarray:
    """Count rows by fold and class, shape (folds, 2)."""
    return np.stack([np.bincount(fold[truth == label], minlength=folds) for label in (0, 1)], axis=1)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.lists(st.booleans(), min_size=1, max_size=6)), max_size=40),
    st.integers(2, 5),
    st.integers(0, 3),
)
@settings(deadline=None, max_examples=200)
def test_units_stay_whole_and_folds_have_both_classes_if_possible(
    groups: list[tuple[int, list[bool]]], folds: int, seed: int
) -> None:
    unit_of_row = np.repeat(np.arange(len(groups), dtype=np.uint64), [len(rows) for _, rows in groups])
    truth = np.array([float(label) for _, rows in groups for label in rows])
    if truth.min(initial=1) == truth.max(initial=0) or max_folds(unit_of_row, truth) < folds:
        return
    fold = assign_folds(unit_of_row, truth, folds, seed)
    assert all(len(np.unique(fold[unit_of_row == unit])) == 1 for unit in unit_of_row)
    assert counts(fold, truth, folds).min() > 0
    shuffled = np.random.default_rng(seed).permutation(len(unit_of_row))
    np.testing.assert_array_equal(
        assign_folds(unit_of_row[shuffled], truth[shuffled], folds, seed), fold[shuffled]
    )


def test_single_row_units_are_stratified_exactly_and_depend_on_the_seed() -> None:
    truth = (np.arange(1003) % 7 == 0).astype(float)
    first, second = (assign_folds(np.arange(1003, dtype=np.uint64), truth, 5, seed) for seed in (0, 1))
    assert np.ptp(counts(first, truth, 5), axis=0).tolist() == [1, 1]
    assert (first != second).mean() > 0.7


def test_large_unit_is_alone_in_its_fold() -> None:
    unit_of_row = units(500, *[1] * 500)
    truth = (np.arange(1000) % 2).astype(float)
    fold = assign_folds(unit_of_row, truth, 5, seed=0)
    fold_of_large_unit = fold[0]
    assert counts(fold, truth, 5)[fold_of_large_unit].tolist() == [250, 250]
    assert (
        counts(
            np.delete(fold, fold == fold_of_large_unit), np.delete(truth, fold == fold_of_large_unit), 5
        ).max()
        <= 63
    )


def test_units_of_both_classes_are_spread_over_folds() -> None:
    # Balancing fold_of_large_unit would place both mixed units in the fold without the large unit of positives.
    unit_of_row, truth = units(10, 2, 2), np.array([1.0] * 10 + [0.0, 1.0, 0.0, 1.0])
    assert counts(assign_folds(unit_of_row, truth, 2, seed=0), truth, 2).min() > 0


def test_constant_truth_is_not_stratified() -> None:
    fold = assign_folds(units(*[3] * 10), np.zeros(30), 5, seed=0)
    assert np.bincount(fold).tolist() == [6] * 5


@pytest.mark.parametrize(
    ("unit_of_row", "folds"), [(units(5, 5), 2), (units(*[1] * 10), 3), (units(*[1] * 10), 1)]
)
def test_too_few_units_of_a_class_raise(unit_of_row: np.ndarray, folds: int) -> None:
    truth = np.zeros(10)
    truth[[0, 1]] = 1.0
    with pytest.raises(ValueError, match=rf"got {folds} folds of units for [12]; use fewer folds or more"):
        assign_folds(unit_of_row, truth, folds, seed=0)

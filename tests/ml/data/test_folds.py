"""Inner folds: whole units, spread classes, and clear words where that cannot be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.data.folds import assign_folds, most_folds


def units(*sizes: int) -> np.ndarray:
    return np.repeat(np.arange(len(sizes), dtype=np.uint64) * 17, sizes)


def counts(fold: np.ndarray, truth: np.ndarray, folds: int) -> np.ndarray:
    """Rows by fold and class, shape (folds, 2)."""
    return np.stack([np.bincount(fold[truth == label], minlength=folds) for label in (0, 1)], axis=1)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.lists(st.booleans(), min_size=1, max_size=6)), max_size=40),
    st.integers(2, 5),
    st.integers(0, 3),
)
@settings(deadline=None, max_examples=200)
def test_units_stay_whole_and_each_fold_has_both_classes_where_that_is_possible(
    groups: list[tuple[int, list[bool]]], folds: int, seed: int
) -> None:
    owner = np.repeat(np.arange(len(groups), dtype=np.uint64), [len(rows) for _, rows in groups])
    truth = np.array([float(one) for _, rows in groups for one in rows])
    if truth.min(initial=1) == truth.max(initial=0) or most_folds(owner, truth) < folds:
        return
    fold = assign_folds(owner, truth, folds, seed)
    assert all(len(np.unique(fold[owner == unit])) == 1 for unit in owner)
    assert counts(fold, truth, folds).min() > 0
    shuffled = np.random.default_rng(seed).permutation(len(owner))
    np.testing.assert_array_equal(assign_folds(owner[shuffled], truth[shuffled], folds, seed), fold[shuffled])


def test_single_rows_are_stratified_to_the_row_and_drawn_from_the_seed() -> None:
    truth = (np.arange(1003) % 7 == 0).astype(float)
    one, other = (assign_folds(np.arange(1003, dtype=np.uint64), truth, 5, seed) for seed in (0, 1))
    assert np.ptp(counts(one, truth, 5), axis=0).tolist() == [1, 1]
    assert (one != other).mean() > 0.7


def test_a_unit_that_fills_half_leaves_the_rest_to_the_other_folds() -> None:
    owner = units(500, *[1] * 500)
    truth = (np.arange(1000) % 2).astype(float)
    fold = assign_folds(owner, truth, 5, seed=0)
    alone = fold[0]
    assert counts(fold, truth, 5)[alone].tolist() == [250, 250]
    assert counts(np.delete(fold, fold == alone), np.delete(truth, fold == alone), 5).max() <= 63


def test_units_of_both_classes_are_not_wasted_on_one_fold() -> None:
    # The large unit of positives would draw both mixed ones into the other fold.
    owner, truth = units(10, 2, 2), np.array([1.0] * 10 + [0.0, 1.0, 0.0, 1.0])
    assert counts(assign_folds(owner, truth, 2, seed=0), truth, 2).min() > 0


def test_one_constant_truth_asks_for_no_classes() -> None:
    fold = assign_folds(units(*[3] * 10), np.zeros(30), 5, seed=0)
    assert np.bincount(fold).tolist() == [6] * 5


@pytest.mark.parametrize(("owner", "folds"), [(units(5, 5), 2), (units(*[1] * 10), 3), (units(*[1] * 10), 1)])
def test_too_few_units_of_a_class_are_refused(owner: np.ndarray, folds: int) -> None:
    truth = np.zeros(10)
    truth[[0, 1]] = 1.0
    with pytest.raises(ValueError, match=rf"got {folds} folds of units for [12]; use fewer folds or more"):
        assign_folds(owner, truth, folds, seed=0)

"""Looks: how often rows have judged, what that leaves of the error rate, and what a sketch of rows recognizes."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml.data.dataset import Dataset
from ml.evaluation.looks import (
    ERROR_RATE,
    SAME_ROWS,
    SKETCH_UNITS,
    EarlierLook,
    Look,
    look_level,
    next_look,
    shared_share,
    sketch_rows,
)


def dataset(units: np.ndarray) -> Dataset:
    truth = pd.Series(np.zeros(len(units)))
    return Dataset(pd.DataFrame({"x": truth}), truth, units.astype(np.uint64))


def sketch(first: int, last: int) -> str:
    return sketch_rows(dataset(np.arange(first, last)))


def test_levels_of_all_looks_add_up_to_the_error_rate() -> None:
    levels = [look_level(number, is_new) for is_new in (True, False) for number in range(1, 100_000)]
    assert sum(levels) == pytest.approx(ERROR_RATE, rel=1e-4)
    assert sum(levels) < ERROR_RATE
    assert min(levels) > 0.0


def test_the_first_look_finds_three_standard_errors() -> None:
    """A model that is better by three standard errors is promoted in three quarters of cases, also after a year."""
    night = [EarlierLook(sketch(0, 1000), "a", True, False)] * 365
    look = next_look(sketch(0, 1000), "b", night)
    assert (look.number, look.is_new_recipe) == (366, True)
    assert stats.norm.sf(stats.norm.isf(look.level) - 3.0) >= 0.75
    # The same recipe, trained again, has used up its part.
    assert next_look(sketch(0, 1000), "a", night).level < 1e-7


def test_looks_of_a_kind_are_counted() -> None:
    rows, other = sketch(0, 1000), sketch(5000, 6000)
    first = next_look(rows, "a", [])
    assert first == Look(1, look_level(1, True), True, 0)
    assert first.confidence == pytest.approx(1 - 2 * first.level)
    assert str(first) == "look 1 on these rows, level 0.013, a new recipe"
    earlier = [EarlierLook(rows, "a", is_look=False), EarlierLook(other, "b", True, True)]
    # The recipe of the first champion, which was compared with nothing, is known; other rows do not count.
    assert next_look(rows, "a", earlier) == Look(1, look_level(1, False), False, 0)
    assert next_look(rows, "b", earlier) == Look(1, look_level(1, True), True, 0)
    earlier += [EarlierLook(rows, "b", True, True), EarlierLook(rows, "a", True, False)]
    assert next_look(rows, "a", earlier) == Look(3, look_level(2, False), False, 0)
    assert next_look(rows, "c", earlier) == Look(3, look_level(2, True), True, 0)


def test_unrecorded_looks_count_as_one_each_on_any_rows() -> None:
    look = next_look(sketch(0, 9), "a", [EarlierLook(None, None)] * 4)
    assert look == Look(5, look_level(5, True), True, 4)
    assert str(look).endswith("; 4 looks before they were counted")


@pytest.mark.parametrize("rows", [60, 10_000])
def test_rows_that_roll_are_the_same_until_few_are_left(rows: int) -> None:
    """Small datasets are compared exactly, large ones by their sketch."""
    now = sketch(0, rows)
    for share in (1.0, 0.9, 0.5, 0.1, 0.0):
        start = round((1 - share) * rows)
        tolerance = 0.15 if rows > SKETCH_UNITS else 0.01
        assert shared_share(sketch(start, start + rows), now) == pytest.approx(share, abs=tolerance)


@pytest.mark.parametrize("left", [1, 7, 40, 500, 9_999])
def test_a_part_that_shrinks_does_not_reset_the_count(left: int) -> None:
    units = np.random.default_rng(left).permutation(10_000)
    shrunk = sketch_rows(dataset(units[:left]))
    assert shared_share(shrunk, sketch_rows(dataset(units))) == 1.0
    assert next_look(shrunk, "a", [EarlierLook(sketch(0, 10_000), "a", True, True)]).number == 2


def test_champions_that_leave_out_different_rows_are_looks_at_the_same_rows() -> None:
    """Each was trained on another tenth of the test rows, which is left out of its comparison."""
    first, second = sketch(0, 1_800), sketch(200, 2_000)
    assert next_look(second, "a", [EarlierLook(first, "b", True, True)]).number == 2


def test_a_part_that_grows_tenfold_is_mostly_new() -> None:
    assert shared_share(sketch(0, 10_000), sketch(0, 1_000)) == pytest.approx(0.1, abs=0.08)
    assert shared_share(sketch(0, 10_000), sketch(0, 9_000)) > 4 * SAME_ROWS


def test_a_sketch_depends_on_units_alone() -> None:
    units = np.repeat(np.arange(300), 3)
    shuffled = np.random.default_rng(0).permutation(units)
    assert sketch_rows(dataset(units)) == sketch_rows(dataset(shuffled)) == sketch(0, 300)
    assert len(sketch(0, 300)) == 12 * SKETCH_UNITS


def test_targets_of_a_log_that_are_later_are_other_rows() -> None:
    users = pd.DataFrame({"user": ["a", "b"], "items": [[], []], "times": [[], []]})
    units = np.array([1, 2], dtype=np.uint64)

    def targets(items: list[list[str]], times: list[list[float]]) -> str:
        truth = pd.Series(items, dtype=object)
        return sketch_rows(Dataset(users, truth, units, truth_times=pd.Series(times, dtype=object)))

    first = targets([["x"], ["y"]], [[1.0], [2.0]])
    assert shared_share(targets([["x"], ["y"]], [[1.0], [2.0]]), first) == 1.0
    assert shared_share(targets([["x"], ["y"]], [[1.0], [9.0]]), first) == 0.5
    assert shared_share(targets([["x"], ["z", "y"]], [[1.0], [2.0, 2.0]]), first) == 0.5

"""Looks: how often rows have judged, what that leaves of the error rate, and what a sketch of rows recognizes."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml.data.dataset import Dataset
from ml.evaluation.looks import (
    CLEAR,
    ERROR_RATE,
    MIN_RECIPES,
    REPEATED_SHARE,
    SAME_ROWS,
    SKETCH_UNITS,
    SOME,
    UNKNOWN,
    EarlierLook,
    Lead,
    Look,
    kind_of_lead,
    leads_of_others,
    look_level,
    next_look,
    p_among,
    rows_not_fitted_to,
    shared_share,
    sketch_rows,
)


def dataset(units: np.ndarray) -> Dataset:
    truth = pd.Series(np.zeros(len(units)))
    return Dataset(pd.DataFrame({"x": truth}), truth, units.astype(np.uint64))


def sketch(first: int, last: int) -> str:
    return sketch_rows(dataset(np.arange(first, last)))


def after(number: int) -> dict[str, int]:
    """Count the looks before this one where no lead is known."""
    return {UNKNOWN: number - 1}


def test_levels_of_all_looks_add_up_to_the_error_rate() -> None:
    kinds, numbers = (True, False), range(1, 100_000)
    levels = [look_level(is_new, UNKNOWN, after(number)) for is_new in kinds for number in numbers]
    assert sum(levels) == pytest.approx(ERROR_RATE, rel=1e-4)
    assert sum(levels) < ERROR_RATE
    assert min(levels) > 0.0


@pytest.mark.parametrize(("is_new", "share"), [(True, 1.0 - REPEATED_SHARE), (False, REPEATED_SHARE)])
def test_levels_add_up_in_whatever_order_leads_follow_each_other(is_new: bool, share: float) -> None:
    """Each look spends what is left before it less what is left after it, which counts alone determine."""
    constants = {CLEAR: 0.5, SOME: 5.0, UNKNOWN: 2.0 if is_new else 1.0}
    for seed, chances in enumerate(([0.1, 0.8, 0.1], [0.9, 0.05, 0.05], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0])):
        before, spent = dict.fromkeys(constants, 0), 0.0
        for lead in np.random.default_rng(seed).choice(list(constants), size=300, p=chances):
            level = look_level(is_new, lead, before)
            spent += level
            before[lead] += 1
            assert level > 0.0
        left = np.prod([constants[lead] / (count + constants[lead]) for lead, count in before.items()])
        assert spent == pytest.approx(ERROR_RATE * share * (1.0 - left))
        assert spent < ERROR_RATE * share


def test_a_larger_lead_may_spend_more() -> None:
    assert [round(look_level(True, lead), 4) for lead in (CLEAR, SOME, UNKNOWN)] == [0.0267, 0.0067, 0.0133]
    assert [round(look_level(False, lead), 4) for lead in (CLEAR, SOME, UNKNOWN)] == [0.0067, 0.0017, 0.005]


def test_a_lead_that_chance_explains_is_no_look_after_the_first() -> None:
    kinds = [
        (kind_of_lead(Lead(p), True), kind_of_lead(Lead(p), False)) for p in (0.01, 0.1, 0.11, 0.49, 0.5, 0.9)
    ]
    assert kinds == [(CLEAR, CLEAR), (SOME, SOME), (SOME, None), (SOME, None), (None, None), (None, None)]
    rows = sketch(0, 1000)
    first = next_look(rows, "a", [], Lead(0.3))
    assert first == Look(1, look_level(True, SOME), True, 0, SOME)
    assert str(first) == "look 1 on these rows, level 0.0067, a new recipe, some lead on validation rows"
    earlier = [EarlierLook(rows, "a", True, True, SOME)]
    assert next_look(rows, "b", earlier, Lead(0.3)) is None
    # A recipe that was not ahead before is known, and its looks are another kind.
    screened = [*earlier, EarlierLook(rows, "b", is_look=False)]
    assert next_look(rows, "b", screened, Lead(0.3)) == Look(2, look_level(False, SOME), False, 0, SOME)
    assert next_look(rows, "c", screened, Lead(0.005)) == Look(
        2, look_level(True, CLEAR, {SOME: 1}), True, 0, CLEAR
    )
    # A clear lead has more than any first look without one, although a look was made before.
    assert look_level(True, CLEAR, {SOME: 1}) > look_level(True)


def test_among_many_recipes_a_lead_is_compared_with_theirs() -> None:
    """All leads have the luck of the champion; that of a better recipe stands out among them."""
    rows, leads = sketch(0, 1000), np.random.default_rng(0).normal(-0.02, 0.005, MIN_RECIPES)
    earlier = [EarlierLook(rows, f"{n}", is_look=False, lead_value=lead) for n, lead in enumerate(leads)]
    # Of a recipe that was trained twice, the last lead counts; leads over another champion, on other rows, or of
    # the recipe itself do not.
    earlier += [EarlierLook(rows, "0", is_look=False, lead_value=leads[1])]
    others = leads_of_others(rows, "better", earlier)
    assert others == [leads[1], *leads[1:]]
    assert leads_of_others(rows, "1", earlier) == [leads[1], *leads[2:]]
    assert leads_of_others(sketch(5000, 6000), "better", earlier) == []
    assert leads_of_others(rows, "better", [EarlierLook(rows, "x", is_look=False)]) == []
    mean, deviation = np.mean(others), np.std(others, ddof=1) * np.sqrt(1 + 1 / MIN_RECIPES)
    p = p_among(mean + 4 * deviation, others)
    assert p == pytest.approx(stats.t.sf(4, MIN_RECIPES - 1))
    assert p_among(0.0, others[1:]) is None
    assert [p_among(each, [0.0] * MIN_RECIPES) for each in (0.0, 0.1)] == [1.0, 0.0]
    # Ahead of the champion, though not beyond chance, and far ahead of the others: a clear lead.
    look = next_look(rows, "better", earlier, Lead(0.3, p))
    assert look == Look(1, look_level(True, CLEAR), True, 0, CLEAR)
    # One that is no better than the others is no look, however unlucky the champion was.
    kinds = {
        (each, among): kind_of_lead(Lead(each, among), False)
        for each in (0.01, 0.3, 0.6)
        for among in (1e-4, 0.02, 0.1)
    }
    assert {key for key, kind in kinds.items() if kind == CLEAR} == {(0.01, 1e-4), (0.3, 1e-4)}
    assert {key for key, kind in kinds.items() if kind == SOME} == {(0.01, 0.02)}


def test_a_champion_was_selected_by_its_own_validation_rows_and_not_fitted_to_them() -> None:
    """Its package lists both; where the validation rows are others, those that it knows may be training rows."""
    valid, nothing = dataset(np.arange(1000)), np.arange(0)
    assert len(rows_not_fitted_to(valid, nothing, sketch(0, 1000))) == 1000
    # New rows came since.
    assert len(rows_not_fitted_to(valid, np.arange(700, 1000), sketch(0, 700))) == 1000
    assert len(rows_not_fitted_to(valid, np.arange(700, 1000), sketch(350, 700))) == 300
    assert len(rows_not_fitted_to(valid, np.arange(700, 1000), "")) == 300
    assert len(rows_not_fitted_to(valid, np.arange(1000), "")) == 1000
    # Of few known rows the sketch of many says nothing.
    assert shared_share(sketch(5, 10), sketch(1000, 100_000)) == 1.0
    assert len(rows_not_fitted_to(valid, np.arange(5, 1000), sketch(1000, 100_000))) == 995


def test_the_first_look_finds_three_standard_errors() -> None:
    """A model that is better by three standard errors is promoted in three quarters of cases, also after a year."""
    night = [EarlierLook(sketch(0, 1000), "a", True, False)] * 365
    look = next_look(sketch(0, 1000), "b", night)
    assert look
    assert (look.number, look.is_new_recipe) == (366, True)
    assert stats.norm.sf(stats.norm.isf(look.level) - 3.0) >= 0.75
    # The same recipe, trained again, has used up its part.
    again = next_look(sketch(0, 1000), "a", night)
    assert again
    assert again.level < 1e-7


def test_looks_of_a_kind_are_counted() -> None:
    rows, other = sketch(0, 1000), sketch(5000, 6000)
    first = next_look(rows, "a", [])
    assert first
    assert first == Look(1, look_level(True), True, 0)
    assert first.confidence == pytest.approx(1 - 2 * first.level)
    assert str(first) == "look 1 on these rows, level 0.013, a new recipe"
    earlier = [EarlierLook(rows, "a", is_look=False), EarlierLook(other, "b", True, True)]
    # The recipe of the first champion, which was compared with nothing, is known; other rows do not count.
    assert next_look(rows, "a", earlier) == Look(1, look_level(False, UNKNOWN, after(1)), False, 0)
    assert next_look(rows, "b", earlier) == Look(1, look_level(True, UNKNOWN, after(1)), True, 0)
    earlier += [EarlierLook(rows, "b", True, True), EarlierLook(rows, "a", True, False)]
    assert next_look(rows, "a", earlier) == Look(3, look_level(False, UNKNOWN, after(2)), False, 0)
    assert next_look(rows, "c", earlier) == Look(3, look_level(True, UNKNOWN, after(2)), True, 0)


def test_unrecorded_looks_count_as_one_each_on_any_rows() -> None:
    look = next_look(sketch(0, 9), "a", [EarlierLook(None, None)] * 4)
    assert look == Look(5, look_level(True, UNKNOWN, after(5)), True, 4)
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
    look = next_look(shrunk, "a", [EarlierLook(sketch(0, 10_000), "a", True, True)])
    assert look
    assert look.number == 2


def test_champions_that_leave_out_different_rows_are_looks_at_the_same_rows() -> None:
    """Each was trained on another tenth of the test rows, which is left out of its comparison."""
    first, second = sketch(0, 1_800), sketch(200, 2_000)
    look = next_look(second, "a", [EarlierLook(first, "b", True, True)])
    assert look
    assert look.number == 2


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

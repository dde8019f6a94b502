"""How well one column tells the answer, as public implementations say it; who sits in two parts."""

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from ml.data.dataset import Dataset
from ml.data.leakage import FORETELLS, foretelling, shared_entities


def part(column: Any, truth: Any, dtype: Any = None, first: int = 0) -> Dataset:
    index = pd.RangeIndex(first, first + len(truth))
    frame = pd.DataFrame({"c": pd.Series(list(column), index, dtype)})
    return Dataset(frame, pd.Series(list(truth), index, "float64"), np.arange(len(truth), dtype=np.uint64))


NOBODY = part([0.0, 0.0], [0.0, 1.0])


def told(column: Any, truth: Any, train: Dataset = NOBODY, dtype: Any = None) -> float:
    """How well a column foretells the answers of the valid rows."""
    return foretelling(train, part(column, truth, dtype, first=len(train.truth)))["c"]


def either_way(truth: Any, score: Any) -> float:
    auc = float(roc_auc_score(truth, score))
    return max(auc, 1 - auc)


LEVELS = st.sampled_from([-2.0, 0.0, 0.5, 1e300, None])
ANSWERS = st.sampled_from([0.0, 1.0])
BOTH = [(0.5, 0.0), (0.5, 1.0)]


@given(st.lists(st.tuples(LEVELS | st.floats(-9, 9), ANSWERS), max_size=40).map(lambda rows: [*BOTH, *rows]))
@settings(deadline=None, max_examples=50)
def test_numbers_agree_with_the_auc_of_sklearn(rows: list[tuple[float | None, float]]) -> None:
    """Ties count one half, missing numbers lie below all others."""
    column, truth = zip(*rows, strict=True)
    filled = [-1e301 if cell is None else cell for cell in column]
    assert told(column, truth, dtype="float64") == pytest.approx(either_way(truth, filled), abs=1e-12)


WORDS = st.sampled_from(["a", "b", "c", "", None])
TOWNS = st.lists(st.tuples(WORDS, ANSWERS), min_size=1, max_size=30)


@given(TOWNS, TOWNS.map(lambda rows: [("a", 0.0), ("a", 1.0), *rows]))
@example([("a", 1.0), (None, 0.0)], [("a", 1.0), (None, 0.0), ("b", 0.0), ("b", 1.0)])
@settings(deadline=None, max_examples=50)
def test_categories_agree_with_the_auc_of_their_mean_answers(
    train: list[tuple[str | None, float]], valid: list[tuple[str | None, float]]
) -> None:
    """Missing is a category like others; who was never seen has the mean of all."""
    seen: dict[str | None, list[float]] = defaultdict(list)
    for town, answer in train:
        seen[town].append(answer)
    everyone = [answer for _, answer in train]
    score = [sum(seen.get(t, everyone)) / len(seen.get(t, everyone)) for t, _ in valid]
    towns, truth = zip(*valid, strict=True)
    known = part(*zip(*train, strict=True), dtype="str")
    assert told(towns, truth, known, "str") == pytest.approx(either_way(truth, score), abs=1e-12)


@given(st.lists(st.tuples(LEVELS, st.sampled_from([-1.5, 0.0, 2.0, 7.0])), max_size=40))
@settings(deadline=None, max_examples=50)
def test_for_a_number_it_agrees_with_the_rank_correlation_of_scipy(
    rows: list[tuple[float | None, float]],
) -> None:
    column, truth = zip(*rows, (0.0, 0.0), (0.5, 1.0), (0.5, 2.0), strict=True)
    rho = spearmanr([-1e301 if cell is None else cell for cell in column], truth).statistic
    assert told(column, truth, dtype="float64") == pytest.approx((1 + abs(rho)) / 2, abs=1e-12)


def test_categories_may_foretell_a_number() -> None:
    train = part(["a", "b", "c", "a"], [1.0, 5.0, 9.0, 3.0], "str")
    assert told(["c", "a", "b", "c"], [90.0, 10.0, 50.0, 91.0], train, "str") == pytest.approx(
        (1 + spearmanr([9, 2, 5, 9], [90, 10, 50, 91]).statistic) / 2
    )


TRUTH = np.tile([0.0, 1.0, 1.0], 20)


@pytest.mark.parametrize("truth", [TRUTH, np.arange(60.0)], ids=["class", "number"])
def test_the_scale_and_the_direction_of_a_number_are_no_matter(truth: np.ndarray) -> None:
    column = np.random.default_rng(0).normal(size=60) * 2 * truth.std() + truth
    expected = told(column, truth)
    assert 0.5 < expected < FORETELLS
    for other in (-column, np.exp(column / 10), column * 1e-9 - 7, pd.Series(column).rank() ** 3):
        assert told(other, truth) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("truth", [TRUTH, np.arange(60.0)], ids=["class", "number"])
def test_a_copy_of_the_answer_foretells_it(truth: np.ndarray) -> None:
    assert told(truth, truth) == told(-3 * truth, truth) == pytest.approx(1.0)
    words = pd.Series(truth).astype("str")
    assert told(words, truth, part(words, truth, "str"), "str") == pytest.approx(1.0)


def test_that_a_number_is_missing_may_foretell() -> None:
    assert told(np.where(TRUTH == 1, 3.0, np.nan), TRUTH) == 1.0
    assert told(np.where(TRUTH == 1, np.nan, np.arange(60)), TRUTH) == 1.0


@pytest.mark.parametrize(
    "truth", [TRUTH, np.arange(60.0), np.ones(60)], ids=["class", "number", "one answer"]
)
def test_what_never_varies_tells_nothing(truth: np.ndarray) -> None:
    for column, dtype in (([7.0] * 60, None), ([None] * 60, "float64"), ([True] * 60, None)):
        assert told(column, truth, dtype=dtype) == 0.5
    for word in ("a", None):
        assert told([word] * 60, truth, part([word] * 60, truth, "str"), "str") == 0.5


def test_one_answer_cannot_be_foretold() -> None:
    assert told(np.arange(60.0), np.ones(60)) == 0.5


def test_categories_learn_from_train_rows_only() -> None:
    """A name for each row would tell its own answer, were the judging rows asked."""
    names = pd.Series(range(60)).map("P{}".format)
    assert told(names, TRUTH, part(names + "'", TRUTH, "str"), "str") == 0.5
    # Train rows that say the opposite of valid rows tell as much.
    town = pd.Series(np.where(TRUTH == 1, "N", "S"))
    assert told(town, TRUTH, part(town, 1 - TRUTH, "str"), "str") == 1.0


def test_numbers_learn_nothing() -> None:
    column = np.random.default_rng(1).normal(size=60)
    assert told(column, TRUTH, part(TRUTH, TRUTH)) == told(column, TRUTH, part(-TRUTH, 1 - TRUTH))


def test_every_column_is_asked_alone_and_named_as_text() -> None:
    frame = pd.DataFrame(
        {"copy": TRUTH, "constant": 1.0, 3: pd.Series(TRUTH).map({0.0: "n", 1.0: "y"}).astype("str")}
    )
    both = Dataset(frame, pd.Series(TRUTH), np.arange(60, dtype=np.uint64))
    assert foretelling(both, both) == {"copy": 1.0, "constant": 0.5, "3": 1.0}


# --- entities ------------------------------------------------------------------------------------------------------

UNITS = st.lists(st.integers(0, 6), max_size=12)


def with_units(units: list[int]) -> Dataset:
    return Dataset(
        pd.DataFrame(index=range(len(units))),
        pd.Series(0.0, range(len(units))),
        np.array(units, dtype=np.uint64),
    )


@given(UNITS, UNITS, UNITS)
@settings(deadline=None, max_examples=50)
def test_shared_entities_are_those_of_two_sets(a: list[int], b: list[int], c: list[int]) -> None:
    """Each entity counts once, however many rows it has."""
    found = shared_entities({"train": with_units(a), "valid": with_units(b), "test": with_units(c)})
    both = {
        "train and valid": set(a) & set(b),
        "train and test": set(a) & set(c),
        "valid and test": set(b) & set(c),
    }
    assert found == {pair: len(units) for pair, units in both.items() if units}


def test_hashes_are_compared_to_the_last_bit() -> None:
    last = 2**64 - 1
    assert shared_entities({"a": with_units([last, 5]), "b": with_units([last - 1, 6])}) == {}
    assert shared_entities({"a": with_units([last, last]), "b": with_units([last])}) == {"a and b": 1}

"""Leakage checks: agreement of the single-feature AUC with reference implementations; shared entities."""

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
from ml.data.leakage import LEAKAGE_AUC, shared_entities, single_feature_auc


def dataset(column: Any, truth: Any, dtype: Any = None, first: int = 0) -> Dataset:
    index = pd.RangeIndex(first, first + len(truth))
    frame = pd.DataFrame({"c": pd.Series(list(column), index, dtype)})
    return Dataset(frame, pd.Series(list(truth), index, "float64"), np.arange(len(truth), dtype=np.uint64))


TWO_ROWS = dataset([0.0, 0.0], [0.0, 1.0])


def auc(column: Any, truth: Any, train: Dataset = TWO_ROWS, dtype: Any = None) -> float:
    """Compute the single-feature AUC of a column on valid rows that follow the train rows."""
    return single_feature_auc(train, dataset(column, truth, dtype, first=len(train.truth)))["c"]


def better_direction_auc(truth: Any, score: Any) -> float:
    reference = float(roc_auc_score(truth, score))
    return max(reference, 1 - reference)


LEVELS = st.sampled_from([-2.0, 0.0, 0.5, 1e300, None])
TARGETS = st.sampled_from([0.0, 1.0])
BOTH = [(0.5, 0.0), (0.5, 1.0)]


@given(st.lists(st.tuples(LEVELS | st.floats(-9, 9), TARGETS), max_size=40).map(lambda rows: [*BOTH, *rows]))
@settings(deadline=None, max_examples=50)
def test_numeric_feature_agrees_with_scikit_learn(rows: list[tuple[float | None, float]]) -> None:
    """Ties count one half; missing numbers are below all others."""
    column, truth = zip(*rows, strict=True)
    filled = [-1e301 if cell is None else cell for cell in column]
    assert auc(column, truth, dtype="float64") == pytest.approx(
        better_direction_auc(truth, filled), abs=1e-12
    )


WORDS = st.sampled_from(["a", "b", "c", "", None])
TOWNS = st.lists(st.tuples(WORDS, TARGETS), min_size=1, max_size=30)


@given(TOWNS, TOWNS.map(lambda rows: [("a", 0.0), ("a", 1.0), *rows]))
@example([("a", 1.0), (None, 0.0)], [("a", 1.0), (None, 0.0), ("b", 0.0), ("b", 1.0)])
@settings(deadline=None, max_examples=50)
def test_categorical_feature_agrees_with_scikit_learn_auc_of_mean_targets(
    train: list[tuple[str | None, float]], valid: list[tuple[str | None, float]]
) -> None:
    """Missing is a category; an unseen category has the overall mean."""
    seen: dict[str | None, list[float]] = defaultdict(list)
    for town, target in train:
        seen[town].append(target)
    all_targets = [target for _, target in train]
    score = [sum(seen.get(t, all_targets)) / len(seen.get(t, all_targets)) for t, _ in valid]
    towns, truth = zip(*valid, strict=True)
    train_rows = dataset(*zip(*train, strict=True), dtype="str")
    assert auc(towns, truth, train_rows, "str") == pytest.approx(
        better_direction_auc(truth, score), abs=1e-12
    )


@given(st.lists(st.tuples(LEVELS, st.sampled_from([-1.5, 0.0, 2.0, 7.0])), max_size=40))
@settings(deadline=None, max_examples=50)
def test_numeric_target_agrees_with_scipy_rank_correlation(
    rows: list[tuple[float | None, float]],
) -> None:
    column, truth = zip(*rows, (0.0, 0.0), (0.5, 1.0), (0.5, 2.0), strict=True)
    rho = spearmanr([-1e301 if cell is None else cell for cell in column], truth).statistic
    assert auc(column, truth, dtype="float64") == pytest.approx((1 + abs(rho)) / 2, abs=1e-12)


def test_categorical_feature_of_numeric_target() -> None:
    train = dataset(["a", "b", "c", "a"], [1.0, 5.0, 9.0, 3.0], "str")
    assert auc(["c", "a", "b", "c"], [90.0, 10.0, 50.0, 91.0], train, "str") == pytest.approx(
        (1 + spearmanr([9, 2, 5, 9], [90, 10, 50, 91]).statistic) / 2
    )


TRUTH = np.tile([0.0, 1.0, 1.0], 20)


@pytest.mark.parametrize("truth", [TRUTH, np.arange(60.0)], ids=["class", "number"])
def test_monotonic_transformations_do_not_change_the_auc(truth: np.ndarray) -> None:
    column = np.random.default_rng(0).normal(size=60) * 2 * truth.std() + truth
    expected = auc(column, truth)
    assert 0.5 < expected < LEAKAGE_AUC
    for other in (-column, np.exp(column / 10), column * 1e-9 - 7, pd.Series(column).rank() ** 3):
        assert auc(other, truth) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("truth", [TRUTH, np.arange(60.0)], ids=["class", "number"])
def test_copy_of_the_target_has_auc_one(truth: np.ndarray) -> None:
    assert auc(truth, truth) == auc(-3 * truth, truth) == pytest.approx(1.0)
    words = pd.Series(truth).astype("str")
    assert auc(words, truth, dataset(words, truth, "str"), "str") == pytest.approx(1.0)


def test_missingness_can_predict_the_target() -> None:
    assert auc(np.where(TRUTH == 1, 3.0, np.nan), TRUTH) == 1.0
    assert auc(np.where(TRUTH == 1, np.nan, np.arange(60)), TRUTH) == 1.0


@pytest.mark.parametrize("truth", [TRUTH, np.arange(60.0), np.ones(60)], ids=["class", "number", "constant"])
def test_constant_feature_has_auc_one_half(truth: np.ndarray) -> None:
    for column, dtype in (([7.0] * 60, None), ([None] * 60, "float64"), ([True] * 60, None)):
        assert auc(column, truth, dtype=dtype) == 0.5
    for word in ("a", None):
        assert auc([word] * 60, truth, dataset([word] * 60, truth, "str"), "str") == 0.5


def test_constant_target_has_auc_one_half() -> None:
    assert auc(np.arange(60.0), np.ones(60)) == 0.5


def test_mean_targets_of_categories_use_train_rows_only() -> None:
    """A name that is unique in each row would predict its own target if valid rows were used."""
    names = pd.Series(range(60)).map("P{}".format)
    assert auc(names, TRUTH, dataset(names + "'", TRUTH, "str"), "str") == 0.5
    # The direction does not matter: opposite targets of train rows predict as well.
    town = pd.Series(np.where(TRUTH == 1, "N", "S"))
    assert auc(town, TRUTH, dataset(town, 1 - TRUTH, "str"), "str") == 1.0


def test_train_rows_do_not_affect_numeric_features() -> None:
    column = np.random.default_rng(1).normal(size=60)
    assert auc(column, TRUTH, dataset(TRUTH, TRUTH)) == auc(column, TRUTH, dataset(-TRUTH, 1 - TRUTH))


def test_every_column_is_measured_alone_and_named_as_text() -> None:
    frame = pd.DataFrame(
        {"copy": TRUTH, "constant": 1.0, 3: pd.Series(TRUTH).map({0.0: "n", 1.0: "y"}).astype("str")}
    )
    both = Dataset(frame, pd.Series(TRUTH), np.arange(60, dtype=np.uint64))
    assert single_feature_auc(both, both) == {"copy": 1.0, "constant": 0.5, "3": 1.0}


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
def test_shared_entities_are_counted_by_pair_of_datasets(a: list[int], b: list[int], c: list[int]) -> None:
    """Each entity counts once, for any number of rows."""
    found = shared_entities({"train": with_units(a), "valid": with_units(b), "test": with_units(c)})
    both = {
        "train and valid": set(a) & set(b),
        "train and test": set(a) & set(c),
        "valid and test": set(b) & set(c),
    }
    assert found == {pair: len(units) for pair, units in both.items() if units}


def test_entity_hashes_are_compared_exactly() -> None:
    last = 2**64 - 1
    assert shared_entities({"a": with_units([last, 5]), "b": with_units([last - 1, 6])}) == {}
    assert shared_entities({"a": with_units([last, last]), "b": with_units([last])}) == {"a and b": 1}

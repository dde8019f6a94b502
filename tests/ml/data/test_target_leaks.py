"""Targets in disguise: measures of single columns agree with reference libraries; pairs are found."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from ml.data.target_leaks import (
    AUC_BOUND,
    ColumnAuc,
    find_pair_leaks,
    measure_columns,
    rank_correlation,
    roc_auc,
    sample_rows,
)

LEVELS = st.sampled_from([-2.0, 0.0, 0.5, 1e300, None])


def measure(column: Any, truth: np.ndarray, dtype: Any = None, is_binary: bool = True) -> ColumnAuc:
    return measure_columns(pd.DataFrame({"c": pd.Series(list(column), dtype=dtype)}), truth, is_binary)[0]


def better_direction_auc(truth: Any, score: Any) -> float:
    reference = float(roc_auc_score(truth, score))
    return max(reference, 1 - reference)


@given(st.lists(st.tuples(st.floats(-9, 9), st.sampled_from([0.0, 1.0])), max_size=40))
@settings(deadline=None, max_examples=25)
def test_the_auc_agrees_with_scikit_learn(rows: list[tuple[float, float]]) -> None:
    score, truth = map(np.array, zip(*rows, (0.5, 0.0), (0.5, 1.0), strict=True))
    assert roc_auc(score, truth) == pytest.approx(roc_auc_score(truth, score), abs=1e-12)


@given(st.lists(st.tuples(LEVELS | st.floats(-9, 9), st.sampled_from([0.0, 1.0])), max_size=40))
@settings(deadline=None, max_examples=25)
def test_numeric_feature_is_at_least_as_good_as_its_ranks(rows: list[tuple[float | None, float]]) -> None:
    """Ties count one half; missing numbers are below all others; bins may be better, never worse."""
    column, truth = zip(*rows, (0.5, 0.0), (0.5, 1.0), strict=True)
    filled = [-1e301 if cell is None else cell for cell in column]
    reference = better_direction_auc(truth, filled)
    assert measure(column, np.array(truth), "float64").auc >= reference - 1e-12


@given(st.lists(st.tuples(st.floats(-9, 9), st.sampled_from([-1.5, 0.0, 2.0, 7.0])), max_size=40))
@settings(deadline=None, max_examples=25)
def test_rank_correlation_agrees_with_scipy(rows: list[tuple[float, float]]) -> None:
    column, truth = map(np.array, zip(*rows, (0.0, 0.0), (0.5, 1.0), (0.5, 2.0), strict=True))
    assert rank_correlation(column, truth) == pytest.approx(spearmanr(column, truth).statistic, abs=1e-12)


TRUTH = np.tile([0.0, 1.0, 1.0], 200)
NUMBERS = np.arange(600.0)


@pytest.mark.parametrize("truth", [TRUTH, NUMBERS], ids=["class", "number"])
def test_monotonic_transformations_do_not_change_the_measure(truth: np.ndarray) -> None:
    column = np.random.default_rng(0).normal(size=600) * 2 * truth.std() + truth
    expected = measure(column, truth, is_binary=truth is TRUTH).auc
    assert 0.5 < expected < AUC_BOUND
    for other in (np.exp(column / 10), column * 1e-9 - 7):
        assert measure(other, truth, is_binary=truth is TRUTH).auc == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("is_binary", [True, False], ids=["class", "number"])
def test_a_copy_of_the_target_is_a_leak(is_binary: bool) -> None:
    truth = TRUTH if is_binary else NUMBERS
    for column in (truth, -3 * truth, pd.Series(truth // (1 if is_binary else 10)).astype("str")):
        found = measure(column, truth, is_binary=is_binary)
        assert found.auc == pytest.approx(1.0, abs=0.01)
    assert measure(truth, truth, is_binary=is_binary).is_leak
    assert measure(-3 * truth, truth, is_binary=is_binary).is_leak


def test_a_noisy_copy_is_a_leak_and_a_good_feature_is_not() -> None:
    """2 % errors leave an AUC of 0.98, which a good continuous feature has too; only the copy divides the classes."""
    rng = np.random.default_rng(0)
    truth = (rng.random(3000) < 0.3).astype(float)
    copy = measure(np.where(rng.random(3000) < 0.02, 1 - truth, truth), truth)
    feature = measure(truth + rng.normal(0, 0.35, 3000), truth)
    assert (copy.is_leak, feature.is_leak) == (True, False)
    assert copy.auc == pytest.approx(feature.auc, abs=0.01)


def test_missingness_codes_and_last_digits_reveal_the_target() -> None:
    rng = np.random.default_rng(0)
    digits = 10 * rng.integers(30, 90, 600) + 2 * rng.integers(0, 5, 600) + TRUTH
    towns = pd.Series(2 * rng.integers(0, 20, 600) + TRUTH).map("T{}".format)
    for column in (np.where(TRUTH == 1, np.nan, NUMBERS), digits, towns):
        assert measure(column, TRUTH).is_leak


@pytest.mark.parametrize("truth", [TRUTH, NUMBERS, np.ones(600)], ids=["class", "number", "constant"])
def test_constant_features_predict_nothing(truth: np.ndarray) -> None:
    is_binary = truth is not NUMBERS
    for column, dtype in (
        ([7.0] * 600, None),
        ([None] * 600, "float64"),
        (["a"] * 600, "str"),
        ([None] * 600, "str"),
    ):
        assert measure(column, truth, dtype, is_binary).auc == pytest.approx(0.5, abs=0.01)


def test_categories_are_measured_on_other_rows() -> None:
    """A name that is unique in each row would predict its own target if its row were used."""
    assert measure(pd.Series(range(600)).map("P{}".format), TRUTH).auc < 0.6


def test_small_tables_do_not_cry_wolf() -> None:
    """With 40 rows, a perfect division is suspicious, and no proof; of noise, none is a leak."""
    rng = np.random.default_rng(0)
    truth = np.tile([0.0, 1.0], 20)
    perfect = measure(truth, truth)
    assert perfect.auc == 1.0
    assert not perfect.is_leak
    for _ in range(10):
        frame = pd.DataFrame(rng.normal(size=(40, 10)) + truth[:, None] * rng.uniform(0, 2, 10)).add_prefix(
            "x"
        )
        assert not any(found.is_leak for found in measure_columns(frame, truth, True))
        assert not find_pair_leaks(frame, truth, True, list(frame.columns))


# --- pairs -----------------------------------------------------------------------------------------------------------


def table(rows: int, columns: int = 6) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(1).normal(size=(rows, columns))).add_prefix("x")


def pairs_of(frame: pd.DataFrame, truth: Any, is_binary: bool = True) -> list[set[str]]:
    found = find_pair_leaks(frame, np.asarray(truth, dtype=float), is_binary, list(frame.columns))
    return [set(leak.columns) for leak in found]


def test_an_exclusive_or_is_found_in_no_column_but_in_the_pair() -> None:
    rng = np.random.default_rng(0)
    key, truth = rng.integers(0, 2, 2000), rng.integers(0, 2, 2000)
    noisy = np.where(rng.random(2000) < 0.02, 1 - truth, truth)
    frame = table(2000).assign(key=key, code=key ^ noisy)
    assert max(found.auc for found in measure_columns(frame, truth.astype(float), True)) < 0.6
    assert pairs_of(frame, truth) == [{"key", "code"}]
    assert pairs_of(frame.assign(code=rng.permutation(key ^ truth)), truth) == []


def test_an_exclusive_or_of_words_and_of_halves_is_found() -> None:
    rng = np.random.default_rng(0)
    frame = table(4000)
    assert pairs_of(frame, (frame["x0"] > 0) ^ (frame["x1"] > 0))[0] == {"x0", "x1"}
    words = frame.assign(a=rng.choice(["n", "s"], 4000), b=rng.choice(["e", "w"], 4000))
    assert pairs_of(words, (words["a"] == "n") ^ (words["b"] == "e")) == [{"a", "b"}]


@pytest.mark.parametrize("weight", [1.0, -1.0, 3.0])
def test_a_weighted_sum_above_a_bound_is_found(weight: float) -> None:
    frame = table(1000)
    truth = frame["x2"] + weight * frame["x4"] > 0.5
    assert pairs_of(frame, truth)[0] == {"x2", "x4"}
    noisy = frame["x2"] + weight * frame["x4"] + np.random.default_rng(2).normal(size=1000) > 0.5
    assert pairs_of(frame, noisy) == []


def test_sums_and_products_reveal_a_number() -> None:
    frame = table(500).assign(price=lambda f: np.exp(f["x0"]), count=lambda f: np.exp(f["x1"]))
    assert pairs_of(frame, frame["x2"] - 2 * frame["x3"], is_binary=False) == [{"x2", "x3"}]
    assert {"price", "count"} in pairs_of(frame, frame["price"] * frame["count"], is_binary=False)
    assert pairs_of(frame, frame["x2"] - frame["x3"] + frame["x4"], is_binary=False) == []
    assert pairs_of(
        frame.assign(x2=frame["x2"].mask(frame.index < 100)), frame["x2"] + frame["x3"], is_binary=False
    )


def test_of_many_columns_a_bounded_number_of_pairs_is_searched() -> None:
    frame = table(1500, 100)
    assert pairs_of(frame, frame["x0"] + frame["x1"] > 0) == [{"x0", "x1"}]


def test_large_tables_are_sampled_by_class() -> None:
    truth = (np.arange(50_000) % 50 == 0).astype(float)
    rows = sample_rows(truth, True, 0)
    assert (truth[rows].sum(), len(rows)) == (1000, 11_000)
    assert len(sample_rows(np.arange(50_000.0), False, 0)) == 20_000
    assert np.array_equal(rows, sample_rows(truth, True, 0))

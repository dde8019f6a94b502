"""Crosses: the pair that matters is found, a row is told nothing of its own truth, and one row reads as in a frame."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.data.target import ArrayLike
from ml.encoding import category_crosses
from ml.encoding.category_crosses import Cross
from ml.encoding.tree_matrix import TreeEncoding
from ml.estimator import FitResources
from ml.tabular.gradient_boosting import GradientBoosting, GradientBoostingModel

ROWS = 2000


def strings(values: object) -> pd.Series:
    return pd.Series(values, dtype="str")


def exclusive_or() -> tuple[pd.DataFrame, np.ndarray]:
    """Four columns of noise; the truth is 1 where the halves of `b` and `d` differ."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: strings(rng.choice(list("stuvwxyz"), ROWS)) for name in "abcd"})
    return frame, ((frame["b"] < "w") != (frame["d"] < "w")).to_numpy(np.float64)


def learned(
    frame: pd.DataFrame, truth: np.ndarray, most: int = 5
) -> tuple[tuple[Cross, ...], list[np.ndarray]]:
    fold = np.arange(len(truth)) % 5
    columns: list[ArrayLike] = [frame[name].array for name in frame]
    return category_crosses.learn(columns, truth, fold, most, min_count=1, smoothing=10.0)


def test_the_pair_that_matters_comes_first() -> None:
    frame, truth = exclusive_or()
    found, means = learned(frame, truth)
    assert (found[0].first, found[0].second) == (1, 3)
    assert np.corrcoef(means[0], truth)[0, 1] > 0.9


def test_at_most_so_many() -> None:
    assert len(learned(*exclusive_or(), most=1)[0]) == 1


def test_effects_that_add_up_make_no_cross() -> None:
    frame, _ = exclusive_or()
    expected = 0.2 + 0.3 * (frame["b"] < "w") + 0.3 * (frame["d"] < "w")
    truth = (np.random.default_rng(1).random(ROWS) < expected).to_numpy(np.float64)
    assert learned(frame, truth) == ((), [])


def test_combinations_of_noise_tell_nothing_about_training_rows() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: strings(rng.integers(0, 40, ROWS).astype(str)) for name in "ab"})
    truth = rng.integers(0, 2, ROWS).astype(np.float64)
    # So many small combinations explain nothing, or by chance next to nothing.
    _, means = learned(frame, truth)
    assert all(abs(np.corrcoef(one, truth)[0, 1]) < 0.1 for one in means)


def test_means_out_of_fold_are_what_the_other_folds_alone_teach() -> None:
    frame, truth = exclusive_or()
    _, (means,) = learned(frame, truth, most=1)
    others = np.arange(ROWS) % 5 != 0
    alike = (frame[["b", "d"]] == frame.loc[0, ["b", "d"]]).all(axis=1).to_numpy() & others
    expected = (truth[alike].sum() + 10.0 * truth[others].mean()) / (alike.sum() + 10.0)
    assert means[0] == pytest.approx(expected)


@pytest.mark.parametrize("columns", [[], ["a"], ["a", "same"], ["same", "nothing"]])
def test_nothing_to_cross(columns: list[str]) -> None:
    frame, truth = exclusive_or()
    frame = frame.assign(same=strings(["x"] * ROWS), nothing=strings([None] * ROWS))[columns]
    assert learned(frame, truth) == ((), [])


def test_a_truth_that_never_changes_makes_no_cross() -> None:
    frame, _ = exclusive_or()
    assert learned(frame, np.ones(ROWS)) == ((), [])


def test_the_order_of_rows_chooses_no_pair() -> None:
    frame, truth = exclusive_or()
    frame["twin"] = frame["d"]
    order = np.random.default_rng(1).permutation(ROWS)
    columns: list[ArrayLike] = [frame[name].array[order] for name in frame]
    turned, _ = category_crosses.learn(columns, truth[order], (np.arange(ROWS) % 5)[order], 3, 1, 10.0)
    pairs = [(one.first, one.second) for one in learned(frame, truth, most=3)[0]]
    assert [(one.first, one.second) for one in turned] == pairs


def encoded(most: int) -> tuple[TreeEncoding, pd.DataFrame]:
    """Of the four columns, some cells missing, and a number."""
    frame, truth = exclusive_or()
    frame = frame.assign(z=np.arange(ROWS, dtype=np.float64))
    frame.loc[:9, "b"] = np.nan
    frame.loc[5:14, "d"] = np.nan
    part = Dataset(frame, pd.Series(truth), np.arange(ROWS, dtype=np.uint64))
    encoding, X = TreeEncoding.learn(part, truth, 1, 255, 2, 10.0, seed=0, most_crosses=most)
    assert X.shape == encoding.encode(frame).shape == (ROWS, 5 + len(encoding.crosses))
    return encoding, frame


def test_one_row_reads_as_in_a_frame_and_as_read_back() -> None:
    encoding, frame = encoded(most=2)
    again = TreeEncoding.from_json(json.loads(json.dumps(asdict(encoding))))
    assert again == encoding
    assert encoding.crosses
    asked = pd.concat([frame.iloc[:20], frame.iloc[:1].assign(b="never seen")])
    for row in range(len(asked)):
        one = encoding.encode_row(asked.iloc[row].to_dict())
        np.testing.assert_array_equal(one, again.encode(asked)[[row]])


def test_missing_is_a_category_of_its_own() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: strings(rng.choice(["x", None], ROWS)) for name in "ab"})
    truth = (frame["a"].isna() != frame["b"].isna()).to_numpy(np.float64)
    (cross,), _ = learned(frame, truth)
    told = [cross.code(row) for row in [("x", "x"), (None, "x"), ("x", None), (None, None)]]
    np.testing.assert_allclose(told, [0.0, 1.0, 1.0, 0.0], atol=0.02)


def test_no_crosses_are_no_columns() -> None:
    encoding, _ = encoded(most=0)
    assert encoding.crosses == ()
    state = json.loads(json.dumps(asdict(encoding)))
    # Models of before crosses say nothing of them.
    del state["crosses"]
    assert TreeEncoding.from_json(state) == encoding


def test_importance_of_a_cross_is_that_of_its_columns() -> None:
    encoding, _ = encoded(most=1)
    (cross,) = encoding.crosses
    shared = encoding.by_column(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 10.0]))
    expected = pd.Series({"z": 0.0, "a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0})
    for at in (cross.first, cross.second):
        expected[encoding.columns.categorical[at]] += 5.0
    pd.testing.assert_series_equal(shared, expected)


def test_few_leaves_learn_what_only_a_cross_tells() -> None:
    frame, truth = exclusive_or()
    part = Dataset(frame, pd.Series(truth), np.arange(ROWS, dtype=np.uint64))
    train, valid = part.take(np.arange(1500)), part.take(np.arange(1500, ROWS))
    wrong = {}
    for most in (0, 2):
        stumps = GradientBoosting(num_leaves=2, statistics_from=2, crosses=most, max_rounds=200)
        model = stumps.fit(train, valid, FitResources())
        wrong[most] = ((model.predict(valid.frame)["probability"] > 0.5) != valid.truth).mean()
    assert wrong[2] < 0.05 < 0.3 < wrong[0]
    importance = model.importance()
    assert importance.sum() == pytest.approx(1.0)
    assert set(importance.nlargest(2).index) == {"b", "d"}
    again = GradientBoostingModel.from_files(model.files())
    np.testing.assert_array_equal(again.predict(valid.frame), model.predict(valid.frame))
    row = valid.frame.iloc[0].to_dict()
    assert again.predict_row(row) == model.predict(valid.frame)["probability"].iloc[0]

"""Feature crosses: selection of pairs, out-of-fold means, and equal encoding of rows and frames."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.data.target import ArrayLike
from ml.encoding import category_crosses
from ml.encoding.category_crosses import CategoryCross
from ml.encoding.tree_matrix import TreeEncoding, TreeEncodingSettings
from ml.estimator import FitResources
from ml.tabular.gradient_boosting import GradientBoosting, GradientBoostingModel

ROWS = 2000


def strings(values: object) -> pd.Series:
    return pd.Series(values, dtype="str")


def exclusive_or() -> tuple[pd.DataFrame, np.ndarray]:
    """Make four random columns; the truth is 1 where the halves of `b` and `d` differ."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: strings(rng.choice(list("stuvwxyz"), ROWS)) for name in "abcd"})
    return frame, ((frame["b"] < "w") != (frame["d"] < "w")).to_numpy(np.float64)


def fitted(
    frame: pd.DataFrame, truth: np.ndarray, max_crosses: int = 5
) -> tuple[tuple[CategoryCross, ...], list[np.ndarray]]:
    fold = np.arange(len(truth)) % 5
    columns: list[ArrayLike] = [frame[name].array for name in frame]
    return category_crosses.fit_crosses(columns, truth, fold, max_crosses, min_count=1, smoothing=10.0)


def test_interacting_pair_is_selected_first() -> None:
    frame, truth = exclusive_or()
    found, means = fitted(frame, truth)
    assert (found[0].first, found[0].second) == (1, 3)
    assert np.corrcoef(means[0], truth)[0, 1] > 0.9


def test_number_of_crosses_is_limited() -> None:
    assert len(fitted(*exclusive_or(), max_crosses=1)[0]) == 1


def test_additive_effects_give_no_cross() -> None:
    frame, _ = exclusive_or()
    expected = 0.2 + 0.3 * (frame["b"] < "w") + 0.3 * (frame["d"] < "w")
    truth = (np.random.default_rng(1).random(ROWS) < expected).to_numpy(np.float64)
    assert fitted(frame, truth) == ((), [])


def test_means_of_random_combinations_do_not_correlate_with_training_rows() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: strings(rng.integers(0, 40, ROWS).astype(str)) for name in "ab"})
    truth = rng.integers(0, 2, ROWS).astype(np.float64)
    # Many small combinations explain almost nothing, by chance.
    _, means = fitted(frame, truth)
    assert all(abs(np.corrcoef(column, truth)[0, 1]) < 0.1 for column in means)


def test_out_of_fold_means_use_other_folds_only() -> None:
    frame, truth = exclusive_or()
    _, (means,) = fitted(frame, truth, max_crosses=1)
    others = np.arange(ROWS) % 5 != 0
    same_cell = (frame[["b", "d"]] == frame.loc[0, ["b", "d"]]).all(axis=1).to_numpy() & others
    expected = (truth[same_cell].sum() + 10.0 * truth[others].mean()) / (same_cell.sum() + 10.0)
    assert means[0] == pytest.approx(expected)


@pytest.mark.parametrize("columns", [[], ["a"], ["a", "same"], ["same", "nothing"]])
def test_fewer_than_two_informative_columns_give_no_cross(columns: list[str]) -> None:
    frame, truth = exclusive_or()
    frame = frame.assign(same=strings(["x"] * ROWS), nothing=strings([None] * ROWS))[columns]
    assert fitted(frame, truth) == ((), [])


def test_constant_truth_gives_no_cross() -> None:
    frame, _ = exclusive_or()
    assert fitted(frame, np.ones(ROWS)) == ((), [])


def test_order_of_rows_does_not_change_the_selected_pairs() -> None:
    frame, truth = exclusive_or()
    frame["twin"] = frame["d"]
    order = np.random.default_rng(1).permutation(ROWS)
    columns: list[ArrayLike] = [frame[name].array[order] for name in frame]
    permuted, _ = category_crosses.fit_crosses(
        columns, truth[order], (np.arange(ROWS) % 5)[order], 3, 1, 10.0
    )
    pairs = [(cross.first, cross.second) for cross in fitted(frame, truth, max_crosses=3)[0]]
    assert [(cross.first, cross.second) for cross in permuted] == pairs


def encoded(max_crosses: int) -> tuple[TreeEncoding, pd.DataFrame]:
    """Fit to the four columns with missing cells, and a number."""
    frame, truth = exclusive_or()
    frame = frame.assign(z=np.arange(ROWS, dtype=np.float64))
    frame.loc[:9, "b"] = np.nan
    frame.loc[5:14, "d"] = np.nan
    dataset = Dataset(frame, pd.Series(truth), np.arange(ROWS, dtype=np.uint64))
    settings = TreeEncodingSettings(1, 255, 2, 10.0, max_crosses)
    encoding, X = TreeEncoding.fit(dataset, truth, settings, seed=0)
    assert X.shape == encoding.encode(frame).shape == (ROWS, 5 + len(encoding.crosses))
    return encoding, frame


def test_encode_row_and_restored_encoding_agree_with_encode() -> None:
    encoding, frame = encoded(max_crosses=2)
    restored = TreeEncoding.from_json(json.loads(json.dumps(asdict(encoding))))
    assert restored == encoding
    assert encoding.crosses
    rows = pd.concat([frame.iloc[:20], frame.iloc[:1].assign(b="never seen")])
    for row in range(len(rows)):
        encoded_row = encoding.encode_row(rows.iloc[row].to_dict())
        np.testing.assert_array_equal(encoded_row, restored.encode(rows)[[row]])


def test_missing_is_a_separate_category() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: strings(rng.choice(["x", None], ROWS)) for name in "ab"})
    truth = (frame["a"].isna() != frame["b"].isna()).to_numpy(np.float64)
    (cross,), _ = fitted(frame, truth)
    means = [cross.encode_value(row) for row in [("x", "x"), (None, "x"), ("x", None), (None, None)]]
    np.testing.assert_allclose(means, [0.0, 1.0, 1.0, 0.0], atol=0.02)


def test_encoding_without_crosses() -> None:
    encoding, _ = encoded(max_crosses=0)
    assert encoding.crosses == ()
    state = json.loads(json.dumps(asdict(encoding)))
    # Models written before there were crosses have no such key.
    del state["crosses"]
    assert TreeEncoding.from_json(state) == encoding


def test_importance_of_a_cross_is_divided_between_its_columns() -> None:
    encoding, _ = encoded(max_crosses=1)
    (cross,) = encoding.crosses
    sums = encoding.sum_by_column(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 10.0]))
    expected = pd.Series({"z": 0.0, "a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0})
    for position in (cross.first, cross.second):
        expected[encoding.columns.categorical[position]] += 5.0
    pd.testing.assert_series_equal(pd.Series(sums, list(encoding.columns.names)), expected)


def test_cross_lets_stumps_learn_an_interaction() -> None:
    frame, truth = exclusive_or()
    dataset = Dataset(frame, pd.Series(truth), np.arange(ROWS, dtype=np.uint64))
    train, valid = dataset.take(np.arange(1500)), dataset.take(np.arange(1500, ROWS))
    error_rates = {}
    for max_crosses in (0, 2):
        stumps = GradientBoosting(num_leaves=2, target_encode_from=2, max_crosses=max_crosses, max_rounds=200)
        model = stumps.fit(train, valid, FitResources())
        error_rates[max_crosses] = ((model.predict(valid.frame)["probability"] > 0.5) != valid.truth).mean()
    assert error_rates[2] < 0.05 < 0.3 < error_rates[0]
    importance = model.importance()
    assert importance.sum() == pytest.approx(1.0)
    assert set(importance.nlargest(2).index) == {"b", "d"}
    restored = GradientBoostingModel.from_files(model.files())
    np.testing.assert_array_equal(restored.predict(valid.frame), model.predict(valid.frame))
    row = valid.frame.iloc[0].to_dict()
    assert restored.predict_row(row) == model.predict(valid.frame)["probability"].iloc[0]

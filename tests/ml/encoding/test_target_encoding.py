"""Target statistics: known means, nothing of a row's own truth, and the matrix that trees get from them."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import TargetEncoder

from ml.data.dataset import Dataset
from ml.encoding.category_codes import CategoryCodes
from ml.encoding.target_encoding import TargetStatistics
from ml.encoding.tree_matrix import TreeEncoding


def strings(values: object) -> pd.Series:
    return pd.Series(values, dtype="str")


def learned(values: pd.Series, truth: np.ndarray, smoothing: float, min_count: int = 1) -> TargetStatistics:
    codes = CategoryCodes.learn(values.array, min_count, 99)
    return TargetStatistics.learn(codes, values.array, truth, smoothing)


def test_means_are_drawn_to_the_mean_of_all() -> None:
    values, truth = strings(["a", "a", "a", "b", None]), np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    statistics = learned(values, truth, smoothing=2.0, min_count=2)
    asked = strings(["a", "b", "unseen", None])
    expected = [(2 + 0.8) / 5, 0.8 / 3, 0.8 / 3, 0.8 / 3]
    np.testing.assert_allclose(statistics.encode(asked.array), expected)
    assert [statistics.code(value) for value in ["a", "b", "unseen", None]] == pytest.approx(expected)
    assert TargetStatistics.from_json(json.loads(json.dumps(asdict(statistics)))) == statistics


def test_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    values, truth = strings(rng.choice(list("abcdef"), 500)), rng.integers(0, 2, 500).astype(float)
    reference = TargetEncoder(smooth=7.0, target_type="binary").fit(values.to_frame(), truth)
    np.testing.assert_allclose(
        learned(values, truth, 7.0).encode(values.array), reference.transform(values.to_frame())[:, 0]
    )


def test_out_of_fold_is_what_the_other_folds_alone_teach() -> None:
    rng = np.random.default_rng(0)
    values, truth = strings(rng.choice(list("abcdef"), 200)), rng.normal(size=200)
    fold = rng.integers(0, 4, 200)
    statistics = learned(values, truth, 5.0)
    given = statistics.out_of_fold(values.array, truth, fold, 5.0)
    for k in range(4):
        others = TargetStatistics.learn(statistics.codes, values[fold != k].array, truth[fold != k], 5.0)
        np.testing.assert_allclose(given[fold == k], others.encode(values[fold == k].array))


def encoded(frame: pd.DataFrame, truth: np.ndarray, units: np.ndarray) -> tuple[TreeEncoding, np.ndarray]:
    part = Dataset(frame, pd.Series(truth), units)
    return TreeEncoding.learn(part, truth, 1, 255, statistics_from=8, smoothing=1.0, seed=0)


def test_a_category_of_noise_tells_trees_nothing_about_training_rows() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 2000).astype(float)
    frame = pd.DataFrame({"name": strings(rng.integers(0, 400, 2000).astype(str))})
    encoding, X = encoded(frame, truth, np.arange(2000, dtype=np.uint64))
    assert abs(np.corrcoef(X[:, 0], truth)[0, 1]) < 0.1
    # As new rows, they would be told the answer.
    assert np.corrcoef(encoding.encode(frame)[:, 0], truth)[0, 1] > 0.3


def test_rows_of_a_unit_do_not_teach_one_another() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(0, 2, 400).astype(float), 5)
    frame = pd.DataFrame({"name": strings(np.repeat(np.arange(400), 5).astype(str))})
    _, X = encoded(frame, truth, np.repeat(np.arange(400, dtype=np.uint64), 5))
    # Nobody else has the name: what is left is the mean of the other folds, higher where one's own is lower.
    assert np.corrcoef(X[:, 0], truth)[0, 1] < 0.05


def test_few_categories_stay_codes_and_numbers_come_first() -> None:
    frame = pd.DataFrame(
        {"few": strings(list("ab") * 50), "many": strings(list("abcdefghij") * 10), "z": np.arange(100.0)}
    )
    encoding, X = encoded(frame, np.arange(100) % 2.0, np.arange(100, dtype=np.uint64))
    assert encoding.columns.names == ("z", "few", "many")
    assert encoding.native == [1]
    np.testing.assert_array_equal(X[:, :2], encoding.encode(frame)[:, :2])
    again = TreeEncoding.from_json(json.loads(json.dumps(asdict(encoding))))
    assert again == encoding
    for row in range(3):
        values = frame.iloc[row].to_dict()
        np.testing.assert_array_equal(again.encode_row(values), encoding.encode(frame.iloc[[row]]))
    unknown = encoding.encode_row({"z": None, "few": None, "many": "never seen"})
    asked = pd.DataFrame({"z": [np.nan], "few": strings([None]), "many": strings(["never seen"])})
    np.testing.assert_array_equal(unknown, encoding.encode(asked))


def test_a_row_without_a_column_is_refused() -> None:
    frame = pd.DataFrame({"x": np.arange(20.0)})
    encoding, _ = encoded(frame, np.arange(20) % 2.0, np.arange(20, dtype=np.uint64))
    with pytest.raises(ValueError, match=r"got a row without \['x'\]; give every column"):
        encoding.encode_row({"y": 1.0})


def test_one_unit_of_a_class_is_enough() -> None:
    truth = np.zeros(40)
    truth[0] = 1.0
    frame = pd.DataFrame({"name": strings([str(i % 10) for i in range(40)])})
    assert np.isfinite(encoded(frame, truth, np.arange(40, dtype=np.uint64))[1]).all()

"""Target encoding: known means, no leak of a row's own truth, and the matrix of tree models."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from sklearn import preprocessing

from ml.data.dataset import Dataset
from ml.encoding.category_codes import CategoryCodes
from ml.encoding.target_encoding import TargetEncoder
from ml.encoding.tree_matrix import TreeEncoding, TreeEncodingSettings


def strings(values: object) -> pd.Series:
    return pd.Series(values, dtype="str")


def fitted(values: pd.Series, truth: np.ndarray, smoothing: float, min_count: int = 1) -> TargetEncoder:
    codes = CategoryCodes.fit(values.array, min_count, 99)
    return TargetEncoder.fit(codes, values.array, truth, smoothing)


def test_means_are_shrunk_to_the_overall_mean() -> None:
    values, truth = strings(["a", "a", "a", "b", None]), np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    encoder = fitted(values, truth, smoothing=2.0, min_count=2)
    new_values = strings(["a", "b", "unseen", None])
    expected = [(2 + 0.8) / 5, 0.8 / 3, 0.8 / 3, 0.8 / 3]
    np.testing.assert_allclose(encoder.encode(new_values.array), expected)
    assert [encoder.encode_value(value) for value in ["a", "b", "unseen", None]] == pytest.approx(expected)
    assert TargetEncoder.from_json(json.loads(json.dumps(asdict(encoder)))) == encoder


def test_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    values, truth = strings(rng.choice(list("abcdef"), 500)), rng.integers(0, 2, 500).astype(float)
    reference = preprocessing.TargetEncoder(smooth=7.0, target_type="binary").fit(values.to_frame(), truth)
    np.testing.assert_allclose(
        fitted(values, truth, 7.0).encode(values.array), reference.transform(values.to_frame())[:, 0]
    )


def test_out_of_fold_means_use_other_folds_only() -> None:
    rng = np.random.default_rng(0)
    values, truth = strings(rng.choice(list("abcdef"), 200)), rng.normal(size=200)
    fold = rng.integers(0, 4, 200)
    encoder = fitted(values, truth, 5.0)
    means = encoder.out_of_fold(values.array, truth, fold, 5.0)
    for k in range(4):
        others = TargetEncoder.fit(encoder.codes, values[fold != k].array, truth[fold != k], 5.0)
        np.testing.assert_allclose(means[fold == k], others.encode(values[fold == k].array))


def encoded(frame: pd.DataFrame, truth: np.ndarray, units: np.ndarray) -> tuple[TreeEncoding, np.ndarray]:
    dataset = Dataset(frame, pd.Series(truth), units)
    settings = TreeEncodingSettings(1, 255, target_encode_from=8, smoothing=1.0)
    return TreeEncoding.fit(dataset, truth, settings, seed=0)


def test_random_category_does_not_correlate_with_training_rows() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 2000).astype(float)
    frame = pd.DataFrame({"name": strings(rng.integers(0, 400, 2000).astype(str))})
    encoding, X = encoded(frame, truth, np.arange(2000, dtype=np.uint64))
    assert abs(np.corrcoef(X[:, 0], truth)[0, 1]) < 0.1
    # Encoded as new rows, they would contain their own target.
    assert np.corrcoef(encoding.encode(frame)[:, 0], truth)[0, 1] > 0.3


def test_rows_of_a_unit_are_encoded_without_each_other() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(0, 2, 400).astype(float), 5)
    frame = pd.DataFrame({"name": strings(np.repeat(np.arange(400), 5).astype(str))})
    _, X = encoded(frame, truth, np.repeat(np.arange(400, dtype=np.uint64), 5))
    # No other unit has the name: the mean of the other folds is higher where that of the own fold is lower.
    assert np.corrcoef(X[:, 0], truth)[0, 1] < 0.05


def test_few_categories_are_codes_and_numbers_come_first() -> None:
    frame = pd.DataFrame(
        {"few": strings(list("ab") * 50), "many": strings(list("abcdefghij") * 10), "z": np.arange(100.0)}
    )
    encoding, X = encoded(frame, np.arange(100) % 2.0, np.arange(100, dtype=np.uint64))
    assert encoding.columns.names == ("z", "few", "many")
    assert encoding.categorical_positions == [1]
    np.testing.assert_array_equal(X[:, :2], encoding.encode(frame)[:, :2])
    restored = TreeEncoding.from_json(json.loads(json.dumps(asdict(encoding))))
    assert restored == encoding
    for row in range(3):
        values = frame.iloc[row].to_dict()
        np.testing.assert_array_equal(restored.encode_row(values), encoding.encode(frame.iloc[[row]]))
    unknown = encoding.encode_row({"z": None, "few": None, "many": "never seen"})
    new_row = pd.DataFrame({"z": [np.nan], "few": strings([None]), "many": strings(["never seen"])})
    np.testing.assert_array_equal(unknown, encoding.encode(new_row))


def test_row_without_a_column_is_rejected() -> None:
    frame = pd.DataFrame({"x": np.arange(20.0)})
    encoding, _ = encoded(frame, np.arange(20) % 2.0, np.arange(20, dtype=np.uint64))
    with pytest.raises(ValueError, match=r"got a row without \['x'\]; give every column"):
        encoding.encode_row({"y": 1.0})


def test_one_unit_of_a_class_is_sufficient() -> None:
    truth = np.zeros(40)
    truth[0] = 1.0
    frame = pd.DataFrame({"name": strings([str(i % 10) for i in range(40)])})
    assert np.isfinite(encoded(frame, truth, np.arange(40, dtype=np.uint64))[1]).all()

"""Metrics of several classes: known answers, agreement with scikit-learn, weights as repeated rows, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from ml.evaluation.multiclass_metrics import (
    WeightedMulticlassMetrics,
    class_auc,
    compute_multiclass_metrics,
    confusions,
)

TRUTH = np.array([0, 0, 1, 2, 2])
PROBABILITY = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.5, 0.2, 0.3]])


def draw(seed: int, rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.ones(classes), rows)
    return np.array([rng.choice(classes, p=p) for p in probability]), probability


def test_metrics_by_hand() -> None:
    computed = compute_multiclass_metrics(TRUTH, PROBABILITY)
    # F1: 1/2 of class 0 (1 of 2 found, 1 of 2 right), 2/3 of class 1, 2/3 of class 2.
    assert computed["accuracy"] == pytest.approx(3 / 5)
    assert computed["macro_f1"] == pytest.approx((1 / 2 + 2 / 3 + 2 / 3) / 3)
    assert computed["weighted_f1"] == pytest.approx((2 * 1 / 2 + 2 / 3 + 2 * 2 / 3) / 5)
    assert computed["macro_recall"] == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert computed["log_loss"] == pytest.approx(-np.log([0.8, 0.3, 0.7, 0.8, 0.3]).mean())
    assert computed["brier"] == pytest.approx(((PROBABILITY - np.eye(3)[TRUTH]) ** 2).sum(axis=1).mean())
    assert confusions(TRUTH, PROBABILITY).tolist() == [[0, 1, 1], [2, 0, 1]]


@given(st.integers(0, 1000), st.integers(3, 60), st.integers(2, 8))
def test_metrics_agree_with_scikit_learn(seed: int, rows: int, classes: int) -> None:
    truth, probability = draw(seed, rows, classes)
    present = np.unique(truth)
    predicted = probability.argmax(axis=1)
    computed = compute_multiclass_metrics(truth, probability)
    for average in ("macro", "weighted"):
        expected = metrics.f1_score(truth, predicted, labels=present, average=average, zero_division=0.0)
        assert computed[f"{average}_f1"] == pytest.approx(expected)
    assert computed["macro_recall"] == pytest.approx(
        metrics.recall_score(truth, predicted, labels=present, average="macro")
    )
    assert computed["log_loss"] == pytest.approx(metrics.log_loss(truth, probability, labels=range(classes)))
    for k in present[[0 < (truth == k).sum() < rows for k in present]]:
        expected = metrics.roc_auc_score(truth == k, probability[:, k])
        assert class_auc(truth, probability)[k] == pytest.approx(expected)


@given(st.integers(0, 1000))
def test_weights_count_as_repeated_rows(seed: int) -> None:
    truth, probability = draw(seed, 30, 4)
    weights = np.random.default_rng(seed).integers(0, 4, 30)
    weights[0] = 1
    rows = np.repeat(np.arange(30), weights)
    repeated = WeightedMulticlassMetrics(truth[rows], probability[rows])(np.ones(len(rows)))
    assert WeightedMulticlassMetrics(truth, probability)(weights) == pytest.approx(repeated)


@given(st.integers(0, 1000), st.permutations(range(5)))
def test_order_of_classes_does_not_matter(seed: int, order: list[int]) -> None:
    truth, probability = draw(seed, 40, 5)
    renamed = np.argsort(order)[truth]
    assert compute_multiclass_metrics(renamed, probability[:, order]) == pytest.approx(
        compute_multiclass_metrics(truth, probability)
    )


@pytest.mark.parametrize(
    ("truth", "probability", "message"),
    [
        ([0, 1], [[0.5, 0.5]], "align the rows"),
        ([0, 3], [[0.5, 0.5], [0.5, 0.5]], "expected truth from 0 to 1"),
        ([0, 0.5], [[0.5, 0.5], [0.5, 0.5]], "expected truth from 0 to 1"),
        ([0, 1], [[0.5, 0.6], [0.5, 0.5]], "sum to 1"),
        ([0, 1], [[1.5, -0.5], [0.5, 0.5]], "sum to 1"),
        ([0, 1], [[np.nan, 1.0], [0.5, 0.5]], "sum to 1"),
        ([], np.empty((0, 2)), "align the rows"),
    ],
)
def test_bad_input_is_refused(truth: list[float], probability: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute_multiclass_metrics(np.array(truth), np.array(probability))

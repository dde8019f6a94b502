"""The association of features and target: known values, inversion, and silence where nothing is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from ml.drift.labels import LabelSummary, association, compare_labels, summarize_labels


def sample(seed: int, rows: int = 3000) -> tuple[pd.DataFrame, pd.Series]:
    rng = np.random.default_rng(seed)
    x, kind = rng.normal(size=rows), rng.choice(["a", "b", "c"], rows)
    score = x + pd.Series(kind).map({"a": -1.0, "b": 0.0, "c": 1.0}).to_numpy()
    frame = pd.DataFrame(
        {"x": np.where(rng.random(rows) < 0.1, np.nan, x), "kind": pd.Series(kind, dtype="str")}
    )
    return frame, pd.Series((score + rng.logistic(size=rows) > 0).astype(float))


def summary(seed: int = 0) -> LabelSummary:
    found = summarize_labels(*sample(seed))
    assert found
    return found


def test_association_is_that_of_reference_libraries() -> None:
    rng = np.random.default_rng(0)
    score, target = rng.normal(size=500).round(1), rng.integers(0, 2, 500).astype(float)
    got = association(score, target, True, 0.05)
    assert got.value == pytest.approx(2 * roc_auc_score(target, score) - 1)
    assert got.low < got.value < got.high
    number = score + rng.normal(size=500)
    assert association(score, number, False, 0.05).value == pytest.approx(spearmanr(score, number).statistic)


def test_another_sample_has_the_association_of_the_reference() -> None:
    reference = summary()
    found = compare_labels(reference, *sample(1), 1e-4)
    assert found
    assert found.low < reference.association < found.high
    assert reference.low > 0.4


def test_inverted_labels_have_the_opposite_association() -> None:
    frame, truth = sample(1)
    found = compare_labels(summary(), frame, 1 - truth, 1e-4)
    assert found
    assert found.high < 0


def test_labels_of_other_rows_have_none() -> None:
    frame, truth = sample(1)
    found = compare_labels(summary(), frame, pd.Series(np.random.default_rng(0).permutation(truth)), 1e-4)
    assert found
    assert found.low < 0 < found.high < 0.2


def test_features_that_predict_nothing_prove_nothing() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{i}": rng.normal(size=60) for i in range(30)})
    truth = pd.Series(rng.integers(0, 2, 60).astype(float))
    reference = summarize_labels(frame, truth)
    # Measured on rows that the scores were not computed from, thirty columns of noise predict nothing.
    assert reference
    assert reference.low < 0.1
    assert compare_labels(reference, frame, 1 - truth, 1e-4) is None


@pytest.mark.parametrize("truth", [np.ones(100), np.full(100, np.nan), np.arange(10.0)])
def test_a_target_that_cannot_be_predicted_has_no_summary(truth: np.ndarray) -> None:
    frame = pd.DataFrame({"x": np.arange(float(len(truth)))})
    assert summarize_labels(frame, pd.Series(truth)) is None


def test_scores_of_other_categories_are_left_out() -> None:
    fewer = summary().with_categories({"kind": {"a", "b"}})
    assert set(fewer.columns["kind"].categories) == {"a", "b"}
    assert fewer.columns["x"] == summary().columns["x"]

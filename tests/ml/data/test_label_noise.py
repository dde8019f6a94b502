"""Wrong labels are counted: a known answer, a known share of noise, and none where there is none."""

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from ml.data.label_noise import MIN_ROWS_OF_CLASS, estimate_label_noise
from ml.simulators.mailbox import INTENTS, OUT_OF_SCOPE, simulate


def test_known_answer() -> None:
    """Class 0 has a mean probability of 0.72 among its rows, class 1 of 0.66."""
    of_zero = [0.9, 0.9, 0.9, 0.8, 0.1]
    of_one = [0.8, 0.8, 0.7, 0.7, 0.3]
    probability = np.array([[p, 1 - p] for p in of_zero] + [[1 - p, p] for p in of_one])
    truth = np.array([0.0] * 5 + [1.0] * 5)
    found = estimate_label_noise(truth, probability)
    # Row 4 is confidently of class 1 (0.9 >= 0.66); row 9 is not confidently of class 0 (0.7 < 0.72).
    assert found.positions.tolist() == [4]
    assert (found.judged, found.suspicious, found.share) == (10, 1, 0.1)
    assert found.by_class.tolist() == [0.2, 0.0]
    assert found.low == pytest.approx(0.0025, abs=0.0001)
    assert found.high == pytest.approx(0.4450, abs=0.0001)
    assert not found.is_notable


@pytest.fixture(scope="module")
def predicted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, true intents and out-of-fold probabilities of simulated messages with 4 % of wrong labels."""
    mailbox = simulate(2000, 0)
    is_known = (mailbox.rows["intent"] != OUT_OF_SCOPE).to_numpy()
    position = {name: k for k, name in enumerate(INTENTS)}
    label = mailbox.rows["intent"][is_known].map(position).to_numpy(float)
    intent = mailbox.oracle["intent"][is_known].map(position).to_numpy(float)
    return label, intent, out_of_fold(mailbox.rows["text"][is_known], label)


def out_of_fold(texts: pd.Series, label: np.ndarray) -> np.ndarray:
    words = TfidfVectorizer(min_df=2, sublinear_tf=True)
    model = make_pipeline(words, LogisticRegression(C=10.0, max_iter=100))
    return cross_val_predict(model, texts, label, cv=3, method="predict_proba")


def test_the_share_of_simulated_noise_is_found(predicted: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    label, intent, probability = predicted
    is_wrong = label != intent
    found = estimate_label_noise(label, probability)
    assert abs(found.share - is_wrong.mean()) < 0.015
    assert is_wrong[found.positions].mean() > 0.85
    assert np.isin(np.flatnonzero(is_wrong), found.positions).mean() > 0.7
    # The surest come first.
    assert is_wrong[found.positions[:40]].mean() > is_wrong[found.positions[-40:]].mean() - 0.05


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_more_noise_is_found_as_more(share: float) -> None:
    mailbox = simulate(2000, 1)
    is_known = (mailbox.oracle["intent"] != OUT_OF_SCOPE).to_numpy()
    intent = pd.factorize(mailbox.oracle["intent"][is_known], sort=True)[0]
    rng = np.random.default_rng(0)
    is_wrong = rng.random(len(intent)) < share
    label = np.where(is_wrong, (intent + rng.integers(1, 12, len(intent))) % 12, intent).astype(float)
    found = estimate_label_noise(label, out_of_fold(mailbox.rows["text"][is_known], label))
    assert found.share == pytest.approx(share, abs=0.04)
    assert found.is_notable


def test_calibrated_probabilities_of_clean_classes_that_do_not_overlap_have_no_noise() -> None:
    truth = np.repeat(np.arange(4.0), 250)
    probability = np.full((1000, 4), 0.02)
    probability[np.arange(1000), truth.astype(int)] = 0.94
    found = estimate_label_noise(truth, probability)
    assert (found.suspicious, found.low, found.is_notable) == (0, 0.0, False)
    assert 0.0 < found.high < 0.01


def test_renaming_classes_permutes_the_answer(predicted: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    label, _, probability = predicted
    order = np.random.default_rng(0).permutation(len(INTENTS))
    renamed = np.argsort(order)[label.astype(int)].astype(float)
    found, other = (
        estimate_label_noise(label, probability),
        estimate_label_noise(renamed, probability[:, order]),
    )
    np.testing.assert_array_equal(found.by_class[order], other.by_class)
    np.testing.assert_array_equal(found.positions, other.positions)


def test_classes_with_few_rows_are_not_judged() -> None:
    truth = np.array([0.0] * 50 + [1.0] * 50 + [2.0] * (MIN_ROWS_OF_CLASS - 1))
    probability = np.full((len(truth), 4), 0.1)
    probability[:, 2] = 0.7
    found = estimate_label_noise(truth, probability)
    assert (found.judged, found.suspicious) == (100, 0)
    assert np.isnan(found.by_class).tolist() == [False, False, True, True]
    none = estimate_label_noise(truth[:0], probability[:0])
    assert (none.judged, none.share, none.low, none.high) == (0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("truth", "probability", "message"),
    [
        ([0, 1], [[0.5, 0.5]], "shapes"),
        ([0, 1], [0.5, 0.5], "shapes"),
        ([0, 0], [[1.0], [1.0]], "at least two classes"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "labels from 0 to 1"),
        ([0, np.nan], [[0.5, 0.5], [0.5, 0.5]], "without a class"),
        ([0, 1], [[0.5, 1.5], [0.5, 0.5]], "probabilities from 0 to 1"),
        ([0, 1], [[0.5, np.nan], [0.5, 0.5]], "probabilities from 0 to 1"),
    ],
)
def test_other_input_is_an_error(truth: list[float], probability: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_label_noise(np.array(truth, float), np.array(probability))

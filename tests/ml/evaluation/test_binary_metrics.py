"""Binary metrics: known answers by hand, agreement with scikit-learn, and errors for undefined values."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from sklearn.metrics import f1_score

from ml.evaluation import binary_metrics

TRUTH = np.array([0.0, 0.0, 1.0, 1.0, 1.0])
PROBABILITY = np.array([0.1, 0.6, 0.4, 0.7, 0.9])
DECISION = np.array([0, 1, 0, 1, 1])


def test_metrics_by_hand() -> None:
    computed = binary_metrics.compute_binary_metrics(TRUTH, PROBABILITY, threshold=0.5)
    assert computed == pytest.approx(
        {
            "accuracy": 3 / 5,
            "recall": 2 / 3,
            "precision": 2 / 3,
            "f1": 2 / 3,
            "roc_auc": 5 / 6,  # of 6 pairs one is in the wrong order
            "gini": 2 / 3,
            "ks": 2 / 3,  # above .7: two of three positives, no negative
            "lift": 1 / (3 / 5),  # the top tenth is half a row, which is positive
            "average_precision": (1 + 1 + 3 / 4) / 3,
            "log_loss": -(np.log(0.9) + np.log(0.4) + np.log(0.4) + np.log(0.7) + np.log(0.9)) / 5,
            "brier": (0.01 + 0.36 + 0.36 + 0.09 + 0.01) / 5,
            "calibration_error": (0.1 + 0.6 + 0.6 + 0.3 + 0.1) / 5,  # each row is its own bin
        }
    )


def test_confusion_and_lift_by_hand() -> None:
    counts = binary_metrics.confusion_counts(TRUTH, PROBABILITY, 0.5)
    assert list(counts.values()) == [2, 1, 1, 1]
    # Two of five rows; the second and the third are equal, so each counts half.
    tied = np.array([0.1, 0.2, 0.7, 0.7, 0.9])
    assert binary_metrics.lift(np.array([0, 0, 0, 1, 1]), tied, share=0.4) == pytest.approx(0.75 / 0.4)


def test_a_probability_equal_to_the_threshold_is_positive() -> None:
    assert binary_metrics.compute_binary_metrics(TRUTH, PROBABILITY, threshold=0.4)["recall"] == 1.0


def test_metrics_without_positive_decisions_are_zero() -> None:
    negative = np.zeros(5)
    assert (
        binary_metrics.precision(TRUTH, negative)
        == binary_metrics.f1(TRUTH, negative)
        == binary_metrics.recall(TRUTH, negative)
        == 0.0
    )


def test_ties_count_half_in_roc_auc() -> None:
    assert binary_metrics.roc_auc(np.array([0, 1, 1]), np.array([0.5, 0.5, 0.9])) == 0.75


def test_log_loss_of_certain_predictions_is_finite() -> None:
    assert binary_metrics.log_loss(np.array([0, 1]), np.array([0.0, 1.0])) == pytest.approx(0.0, abs=1e-12)
    assert 30 < binary_metrics.log_loss(np.array([1]), np.array([0.0])) < 40


def test_calibration_error_of_one_and_two_bins() -> None:
    truth = np.array([0, 1, 1, 1])
    probability = np.array([0.1, 0.3, 0.6, 0.8])
    assert binary_metrics.calibration_error(truth, probability, bins=2) == pytest.approx(
        0.5 * 0.3 + 0.5 * 0.3
    )
    assert binary_metrics.calibration_error(truth, probability, bins=1) == pytest.approx(0.75 - 0.45)


def test_equal_probabilities_stay_in_one_bin() -> None:
    truth = np.array([1, 0, 0, 0, 1, 0, 0, 1])
    assert binary_metrics.calibration_error(truth, np.full(8, 0.375)) == 0.0
    table = binary_metrics.reliability_curve(np.append(truth, 1), np.append(np.full(8, 0.375), 0.9))
    assert table["count"].tolist() == [8, 1]
    assert table["observed"].tolist() == [0.375, 1.0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=60),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_bins_partition_the_rows_in_order(rows: list[tuple[bool, int]], bins: int, shuffle: Random) -> None:
    truth, probability = np.array([row[0] for row in rows]), np.array([row[1] / 20 for row in rows])
    table = binary_metrics.reliability_curve(truth, probability, bins)
    assert table["count"].sum() == len(rows)
    assert len(table) <= min(bins, len(np.unique(probability)))
    assert table["predicted"].is_monotonic_increasing
    assert (table["low"] <= table["observed"] + 1e-12).all()
    assert (table["observed"] <= table["high"] + 1e-12).all()
    assert np.average(table["predicted"], weights=table["count"]) == pytest.approx(probability.mean())
    order = list(range(len(rows)))
    shuffle.shuffle(order)
    shuffled = binary_metrics.calibration_error(truth[order], probability[order], bins)
    assert shuffled == pytest.approx(binary_metrics.calibration_error(truth, probability, bins))


def test_bins_have_equal_mass() -> None:
    probability = np.random.default_rng(0).beta(1, 8, size=1000)
    assert binary_metrics.reliability_curve(probability > 0.2, probability)["count"].tolist() == [100] * 10


def test_wilson_interval_by_hand() -> None:
    table = binary_metrics.reliability_curve(
        np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 0]), np.full(10, 0.1), bins=1
    )
    z = 1.959964
    centre, half = (0.1 + z**2 / 20) / (1 + z**2 / 10), z * np.sqrt(0.009 + z**2 / 400) / (1 + z**2 / 10)
    assert table["low"][0] == pytest.approx(centre - half, rel=1e-5)
    assert table["high"][0] == pytest.approx(centre + half, rel=1e-5)
    assert table.columns.tolist() == ["predicted", "observed", "low", "high", "count"]


def test_calibration_slope_by_hand() -> None:
    # A quarter and three quarters are positive where log odds are -2 and 2: the slope is log(3) / 2.
    truth = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    probability = special.expit(np.array([-2.0] * 4 + [2.0] * 4))
    assert binary_metrics.calibration_slope(truth, probability) == pytest.approx(np.log(3) / 2, rel=1e-8)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_calibration_slope_recovers_the_distortion(factor: float) -> None:
    generator = np.random.default_rng(1)
    log_odds = generator.normal(-1, 1.5, size=40_000)
    truth = generator.random(40_000) < special.expit(log_odds)
    slope = binary_metrics.calibration_slope(truth, special.expit(factor * log_odds))
    assert slope == pytest.approx(1 / factor, rel=0.04)


@pytest.mark.parametrize("probability", [[0.1, 0.2, 0.8, 0.9], [0.9, 0.8, 0.2, 0.1], [0.3, 0.3, 0.3, 0.3]])
def test_calibration_slope_of_classes_without_overlap_is_undefined(probability: list[float]) -> None:
    with pytest.raises(binary_metrics.UndefinedMetricError, match="separation"):
        binary_metrics.calibration_slope(np.array([0, 0, 1, 1]), np.array(probability))


def test_f1_threshold_by_hand() -> None:
    # At .4: 3 true and 1 false positive, F1 = 6/7; at .7: F1 = 4/5.
    assert binary_metrics.f1_threshold(TRUTH, PROBABILITY) == 0.4


def test_f1_threshold_is_the_highest_of_equally_good_ones() -> None:
    # At .8: 1 true positive, 1 false negative: 2/3. At .2: 2 true and 2 false positives: 2/3.
    assert binary_metrics.f1_threshold(np.array([1, 0, 0, 1]), np.array([0.8, 0.6, 0.4, 0.2])) == 0.8


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=25))
def test_no_threshold_beats_the_f1_threshold(rows: list[tuple[bool, int]]) -> None:
    truth = np.array([True] + [row[0] for row in rows])
    probability = np.array([0.5] + [row[1] / 8 for row in rows])
    best = binary_metrics.f1(truth, probability >= binary_metrics.f1_threshold(truth, probability))
    scores = [
        f1_score(truth, probability >= threshold, zero_division=0.0) for threshold in np.arange(0, 1, 1 / 16)
    ]
    assert best == pytest.approx(max(scores))


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "recall", "f1", "f1_threshold"])
def test_metrics_without_positives_are_undefined(name: str) -> None:
    with pytest.raises(binary_metrics.UndefinedMetricError, match="got 3 rows"):
        getattr(binary_metrics, name)(np.zeros(3), np.array([0.0, 1.0, 1.0]))


def test_roc_auc_of_one_class_is_undefined() -> None:
    with pytest.raises(ValueError, match="all 1"):
        binary_metrics.roc_auc(np.ones(3), np.array([0.1, 0.2, 0.3]))


@pytest.mark.parametrize(
    ("truth", "probability", "message"),
    [
        ([], [], "shape"),
        ([0, 1], [0.5], "align"),
        ([0, 2], [0.5, 0.5], "0 and 1"),
        ([0, np.nan], [0.5, 0.5], "0 and 1"),
        ([0, 1], [0.5, 1.5], "1 outside"),
        ([0, 1], [np.nan, np.nan], "2 outside"),
    ],
)
def test_invalid_input_is_rejected(truth: list[float], probability: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        binary_metrics.brier_score(np.array(truth), np.array(probability))


def test_fewer_than_one_bin_is_rejected() -> None:
    with pytest.raises(ValueError, match="at least one bin"):
        binary_metrics.calibration_error(TRUTH, PROBABILITY, bins=0)


def test_decisions_other_than_zero_and_one_are_rejected() -> None:
    assert binary_metrics.accuracy(TRUTH, DECISION) == 0.6
    with pytest.raises(ValueError, match="decision of 0 and 1"):
        binary_metrics.accuracy(TRUTH, PROBABILITY)

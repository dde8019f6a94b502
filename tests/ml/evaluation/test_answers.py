"""Label sets keep their coverage on new rows, agree with MAPIE, and thresholds of answers mean what they say."""

import numpy as np
import pandas as pd
import pytest

from ml.data.decisions import add_decisions, decide_row
from ml.data.target import class_columns
from ml.evaluation.answers import (
    accuracy_by_coverage,
    answer_metrics,
    answer_threshold,
    balanced_answer_threshold,
    label_threshold,
    possible_labels,
    rejection_metrics,
)


def draw(seed: int, rows: int, classes: int = 6, sharpness: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.full(classes, sharpness), rows)
    return np.array([rng.choice(classes, p=p) for p in probability]), probability


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.97])
def test_label_sets_keep_their_coverage_on_new_rows(coverage: float) -> None:
    # The mean coverage over validation sets is between coverage and coverage + 1 / (n + 1), whatever the model.
    covered = []
    for seed in range(300):
        truth, probability = draw(seed, 250)
        # A model that is far too confident: its probabilities are no calibrated ones.
        wrong = probability**3 / (probability**3).sum(axis=1, keepdims=True)
        threshold = label_threshold(truth[:100], wrong[:100], coverage)
        covered.append((wrong[100:] >= threshold)[np.arange(150), truth[100:]].mean())
    error = np.std(covered) / np.sqrt(len(covered))
    assert coverage - 4 * error <= np.mean(covered) <= coverage + 1 / 101 + 4 * error


def test_label_threshold_agrees_with_mapie() -> None:
    from mapie.classification import SplitConformalClassifier
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4))
    y = (X[:, 0] + rng.normal(size=600) > 0).astype(int) + (X[:, 1] + rng.normal(size=600) > 0.5).astype(int)
    model = LogisticRegression().fit(X[:200], y[:200])
    reference = SplitConformalClassifier(model, confidence_level=0.85, conformity_score="lac", prefit=True)
    _, sets = reference.conformalize(X[200:400], y[200:400]).predict_set(X[400:])
    threshold = label_threshold(y[200:400], model.predict_proba(X[200:400]), 0.85)
    ours = model.predict_proba(X[400:]) >= threshold
    # MAPIE leaves sets empty where no label is possible, and so do we before the predicted label is added.
    assert (ours == sets[:, :, 0]).all()
    assert possible_labels(model.predict_proba(X[400:]), threshold).any(axis=1).all()


def test_too_few_validation_rows_hold_every_label_possible() -> None:
    truth, probability = draw(0, 8)
    assert label_threshold(truth, probability, 0.9) == 0.0
    assert possible_labels(probability, 0.0).all()


def test_answer_threshold_keeps_its_share_of_right_answers() -> None:
    truth, probability = draw(1, 1000)
    threshold = answer_threshold(truth, probability, kept=0.95)
    confidence = probability.max(axis=1)
    right = confidence[probability.argmax(axis=1) == truth]
    assert (right >= threshold).mean() >= 0.95
    higher = np.nextafter(threshold, 1.0)
    assert (right >= higher).mean() < 0.95
    metrics = answer_metrics(truth, probability, threshold, 0.0)
    answered = confidence >= threshold
    assert metrics["answered"] == answered.mean()
    assert metrics["answered_accuracy"] > (probability.argmax(axis=1) == truth).mean()
    assert (metrics["label_coverage"], metrics["label_count"]) == (1.0, 6.0)


def test_balanced_threshold_is_the_best_of_all_that_keep_the_coverage() -> None:
    truth, probability = draw(3, 400)
    of_none = np.random.default_rng(4).dirichlet(np.full(6, 1.5), 150)
    right = probability.max(axis=1)[probability.argmax(axis=1) == truth]

    def shares(threshold: float) -> tuple[float, float]:
        return float((right >= threshold).mean()), float((of_none.max(axis=1) < threshold).mean())

    every = [0.0, *np.unique(np.concatenate([right, of_none.max(axis=1)]))]
    for coverage in (0.5, 0.9, 0.99):
        kept, rejected = shares(balanced_answer_threshold(truth, probability, of_none, coverage))
        assert kept >= coverage
        assert kept + rejected == pytest.approx(
            max(sum(shares(t)) for t in every if shares(t)[0] >= coverage)
        )


def test_rows_of_none_with_low_probabilities_cost_no_right_answer() -> None:
    truth = np.zeros(30, int)
    probability = np.column_stack([np.linspace(0.7, 0.9, 30), np.linspace(0.3, 0.1, 30)])
    of_none = np.full((20, 2), 0.5)
    # The 95 % rule gives up one right answer in twenty; this one need not.
    assert balanced_answer_threshold(truth, probability, of_none, 0.9) == 0.7
    assert answer_threshold(truth, probability) > 0.7
    # Too few of them choose nothing, and neither do any where no answer is right.
    few = balanced_answer_threshold(truth, probability, of_none[:19], 0.9)
    assert few == answer_threshold(truth, probability)
    assert balanced_answer_threshold(truth + 1, probability, of_none, 0.9) == 0.0


def test_no_right_answer_leaves_nothing_unanswered() -> None:
    assert answer_threshold(np.array([1, 1]), np.array([[0.9, 0.1], [0.8, 0.2]])) == 0.0


def test_accuracy_by_coverage_ends_at_the_accuracy() -> None:
    truth, probability = draw(2, 500)
    curve = accuracy_by_coverage(truth, probability)
    assert curve["x"][-1] == 1.0
    assert curve["y"][-1] == pytest.approx((probability.argmax(axis=1) == truth).mean())
    assert curve["y"][0] > curve["y"][-1]


def test_rejection_metrics_by_hand() -> None:
    known = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    unknown = np.array([[0.6, 0.4], [0.5, 0.5]])
    metrics = rejection_metrics(known, unknown, 0.55)
    # Of six pairs one is a tie: 0.6 and 0.6.
    assert metrics == {"rows": 2, "rejected": 0.5, "roc_auc": pytest.approx(5.5 / 6)}


def test_numbers_have_an_interval() -> None:
    prediction = pd.DataFrame({"prediction": [1.5, -2.0]}, index=[3, 4])
    decided = add_decisions(prediction, {"half_width": 0.5})
    assert decided.to_dict("list") == {"prediction": [1.5, -2.0], "lower": [1.0, -2.5], "upper": [2.0, -1.5]}
    assert decide_row(1.5, {"half_width": 0.5}) == {"lower": 1.0, "upper": 2.0}
    assert (decide_row(0.4, {"threshold": 0.4}), decide_row(0.4, {})) == ({"decision": 1}, {})


def test_decisions_of_several_classes() -> None:
    columns = class_columns(("refund", "delivery", "other"))
    prediction = pd.DataFrame(
        [[0.6, 0.3, 0.1], [0.2, 0.3, 0.5], [0.34, 0.33, 0.33]], columns=columns, index=[7, 8, 9]
    )
    decided = add_decisions(prediction, {"min_probability": 0.5, "label_probability": 0.3})
    assert decided["label"].tolist() == ["refund", "other", "refund"]
    assert decided["decision"].tolist() == ["answer", "answer", "unsure"]
    assert decided["labels"].tolist() == [
        ["refund", "delivery"],
        ["delivery", "other"],
        ["refund", "delivery", "other"],
    ]
    assert decided["probability"].tolist() == [0.6, 0.5, 0.34]
    assert decided.index.tolist() == [7, 8, 9]
    pd.testing.assert_frame_equal(decided[columns], prediction)

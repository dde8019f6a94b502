"""Behaviour of every tabular candidate for several classes, on synthetic tables."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.data.target import class_columns
from ml.errors import CandidateSkipped
from ml.estimator import Candidate, FitResources
from ml.evaluation.multiclass_evaluator import MulticlassEvaluator
from ml.serialization import class_name, load_model
from ml.tabular.multiclass_boosting import MAX_CLASSES, MulticlassBoosting
from ml.tabular.multiclass_linear import MulticlassLinear

CLASSES = ("low", "middle", "high")
CANDIDATES: list[Candidate] = [
    MulticlassLinear(inverse_penalties=(0.1, 1.0)),
    # Without random columns and rows, which are other ones for a class in another position.
    MulticlassBoosting(learning_rate=0.1, max_rounds=60, feature_fraction=1.0, bagging_fraction=1.0),
]


def table(rows: int, seed: int) -> Dataset:
    """Return rows whose class depends on a number and a category, which is missing for some."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    kind = rng.choice(["a", "b", "c"], rows)
    score = x + (kind == "a") - (kind == "c") + 0.5 * rng.normal(size=rows)
    truth = np.digitize(score, [-0.7, 0.7]).astype(np.float64)
    frame = pd.DataFrame({"x": x, "noise": rng.normal(size=rows), "kind": pd.Series(kind, dtype="str")})
    frame.loc[rng.random(rows) < 0.05, ["x", "kind"]] = np.nan
    units = rng.integers(0, 2**63, rows).astype(np.uint64)
    return Dataset(frame, pd.Series(truth), units, classes=CLASSES)


TRAIN, VALID, TEST = table(1500, 0), table(500, 1), table(1000, 2)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: type(candidate).__name__)
class TestCandidate:
    def test_beats_the_most_frequent_class_by_far(self, candidate: Candidate) -> None:
        model = candidate.fit(TRAIN, VALID, FitResources())
        accuracy = MulticlassEvaluator().primary_interval(TEST, model.predict(TEST.frame))
        assert accuracy.low > TEST.truth.value_counts(normalize=True).max() + 0.2
        importance = model.importance()  # type: ignore[attr-defined]
        assert importance.sum() == pytest.approx(1.0)
        assert importance.idxmax() == "x"
        assert importance["kind"] > 0.1

    def test_probabilities_sum_to_one_also_for_missing_and_unseen_values(self, candidate: Candidate) -> None:
        model = candidate.fit(TRAIN, VALID, FitResources())
        frame = TEST.frame.assign(kind=pd.Series("unseen", index=TEST.frame.index, dtype="str"))
        frame.loc[0, ["x", "noise", "kind"]] = np.nan
        prediction = model.predict(frame)
        assert list(prediction.columns) == class_columns(CLASSES)
        assert prediction.sum(axis=1).to_numpy() == pytest.approx(1.0)
        assert prediction.index.equals(frame.index)
        assert len(model.predict(frame.head(0))) == 0

    def test_same_seed_gives_the_same_model_which_loads_to_the_same_predictions(
        self, candidate: Candidate
    ) -> None:
        model = candidate.fit(TRAIN, VALID, FitResources(seed=3))
        again = candidate.fit(TRAIN, VALID, FitResources(seed=3, threads=2))
        assert model.files() == again.files()
        loaded = load_model(class_name(model), model.files())
        pd.testing.assert_frame_equal(loaded.predict(TEST.frame), model.predict(TEST.frame), check_exact=True)

    def test_order_of_the_labels_permutes_the_answers(self, candidate: Candidate) -> None:
        order = np.array([2, 0, 1])
        classes = tuple(CLASSES[k] for k in order)
        position = np.argsort(order)

        def renamed(dataset: Dataset) -> Dataset:
            truth = pd.Series(position[dataset.truth.astype(int)].astype(np.float64))
            return replace(dataset, truth=truth, classes=classes)

        model = candidate.fit(TRAIN, VALID, FitResources())
        other = candidate.fit(renamed(TRAIN), renamed(VALID), FitResources())
        expected, got = model.predict(TEST.frame), other.predict(TEST.frame)
        assert got[expected.columns].to_numpy() == pytest.approx(expected.to_numpy(), abs=2e-3)

    def test_class_without_training_rows_is_never_predicted(self, candidate: Candidate) -> None:
        rows = np.flatnonzero(TRAIN.truth != 1.0)
        model = candidate.fit(TRAIN.take(rows), VALID, FitResources())
        prediction = model.predict(TEST.frame)
        assert (prediction["probability of middle"] < 0.01).all()
        assert prediction.sum(axis=1).to_numpy() == pytest.approx(1.0)

    def test_truth_that_is_no_position_of_a_class_is_refused(self, candidate: Candidate) -> None:
        with pytest.raises(ValueError, match="expected rows with truth from 0 to 2"):
            candidate.fit(replace(TRAIN, truth=TRAIN.truth + 1.0), VALID, FitResources())

    def test_a_fit_without_time_stops_early(self, candidate: Candidate) -> None:
        model = candidate.fit(TRAIN, VALID, FitResources(seconds=1e-9))
        assert model.stopped_by == "budget"  # type: ignore[attr-defined]


def test_trees_of_too_many_classes_are_skipped() -> None:
    classes = tuple(map(str, range(MAX_CLASSES + 1)))
    with pytest.raises(CandidateSkipped, match="at most 200 classes"):
        MulticlassBoosting().fit(replace(TRAIN, classes=classes), VALID, FitResources())

"""Behaviour of every candidate for messages, on a toy mailbox."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.data.target import class_columns
from ml.errors import CandidateSkipped, UsageError
from ml.estimator import Candidate, FitResources
from ml.tabular.class_prior import ClassPrior
from ml.text.blend import Blend
from ml.text.fine_tuned_encoder import FineTunedEncoder
from ml.text.frozen_encoder import FrozenEncoder
from ml.text.pretrained_on_messages import PretrainedOnMessages
from ml.text.tfidf_linear import TfidfLinear
from tests.ml.text.tiny_bert import write_tiny_bert

CLASSES = ("card", "refund", "travel")
WORDS = {
    "card": ["card", "chip", "plastic", "delivery", "lost", "pin"],
    "refund": ["refund", "money", "back", "return", "charged", "twice"],
    "travel": ["abroad", "country", "travel", "foreign", "currency", "holiday"],
}
FILLERS = ["please", "help", "me", "with", "my", "the", "I", "need", "want", "a"]
HOSTILE = [
    "",
    "😀😀😀",
    "card\0\0refund",
    "lost \ud800 card \udfff",
    "x" * 100_000,
    "\u200b\u200c\ufeff\u2060",
    "<b>card</b> &amp; <script>",
    "12345",
    "卡 card карта بطاقة",
]

CandidateFactory = Callable[[], Candidate]


def make_messages(rows: int, seed: int, classes: tuple[str, ...] = CLASSES, noise: float = 0.1) -> Dataset:
    """Draw messages with some words of their class between fillers; a column beside them tells nothing."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, len(classes), rows)
    sentences = []
    for code in codes:
        topic = classes[code] if rng.random() > noise else classes[rng.integers(len(classes))]
        words = [*rng.choice(WORDS[topic], 2), *rng.choice(FILLERS, 4)]
        sentences.append(" ".join(rng.permutation(words)))
    frame = pd.DataFrame({"message": pd.Series(sentences, dtype="str"), "region": "north"})
    frame["region"] = pd.Series(rng.choice(["north", "south"], rows), dtype="str")
    truth = pd.Series(codes, dtype="float64")
    labels = classes if len(classes) > 2 else ()
    return Dataset(frame, truth, np.arange(rows, dtype=np.uint64), classes=labels, text_columns=("message",))


@cache
def tiny_encoder() -> str:
    """Write a BERT of two small layers with random weights, which knows the words of the mailbox."""
    words = sorted(
        {word.lower() for group in WORDS.values() for word in group} | {w.lower() for w in FILLERS}
    )
    return str(write_tiny_bert(Path(tempfile.mkdtemp(prefix="steward-encoder-")), words))


def frozen() -> FrozenEncoder:
    return FrozenEncoder(tiny_encoder())


def fine_tuned() -> FineTunedEncoder:
    return FineTunedEncoder(tiny_encoder(), epochs=3, batch_size=16, learning_rate=1e-3)


def pretrained() -> PretrainedOnMessages:
    tuning = FineTunedEncoder(epochs=6, batch_size=16, learning_rate=3e-3)
    return PretrainedOnMessages(layers=1, hidden=32, heads=2, epochs=2, batch_size=32, fine_tuning=tuning)


def blend() -> Blend:
    return Blend({"tf-idf": TfidfLinear(), "frozen": frozen(), "fine-tuned": fine_tuned()})


def by_class_ratio() -> TfidfLinear:
    return TfidfLinear(by_class_ratio=True)


LEARNERS: list[CandidateFactory] = [TfidfLinear, by_class_ratio, frozen, fine_tuned, pretrained, blend]
CANDIDATES: list[CandidateFactory] = [ClassPrior, *LEARNERS]
every_learner = pytest.mark.parametrize("make_candidate", LEARNERS)
every_candidate = pytest.mark.parametrize("make_candidate", CANDIDATES)


@cache
def fitted(make_candidate: CandidateFactory, binary: bool = False) -> Any:
    classes = CLASSES[:2] if binary else CLASSES
    train, valid = make_messages(240, 1, classes), make_messages(120, 2, classes)
    return make_candidate().fit(train, valid, FitResources())


def predicted(model: Any, frame: pd.DataFrame, classes: tuple[str, ...] = CLASSES) -> np.ndarray:
    predictions = model.predict(frame)
    columns = class_columns(classes) if classes else ["probability"]
    assert list(predictions.columns) == columns
    pd.testing.assert_index_equal(predictions.index, frame.index)
    values = predictions.to_numpy()
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    assert ((values >= 0) & (values <= 1)).all()
    if classes:
        np.testing.assert_allclose(values.sum(axis=1), 1.0, rtol=1e-12)
    return values


def loss(model: Any, held_out: Dataset) -> float:
    P = predicted(model, held_out.frame)
    return float(-np.log(P[np.arange(len(P)), held_out.truth.astype(int)]).mean())


@every_candidate
class TestEveryCandidate:
    @pytest.mark.parametrize("binary", [False, True])
    def test_model_restored_from_files_is_bit_identical(
        self, make_candidate: CandidateFactory, binary: bool
    ) -> None:
        model, frame = fitted(make_candidate, binary), make_messages(40, 3).frame
        files = model.files()
        restored = type(model).from_files(files)
        classes = () if binary else CLASSES
        np.testing.assert_array_equal(predicted(restored, frame, classes), predicted(model, frame, classes))
        pd.testing.assert_series_equal(restored.importance(), model.importance())
        assert restored.files() == files

    def test_renaming_labels_permutes_answers(self, make_candidate: CandidateFactory) -> None:
        train, valid, frame = make_messages(240, 1), make_messages(120, 2), make_messages(40, 3).frame
        order = [2, 0, 1]  # the new label of each class

        def renamed(dataset: Dataset) -> Dataset:
            return replace(dataset, truth=dataset.truth.map(dict(enumerate(map(float, order)))))

        model = make_candidate().fit(renamed(train), renamed(valid), FitResources())
        np.testing.assert_allclose(
            predicted(model, frame)[:, order], predicted(fitted(make_candidate), frame), atol=0.01
        )

    def test_duplicates_change_nothing(self, make_candidate: CandidateFactory) -> None:
        train, valid, frame = make_messages(240, 1), make_messages(120, 2), make_messages(40, 3).frame
        twice = train.take(np.tile(np.arange(240), 2))
        model = make_candidate().fit(twice, valid, FitResources())
        np.testing.assert_array_equal(predicted(model, frame), predicted(fitted(make_candidate), frame))

    def test_same_seed_gives_same_files_for_any_number_of_threads(
        self, make_candidate: CandidateFactory
    ) -> None:
        train, valid = make_messages(120, 1), make_messages(60, 2)
        first, second = (
            make_candidate().fit(train, valid, FitResources(5, threads)).files() for threads in (1, 2)
        )
        assert first == second

    def test_hostile_messages_get_an_answer(self, make_candidate: CandidateFactory) -> None:
        frame = pd.DataFrame({"message": pd.Series([*HOSTILE, None], dtype=object), "region": "north"})
        frame["region"] = frame["region"].astype("str")
        assert len(predicted(fitted(make_candidate), frame)) == len(HOSTILE) + 1
        missing = frame.assign(message=pd.Series(np.nan, frame.index, dtype="str"))
        predicted(fitted(make_candidate), missing)

    def test_hostile_messages_can_be_learned_from(self, make_candidate: CandidateFactory) -> None:
        train = make_messages(60, 1)
        sentences = [*train.frame["message"][: 60 - len(HOSTILE)], *HOSTILE]
        frame = train.frame.assign(message=pd.Series(sentences, dtype=object))
        model = make_candidate().fit(replace(train, frame=frame), make_messages(60, 2), FitResources())
        assert len(predicted(model, frame)) == 60

    def test_no_rows_get_no_answers(self, make_candidate: CandidateFactory) -> None:
        assert not len(predicted(fitted(make_candidate), make_messages(5, 3).frame.iloc[:0]))

    def test_a_class_without_rows_or_with_one_row_is_possible(self, make_candidate: CandidateFactory) -> None:
        train = replace(make_messages(100, 1), classes=(*CLASSES, "rare", "unseen"))
        train.truth.iloc[0] = 3.0
        model = make_candidate().fit(train, make_messages(60, 2), FitResources())
        P = predicted(model, train.frame, train.classes)
        assert (P[:, 3:] > 0).all()
        assert (P[:, 4] < 0.01).all()

    def test_missing_column_is_refused(self, make_candidate: CandidateFactory) -> None:
        frame = make_messages(5, 3).frame.drop(columns="message")
        with pytest.raises(ValueError, match=r"got a frame without \['message'\]"):
            fitted(make_candidate).predict(frame)

    def test_truth_that_is_no_class_is_refused(self, make_candidate: CandidateFactory) -> None:
        train = make_messages(50, 1)
        invalid = replace(train, truth=train.truth + 2)
        with pytest.raises(ValueError, match="expected truth from 0 to 2, got values from 2 to 4"):
            make_candidate().fit(invalid, train, FitResources())

    def test_one_row_of_a_binary_target_has_the_same_probability(
        self, make_candidate: CandidateFactory
    ) -> None:
        model, frame = fitted(make_candidate, True), make_messages(5, 3).frame
        rows = frame.to_dict(orient="records")
        np.testing.assert_allclose(
            [model.predict_row(row) for row in rows], predicted(model, frame, ())[:, 0], atol=1e-5
        )
        with pytest.raises(UsageError, match="3 classes; call predict"):
            fitted(make_candidate).predict_row(rows[0])

    def test_importance_is_a_share_by_column(self, make_candidate: CandidateFactory) -> None:
        importance = fitted(make_candidate).importance()
        assert set(importance.index) == {"message", "region"}
        assert (importance >= 0).all()
        if make_candidate is not ClassPrior:
            assert importance.sum() == pytest.approx(1.0)
            assert importance["message"] > 0.7


@every_learner
class TestEveryLearner:
    def test_beats_the_class_prior(self, make_candidate: CandidateFactory) -> None:
        held_out = make_messages(300, 4)
        assert loss(fitted(make_candidate), held_out) < 0.7 * loss(fitted(ClassPrior), held_out)
        accuracy = (predicted(fitted(make_candidate), held_out.frame).argmax(axis=1) == held_out.truth).mean()
        assert accuracy > 0.85

    def test_one_class_or_no_sentences_are_skipped(self, make_candidate: CandidateFactory) -> None:
        train = make_messages(50, 1)
        with pytest.raises(CandidateSkipped, match="rows of two classes; got rows of 1"):
            make_candidate().fit(replace(train, truth=train.truth * 0), train, FitResources())
        with pytest.raises(CandidateSkipped, match="a column with sentences; got none"):
            make_candidate().fit(replace(train, text_columns=()), train, FitResources())

    def test_ten_thousand_classes_are_skipped(self, make_candidate: CandidateFactory) -> None:
        train = replace(make_messages(50, 1), classes=tuple(map(str, range(10_000))))
        with pytest.raises(CandidateSkipped, match="classes; got 10,000"):
            make_candidate().fit(train, train, FitResources())

    def test_validation_rows_have_no_part_in_a_fit(self, make_candidate: CandidateFactory) -> None:
        """Candidates are compared on them: other labels, other messages or none at all give the same model."""
        train, valid = make_messages(120, 1), make_messages(60, 2)
        permuted = replace(valid, truth=valid.truth.sample(frac=1, random_state=0).reset_index(drop=True))
        assert (permuted.truth != valid.truth).any()
        files = make_candidate().fit(train, valid, FitResources()).files()
        for other in (permuted, valid.take(np.arange(0))):
            assert make_candidate().fit(train, other, FitResources()).files() == files

    def test_a_fit_without_time_is_cut_short_and_answers(self, make_candidate: CandidateFactory) -> None:
        train, valid = make_messages(120, 1), make_messages(60, 2)
        model: Any = make_candidate().fit(train, valid, FitResources(seconds=1e-9))
        assert model.stopped_by == "budget"
        predicted(model, valid.frame)

    def test_cost_grows_with_the_messages(self, make_candidate: CandidateFactory) -> None:
        small, large = (make_candidate().cost(make_messages(n, 1), FitResources()) for n in (50, 500))  # type: ignore[attr-defined]
        assert small.full < large.full
        assert small.minimum <= small.full

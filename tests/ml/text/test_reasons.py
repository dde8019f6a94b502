"""Reasons name the words that decide: taking them out changes the answer more than taking out others."""

import numpy as np
import pandas as pd
import pytest

from ml.errors import UsageError
from ml.estimator import FitResources
from ml.text.reasons import add_word_reasons, ngram_coefficients, without, word_reasons, words_of
from ml.text.tfidf_linear import TfidfLinear, TfidfLinearModel
from tests.ml.text.test_candidates import (
    CLASSES,
    WORDS,
    CandidateFactory,
    every_learner,
    fitted,
    make_messages,
)


@every_learner
def test_faithful_taking_reasons_out_changes_more_than_random_words(make_candidate: CandidateFactory) -> None:
    model, rng = fitted(make_candidate), np.random.default_rng(0)
    by_reason, by_chance = [], []
    for number in range(20):
        row = make_messages(20, 6, noise=0.0).frame.iloc[[number]]
        message = row["message"].iloc[0]
        label = model.predict(row).iloc[0].idxmax()
        spans = [(reason.start, reason.end) for reason in word_reasons(model, row, "message")[:2]]
        chosen = rng.choice(len(words_of(message)), 2, replace=False)
        random_spans = [words_of(message)[word] for word in chosen]
        variants = [message, without(message, spans), without(message, random_spans)]
        frame = pd.concat([row] * 3, ignore_index=True).assign(message=pd.Series(variants, dtype="str"))
        before, reasons_out, random_out = model.predict(frame)[label]
        by_reason.append(before - reasons_out)
        by_chance.append(before - random_out)
    assert np.mean(by_reason) > 1.5 * np.mean(by_chance)
    assert np.mean(by_reason) > 0.1


@every_learner
def test_first_reasons_are_words_of_the_class(make_candidate: CandidateFactory) -> None:
    frame = pd.DataFrame(
        {"message": ["please help me with my refund", "the chip is lost"], "region": "north"}
    )
    frame = frame.astype("str")
    for row, label in ((0, "refund"), (1, "card")):
        message = frame["message"].iloc[row]
        first, second = word_reasons(fitted(make_candidate), frame.iloc[[row]], "message", label)[:2]
        assert first.contribution > 0
        # The few messages of the mailbox leave an encoder some doubt about fillers.
        words = [message[reason.start : reason.end] for reason in (first, second)]
        assert set(words) & set(WORDS[label])


def test_contributions_of_a_binary_target_are_to_the_positive_class() -> None:
    row = pd.DataFrame({"message": ["my card was charged twice"], "region": "north"}).astype("str")
    reasons = word_reasons(fitted(TfidfLinear, True), row, "message")
    words = [row["message"].iloc[0][reason.start : reason.end] for reason in reasons]
    assert words[0] in ("charged", "twice")  # of the class refund, which is 1
    assert words[-1] == "card"


@pytest.mark.parametrize("message", ["", "😀", "\0"])
def test_messages_without_words_have_no_reasons(message: str) -> None:
    row = pd.DataFrame({"message": [message], "region": "north"}).astype("str")
    assert word_reasons(fitted(TfidfLinear), row, "message") == []


def test_several_rows_and_unknown_labels_are_refused() -> None:
    frame = make_messages(2, 1).frame
    with pytest.raises(UsageError, match="expected one row; got 2"):
        word_reasons(fitted(TfidfLinear), frame, "message")
    with pytest.raises(UsageError, match="expected a label that the model predicts"):
        word_reasons(fitted(TfidfLinear), frame.iloc[:1], "message", "weather")
    with pytest.raises(UsageError, match="expected a label of the training rows"):
        ngram_coefficients(fitted(TfidfLinear), "weather", 3)


def test_scripts_without_spaces_are_taken_out_in_pairs() -> None:
    assert words_of("很快好吃") == [(0, 2), (2, 4)]
    assert without("很快好吃", [(0, 2)]) == "好吃"
    assert without("lost my card", [(5, 7)]) == "lost card"


@pytest.mark.parametrize("label", CLASSES)
def test_largest_coefficients_are_of_words_of_the_class(label: str) -> None:
    model = fitted(TfidfLinear)
    assert isinstance(model, TfidfLinearModel)
    names = [name for name, _ in ngram_coefficients(model, label, 10**6)]
    known = {word.lower() for words in WORDS.values() for word in words}
    assert set([name for name in names if name in known][:4]) <= set(WORDS[label])


def test_binary_coefficients_of_both_labels_are_opposite() -> None:
    train = make_messages(120, 1, CLASSES[:2])
    model = TfidfLinear().fit(train, train, FitResources())
    positive, negative = (ngram_coefficients(model, label, 10**6) for label in ("1", "0"))
    np.testing.assert_allclose([value for _, value in positive], [-value for _, value in negative[::-1]])


def test_predictions_get_the_words_that_speak_for_their_class() -> None:
    frame = pd.DataFrame(
        {"message": ["please help me with my refund", None, "the chip is lost"], "region": "north"},
        index=[5, 6, 7],
    ).astype("str")
    frame.loc[6, "message"] = None
    model = fitted(TfidfLinear)
    explained = add_word_reasons(model, frame, model.predict(frame), ["message"], 2)
    assert set(explained["reason_words"][5]) <= set(frame["message"][5].split())
    assert set(explained["reason_words"][7]) <= {"chip", "lost", "the", "is"}
    assert explained["reason_words"][6] == []
    for words, weights in zip(explained["reason_words"], explained["reason_weights"], strict=True):
        assert len(words) == len(weights) <= 2
        assert sorted(weights, reverse=True) == weights


def test_words_of_a_negative_prediction_speak_for_the_negative_class() -> None:
    frame = pd.DataFrame({"message": ["the card chip is lost"], "region": "north"}).astype("str")
    model = fitted(TfidfLinear, True)
    prediction = model.predict(frame)
    assert prediction["probability"].iloc[0] < 0.5
    explained = add_word_reasons(model, frame, prediction, ["message"], 3)
    assert set(explained["reason_words"].iloc[0]) & {"card", "chip", "lost"}

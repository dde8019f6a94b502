"""The mailbox simulator: known intents, a known share of wrong labels, and an oracle that nothing beats."""

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ml.data.target import class_columns
from ml.simulators import Simulation
from ml.simulators.mailbox import INTENTS, LABEL_NOISE, OUT_OF_SCOPE, OUT_OF_SCOPE_SHARE, simulate

pytestmark = pytest.mark.xdist_group("mailbox")


@pytest.fixture(scope="module")
def mailbox() -> Simulation:
    return simulate(20_000, 0)


def known(mailbox: Simulation) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return the messages about an intent, the position of their label, and the oracle's probabilities."""
    is_known = (mailbox.rows["intent"] != OUT_OF_SCOPE).to_numpy()
    rows = mailbox.rows[is_known]
    label = rows["intent"].map({name: position for position, name in enumerate(INTENTS)}).to_numpy()
    return rows, label, mailbox.oracle.loc[is_known, class_columns(INTENTS)].to_numpy()


def test_messages_are_by_date_in_two_languages_and_three_channels(mailbox: Simulation) -> None:
    rows = mailbox.rows
    assert rows["message_id"].is_unique
    assert rows["received_at"].is_monotonic_increasing
    assert set(rows["intent"]) == {*INTENTS, OUT_OF_SCOPE}
    assert rows["language"].value_counts(normalize=True)["en"] == pytest.approx(2 / 3, abs=0.02)
    assert set(rows["channel"]) == {"email", "app", "chat"}
    assert rows["text"].str.len().between(10, 500).all()
    assert not rows["text"].str.contains("[{}]").any()


def test_one_message_in_ten_is_out_of_scope_and_none_of_these_is_mislabelled(mailbox: Simulation) -> None:
    is_out = mailbox.rows["intent"] == OUT_OF_SCOPE
    assert is_out.mean() == pytest.approx(OUT_OF_SCOPE_SHARE, abs=0.01)
    assert is_out.equals(mailbox.oracle["intent"] == OUT_OF_SCOPE)


def test_the_share_of_wrong_labels_is_the_stated_one(mailbox: Simulation) -> None:
    wrong = (mailbox.rows["intent"] != mailbox.oracle["intent"]).sum()
    in_scope = (mailbox.rows["intent"] != OUT_OF_SCOPE).sum()
    error = np.sqrt(LABEL_NOISE * (1 - LABEL_NOISE) / in_scope)
    assert abs(wrong / in_scope - LABEL_NOISE) < 4 * error


def test_the_oracle_is_calibrated(mailbox: Simulation) -> None:
    _, label, probability = known(mailbox)
    assert probability.sum(axis=1) == pytest.approx(1.0)
    hit = np.eye(len(INTENTS))[label]
    for low, high in ((0.0, 0.01), (0.01, 0.3), (0.3, 0.6), (0.6, 1.0)):
        inside = (probability > low) & (probability <= high)
        error = np.sqrt((probability * (1 - probability))[inside].sum())
        assert abs((hit - probability)[inside].sum()) < 4 * error


def test_a_model_comes_close_to_the_oracle_and_does_not_beat_it(mailbox: Simulation) -> None:
    rows, label, probability = known(mailbox)
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2), LogisticRegression(C=10.0, max_iter=300)
    )
    model.fit(rows["text"][:6000], label[:6000])
    truth = label[6000:]
    accuracy = model.score(rows["text"][6000:], truth)
    best = (probability[6000:].argmax(axis=1) == truth).mean()
    assert best - 0.05 < accuracy < best


def test_chats_have_more_typing_errors_than_emails(mailbox: Simulation) -> None:
    rows = mailbox.rows
    words = rows["text"].str.casefold().str.findall(r"\w+").explode()
    frequent = words.value_counts()
    is_rare = words.map(frequent) < 5
    share = is_rare.groupby(rows["channel"].reindex(words.index)).mean()
    assert share["chat"] > share["app"] > share["email"]


def test_some_messages_are_sent_again_nearly_unchanged(mailbox: Simulation) -> None:
    emails = mailbox.rows.query("channel == 'email'")["text"]
    assert 0.001 < emails[emails.str.len() > 80].duplicated().mean() < 0.02

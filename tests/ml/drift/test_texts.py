"""Texts and several classes of a batch against an earlier one: damage is found, batches of the same process are not."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.drift.classes import class_shares, pool_rare, share_angle, share_angle_noise
from ml.drift.compare import compare
from ml.drift.finding import Finding
from ml.drift.limits import Noise
from ml.drift.summary import BatchSummary, from_json, summarize
from ml.drift.texts import TextMeasures, summarize_texts
from ml.simulators.mailbox import simulate
from tasks.settings import ROOT

SOURCE = json.loads((ROOT / "expectations/customer_service/simulated.json").read_text())
CONTRACT: Contract = parse(SOURCE)


def messages(seed: int, rows: int = 1500) -> pd.DataFrame:
    return simulate(rows, seed).rows


@pytest.fixture(scope="module")
def reference() -> BatchSummary:
    return summarize(messages(0), CONTRACT)


def found(reference: BatchSummary, rows: pd.DataFrame) -> dict[tuple[str, str], Finding]:
    return {(f.kind, f.column): f for f in compare(reference, rows, CONTRACT)}


@pytest.mark.parametrize("rows", [200, 1500])
def test_batches_of_the_same_process_have_no_findings(reference: BatchSummary, rows: int) -> None:
    for seed in range(1, 25):
        assert {kind for kind, _ in found(reference, messages(seed, rows))} - {"row_count"} == set()


def german_only(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["language"] == "de"]


def in_chinese(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(text=frame["text"].where(np.arange(len(frame)) % 2 == 0, "我的包裹在哪里"))


def in_ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


CHANGES: list[tuple[str, str, Callable[[pd.DataFrame], pd.DataFrame]]] = [
    ("missing_values", "text", lambda f: f.assign(text=f["text"].mask(np.arange(len(f)) % 3 == 0))),
    ("distribution", "text", lambda f: f.assign(text=f["text"].str.slice(0, 40))),
    ("category_shares", "text", in_chinese),
    ("lost_letters", "text", lambda f: f.assign(text=f["text"].map(in_ascii))),
    ("unknown_words", "text", lambda f: f.assign(text=f["text"].str.replace("a", "xy"))),
    ("unknown_words", "text", lambda f: f.assign(text=f["text"].map(lambda t: t.encode().hex(" ", 4)))),
    ("target_shares", "intent", lambda f: f[~f["intent"].isin(["track_delivery", "cancel_order"])]),
    ("target_shares", "intent", lambda f: f[f["intent"] != "out_of_scope"]),
    (
        "target_shares",
        "intent",
        lambda f: f.assign(intent=f["intent"].where(np.arange(len(f)) % 3 == 0, "wrong_item")),
    ),
]


@pytest.mark.parametrize(("kind", "column", "change"), CHANGES, ids=range(len(CHANGES)))
def test_damage_is_found_and_described_without_words(
    reference: BatchSummary, kind: str, column: str, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    findings = found(reference, change(messages(1)))
    assert (kind, column) in findings
    assert not any(word in f.text for f in findings.values() for word in ("kettle", "refund", "包"))


def test_the_summary_has_no_text_and_no_word(reference: BatchSummary) -> None:
    data = reference.to_json()
    assert from_json(data) == reference
    for word in ("kettle", "Rechnung", "invoice", "parcel"):
        assert word not in data.decode().replace('"invoice_copy"', "")
    assert reference.categories.keys() == {"channel", "department", "language"}
    assert reference.labels
    assert "text" not in reference.labels.columns
    assert reference.target is None
    assert sum(reference.classes) == pytest.approx(1.0)


def routed(seed: int) -> pd.DataFrame:
    """Return messages whose department says more about the intent than usual."""
    rows = messages(seed)
    number = rows["intent"].astype("category").cat.codes
    rng = np.random.default_rng(seed)
    department = pd.Series(np.where(rng.random(len(rows)) < 0.5, number, rng.integers(0, 13, len(rows))))
    return rows.assign(department=department.map("D{}".format).astype("str"))


def test_labels_that_the_features_no_longer_predict_are_found() -> None:
    reference = summarize(routed(0), CONTRACT)
    assert found(reference, routed(1)) == {}
    labels = list(CONTRACT.roles.labels)
    moved = dict(zip(labels, [*labels[1:], labels[0]], strict=True))
    batch = routed(1)
    assert ("inverted_labels", "intent") in found(
        reference, batch.assign(intent=batch["intent"].replace(moved))
    )
    mixed = batch.assign(intent=np.random.default_rng(0).permutation(batch["intent"]))
    assert ("label_relation", "intent") in found(reference, mixed)


def test_summaries_of_earlier_versions_are_compared_by_what_they_have(reference: BatchSummary) -> None:
    earlier = json.loads(reference.to_json())
    del earlier["texts"], earlier["classes"]
    read = from_json(json.dumps(earlier).encode())
    assert read
    assert compare(read, in_chinese(messages(1)), CONTRACT) == []


def test_question_marks_between_words_are_no_lost_letters() -> None:
    texts = [
        "Wo?",
        "wo? wann?",
        "Wo?Wann",
        "gr??e",
        "Gr\u00f6?e",
        "what?!",
        "\u54ea\u91cc?\u8c01",
        "a?1",
        "caf? now",
    ]
    measured = TextMeasures.of(pd.Series(texts, dtype="str"))
    assert measured.lost_letters * len(texts) == 2
    assert summarize_texts(pd.Series(texts, dtype="str")).lost_letters == measured.lost_letters


def test_the_share_of_unknown_words_is_that_of_new_texts() -> None:
    """Ten texts must have a word, so that the reference itself would seem to know more than it does."""
    summaries = [summarize_texts(messages(seed)["text"]) for seed in range(4)]
    measured = [TextMeasures.of(messages(seed)["text"]) for seed in range(10, 20)]
    new = [m.unknown_share(summary.known_words) for summary in summaries for m in measured]
    assert np.mean(new) == pytest.approx(np.mean([s.unknown for s in summaries]), abs=0.004)


def test_words_of_scripts_without_spaces_are_characters_and_digits_are_one_word() -> None:
    texts = pd.Series(["我的包裹 12345", "order #777!", None, "", "我 0"], dtype="str")
    measured = TextMeasures.of(texts)
    assert [len(words) for words in measured.words] == [5, 2, 0, 2]
    assert measured.words[0][0] == measured.words[3][0]
    assert measured.missing == pytest.approx(0.2)
    assert measured.script_shares() == {"Latin": 0.25, "Chinese or Japanese": 0.5, "none": 0.25}


def test_the_angle_of_two_classes_is_cohens_h() -> None:
    before, after = 0.2, 0.35
    h = 2 * np.arcsin(np.sqrt(after)) - 2 * np.arcsin(np.sqrt(before))
    assert share_angle((1 - before, before), (1 - after, after)) == pytest.approx(h)
    assert share_angle((0.5, 0.5), (0.5, 0.5)) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("classes", [2, 5, 40, 300])
def test_samples_of_the_same_shares_exceed_the_angle_as_rarely_as_stated(classes: int) -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(classes, 2.0))
    exceeded = 0
    noise = Noise(800, 500, 0.05)
    for _ in range(500):
        before, after = rng.multinomial(800, shares) / 800, rng.multinomial(500, shares) / 500
        pooled = pool_rare(before, after, noise)
        exceeded += share_angle(*pooled) > share_angle_noise(*pooled, noise)
    # 500 draws of 5 % have a standard deviation of 5.
    assert exceeded < 25 + 20


def test_rows_without_a_class_are_a_share_of_their_own() -> None:
    assert class_shares(np.array([0.0, 2.0, 2.0, np.nan]), 3) == (0.25, 0.0, 0.5, 0.25)

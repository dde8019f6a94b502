"""Faults of texts: what a broken export does to them is found, and what people write in any language is not."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.data.text_faults import EMPTY, NUL, WRONG_ENCODING, foreign_script, main_scripts, text_faults
from ml.simulators.mailbox import simulate

GOOD = [
    "My card was declined, why?",
    "!!!",
    "😡",
    "12345",
    "Das „Ö“ und die „Größe“ – wie geht’s?",  # noqa: RUF001
    "« Déjà » : où est mon colis ?",
    "“CAFÉ” costs 3 €… «voilà»",
    "NÃO FUNCIONA A IRMÃ “MANHÔ",
    "Где моя посылка?",
    "这家店的外卖送得很快",
    "طرد مفقود",
    "a\tb\r\nc",
    "\ufeffwith a byte order mark",
    "x" * 100,
]
BROKEN = {
    "": EMPTY,
    " \n\t": EMPTY,
    "\u200b\ufeff\u00a0": EMPTY,
    "x" * 101: "a text of more than 100 characters",
    "a\x00b": NUL,
    "caf\ufffd": WRONG_ENCODING,
    "锟斤拷": WRONG_ENCODING,
    "cafÃ©": WRONG_ENCODING,
    "Â£5": WRONG_ENCODING,
    "donâ€™t": WRONG_ENCODING,
    "bad \u0093quotes\u0094": WRONG_ENCODING,
}


def kind_of(text: str | None) -> str:
    faults = text_faults(pd.Series([text], dtype="str"), 100)
    return next((kind for kind, mask in faults.items() if mask[0]), "")


@pytest.mark.parametrize("text", GOOD)
def test_what_people_write_is_no_fault(text: str) -> None:
    assert kind_of(text) == ""


@pytest.mark.parametrize(("text", "kind"), BROKEN.items(), ids=range(len(BROKEN)))
def test_what_exports_break_is_a_fault_of_one_kind(text: str, kind: str) -> None:
    assert kind_of(text) == kind
    assert kind_of(None) == EMPTY


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize(
    "word", ["Größe", "Straße", "señor", "garçon", "où est", "5 € — “so”", "почему", "привет", "😀"]
)
def test_utf8_that_was_read_byte_by_byte_is_found(word: str, encoding: str) -> None:
    broken = word.encode().decode(encoding, errors="replace")
    assert kind_of(broken) == WRONG_ENCODING
    assert kind_of(word) == ""


def test_messages_in_english_and_german_have_no_faults_until_they_are_broken() -> None:
    texts = simulate(3000, 0).rows["text"]
    assert not any(mask.any() for mask in text_faults(texts, 1000).values())
    broken = texts.map(lambda text: text.encode().decode("cp1252", errors="replace"))
    found = text_faults(broken, 1000)[WRONG_ENCODING]
    np.testing.assert_array_equal(found, (broken != texts).to_numpy())


@given(st.lists(st.text(max_size=120), max_size=20))
def test_a_text_has_at_most_one_kind_of_fault(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    masks = np.array(list(text_faults(pd.Series(texts, dtype="str"), 100).values()))
    assert masks.shape == (4, len(texts))
    assert (masks.sum(axis=0) <= 1).all()


def test_the_script_of_most_letters_counts() -> None:
    texts = [
        "hello",
        "это по-русски",
        "这家店 ok",
        "ok ok ok 店",
        "123 !?",
        "",
        "ελληνικά",
        "안녕하세요",
        "نص",
        "😀",
    ]
    assert main_scripts(texts).tolist() == [0, 2, 9, 0, -1, -1, 1, 8, 4, -1]


def test_a_rare_script_is_foreign_only_where_another_is_common() -> None:
    russian, english = ["где мой заказ"] * 2, ["where is my order"] * 300
    script, foreign = foreign_script(pd.Series([*english, *russian, None, "123"], dtype="str"))
    assert script == "Latin"
    assert np.flatnonzero(foreign).tolist() == [300, 301]
    mixed = foreign_script(pd.Series([*english, *russian * 3], dtype="str"))
    few = foreign_script(pd.Series([*english[:100], russian[0]], dtype="str"))
    assert [mixed[0], few[0], mixed[1].any(), few[1].any()] == ["", "", False, False]

"""Normalisation of messages, and scripts with and without spaces."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.text.normalization import MAX_CHARACTERS, normalize, separates_words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  lost\tmy\r\n\ncard ", "lost my card"),
        ("c\0a\x07r\x9fd", "card"),
        ("ca\u200brd\ufeff\u2060", "card"),
        ("lost \ud800card\udfff", "lost card"),
        ("cafe\u0301", "caf\u00e9"),
        ("😀\u200d😀", "😀😀"),
        ("a\u00a0b\u3000c", "a b c"),
        ("\u200b\u200c", ""),
        ("Card!", "Card!"),
    ],
)
def test_invisible_characters_are_removed(text: str, expected: str) -> None:
    assert normalize(text) == expected


@given(st.text(alphabet=st.characters(), max_size=200))
def test_result_is_valid_composed_and_stable(text: str) -> None:
    result = normalize(text)
    assert result.encode().decode() == result
    assert unicodedata.is_normalized("NFC", result)
    assert normalize(result) == result


def test_long_messages_are_cut() -> None:
    assert normalize("x" * 100_000) == "x" * MAX_CHARACTERS
    assert normalize("\0" * 1000 + "card") == "card"
    assert len(normalize("e\u0301" * 100_000)) == MAX_CHARACTERS


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["lost my card"], True),
        (["很快好吃味道足量大"], False),
        (["ส่งเร็วมาก"], False),
        (["カードが届かない"], False),
        (["где моя карта"], True),
        (["카드를 잃어버렸어요"], True),
        (["iPhone 很好用 but expensive and slow"], True),
        ([], True),
        (["123 !!! 😀"], True),
    ],
)
def test_script_is_recognised(texts: list[str], expected: bool) -> None:
    assert separates_words(texts) is expected

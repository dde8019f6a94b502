"""Near duplicates of texts: the same pairs as a comparison of all with all, in all scripts."""

import itertools

import numpy as np
import pytest

from ml.data.copies import copy_groups
from ml.data.near_duplicates import (
    LETTERS,
    SIMILARITY,
    SYLLABLES,
    find_near_duplicates,
    normalised,
    similar_pairs,
)
from ml.simulators.mailbox import simulate


def jaccard(first: str, second: str, length: int) -> float:
    """Compute the similarity from its definition, with sequences that are filled up with spaces at the end."""
    a, b = ({(t + " " * length)[i : i + length] for i in range(len(t))} for t in (first, second))
    return len(a & b) / len(a | b)


def edited(text: str, edits: int, rng: np.random.Generator) -> str:
    for place in rng.integers(0, len(text), edits):
        text = text[:place] + rng.choice(list("abcdefgh 汉字")) + text[place + 1 :]
    return text


def originals_and_edits(texts: list[str], seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    edits = [
        edited(text, int(rng.integers(1, max(len(text) // 12, 2) + 1)), rng)
        for text in texts
        for _ in range(2)
    ]
    return sorted({normalised(text) for text in [*texts, *edits]} - {""})


ENGLISH_AND_GERMAN = simulate(70, 3).rows["text"].tolist()
CHINESE = ["".join(map(chr, np.random.default_rng(k).integers(0x4E00, 0x4E80, 30))) for k in range(60)]


@pytest.mark.parametrize(
    ("texts", "length"), [(ENGLISH_AND_GERMAN, LETTERS), (CHINESE, SYLLABLES)], ids=["letters", "syllables"]
)
@pytest.mark.parametrize("seed", range(3))
def test_groups_are_those_of_comparing_all_with_all(texts: list[str], length: int, seed: int) -> None:
    texts = originals_and_edits(texts, seed)
    expected = [
        pair
        for pair in itertools.combinations(range(len(texts)), 2)
        if jaccard(texts[pair[0]], texts[pair[1]], length) >= SIMILARITY
    ]
    assert len(expected) > 20
    found = similar_pairs(texts)
    assert set(map(tuple, found.tolist())) <= set(expected)
    by_brute_force = copy_groups(np.array(expected), len(texts))
    np.testing.assert_array_equal(copy_groups(found, len(texts)), by_brute_force)


def test_spelling_is_ignored() -> None:
    same = ["How are you?", "how  ARE you", "\ufeffHow are\u200b you!!", "\uff28\uff4f\uff57 are you\x00"]
    assert {normalised(text) for text in same} == {"how are you"}
    found = find_near_duplicates([*same, "Where were they?"])
    assert found.groups.tolist() == [0, 0, 0, 0, 1]
    assert (found.exact, found.near, found.rows, found.largest) == (3, 0, 4, 4)


def test_typing_errors_are_near_duplicates_and_other_slots_are_not() -> None:
    texts = [
        "My new lamp stopped working after two days, what can I do about it",
        "My new lamp stoped working after two days, what can I do about it?",
        "My new bicycle stopped working on Sunday, what can I do about it",
        "这家店的外卖送得很快味道也非常好下次还会再来",
        "这家店的外卖送得很快味道也非常好下次还会再来吃",
        "这家店的外卖送得很慢味道也不怎么好下次不会再来",
    ]
    found = find_near_duplicates(texts)
    assert found.groups.tolist() == [0, 0, 1, 2, 2, 3]
    assert (found.exact, found.near) == (0, 4)


def test_texts_without_letters_are_like_no_other() -> None:
    assert len(set(find_near_duplicates(["", " ", "...", "?!", "\u200b"]).groups)) == 5
    assert find_near_duplicates([]).rows == 0
    assert find_near_duplicates(["a"]).largest == 1


def test_thousands_of_texts_of_one_pattern_are_compared_in_time_that_grows_with_their_number() -> None:
    """Of a bucket with many texts, each is compared with a few: they are one group all the same."""
    pattern = "Dear customer, your invoice number {:05d} of last month is ready, please pay it within a week"
    found = find_near_duplicates([pattern.format(n) for n in range(5000)])
    assert found.largest == 5000


def test_a_long_text_and_hostile_characters_are_read() -> None:
    long = " ".join(map(str, np.random.default_rng(0).integers(0, 10**9, 12_000)))
    found = find_near_duplicates([long, long + "and more", "\ud800 broken", "😀" * 40, "😀" * 41, "a\x00b"])
    assert found.groups[0] == found.groups[1]
    assert len(set(found.groups[[2, 3, 5]])) == 3
    assert found.groups[3] == found.groups[4]

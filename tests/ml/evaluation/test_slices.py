"""Slices are judged as if there were nothing else, and nobody stands alone in one."""

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.evaluation import slices
from ml.evaluation.beyond_accuracy import owners
from ml.evaluation.confidence_intervals import mean_interval


def part_of(histories: list[str], wanted: list[str]) -> Dataset:
    frame = pd.DataFrame({"user": [f"u{n}" for n in range(len(histories))]})
    frame["items"] = pd.Series([list(of) for of in histories], dtype=object)
    truth = pd.Series([list(of) for of in wanted], dtype=object)
    return Dataset(frame, truth, np.arange(len(frame), dtype=np.uint64))


def letters(part: Dataset) -> np.ndarray:
    """A measure that tells who was asked about what: the sum of the places of the wanted letters."""
    return np.array([float(sum(ord(item) - ord("a") for item in of)) for of in part.truth])


def test_head_middle_and_tail_hold_a_third_of_the_events_each() -> None:
    # Four users had a, two had b, two had c, two had d, and one each had e and f: twelve events.
    part = part_of(["abcd", "abcd", "ae", "af"], ["az", "bd", "c", "ef"])
    popular = owners(part.frame["items"])
    found = slices.by_popularity(part, letters, popular)
    assert {line["slice"]: line["items"] for line in found} == {"middle": 2, "tail": 3}
    middle, tail = found
    # b of the second user and c of the third; d of the second, e and f of the fourth. a has one user, who is no slice.
    assert (middle["users"], middle["value"]) == (2, 1.5)
    assert (tail["users"], tail["value"]) == (2, (3 + 4 + 5) / 2)
    expected = mean_interval(np.array([3.0, 9.0]))
    assert (tail["low"], tail["high"]) == pytest.approx((expected.low, expected.high))


def test_new_and_known_users_and_items() -> None:
    part = part_of(["ab", "", "b", ""], ["z", "az", "b", "y"])
    found = slices.by_newness(part, letters, owners(part.frame["items"]))
    told = {(line["by"], line["slice"]): (line["users"], line["value"]) for line in found}
    assert told == {
        ("user", "no history"): (2, (25 + 24) / 2),
        ("user", "some history"): (2, (25 + 1) / 2),
        ("item", "known"): (2, 0.5),
        ("item", "new"): (3, (25 + 25 + 24) / 3),
    }


def test_without_any_history_all_items_are_new() -> None:
    part = part_of(["", "", ""], ["a", "b", "c"])
    popular = owners(part.frame["items"])
    assert slices.by_popularity(part, letters, popular) == []
    named = [line["slice"] for line in slices.by_newness(part, letters, popular)]
    assert named == ["no history", "new"]


def test_lengths_of_history() -> None:
    part = part_of(["", "", "abab", "a", "abcde"], ["b"] * 4 + ["c"])
    found = slices.by_length(part, letters(part))
    assert [(line["history"], line["users"], line["value"]) for line in found] == [
        ("none", 2, 1.0),
        ("1 to 4", 2, 1.0),
    ]

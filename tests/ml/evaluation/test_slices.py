"""Slices: each is evaluated without the other users and targets, and fewer than ten users are no slice."""

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.evaluation import slices
from ml.evaluation.beyond_accuracy import user_counts
from ml.evaluation.mean_intervals import mean_interval


def ranking_dataset(histories: list[str], targets: list[str], copies: int = 5) -> Dataset:
    """Build a dataset whose items are single letters, with several users of each kind."""
    histories, targets = histories * copies, targets * copies
    frame = pd.DataFrame({"user": [f"u{n}" for n in range(len(histories))]})
    frame["items"] = pd.Series([list(items) for items in histories], dtype=object)
    truth = pd.Series([list(items) for items in targets], dtype=object)
    return Dataset(frame, truth, np.arange(len(frame), dtype=np.uint64))


def letter_sum(dataset: Dataset) -> np.ndarray:
    """Sum the positions in the alphabet of each user's targets: a metric that identifies users and targets."""
    return np.array([float(sum(ord(item) - ord("a") for item in items)) for items in dataset.truth])


def test_head_middle_and_tail_hold_a_third_of_the_events_each() -> None:
    # Of each kind there are five: 20 users had a, 10 had b, 10 had c, 10 had d, and 5 each had e and f: 60 events.
    dataset = ranking_dataset(["abcd", "abcd", "ae", "af"], ["az", "bd", "c", "ef"])
    popularity = user_counts(dataset.frame["items"])
    rows = slices.by_popularity(dataset, letter_sum, popularity)
    assert {row["slice"]: row["items"] for row in rows} == {"middle": 2, "tail": 3}
    middle, tail = rows
    # b of the second kind and c of the third; d of the second, e and f of the fourth. a has five users: no slice.
    assert (middle["users"], middle["value"]) == (10, 1.5)
    assert (tail["users"], tail["value"]) == (10, (3 + 4 + 5) / 2)
    expected = mean_interval(np.array([3.0, 9.0] * 5))
    assert (tail["low"], tail["high"]) == pytest.approx((expected.low, expected.high))


def test_new_and_known_users_and_items_are_separate_slices() -> None:
    dataset = ranking_dataset(["ab", "", "b", ""], ["z", "az", "b", "y"])
    rows = slices.by_cold_start(dataset, letter_sum, user_counts(dataset.frame["items"]))
    assert {(row["by"], row["slice"]): (row["users"], row["value"]) for row in rows} == {
        ("user", "no history"): (10, (25 + 24) / 2),
        ("user", "some history"): (10, (25 + 1) / 2),
        ("item", "known"): (10, 0.5),
        ("item", "new"): (15, (25 + 25 + 24) / 3),
    }


def test_without_histories_all_items_are_new() -> None:
    dataset = ranking_dataset(["", "", ""], ["a", "b", "c"])
    popularity = user_counts(dataset.frame["items"])
    assert slices.by_popularity(dataset, letter_sum, popularity) == []
    rows = slices.by_cold_start(dataset, letter_sum, popularity)
    assert [row["slice"] for row in rows] == ["no history", "new"]


def test_slices_by_history_length_leave_out_few_users() -> None:
    dataset = ranking_dataset(["", "", "abab", "a", "abcde"], ["b"] * 4 + ["c"])
    rows = slices.by_history_length(dataset, letter_sum(dataset))
    assert [(row["history"], row["users"], row["value"]) for row in rows] == [
        ("none", 10, 1.0),
        ("1 to 4", 10, 1.0),
    ]

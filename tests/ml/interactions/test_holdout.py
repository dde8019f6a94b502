"""Holdouts: targets are the end of histories, and nothing is lost or kept on both sides."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.interactions.holdout import HoldoutPolicy, default_holdout, hold_out, training_queries

DAY = 86_400.0


def dataset_of(lists: dict[str, list[str]], timed: bool = True) -> Dataset:
    """Return histories where the n-th event of each user is on day n."""
    times = [[DAY * t if timed else np.nan for t in range(len(items))] for items in lists.values()]
    frame = pd.DataFrame(
        {
            "user": pd.Series(list(lists), dtype="str"),
            "items": pd.Series(list(lists.values()), dtype=object),
            "times": pd.Series(times, dtype=object),
        }
    )
    truth = pd.Series([[]] * len(frame), dtype=object)
    return Dataset(frame, truth, np.arange(len(frame), dtype=np.uint64))


def random_lists() -> dict[str, list[str]]:
    rng = np.random.default_rng(0)
    return {f"u{n:03}": [f"i{item:02}" for item in rng.permutation(40)[:8]] for n in range(300)}


def test_the_last_event_of_each_user_is_held_out() -> None:
    train = dataset_of({"u": ["x", "y", "x"], "v": ["z"], "w": ["x", "y"]})
    histories, targets = hold_out(train, "last", 0.2, 0)
    assert histories.frame["items"].tolist() == [["x", "y"], ["z"], ["x"]]
    # The second x of u is a repeat, and the only event of v stays.
    assert targets.tolist() == [[], [], ["y"]]
    assert [len(times) for times in histories.frame["times"]] == [2, 1, 1]


def test_training_queries_predict_each_of_the_last_events_from_all_before_it() -> None:
    train = dataset_of({"u": ["a", "b", "c", "b"], "v": ["a", "b"], "w": ["z"]})
    (first, first_targets), (last, last_targets) = training_queries(train, "last", 0.2, 0, 2)
    assert first.frame["items"].tolist() == [["a", "b"], ["a"], ["z"]]
    assert last.frame["items"].tolist() == [["a", "b", "c"], ["a"], ["z"]]
    assert first_targets.tolist() == [["c"], [], []]
    assert last_targets.tolist() == [[], ["b"], []]
    with_repeats = training_queries(replace(train, allow_repeats=True), "last", 0.2, 0, 2)
    assert with_repeats[1][1].tolist() == [["b"], ["b"], []]


def test_the_end_of_the_log_is_held_out_by_time() -> None:
    histories, targets = hold_out(dataset_of({"u": ["a", "b", "c", "d"], "v": ["a", "b"]}), "time", 0.3, 0)
    assert histories.frame["items"].tolist() == [["a", "b"], ["a", "b"]]
    assert targets.tolist() == [["c", "d"], []]


def test_the_default_policy_resembles_the_split() -> None:
    timed, untimed = dataset_of(random_lists()), dataset_of(random_lists(), timed=False)
    policies = ("time", "session", "last", "random_last_out", None)
    assert {policy: default_holdout(replace(timed, split_by=policy)) for policy in policies} == {
        "time": "time",
        "session": "last",
        "last": "last",
        "random_last_out": "last",
        None: "time",
    }
    assert default_holdout(untimed) == default_holdout(replace(untimed, split_by="time")) == "last"


@pytest.mark.parametrize("policy", ["last", "time", "random"])
def test_every_item_is_either_in_the_history_or_a_target(policy: HoldoutPolicy) -> None:
    train = dataset_of(random_lists())
    histories, targets = hold_out(train, policy, 0.2, 7)
    for items, history, target in zip(train.frame["items"], histories.frame["items"], targets, strict=True):
        assert set(history) | set(target) == set(items)
        assert not set(history) & set(target)
    assert hold_out(train, policy, 0.2, 7)[1].tolist() == targets.tolist()

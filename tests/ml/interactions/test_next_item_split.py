"""Next-item splits: by hand, and in agreement with plain loops on random logs."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.interactions.event_log import simultaneous_share, to_event_log
from ml.interactions.next_item_split import EvaluationSplit, split_events

Event = tuple[str, str, int]  # user, item, time or position
ORDER_ROLES = {"second": "time", "position": "event_order"}


def contract(by: str, *order: str, **split: Any) -> Contract:
    columns = {"user": "category", "item": "category", "second": "epoch", "position": "integer"}
    roles = {"user": "user", "item": "item", **{ORDER_ROLES[column]: column for column in order}}
    read = {"files": ["x.csv"], "columns": columns}
    meta = {"schema_version": 2, "read": read, "roles": roles, "split": {"by": by, **split}}
    return parse({"name": "toy.log", "expectations": [], "meta": meta})


LAST, RANDOM_LAST_OUT = contract("last", "position"), contract("random_last_out")
SESSION = contract("session", "second", test=0.2, valid=0.2)


def rows(events: list[Event]) -> pd.DataFrame:
    users, items, numbers = zip(*events, strict=True)
    return pd.DataFrame(
        {
            "user": pd.Series(users, dtype="str"),
            "item": pd.Series(items, dtype="str"),
            "second": pd.to_datetime(pd.Series(numbers, dtype="int64"), unit="s").astype("datetime64[us]"),
            "position": np.array(numbers, dtype=float),
        }
    )


def by_user(events: pd.DataFrame) -> dict[str, str]:
    """Join the items of each user, which are single letters, to a word."""
    return {str(user): "".join(items) for user, items in events.groupby("user")["item"]}


def words(split: EvaluationSplit) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    return by_user(split.train), by_user(split.history), by_user(split.target)


def test_the_last_event_is_the_test_target_and_the_one_before_that_of_validation() -> None:
    """The rows of ann are unsorted; bob has too few events for targets."""
    events = to_event_log(
        rows([("ann", "c", 3), ("bob", "x", 1), ("ann", "a", 1), ("ann", "b", 2), ("bob", "y", 2)]), LAST
    )
    assert events["seconds"].isna().all()
    splits = split_events(events, LAST.split)
    assert words(splits.valid) == ({"ann": "a", "bob": "xy"}, {"ann": "a", "bob": "xy"}, {"ann": "b"})
    assert words(splits.test) == ({"ann": "ab", "bob": "xy"}, {"ann": "ab", "bob": "xy"}, {"ann": "c"})
    assert splits.cutoffs == ()


def test_the_last_event_of_a_session_after_a_cutoff_is_its_target() -> None:
    """Ten events, cutoffs at 60 and 80; a session across a cutoff has no target and is fitted on up to the cutoff."""
    log = [("a", "p", 0), ("a", "q", 10), ("b", "p", 20), ("b", "r", 30), ("c", "q", 40), ("c", "s", 61)]
    log += [("d", "p", 60), ("d", "q", 70), ("e", "r", 80), ("e", "s", 90)]
    session = contract("session", "second", test=0.2, valid=0.3)
    splits = split_events(to_event_log(rows(log), session), session.split)
    assert splits.cutoffs == (60, 80)
    train = {"a": "pq", "b": "pr", "c": "q"}
    assert words(splits.valid) == (train, {"d": "p"}, {"d": "q"})
    assert words(splits.test) == ({"a": "pq", "b": "pr", "c": "qs", "d": "pq"}, {"e": "r"}, {"e": "s"})


def test_simultaneous_events_are_in_the_order_of_their_positions() -> None:
    both = contract("last", "second", "position")
    source = rows([("u", "a", 5), ("u", "b", 5), ("u", "c", 4)]).assign(position=[2.0, 1.0, 9.0])
    assert to_event_log(source, both)["item"].tolist() == ["c", "b", "a"]
    assert simultaneous_share(source, both) == 0
    assert simultaneous_share(source, contract("last", "second")) == pytest.approx(1 / 3)
    assert simultaneous_share(source.iloc[:0], both) == 0


def test_without_an_order_that_of_the_source_has_no_influence() -> None:
    """In every basket z comes last, as departments do; it is held out as often as the others."""
    source = rows([(f"u{n}", item, 0) for n in range(900) for item in "abz"])
    splits = split_events(to_event_log(source, RANDOM_LAST_OUT), RANDOM_LAST_OUT.split)
    shares = splits.test.target["item"].value_counts(normalize=True)
    assert shares.between(0.27, 0.40).all()
    shuffled = to_event_log(source.sample(frac=1, random_state=0), RANDOM_LAST_OUT)
    again = split_events(shuffled, RANDOM_LAST_OUT.split)
    assert by_user(again.test.target) == by_user(splits.test.target)


logs = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from("abcde"), st.integers(0, 9)), min_size=1, max_size=40
)


@settings(max_examples=100, deadline=None)
@given(logs)
def test_leave_one_out_agrees_with_loops_over_users(events: list[Event]) -> None:
    splits = split_events(to_event_log(rows(events), LAST), LAST.split)
    histories = {
        user: "".join(item for owner, item, _ in sorted(events, key=lambda event: event[2]) if owner == user)
        for user in {user for user, _, _ in events}
    }
    with_targets = {user: items for user, items in histories.items() if len(items) >= 3}
    assert by_user(splits.test.target) == {user: items[-1] for user, items in with_targets.items()}
    assert by_user(splits.valid.target) == {user: items[-2] for user, items in with_targets.items()}
    test_history = {user: items[:-1] for user, items in with_targets.items()}
    valid_history = {user: items[:-2] for user, items in with_targets.items()}
    assert by_user(splits.test.history) == {**histories, **test_history}
    assert by_user(splits.valid.history) == {**histories, **valid_history}


@settings(max_examples=100, deadline=None)
@given(logs)
def test_no_session_split_trains_on_its_future(events: list[Event]) -> None:
    splits = split_events(to_event_log(rows(events), SESSION), SESSION.split)
    for split, cutoff in zip((splits.valid, splits.test), splits.cutoffs, strict=True):
        assert (split.train["seconds"] < cutoff).all()
        assert (split.history["seconds"] >= cutoff).all()
        assert not set(split.train["user"]) & set(split.target["user"])
        assert split.target["user"].is_unique
        assert set(split.history["user"]) == set(split.target["user"])
        latest = split.history.groupby("user")["seconds"].max()
        assert (split.target["seconds"] >= latest.reindex(split.target["user"]).to_numpy()).all()
    assert (splits.valid.target["seconds"] < splits.cutoffs[1]).all()

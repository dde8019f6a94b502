"""A log worked out by hand, and agreement with plain loops on logs of every kind."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.data.digest import entity_hashes
from ml.errors import DataGateError
from ml.interactions.datasets import about_users, judging_part, learning_part
from ml.interactions.event_log import cuts, histories, log

Event = tuple[str, str, int]  # user, item, seconds


def contract(**roles: Any) -> Contract:
    columns = {"who": "category", "what": "category", "when": "time", "band": "category"}
    roles = {"user": "who", "item": "what", "time": "when", "ignored": ["band"], **roles}
    meta = {"read": {"files": ["x.csv"], "columns": columns}, "roles": roles}
    return parse({"name": "toy.log", "expectations": [], "meta": meta})


def rows(events: list[Event]) -> pd.DataFrame:
    """The events as a source has them, in this order."""
    who, what, when = zip(*events, strict=True) if events else ((), (), ())
    return pd.DataFrame(
        {
            "who": pd.Series(who, dtype="str"),
            "what": pd.Series(what, dtype="str"),
            "when": pd.to_datetime(pd.Series(when, dtype="int64"), unit="s").astype("datetime64[us]"),
        }
    )


def periods(events: pd.DataFrame, cut: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    return events[events["seconds"] < cut], events[events["seconds"] >= cut]


def asked(part: Dataset) -> dict[str, tuple[list[str], list[float], list[str]]]:
    """By user: the items and times so far, and the items that came next."""
    columns = zip(*(part.frame[c] for c in ("user", "items", "times")), part.truth, strict=True)
    return {user: (items, times, following) for user, items, times, following in columns}


LOG = rows(
    [
        ("ann", "tea", 50),
        ("bob", "jam", 10),
        ("ann", "jam", 10),
        ("ann", "tea", 10),
        ("cat", "tea", 40),
        ("bob", "jam", 40),
        ("ann", "rye", 60),
        ("bob", "tea", 60),
        ("ann", "rye", 70),
        ("cat", "tea", 55),
    ]
)


def test_events_are_sorted_and_simultaneous_ones_stay_as_they_came() -> None:
    events = log(LOG, contract())
    assert list(events.columns) == ["user", "item", "seconds"]
    assert events["seconds"].tolist() == [10, 10, 10, 40, 40, 50, 55, 60, 60, 70]
    assert events["user"].tolist() == ["bob", "ann", "ann", "cat", "bob", "ann", "cat", "ann", "bob", "ann"]
    assert events["item"].tolist() == ["jam", "jam", "tea", "tea", "jam", "tea", "tea", "rye", "tea", "rye"]
    assert events.index.tolist() == list(range(10))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_seconds_are_seconds_in_every_unit_of_time(unit: str) -> None:
    moments = pd.Series(np.array(["1969-12-31T23:59:59", "2024-02-29T12:00:00.250"], f"datetime64[{unit}]"))
    source = pd.DataFrame({"who": ["u", "u"], "what": ["a", "b"], "when": moments})
    assert log(source, contract())["seconds"].tolist() == [-1.0, 1709208000.0 + 0.25 * (unit != "s")]


def test_what_is_learned_and_what_is_asked_by_hand() -> None:
    """The cut at 50: what happens at that instant comes next."""
    before, after = periods(log(LOG, contract()), 50)
    learned = learning_part(before, contract())
    assert asked(learned) == {
        "bob": (["jam", "jam"], [10, 40], []),
        "ann": (["jam", "tea"], [10, 10], []),
        "cat": (["tea"], [40], []),
    }
    # Ann takes tea again, which is no answer; rye counts once. Cat takes only what she had.
    judged = judging_part(before, after, about_users(LOG, contract()), contract())
    assert asked(judged) == {
        "ann": (["jam", "tea"], [10, 10], ["rye"]),
        "bob": (["jam", "jam"], [10, 40], ["tea"]),
    }


def test_items_that_return_are_answers_where_the_contract_says_so() -> None:
    before, after = periods(log(LOG, contract()), 50)
    judged = judging_part(before, after, about_users(LOG, contract()), contract(repeat=True))
    assert {user: following for user, (_, _, following) in asked(judged).items()} == {
        "ann": ["tea", "rye"],
        "bob": ["tea"],
        "cat": ["tea"],
    }


def test_blocked_items_are_no_answers_and_stay_in_histories() -> None:
    its = replace(contract(repeat=True), blocked={"tea": "recalled"})
    before, after = periods(log(LOG, its), 50)
    judged = judging_part(before, after, about_users(LOG, its), its)
    assert asked(judged) == {"ann": (["jam", "tea"], [10, 10], ["rye"])}


def test_who_comes_for_the_first_time_has_an_empty_history() -> None:
    before, after = periods(log(LOG, contract()), 20)
    judged = judging_part(before, after, about_users(LOG, contract()), contract())
    assert asked(judged)["cat"] == ([], [], ["tea"])
    everyone = judging_part(before.iloc[:0], after, about_users(LOG, contract()), contract())
    assert asked(everyone)["ann"] == ([], [], ["tea", "rye"])


def test_histories_are_those_of_the_users_asked_for_in_their_order() -> None:
    events = log(LOG, contract())
    found = histories(events, pd.Index(["cat", "nobody", "bob"]))
    assert found["user"].tolist() == ["cat", "nobody", "bob"]
    assert found["items"].tolist() == [["tea", "tea"], [], ["jam", "jam", "tea"]]
    assert found["times"].tolist() == [[40, 55], [], [10, 40, 60]]


def weighing(kind: str, **meta: Any) -> Contract:
    columns = {"who": "category", "what": "category", "when": "time", "did": kind}
    roles = {"user": "who", "item": "what", "time": "when", "weight": "did"}
    read = {"files": ["x.csv"], "columns": columns}
    return parse({"name": "toy.log", "expectations": [], "meta": {"read": read, "roles": roles} | meta})


BEHAVIOURS = weighing("category", weights={"look": 0.25, "buy": 2})


def did(*cells: Any) -> pd.DataFrame:
    """Five of the events of ann and bob, latest first, with what they did."""
    events = [
        ("ann", "rye", 60),
        ("bob", "tea", 50),
        ("ann", "tea", 40),
        ("bob", "jam", 20),
        ("ann", "jam", 10),
    ]
    return rows(events).assign(did=pd.Series(cells))


def test_behaviours_become_weights_beside_their_events() -> None:
    source = did("buy", "look", "look", "look", "buy")
    events = log(source, BEHAVIOURS)
    assert list(events.columns) == ["user", "item", "seconds", "weight"]
    assert events["weight"].tolist() == [2, 0.25, 0.25, 0.25, 2]
    found = histories(events, pd.Index(["ann", "nobody", "bob"]))
    assert list(found.columns) == ["user", "items", "times", "weights"]
    assert found["weights"].tolist() == [[2, 0.25, 2], [], [0.25, 0.25]]
    before, after = periods(events, 50)
    assert learning_part(before, BEHAVIOURS).frame["weights"].tolist() == [[2, 0.25], [0.25]]
    judged = judging_part(before, after, about_users(source, BEHAVIOURS), BEHAVIOURS)
    assert judged.frame["weights"].tolist() == [[2, 0.25], [0.25]]
    assert judged.truth.tolist() == [["rye"], ["tea"]]


def test_one_piece_counts_one_and_more_pieces_more_but_ever_less() -> None:
    events = log(did(1.0, 3.0, 7.0, 0.5, 1023.0), weighing("number"))
    assert events["weight"].tolist() == pytest.approx([10, np.log2(1.5), 3, 2, 1])
    assert events["weight"].iloc[-1] == 1


def test_a_log_without_the_column_of_weights_has_none() -> None:
    """As a question may be asked."""
    events = log(did("buy", "look", "look", "look", "buy").drop(columns="did"), BEHAVIOURS)
    assert list(events.columns) == ["user", "item", "seconds"]


def test_a_user_is_of_the_first_segment_that_is_known_and_who_is_new_of_the_own() -> None:
    roles = {"user": "who", "item": "what", "time": "when", "segment": "did"}
    its = weighing("category", roles=roles)
    source = did("GB", "FR", "FR", None, "DE")
    events = log(source, its)
    assert list(events.columns) == ["user", "item", "seconds", "segment"]
    found = histories(events, pd.Index(["ann", "nobody", "bob"]))
    assert found["segment"].tolist() == ["DE", None, "FR"]
    before, after = periods(events, 50)
    # Before the instant nothing was known of bob, and when he is asked it is.
    assert learning_part(before, its).frame["segment"].tolist() == ["DE", None]
    judged = judging_part(before, after, about_users(source, its), its)
    assert judged.frame["segment"].tolist() == ["DE", "FR"]
    assert "segment" not in log(source.drop(columns="did"), its)


@pytest.mark.parametrize(
    ("cells", "its", "said"),
    [
        (("buy", "steal", "look", "look", None), BEHAVIOURS, "event by 'did'; got 2 of 5 rows without"),
        ((1.0, 0.0, -1.0, np.nan, np.inf), weighing("number"), "got 4 of 5 rows without"),
    ],
    ids=str,
)
def test_rows_without_a_weight_are_refused_without_telling_their_cells(
    cells: tuple[Any, ...], its: Contract, said: str
) -> None:
    with pytest.raises(DataGateError) as refused:
        log(did(*cells), its)
    assert said in str(refused.value)
    assert "toy.log" in refused.value.next_step
    assert "steal" not in str(refused.value)


def test_facts_that_judge_stand_beside_their_user_and_are_not_shown() -> None:
    bands = {"ann": "young", "bob": "old", "cat": None}
    source = LOG.assign(band=LOG["who"].map(bands))
    its = contract(sensitive=["band"])
    before, after = periods(log(source, its), 20)
    about = about_users(source, its)
    judged = judging_part(before, after, about.iloc[::-1], its)
    assert judged.frame["user"].tolist() == ["ann", "bob", "cat"]
    assert judged.metadata["band"].fillna("?").tolist() == ["young", "old", "?"]
    assert list(judged.frame.columns) == ["user", "items", "times"]


def test_without_sensitive_columns_there_are_no_facts() -> None:
    about = about_users(LOG, contract())
    assert sorted(about.index) == ["ann", "bob", "cat"]
    assert about.shape == (3, 0)


def test_a_user_is_one_unit_in_every_part_and_another_in_another_contract() -> None:
    before, after = periods(log(LOG, contract()), 50)
    learned = learning_part(before, contract())
    judged = judging_part(before, after, about_users(LOG, contract()), contract())
    by_user = dict(zip(learned.frame["user"], learned.units, strict=True))
    assert [by_user[user] for user in judged.frame["user"]] == judged.units.tolist()
    other = entity_hashes(learned.frame["user"], "another.log")
    assert not set(other) & set(learned.units)


def test_nothing_before_or_nothing_after() -> None:
    events, about = log(LOG, contract()), about_users(LOG, contract())
    assert not len(judging_part(events, events.iloc[:0], about, contract()).frame)
    nothing = learning_part(events.iloc[:0], contract())
    assert (len(nothing.frame), len(nothing.truth), nothing.units.dtype) == (0, 0, np.uint64)
    assert log(LOG.iloc[:0], contract()).empty


def test_cuts_by_hand() -> None:
    """Ten events: two shares of a fifth are two events each."""
    events = pd.DataFrame({"seconds": np.arange(10.0) * 100})
    assert cuts(events, valid=0.2, test=0.2) == (600, 800)
    assert cuts(events, valid=0.5, test=0.1) == (400, 900)
    # All that happens at one instant falls on one side of it.
    assert cuts(pd.DataFrame({"seconds": [1.0] * 8 + [2.0, 3.0]}), valid=0.2, test=0.2) == (1, 2)


shares = st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda pair: (pair[0] / 20, pair[1] / 20))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-5, 10**9), min_size=2, max_size=60, unique=True), shares)
def test_cuts_leave_the_shares_of_events(seconds: list[int], share: tuple[float, float]) -> None:
    valid, test = share
    events = pd.DataFrame({"seconds": np.sort(np.array(seconds, dtype=float))})
    first, second = cuts(events, valid, test)
    for cut, of_events in ((first, valid + test), (second, test)):
        assert cut in seconds
        assert abs((events["seconds"] >= cut).sum() - of_events * len(seconds)) <= 1 + 1e-9


logs = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from("abcde"), st.integers(0, 9)), min_size=1, max_size=40
)


@settings(max_examples=100, deadline=None)
@given(logs, st.integers(-1, 11), st.booleans())
def test_parts_agree_with_loops_over_the_events(events: list[Event], cut: int, repeat: bool) -> None:
    its = contract(repeat=repeat)
    before, after = periods(log(rows(events), its), cut)
    so_far: dict[str, list[tuple[str, float]]] = {}
    following: dict[str, list[str]] = {}
    for user, item, moment in sorted(events, key=lambda event: event[2]):
        had = so_far.setdefault(user, []) if moment < cut else so_far.get(user, [])
        if moment < cut:
            had.append((item, moment))
        elif (repeat or item not in [i for i, _ in had]) and item not in following.get(user, []):
            following.setdefault(user, []).append(item)

    def history(user: str) -> tuple[list[str], list[float]]:
        return [i for i, _ in so_far.get(user, [])], [m for _, m in so_far.get(user, [])]

    learned = asked(learning_part(before, its))
    judged = asked(judging_part(before, after, about_users(rows(events), its), its))
    assert learned == {user: (*history(user), []) for user in so_far}
    assert judged == {user: (*history(user), items) for user, items in following.items()}
    assert list(judged) == sorted(judged)


@settings(max_examples=60, deadline=None)
@given(logs, st.integers(-1, 11), st.booleans())
def test_no_history_knows_what_came_after_the_cut(events: list[Event], cut: int, repeat: bool) -> None:
    """Whatever happens after the cut: the histories of those who are asked stay as they are."""
    its = contract(repeat=repeat)
    before, after = periods(log(rows(events), its), cut)
    judged = judging_part(before, after, about_users(rows(events), its), its)
    assert all(moment < cut for times in judged.frame["times"] for moment in times)
    assert [len(t) for t in judged.frame["times"]] == [len(i) for i in judged.frame["items"]]
    later = after.assign(item="other " + after["item"], seconds=after["seconds"] + 5)
    again = asked(judging_part(before, later, about_users(rows(events), its), its))
    for user, (items, times, _) in asked(judged).items():
        assert again[user][:2] == (items, times)
    if not repeat:
        assert not any(set(items) & set(following) for items, _, following in asked(judged).values())

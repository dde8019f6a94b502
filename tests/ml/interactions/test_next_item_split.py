"""Exams worked out by hand, and agreement with plain loops on logs of every kind."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.interactions.event_log import log, together
from ml.interactions.next_item_split import Exam, divide

Event = tuple[str, str, int]  # user, item, time or position


def contract(by: str, *order: str, **split: Any) -> Contract:
    columns = {"who": "category", "what": "category", "when": "epoch", "place": "integer"}
    roles = {"user": "who", "item": "what", **{{"when": "time", "place": "position"}[c]: c for c in order}}
    meta = {"read": {"files": ["x.csv"], "columns": columns}, "roles": roles, "split": {"by": by, **split}}
    return parse({"name": "toy.log", "expectations": [], "meta": meta})


LAST, ANY = contract("last", "place"), contract("any")
SESSION = contract("session", "when", test=0.2, valid=0.2)


def rows(events: list[Event]) -> pd.DataFrame:
    who, what, number = zip(*events, strict=True)
    return pd.DataFrame(
        {
            "who": pd.Series(who, dtype="str"),
            "what": pd.Series(what, dtype="str"),
            "when": pd.to_datetime(pd.Series(number, dtype="int64"), unit="s").astype("datetime64[us]"),
            "place": np.array(number, dtype=float),
        }
    )


def by_user(events: pd.DataFrame) -> dict[str, str]:
    """The items of each user as one word, for items of one letter."""
    return {str(user): "".join(items) for user, items in events.groupby("user")["item"]}


def exam(one: Exam) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    return by_user(one.learned), by_user(one.shown), by_user(one.following)


def test_the_last_event_judges_and_the_one_before_chooses_by_hand() -> None:
    """Ann's rows are unsorted; Bob has too few events to be asked."""
    events = log(
        rows([("ann", "c", 3), ("bob", "x", 1), ("ann", "a", 1), ("ann", "b", 2), ("bob", "y", 2)]), LAST
    )
    assert events["seconds"].isna().all()
    exams = divide(events, LAST.split)
    assert exam(exams.valid) == ({"ann": "a", "bob": "xy"}, {"ann": "a", "bob": "xy"}, {"ann": "b"})
    assert exam(exams.test) == ({"ann": "ab", "bob": "xy"}, {"ann": "ab", "bob": "xy"}, {"ann": "c"})
    assert exams.cuts == ()


def test_sessions_after_an_instant_are_asked_for_their_last_event_by_hand() -> None:
    """Ten events, cuts at 60 and 80. Whoever crosses a cut is not asked, and teaches what came before it."""
    log_ = [("a", "p", 0), ("a", "q", 10), ("b", "p", 20), ("b", "r", 30), ("c", "q", 40), ("c", "s", 61)]
    log_ += [("d", "p", 60), ("d", "q", 70), ("e", "r", 80), ("e", "s", 90)]
    its = contract("session", "when", test=0.2, valid=0.3)
    exams = divide(log(rows(log_), its), its.split)
    assert exams.cuts == (60, 80)
    learned = {"a": "pq", "b": "pr", "c": "q"}
    assert exam(exams.valid) == (learned, {"d": "p"}, {"d": "q"})
    assert exam(exams.test) == ({"a": "pq", "b": "pr", "c": "qs", "d": "pq"}, {"e": "r"}, {"e": "s"})


def test_positions_order_what_is_simultaneous() -> None:
    both = contract("last", "when", "place")
    source = rows([("u", "a", 5), ("u", "b", 5), ("u", "c", 4)]).assign(place=[2.0, 1.0, 9.0])
    assert log(source, both)["item"].tolist() == ["c", "b", "a"]
    assert together(source, both) == 0
    assert together(source, contract("last", "when")) == pytest.approx(1 / 3)
    assert together(source.iloc[:0], both) == 0


def test_without_an_order_the_publishers_says_nothing() -> None:
    """In every basket z comes last, as departments do: it is held back no more often than the others."""
    source = rows([(f"u{n}", item, 0) for n in range(900) for item in "abz"])
    exams = divide(log(source, ANY), ANY.split)
    shares = exams.test.following["item"].value_counts(normalize=True)
    assert shares.between(0.27, 0.40).all()
    again = divide(log(source.sample(frac=1, random_state=0), ANY), ANY.split)
    assert by_user(again.test.following) == by_user(exams.test.following)


logs = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from("abcde"), st.integers(0, 9)), min_size=1, max_size=40
)


@settings(max_examples=100, deadline=None)
@given(logs)
def test_the_last_agree_with_loops_over_users(events: list[Event]) -> None:
    exams = divide(log(rows(events), LAST), LAST.split)
    words = {
        user: "".join(item for who, item, _ in sorted(events, key=lambda e: e[2]) if who == user)
        for user in {who for who, _, _ in events}
    }
    asked = {user: word for user, word in words.items() if len(word) >= 3}
    assert by_user(exams.test.following) == {user: word[-1] for user, word in asked.items()}
    assert by_user(exams.valid.following) == {user: word[-2] for user, word in asked.items()}
    assert by_user(exams.test.shown) == {**words, **{user: word[:-1] for user, word in asked.items()}}
    assert by_user(exams.valid.shown) == {**words, **{user: word[:-2] for user, word in asked.items()}}


@settings(max_examples=100, deadline=None)
@given(logs)
def test_nothing_of_a_session_exam_is_learned_from_its_future(events: list[Event]) -> None:
    exams = divide(log(rows(events), SESSION), SESSION.split)
    for one, cut in zip((exams.valid, exams.test), exams.cuts, strict=True):
        assert (one.learned["seconds"] < cut).all()
        assert (one.shown["seconds"] >= cut).all()
        assert not set(one.learned["user"]) & set(one.following["user"])
        assert one.following["user"].is_unique
        assert set(one.shown["user"]) == set(one.following["user"])
        latest = one.shown.groupby("user")["seconds"].max()
        assert (one.following["seconds"] >= latest.reindex(one.following["user"]).to_numpy()).all()
    assert (exams.valid.following["seconds"] < exams.cuts[1]).all()

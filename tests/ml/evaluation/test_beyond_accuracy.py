"""Measures beside accuracy, against loops and known answers."""

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.evaluation import beyond_accuracy
from ml.evaluation.ranking_metrics import ranks

K = 3
some_items = st.lists(st.sampled_from("abcdefgh"), max_size=5)
an_order = st.permutations("abcdefgh").flatmap(lambda p: st.integers(0, 8).map(lambda n: p[:n]))
logs = st.lists(st.tuples(some_items, some_items.filter(len), an_order), min_size=1, max_size=6)


def listed(lists: list[list[str]]) -> pd.DataFrame:
    rows = [
        (f"u{n}", rank, item, -float(rank)) for n, of in enumerate(lists) for rank, item in enumerate(of, 1)
    ]
    return pd.DataFrame(rows, columns=["user", "rank", "item", "score"]).astype({"score": np.float64})


def column(lists: list[list[str]]) -> pd.Series:
    return pd.Series(lists, dtype=object)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any))
def test_gini_is_half_the_relative_mean_difference(shown: list[int]) -> None:
    expected = np.mean([abs(a - b) for a in shown for b in shown]) / (2 * np.mean(shown))
    assert beyond_accuracy.gini(np.array(shown), len(shown)) == pytest.approx(expected, abs=1e-12)
    # Items that were never shown need not be named.
    named = np.array([count for count in shown if count])
    assert beyond_accuracy.gini(named, len(shown)) == pytest.approx(expected, abs=1e-12)


def test_gini_by_hand() -> None:
    assert beyond_accuracy.gini(np.array([7, 7, 7]), 3) == 0
    assert beyond_accuracy.gini(np.array([9]), 4) == 0.75
    assert math.isnan(beyond_accuracy.gini(np.array([]), 2))


def test_owners_are_users_and_ties_go_by_name() -> None:
    found = beyond_accuracy.owners(column([["b", "b", "a"], ["c", "a"], [], ["b", "d"]]))
    assert found.to_dict() == {"a": 2, "b": 2, "c": 1, "d": 1}
    assert found.index.tolist() == ["a", "b", "c", "d"]
    assert beyond_accuracy.owners(column([[], []])).empty


@settings(max_examples=60, deadline=None)
@given(logs, st.booleans())
def test_agreement_with_loops(users: list[tuple[list[str], list[str], list[str]]], repeat: bool) -> None:
    histories, wanted, lists = ([list(user[side]) for user in users] for side in range(3))
    wanted = [list(dict.fromkeys(of)) for of in wanted]
    had = {item: {n for n, of in enumerate(histories) if item in of} for item in "abcdefgh"}
    prediction, popular = listed(lists), beyond_accuracy.owners(column(histories))

    def cosine(a: str, b: str) -> float:
        return len(had[a] & had[b]) / math.sqrt(len(had[a]) * len(had[b])) if had[a] and had[b] else 0.0

    unlike = [[1 - cosine(a, b) for a, b in combinations(of[:K], 2)] for of in lists]
    each = [np.mean(of) for of in unlike if of]
    found = beyond_accuracy.diversity(prediction, column(histories), K)
    assert found == pytest.approx(np.mean(each) if each else math.nan, nan_ok=True, abs=1e-12)

    order = sorted((item for item in had if had[item]), key=lambda item: (-len(had[item]), item))
    hits = [(n, item) for n, of in enumerate(lists) for item in of[:K] if item in wanted[n]]
    expected = []
    for n, item in hits:
        may = order if repeat else [i for i in order if i not in histories[n] or i == item]
        expected.append(item not in may[:K])
    of_users = np.array([f"u{n}" for n in range(len(users))])
    found = beyond_accuracy.serendipity(
        ranks(column(wanted), of_users, prediction), column(histories), popular, K, repeat
    )
    assert found == pytest.approx(np.mean(expected) if expected else math.nan, nan_ok=True)

    shown = prediction.loc[prediction["rank"] <= K, "item"]
    shares = [len(had[item]) / len(users) for of in lists for item in of[:K]]
    found = beyond_accuracy.mean_popularity(shown, popular, len(users))
    assert found == pytest.approx(np.mean(shares) if shares else math.nan, nan_ok=True)


def test_popular_hits_are_no_surprise() -> None:
    histories = column([["a", "b"], ["a", "b"], ["a"], ["c"]])
    popular, users = beyond_accuracy.owners(histories), np.array(["u0", "u1", "u2", "u3"])
    prediction = listed([["c"], ["c"], ["b"], ["a"]])
    found = ranks(column([["c"], ["z"], ["b"], ["a"]]), users, prediction)
    # After a and b, which u0 has, c is first for u0; b is first for u2, and a for u3.
    assert beyond_accuracy.serendipity(found, histories, popular, k=1) == 0
    # Where items repeat, a is all that a list of one would hold.
    assert beyond_accuracy.serendipity(found, histories, popular, k=1, repeat=True) == pytest.approx(2 / 3)


def test_lists_in_any_order_of_rows_are_as_varied() -> None:
    histories = column([["a", "b"], ["b", "c"], ["a", "c", "d"]])
    prediction = listed([["a", "b", "c"], ["d", "a"], ["b"]])
    mixed = prediction.sample(frac=1, random_state=1)
    assert beyond_accuracy.diversity(mixed, histories, 3) == beyond_accuracy.diversity(
        prediction, histories, 3
    )


def test_shares_by_tenth_of_items() -> None:
    popular = pd.Series({f"i{n:02}": 100 - n for n in range(20)})
    shown = pd.Series(["i00", "i01", "i01", "i19"])
    taken = pd.Series(["i02", "never", "i10", "never"])
    found = beyond_accuracy.by_popularity(shown, taken, popular)
    assert [line["items"] for line in found] == [*map(str, range(1, 11)), "new"]
    assert [line["shown"] for line in found] == [0.75, *[0] * 8, 0.25, 0]
    assert [line["taken"] for line in found] == [0, 0.25, 0, 0, 0, 0.25, 0, 0, 0, 0, 0.5]
    few = beyond_accuracy.by_popularity(shown, taken, popular.head(3))
    assert [line["items"] for line in few] == ["1", "4", "7", "new"]

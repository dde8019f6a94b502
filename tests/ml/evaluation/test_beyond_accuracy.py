"""Metrics beyond accuracy, against loops and known answers."""

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.evaluation import beyond_accuracy
from ml.evaluation.ranking_metrics import target_ranks

K = 3
item_lists = st.lists(st.sampled_from("abcdefgh"), max_size=5)
rankings = st.permutations("abcdefgh").flatmap(lambda p: st.integers(0, 8).map(lambda n: p[:n]))
logs = st.lists(st.tuples(item_lists, item_lists.filter(len), rankings), min_size=1, max_size=6)


def to_prediction(lists: list[list[str]]) -> pd.DataFrame:
    rows = [
        (f"u{n}", rank, item, -float(rank))
        for n, items in enumerate(lists)
        for rank, item in enumerate(items, 1)
    ]
    return pd.DataFrame(rows, columns=["user", "rank", "item", "score"]).astype({"score": np.float64})


def list_column(lists: list[list[str]]) -> pd.Series:
    return pd.Series(lists, dtype=object)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any))
def test_gini_is_half_the_relative_mean_difference(counts: list[int]) -> None:
    expected = np.mean([abs(a - b) for a in counts for b in counts]) / (2 * np.mean(counts))
    assert beyond_accuracy.gini(np.array(counts), len(counts)) == pytest.approx(expected, abs=1e-12)
    # Counts of 0 may be left out.
    positive = np.array([count for count in counts if count])
    assert beyond_accuracy.gini(positive, len(counts)) == pytest.approx(expected, abs=1e-12)


def test_gini_by_hand() -> None:
    assert beyond_accuracy.gini(np.array([7, 7, 7]), 3) == 0
    assert beyond_accuracy.gini(np.array([9]), 4) == 0.75
    assert math.isnan(beyond_accuracy.gini(np.array([]), 2))


def test_users_are_counted_once_per_item_and_ties_are_sorted_by_name() -> None:
    counts = beyond_accuracy.user_counts(list_column([["b", "b", "a"], ["c", "a"], [], ["b", "d"]]))
    assert counts.to_dict() == {"a": 2, "b": 2, "c": 1, "d": 1}
    assert counts.index.tolist() == ["a", "b", "c", "d"]
    assert beyond_accuracy.user_counts(list_column([[], []])).empty


@settings(max_examples=60, deadline=None)
@given(logs, st.booleans())
def test_metrics_agree_with_loops(
    users: list[tuple[list[str], list[str], list[str]]], allow_repeats: bool
) -> None:
    histories, targets, lists = ([list(user[side]) for user in users] for side in range(3))
    targets = [list(dict.fromkeys(items)) for items in targets]
    users_of = {item: {n for n, items in enumerate(histories) if item in items} for item in "abcdefgh"}
    prediction, popularity = to_prediction(lists), beyond_accuracy.user_counts(list_column(histories))

    def cosine(a: str, b: str) -> float:
        if not users_of[a] or not users_of[b]:
            return 0.0
        return len(users_of[a] & users_of[b]) / math.sqrt(len(users_of[a]) * len(users_of[b]))

    distances = [[1 - cosine(a, b) for a, b in combinations(items[:K], 2)] for items in lists]
    means = [np.mean(user_distances) for user_distances in distances if user_distances]
    diversity = beyond_accuracy.diversity(prediction, list_column(histories), K)
    assert diversity == pytest.approx(np.mean(means) if means else math.nan, nan_ok=True, abs=1e-12)

    by_popularity = sorted(
        (item for item in users_of if users_of[item]), key=lambda item: (-len(users_of[item]), item)
    )
    hits = [(n, item) for n, items in enumerate(lists) for item in items[:K] if item in targets[n]]
    expected = []
    for n, item in hits:
        allowed = [i for i in by_popularity if allow_repeats or i not in histories[n] or i == item]
        expected.append(item not in allowed[:K])
    names = np.array([f"u{n}" for n in range(len(users))])
    ranks = target_ranks(list_column(targets), names, prediction)
    serendipity = beyond_accuracy.serendipity(ranks, list_column(histories), popularity, K, allow_repeats)
    assert serendipity == pytest.approx(np.mean(expected) if expected else math.nan, nan_ok=True)

    recommended = prediction.loc[prediction["rank"] <= K, "item"]
    shares = [len(users_of[item]) / len(users) for items in lists for item in items[:K]]
    mean_popularity = beyond_accuracy.mean_popularity(recommended, popularity, len(users))
    assert mean_popularity == pytest.approx(np.mean(shares) if shares else math.nan, nan_ok=True)


def test_popular_hits_are_not_serendipitous() -> None:
    histories = list_column([["a", "b"], ["a", "b"], ["a"], ["c"]])
    popularity, users = beyond_accuracy.user_counts(histories), np.array(["u0", "u1", "u2", "u3"])
    prediction = to_prediction([["c"], ["c"], ["b"], ["a"]])
    ranks = target_ranks(list_column([["c"], ["z"], ["b"], ["a"]]), users, prediction)
    # After a and b, which u0 has, c is the most popular for u0; b is for u2, and a for u3.
    assert beyond_accuracy.serendipity(ranks, histories, popularity, k=1) == 0
    # With repeats, the list of one popular item is always a.
    with_repeats = beyond_accuracy.serendipity(ranks, histories, popularity, k=1, allow_repeats=True)
    assert with_repeats == pytest.approx(2 / 3)


def test_diversity_does_not_depend_on_the_order_of_rows() -> None:
    histories = list_column([["a", "b"], ["b", "c"], ["a", "c", "d"]])
    prediction = to_prediction([["a", "b", "c"], ["d", "a"], ["b"]])
    shuffled = prediction.sample(frac=1, random_state=1)
    expected = beyond_accuracy.diversity(prediction, histories, 3)
    assert beyond_accuracy.diversity(shuffled, histories, 3) == expected


def test_shares_by_popularity_decile() -> None:
    popularity = pd.Series({f"i{n:02}": 100 - n for n in range(20)})
    recommended = pd.Series(["i00", "i01", "i01", "i19"])
    targets = pd.Series(["i02", "never", "i10", "never"])
    rows = beyond_accuracy.popularity_deciles(recommended, targets, popularity)
    assert [row["decile"] for row in rows] == [*map(str, range(1, 11)), "new"]
    assert [row["recommended_share"] for row in rows] == [0.75, *[0] * 8, 0.25, 0]
    assert [row["target_share"] for row in rows] == [0, 0.25, 0, 0, 0, 0.25, 0, 0, 0, 0, 0.5]
    of_three_items = beyond_accuracy.popularity_deciles(recommended, targets, popularity.head(3))
    assert [row["decile"] for row in of_three_items] == ["1", "4", "7", "new"]

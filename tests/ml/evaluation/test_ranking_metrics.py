"""Agreement with full enumeration and with scikit-learn, known answers by hand, and refusals."""

from itertools import pairwise, permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from ml.evaluation.ranking_metrics import coverage, drop_seen, novelty, per_user


def listing(scores: dict[str, dict[str, float]], depth: int = 1000) -> pd.DataFrame:
    """The prediction of `scores` (user, item, score), at most `depth` rows each."""
    rows = [
        (user, rank, item, score)
        for user, items in scores.items()
        for rank, (item, score) in enumerate(sorted(items.items(), key=lambda x: -x[1])[:depth], start=1)
    ]
    frame = pd.DataFrame(rows, columns=["user", "rank", "item", "score"])
    return frame.astype({"rank": np.int64, "score": np.float64})


def enumerated(scores: dict[str, float], truth: list[str], k: int) -> list[float]:
    """The measures of one user from the mean place of each item over all orders that the scores allow."""
    orders = [
        order for order in permutations(scores) if all(scores[x] >= scores[y] for x, y in pairwise(order))
    ]
    ranks = [1 + sum(order.index(item) for order in orders) / len(orders) for item in truth if item in scores]
    found = [rank for rank in ranks if rank <= k]
    ideal = sum(1 / np.log2(1 + place) for place in range(1, min(len(truth), k) + 1))
    return [
        sum(1 / np.log2(1 + rank) for rank in found) / ideal,
        float(bool(found)),
        1 / min(found) if found else 0.0,
        len(found) / len(truth),
    ]


cases = st.tuples(
    st.lists(st.integers(0, 3), min_size=1, max_size=6),  # scores of the catalogue, often tied
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True),  # some outside the catalogue
)


@settings(max_examples=60, deadline=None)
@given(st.lists(cases, min_size=1, max_size=4), st.integers(1, 4))
def test_agrees_with_enumeration_even_where_the_list_cuts_a_tie(
    users: list[tuple[list[int], list[str]]], k: int
) -> None:
    scores = {str(n): dict(zip("abcdef", map(float, case[0]), strict=False)) for n, case in enumerate(users)}
    truth = pd.Series([case[1] for case in users])
    slow = [enumerated(scores[str(n)], case[1], k) for n, case in enumerate(users)]
    for depth in (2 * k, 2 * k + 1, 1000):
        fast = per_user(truth, np.array(list(scores)), listing(scores, depth), k)
        np.testing.assert_allclose(fast.to_numpy(), slow, atol=1e-12)


def test_by_hand() -> None:
    prediction = listing({"u": {"a": 4, "b": 3, "c": 3, "d": 1}, "v": {"a": 2, "b": 1}})
    truth = pd.Series([["b"], ["z", "b"], ["a"]], index=[7, 8, 9])
    found = per_user(truth, pd.Series(["u", "v", "w"], index=[7, 8, 9]), prediction, k=3)
    assert found.index.tolist() == [7, 8, 9]
    # b is tied for the places 2 and 3; v has one item of two, in place 2; nobody predicted for w.
    assert found["mrr"].tolist() == [1 / 2.5, 1 / 2, 0]
    assert found["recall"].tolist() == [1, 1 / 2, 0]
    assert found["hit_rate"].tolist() == [1, 1, 0]
    ideal_of_two = 1 + 1 / np.log2(3)
    assert found["ndcg"].tolist() == pytest.approx([1 / np.log2(3.5), 1 / np.log2(3) / ideal_of_two, 0])


def test_a_tie_across_k_counts_by_its_expected_rank() -> None:
    prediction = listing({"u": {"a": 1, "b": 1, "c": 1}})
    assert per_user(pd.Series([["a"]]), np.array(["u"]), prediction, k=2)["mrr"][0] == 0.5
    assert per_user(pd.Series([["a"]]), np.array(["u"]), prediction, k=1)["hit_rate"][0] == 0.0


def test_ndcg_agrees_with_sklearn_without_ties() -> None:
    generator = np.random.default_rng(0)
    scores, relevant = generator.random((30, 40)), generator.random((30, 40)) < 0.1
    relevant[:, 0] = True
    users = np.array([f"u{n}" for n in range(30)])
    prediction = listing(
        {
            user: {str(item): score for item, score in enumerate(row)}
            for user, row in zip(users, scores, strict=True)
        },
        depth=20,
    )
    truth = pd.Series([[str(item) for item in np.flatnonzero(row)] for row in relevant])
    found = per_user(truth, users, prediction, k=10)["ndcg"]
    each = [ndcg_score(relevant[[n]], scores[[n]], k=10) for n in range(30)]
    np.testing.assert_allclose(found, each, atol=1e-12)


def test_order_of_rows_and_repeated_truth_change_nothing() -> None:
    prediction = listing({"u": {"a": 3, "b": 2, "c": 2}, "v": {"c": 2, "a": 1}})
    users = np.array(["v", "u"])
    once = per_user(pd.Series([["a"], ["c", "b"]]), users, prediction, k=2)
    mixed = per_user(
        pd.Series([["a", "a"], ["b", "c", "b"]]), users, prediction.sample(frac=1, random_state=3), k=2
    )
    pd.testing.assert_frame_equal(once, mixed)


def test_no_predictions_at_all_score_zero() -> None:
    found = per_user(pd.Series([["a"]]), np.array(["u"]), listing({}), k=5)
    assert found.to_numpy().tolist() == [[0.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item": ["a", "a", "c"]}, "once per user, got 1"),
        ({"rank": [1, 2, 4]}, "gaps or repeats"),
        ({"rank": [0, 1, 2]}, "gaps or repeats"),
        ({"score": [1.0, 2.0, 0.0]}, "never rise"),
        ({"score": [np.nan, 2.0, 1.0]}, "missing score"),
    ],
)
def test_broken_lists(change: dict[str, list[str] | list[float]], message: str) -> None:
    prediction = listing({"u": {"a": 3, "b": 2, "c": 1}})
    for column, values in change.items():
        prediction[column] = values
    with pytest.raises(ValueError, match=message):
        per_user(pd.Series([["a"]]), np.array(["u"]), prediction, k=1)


def test_broken_truth() -> None:
    prediction = listing({"u": {"a": 3}})
    with pytest.raises(ValueError, match="got 1 empty"):
        per_user(pd.Series([["a"], []]), np.array(["u", "v"]), prediction, k=1)
    with pytest.raises(ValueError, match="one user for each of 2"):
        per_user(pd.Series([["a"], ["b"]]), np.array(["u"]), prediction, k=1)
    with pytest.raises(ValueError, match="another index"):
        per_user(pd.Series([["a"]], index=[5]), pd.Series(["u"], index=[6]), prediction, k=1)
    with pytest.raises(ValueError, match="at least 1"):
        per_user(pd.Series([["a"]]), np.array(["u"]), prediction, k=0)


def test_coverage_by_hand() -> None:
    prediction = listing({"u": {"a": 3, "b": 2}, "v": {"a": 3, "c": 2, "d": 1}})
    assert coverage(prediction, catalogue_size=10, k=1) == 0.1
    assert coverage(prediction, catalogue_size=10, k=2) == 0.3
    with pytest.raises(ValueError, match="4 items shown, got 3"):
        coverage(prediction, catalogue_size=3, k=3)


def test_novelty_by_hand() -> None:
    prediction = listing({"u": {"a": 3, "b": 2}, "v": {"a": 3, "c": 2, "d": 1}})
    popularity = {"a": 8, "b": 2}
    # a (1 bit) twice, b (3 bits), c (unseen: 4 bits)
    assert novelty(prediction, popularity, users=16, k=2) == (1 + 1 + 3 + 4) / 4
    with pytest.raises(ValueError, match="at most the 4 users, got 8"):
        novelty(prediction, popularity, users=4, k=2)
    with pytest.raises(ValueError, match="got none"):
        novelty(listing({}), popularity, users=16, k=2)


def test_drop_seen() -> None:
    prediction = listing({"u": {"a": 3, "b": 2, "c": 1}, "v": {"a": 3, "b": 2}, "w": {"a": 1}})
    seen = pd.Series([["a", "z"], [], ["a"]], index=["u", "v", "w"])
    left = drop_seen(prediction, seen)
    pd.testing.assert_frame_equal(left, listing({"u": {"b": 2, "c": 1}, "v": {"a": 3, "b": 2}}))
    pd.testing.assert_frame_equal(drop_seen(prediction, seen.iloc[:0]), prediction)
    assert drop_seen(prediction.iloc[:1], seen).empty

"""Ranking metrics: agreement with full enumeration and scikit-learn, known answers by hand, and errors."""

from itertools import pairwise, permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from ml.evaluation.ranking_metrics import coverage, drop_seen, novelty, per_user_metrics


def to_prediction(scores: dict[str, dict[str, float]], depth: int = 1000) -> pd.DataFrame:
    """Build a prediction from scores by user and item, at most `depth` rows per user."""
    rows = [
        (user, rank, item, score)
        for user, items in scores.items()
        for rank, (item, score) in enumerate(sorted(items.items(), key=lambda x: -x[1])[:depth], start=1)
    ]
    frame = pd.DataFrame(rows, columns=["user", "rank", "item", "score"])
    return frame.astype({"rank": np.int64, "score": np.float64})


def enumerate_metrics(scores: dict[str, float], truth: list[str], k: int) -> list[float]:
    """Compute the metrics of one user from the mean position of each item over all orders that the scores allow."""
    orders = [
        order for order in permutations(scores) if all(scores[x] >= scores[y] for x, y in pairwise(order))
    ]
    ranks = [1 + sum(order.index(item) for order in orders) / len(orders) for item in truth if item in scores]
    hits = [rank for rank in ranks if rank <= k]
    ideal = sum(1 / np.log2(1 + position) for position in range(1, min(len(truth), k) + 1))
    return [
        sum(1 / np.log2(1 + rank) for rank in hits) / ideal,
        float(bool(hits)),
        1 / min(hits) if hits else 0.0,
        len(hits) / len(truth),
    ]


cases = st.tuples(
    st.lists(st.integers(0, 3), min_size=1, max_size=6),  # scores of the catalogue, often tied
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True),  # some outside the catalogue
)


@settings(max_examples=60, deadline=None)
@given(st.lists(cases, min_size=1, max_size=4), st.integers(1, 4))
def test_metrics_agree_with_enumeration_if_the_list_cuts_a_tie(
    users: list[tuple[list[int], list[str]]], k: int
) -> None:
    scores = {str(n): dict(zip("abcdef", map(float, case[0]), strict=False)) for n, case in enumerate(users)}
    truth = pd.Series([case[1] for case in users])
    expected = [enumerate_metrics(scores[str(n)], case[1], k) for n, case in enumerate(users)]
    for depth in (2 * k, 2 * k + 1, 1000):
        metrics = per_user_metrics(truth, np.array(list(scores)), to_prediction(scores, depth), k)
        np.testing.assert_allclose(metrics.to_numpy(), expected, atol=1e-12)


def test_metrics_by_hand() -> None:
    prediction = to_prediction({"u": {"a": 4, "b": 3, "c": 3, "d": 1}, "v": {"a": 2, "b": 1}})
    truth = pd.Series([["b"], ["z", "b"], ["a"]], index=[7, 8, 9])
    metrics = per_user_metrics(truth, pd.Series(["u", "v", "w"], index=[7, 8, 9]), prediction, k=3)
    assert metrics.index.tolist() == [7, 8, 9]
    # b is tied for ranks 2 and 3; v has one target of two, at rank 2; w has no prediction.
    assert metrics["mrr"].tolist() == [1 / 2.5, 1 / 2, 0]
    assert metrics["recall"].tolist() == [1, 1 / 2, 0]
    assert metrics["hit_rate"].tolist() == [1, 1, 0]
    ideal_of_two = 1 + 1 / np.log2(3)
    assert metrics["ndcg"].tolist() == pytest.approx([1 / np.log2(3.5), 1 / np.log2(3) / ideal_of_two, 0])


def test_a_tie_across_k_counts_by_its_expected_rank() -> None:
    prediction = to_prediction({"u": {"a": 1, "b": 1, "c": 1}})
    assert per_user_metrics(pd.Series([["a"]]), np.array(["u"]), prediction, k=2)["mrr"][0] == 0.5
    assert per_user_metrics(pd.Series([["a"]]), np.array(["u"]), prediction, k=1)["hit_rate"][0] == 0.0


def test_ndcg_agrees_with_sklearn_without_ties() -> None:
    generator = np.random.default_rng(0)
    scores, relevant = generator.random((30, 40)), generator.random((30, 40)) < 0.1
    relevant[:, 0] = True
    users = np.array([f"u{n}" for n in range(30)])
    prediction = to_prediction(
        {
            user: {str(item): score for item, score in enumerate(row)}
            for user, row in zip(users, scores, strict=True)
        },
        depth=20,
    )
    truth = pd.Series([[str(item) for item in np.flatnonzero(row)] for row in relevant])
    ndcg = per_user_metrics(truth, users, prediction, k=10)["ndcg"]
    expected = [ndcg_score(relevant[[n]], scores[[n]], k=10) for n in range(30)]
    np.testing.assert_allclose(ndcg, expected, atol=1e-12)


def test_order_of_rows_and_repeated_targets_do_not_matter() -> None:
    prediction = to_prediction({"u": {"a": 3, "b": 2, "c": 2}, "v": {"c": 2, "a": 1}})
    users = np.array(["v", "u"])
    metrics = per_user_metrics(pd.Series([["a"], ["c", "b"]]), users, prediction, k=2)
    shuffled = per_user_metrics(
        pd.Series([["a", "a"], ["b", "c", "b"]]), users, prediction.sample(frac=1, random_state=3), k=2
    )
    pd.testing.assert_frame_equal(metrics, shuffled)


def test_an_empty_prediction_scores_zero() -> None:
    metrics = per_user_metrics(pd.Series([["a"]]), np.array(["u"]), to_prediction({}), k=5)
    assert metrics.to_numpy().tolist() == [[0.0, 0.0, 0.0, 0.0]]


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
def test_invalid_predictions_are_rejected(change: dict[str, list[str] | list[float]], message: str) -> None:
    prediction = to_prediction({"u": {"a": 3, "b": 2, "c": 1}})
    for column, values in change.items():
        prediction[column] = values
    with pytest.raises(ValueError, match=message):
        per_user_metrics(pd.Series([["a"]]), np.array(["u"]), prediction, k=1)


def test_invalid_truth_is_rejected() -> None:
    prediction = to_prediction({"u": {"a": 3}})
    with pytest.raises(ValueError, match="got 1 empty"):
        per_user_metrics(pd.Series([["a"], []]), np.array(["u", "v"]), prediction, k=1)
    with pytest.raises(ValueError, match="one user for each of 2"):
        per_user_metrics(pd.Series([["a"], ["b"]]), np.array(["u"]), prediction, k=1)
    with pytest.raises(ValueError, match="another index"):
        per_user_metrics(pd.Series([["a"]], index=[5]), pd.Series(["u"], index=[6]), prediction, k=1)
    with pytest.raises(ValueError, match="at least 1"):
        per_user_metrics(pd.Series([["a"]]), np.array(["u"]), prediction, k=0)


def test_coverage_by_hand() -> None:
    prediction = to_prediction({"u": {"a": 3, "b": 2}, "v": {"a": 3, "c": 2, "d": 1}})
    assert coverage(prediction, catalogue_size=10, k=1) == 0.1
    assert coverage(prediction, catalogue_size=10, k=2) == 0.3
    with pytest.raises(ValueError, match="4 items recommended, got 3"):
        coverage(prediction, catalogue_size=3, k=3)


def test_novelty_by_hand() -> None:
    prediction = to_prediction({"u": {"a": 3, "b": 2}, "v": {"a": 3, "c": 2, "d": 1}})
    popularity = {"a": 8, "b": 2}
    # a (1 bit) twice, b (3 bits), c (4 bits, as nobody had it)
    assert novelty(prediction, popularity, users=16, k=2) == (1 + 1 + 3 + 4) / 4
    with pytest.raises(ValueError, match="at most the 4 users, got 8"):
        novelty(prediction, popularity, users=4, k=2)
    with pytest.raises(ValueError, match="got none"):
        novelty(to_prediction({}), popularity, users=16, k=2)


def test_seen_items_are_dropped_and_ranks_renumbered() -> None:
    prediction = to_prediction({"u": {"a": 3, "b": 2, "c": 1}, "v": {"a": 3, "b": 2}, "w": {"a": 1}})
    seen = pd.Series([["a", "z"], [], ["a"]], index=["u", "v", "w"])
    unseen = drop_seen(prediction, seen)
    pd.testing.assert_frame_equal(unseen, to_prediction({"u": {"b": 2, "c": 1}, "v": {"a": 3, "b": 2}}))
    pd.testing.assert_frame_equal(drop_seen(prediction, seen.iloc[:0]), prediction)
    assert drop_seen(prediction.iloc[:1], seen).empty

"""Maximal marginal relevance: by hand, against a plain loop, and at the edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from ml.interactions.catalogue import LIST_LENGTH
from ml.reranking.diversification import maximal_marginal_relevance


def ranking(user: np.ndarray, relevance: np.ndarray, code: np.ndarray, wanted_user: int) -> list[int]:
    """Return the codes of a user's candidates with finite relevance, best first."""
    rows = np.flatnonzero((user == wanted_user) & np.isfinite(relevance))
    return [int(code[row]) for row in rows[np.argsort(-relevance[rows], kind="stable")]]


def test_a_near_duplicate_of_the_best_item_moves_down() -> None:
    user, code = np.zeros(3, np.int64), np.array([0, 1, 2])
    score = np.array([3.0, 2.5, 1.0], np.float32)
    similarity = sparse.csr_array(np.array([[1.0, 0.9, 0.0], [0.0, 1.0, 0.1], [0.0, 0.0, 1.0]]))
    relevance = maximal_marginal_relevance(user, score, code, similarity, 0.5)
    assert ranking(user, relevance, code, 0) == [0, 2, 1]
    # Half of 1, then half of 0, then half of 3/4 - 0.9; similarity is symmetric.
    np.testing.assert_allclose(relevance, [0.5, 0.375 - 0.45, 0.0], rtol=1e-6)
    by_score = maximal_marginal_relevance(user, score, code, similarity, 0.0)
    assert ranking(user, by_score, code, 0) == [0, 1, 2]


@given(st.integers(0, 1000), st.integers(1, 60), st.sampled_from([0.0, 0.2, 0.7, 0.95]))
def test_selection_agrees_with_the_definition(seed: int, rows: int, diversity: float) -> None:
    rng = np.random.default_rng(seed)
    user = np.sort(rng.integers(0, 3, rows))
    code = np.concatenate([rng.permutation(60)[: int(n)] for n in np.bincount(user, minlength=3)])
    score = rng.standard_normal(rows).astype(np.float32)
    dense = rng.random((60, 60)) * (rng.random((60, 60)) < 0.3)
    marginal = maximal_marginal_relevance(user, score, code, sparse.csr_array(dense), diversity)
    similarity = np.maximum(dense, dense.T)
    for each_user in np.unique(user):
        best = np.flatnonzero(user == each_user)
        best = best[np.argsort(-score[best], kind="stable")][:LIST_LENGTH]
        low, high = score[best].min(), score[best].max()
        relevance = {
            int(code[row]): float((score[row] - low) / (high - low)) if high > low else 1.0 for row in best
        }
        selected: list[int] = []
        while len(selected) < len(best):
            remaining = [item for item in relevance if item not in selected]
            values = [
                (1 - diversity) * relevance[item]
                - diversity * max((similarity[item, other] for other in selected), default=0.0)
                for item in remaining
            ]
            selected.append(remaining[int(np.argmax(values))])
        assert ranking(user, marginal, code, int(each_user)) == selected
        falling = np.sort(marginal[best])[::-1]
        assert (np.diff(falling) <= 0).all()
        assert np.isfinite(marginal[user == each_user]).sum() == len(best)


def test_no_candidates_give_no_relevance_and_a_diversity_of_one_is_rejected() -> None:
    empty, similarity = np.empty(0, np.int64), sparse.csr_array((3, 3))
    score = empty.astype(np.float32)
    assert len(maximal_marginal_relevance(empty, score, empty, similarity, 0.3)) == 0
    with pytest.raises(ValueError, match="below 1; got 1"):
        maximal_marginal_relevance(empty, score, empty, similarity, 1.0)

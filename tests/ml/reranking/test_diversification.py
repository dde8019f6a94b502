"""Maximal marginal relevance: by hand, against a plain loop, and what it does to a list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from ml.interactions.catalogue import LIST_LENGTH
from ml.reranking.diversification import diversified


def order_of(user: np.ndarray, found: np.ndarray, code: np.ndarray, who: int) -> list[int]:
    mine = np.flatnonzero((user == who) & np.isfinite(found))
    return [int(code[row]) for row in mine[np.argsort(-found[mine], kind="stable")]]


def test_by_hand() -> None:
    """The second best is the twin of the best; the third, unlike both, comes before it."""
    user, code = np.zeros(3, np.int64), np.array([0, 1, 2])
    score = np.array([3.0, 2.5, 1.0], np.float32)
    alike = sparse.csr_array(np.array([[1.0, 0.9, 0.0], [0.0, 1.0, 0.1], [0.0, 0.0, 1.0]]))
    found = diversified(user, score, code, alike, 0.5)
    assert order_of(user, found, code, 0) == [0, 2, 1]
    # 1/2, then 0 of relevance less nothing, then 3/4 of relevance less 0.9, each half; likeness goes both ways.
    np.testing.assert_allclose(found, [0.5, 0.375 - 0.45, 0.0], rtol=1e-6)
    assert order_of(user, diversified(user, score, code, alike, 0.0), code, 0) == [0, 1, 2]


@given(st.integers(0, 1000), st.integers(1, 60), st.sampled_from([0.0, 0.2, 0.7, 0.95]))
def test_agrees_with_the_definition(seed: int, rows: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    user = np.sort(rng.integers(0, 3, rows))
    code = np.concatenate([rng.permutation(60)[: int(n)] for n in np.bincount(user, minlength=3)])
    score = rng.standard_normal(rows).astype(np.float32)
    dense = rng.random((60, 60)) * (rng.random((60, 60)) < 0.3)
    found = diversified(user, score, code, sparse.csr_array(dense), share)
    both = np.maximum(dense, dense.T)
    for who in np.unique(user):
        mine = np.flatnonzero(user == who)
        mine = mine[np.argsort(-score[mine], kind="stable")][:LIST_LENGTH]
        low, high = score[mine].min(), score[mine].max()
        relevance = {
            int(code[m]): float((score[m] - low) / (high - low)) if high > low else 1.0 for m in mine
        }
        taken: list[int] = []
        while len(taken) < len(mine):
            left = [c for c in relevance if c not in taken]
            worth = [
                (1 - share) * relevance[c] - share * max((both[c, t] for t in taken), default=0.0)
                for c in left
            ]
            taken.append(left[int(np.argmax(worth))])
        assert order_of(user, found, code, int(who)) == taken
        values = np.sort(found[mine])[::-1]
        assert (np.diff(values) <= 0).all()
        assert np.isfinite(found[user == who]).sum() == len(mine)


def test_nobody_asked_and_a_share_that_is_none() -> None:
    nothing, alike = np.empty(0, np.int64), sparse.csr_array((3, 3))
    assert len(diversified(nothing, nothing.astype(np.float32), nothing, alike, 0.3)) == 0
    with pytest.raises(ValueError, match="below 1, got 1"):
        diversified(nothing, nothing.astype(np.float32), nothing, alike, 1.0)

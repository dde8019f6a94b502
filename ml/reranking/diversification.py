"""Diversification of lists by maximal marginal relevance (Carbonell and Goldstein, 1998)."""

from itertools import pairwise

import numpy as np
from scipy import sparse

from ml.interactions.catalogue import LIST_LENGTH
from ml.interactions.sparse_matrices import top_positions


def maximal_marginal_relevance(
    user: np.ndarray, score: np.ndarray, code: np.ndarray, similarity: sparse.csr_array, diversity: float
) -> np.ndarray:
    """Return the marginal relevance of candidates, shape (rows,), and -inf for those outside of every list.

    `user` (ascending), `code` and `score` are of shape (rows,), `similarity` is (items, items), 0 to 1. The best
    `LIST_LENGTH` candidates of a user are selected one by one by the highest
    (1 - diversity) * relevance - diversity * redundancy: relevance is the score scaled to 0..1 over these candidates,
    redundancy the highest similarity to a selected one. So marginal relevance falls along the selection, which begins
    with the best score. Raises ValueError where `diversity` is not in [0, 1).
    """
    if not 0.0 <= diversity < 1.0:
        raise ValueError(
            f"expected a diversity of at least 0 and below 1; got {diversity:g}; "
            "pass 0 for the order of the scores"
        )
    marginal = np.full(len(score), -np.inf, np.float32)
    starts = np.flatnonzero(np.r_[True, np.diff(user) != 0]) if len(user) else np.empty(0, np.int64)
    for start, end in pairwise([*starts.tolist(), len(user)]):
        best = start + top_positions(score[start:end], LIST_LENGTH)
        similar = similarity[code[best]][:, code[best]].toarray()
        relevance = score[best].astype(np.float64)
        spread = relevance[0] - relevance[-1]
        relevance = (relevance - relevance[-1]) / spread if spread else np.ones(len(best))
        marginal[best] = _marginal_relevance(relevance, np.maximum(similar, similar.T), diversity)
    return marginal


def _marginal_relevance(relevance: np.ndarray, similarity: np.ndarray, diversity: float) -> np.ndarray:
    """Select candidates in descending order of relevance (n,) with a symmetric similarity (n, n)."""
    result, remaining = np.empty(len(relevance)), np.ones(len(relevance), bool)
    redundancy = np.zeros(len(relevance))
    for _ in range(len(relevance)):
        marginal = np.where(remaining, (1.0 - diversity) * relevance - diversity * redundancy, -np.inf)
        selected = int(np.argmax(marginal))
        result[selected], remaining[selected] = marginal[selected], False
        redundancy = np.maximum(redundancy, similarity[selected])
    return result

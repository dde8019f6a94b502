"""Lists whose items are not all alike: maximal marginal relevance (Carbonell and Goldstein, 1998)."""

from itertools import pairwise

import numpy as np
from scipy import sparse

from ml.interactions.catalogue import LIST_LENGTH
from ml.interactions.sparse_matrices import top


def diversified(
    user: np.ndarray, score: np.ndarray, code: np.ndarray, alike: sparse.csr_array, share: float
) -> np.ndarray:
    """Marginal relevance of candidates, shape (rows,), and -inf for those that come in no list of `LIST_LENGTH`.

    `user` (ascending), `code` and `score` are (rows,), `alike` is (items, items), 0 to 1. The best `LIST_LENGTH` of a
    user are taken one by one, each the one of most (1 - share) * relevance - share * likeness: relevance is the score
    on a scale from 0, the lowest of these, to 1, and likeness that to the most alike of those taken before. So it falls
    from one to the next, and the first is the best by score. Raises ValueError where `share` is not in [0, 1).
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(
            f"expected a share of at least 0 and below 1, got {share:g}; 0 is the order of the scores"
        )
    found = np.full(len(score), -np.inf, np.float32)
    starts = np.flatnonzero(np.r_[True, np.diff(user) != 0]) if len(user) else np.empty(0, np.int64)
    for first, end in pairwise([*starts.tolist(), len(user)]):
        best = first + top(score[first:end], LIST_LENGTH)
        near = alike[code[best]][:, code[best]].toarray()
        relevance = score[best].astype(np.float64)
        spread = relevance[0] - relevance[-1]
        relevance = (relevance - relevance[-1]) / spread if spread else np.ones(len(best))
        found[best] = _marginal(relevance, np.maximum(near, near.T), share)
    return found


def _marginal(relevance: np.ndarray, alike: np.ndarray, share: float) -> np.ndarray:
    """Both in falling order of relevance, shapes (n,) and (n, n)."""
    value, left = np.empty(len(relevance)), np.ones(len(relevance), bool)
    nearest = np.zeros(len(relevance))
    for _ in range(len(relevance)):
        marginal = np.where(left, (1.0 - share) * relevance - share * nearest, -np.inf)
        taken = int(np.argmax(marginal))
        value[taken], left[taken] = marginal[taken], False
        nearest = np.maximum(nearest, alike[taken])
    return value

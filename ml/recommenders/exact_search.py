"""Exact search for the items with the highest inner products, without an array of users x items.

Blocks of users are multiplied with chunks of items in float32. Few products come near a user's k-th best, and only
those are computed again, in float64. So the result does not depend on blocks, chunks, threads or the order in which
BLAS adds: the k highest products in float64, rounded to float32, ties in the order of the items.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

# A block of float32 products of one megabyte stays in the second-level cache between product and comparison.
MAX_BLOCK_USERS = 256
MAX_BLOCK_PRODUCTS = 2**18
# Pairs of a user and an item computed again at a time: half a megabyte of float64 for each side with 64 factors.
PAIRS_PER_BATCH = 2**10
_SINGLE = np.finfo(np.float32)


def top_k(
    user_factors: np.ndarray,
    item_factors: np.ndarray,
    k: int,
    seen: sparse.csr_array | None = None,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the `k` items with the highest inner products for each user, best first.

    `user_factors` is (users, factors), `item_factors` is (items, factors), float32 or float64. Entries stored in `seen`
    (users, items) are not listed, whatever their value. Returns positions of items (int64) and products (float32), both
    of shape (users, k), with -1 and -inf where fewer than `k` items are left. The bits are the same for any number of
    threads and do not depend on the other users.

    Raises ValueError if `k` or `threads` is below 1, shapes do not fit, a factor is not finite, or products do not fit
    float32.
    """
    check_arguments(user_factors, item_factors, k, seen, threads)
    codes = np.full((len(user_factors), k), -1, dtype=np.int64)
    scores = np.full((len(user_factors), k), -np.inf, dtype=np.float32)
    float32_factors = np.ascontiguousarray(item_factors, dtype=np.float32)
    error = _error_bound(
        _norm_bound(user_factors, axis=1), float(_norm_bound(item_factors)), user_factors.shape[1]
    )
    step = max(1, min(MAX_BLOCK_USERS, -(-len(user_factors) // threads)))

    def fill(first: int) -> None:
        rows = slice(first, first + step)
        block = _UserBlock(user_factors[rows], item_factors, k, error[rows])
        _search(block, float32_factors, None if seen is None else seen[rows])
        codes[rows], scores[rows] = block.codes, block.scores

    # Each worker multiplies on its own core; BLAS threads would compete with the workers.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(0, len(user_factors), step)):
            pass
    return codes, scores


class _UserBlock:
    """The best items so far of a few users, and candidates that are not ranked yet.

    Products in float32 have an error of at most `error`, shape (users,). Items with products below `threshold` are no
    candidates.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, k: int, error: np.ndarray) -> None:
        self.users, self.items, self.k, self.error = users.astype(np.float64), items, k, error
        self.codes = np.full((len(users), k), -1, dtype=np.int64)
        self.scores = np.full((len(users), k), -np.inf, dtype=np.float32)
        self.unranked: list[tuple[np.ndarray, np.ndarray]] = []
        self.count = 0
        self.threshold = _threshold(self.scores[:, -1], error)

    def add(self, rows: np.ndarray, codes: np.ndarray) -> None:
        """Add candidates, pairs of a user's row and an item; rank them once they are as many as the best items."""
        self.unranked.append((rows, codes))
        self.count += len(rows)
        if self.count >= self.codes.size:
            self.rank()

    def rank(self) -> None:
        """Merge the unranked candidates into the best items."""
        ranked = np.nonzero(self.codes >= 0)
        rows = np.concatenate([ranked[0], *(rows for rows, _ in self.unranked)])
        codes = np.concatenate([self.codes[ranked], *(codes for _, codes in self.unranked)])
        new = slice(len(ranked[0]), None)
        scores = np.concatenate([self.scores[ranked], self.products(rows[new], codes[new])])
        order = np.argsort(_descending_keys(scores) << np.uint64(32) | codes.astype(np.uint64))
        # numpy sorts small integers with radix sort, which is stable and fast.
        order = order[np.argsort(rows[order].astype(np.uint16), kind="stable")]
        ends = np.cumsum(np.bincount(rows, minlength=len(self.users)))
        rank = np.arange(len(order)) - np.concatenate([[0], ends[:-1]])[rows[order]]
        kept = order[rank < self.k]
        cells = rows[kept], rank[rank < self.k]
        self.codes[cells], self.scores[cells] = codes[kept], scores[kept]
        self.unranked, self.count = [], 0
        self.threshold = _threshold(self.scores[:, -1], self.error)

    def products(self, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Compute inner products of pairs in float64, rounded to float32, shape (pairs,)."""
        products = np.empty(len(rows), dtype=np.float32)
        for first in range(0, len(rows), PAIRS_PER_BATCH):
            pairs = slice(first, first + PAIRS_PER_BATCH)
            item_factors = self.items[codes[pairs]].astype(np.float64)
            products[pairs] = np.einsum("pf,pf->p", self.users[rows[pairs]], item_factors)
        return products


@dataclass(frozen=True)
class _Chunk:
    """Items from `first` to `end`, and the seen ones among them: rows of users and columns of the chunk."""

    first: int
    end: int
    rows: np.ndarray
    columns: np.ndarray


def _search(block: _UserBlock, items: np.ndarray, seen: sparse.csr_array | None) -> None:
    """Find the best of `items`, float32, for the users of the block."""
    # One row per item: BLAS is a quarter faster than with one row per user.
    users, count = np.ascontiguousarray(block.users.T, dtype=np.float32), len(block.users)
    width = max(1, MAX_BLOCK_PRODUCTS // count)
    buffer = np.empty(min(width, len(items)) * count, dtype=np.float32)
    mask_buffer = np.empty(buffer.shape, dtype=bool)
    for chunk in _chunks(len(items), width, seen):
        shape = (chunk.end - chunk.first, count)
        cells = shape[0] * count
        products = np.matmul(items[chunk.first : chunk.end], users, out=buffer[:cells].reshape(shape))
        products[chunk.columns, chunk.rows] = -np.inf
        mask = mask_buffer[:cells].reshape(shape)
        np.greater_equal(products, block.threshold, out=mask)
        if block.k < shape[0] and np.count_nonzero(mask) > 2 * block.codes.size:
            # The k best of this chunk alone are better than the k-th of earlier chunks: they raise the threshold.
            kth = np.partition(products.T, -block.k, axis=1)[:, -block.k]
            threshold = np.maximum(block.threshold, _lower_bound(kth, 2.0 * block.error))
            np.greater_equal(products, threshold, out=mask)
        columns, rows = np.divmod(np.flatnonzero(mask), count)
        block.add(rows, columns + chunk.first)
    block.rank()


def _chunks(items: int, width: int, seen: sparse.csr_array | None) -> Iterator[_Chunk]:
    edges = np.append(np.arange(0, items, width), items)
    rows, columns = (np.empty(0, dtype=np.int64),) * 2
    if seen is not None:
        order = np.argsort(seen.indices, kind="stable")
        rows = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))[order]
        columns = seen.indices[order]
    starts = np.searchsorted(columns, edges)
    for i in range(len(edges) - 1):
        span = slice(starts[i], starts[i + 1])
        yield _Chunk(int(edges[i]), int(edges[i + 1]), rows[span], columns[span] - edges[i])


def _norm_bound(factors: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Bound the norm of each row (`axis` 1) or of any row from above, float64; NaN or infinite if a factor is."""
    largest = np.maximum(factors.max(axis=axis, initial=0.0), -factors.min(axis=axis, initial=0.0))
    return np.asarray(np.sqrt(factors.shape[1]) * largest.astype(np.float64))


def _error_bound(user_norms: np.ndarray, item_norm: float, factors: int) -> np.ndarray:
    """Bound the difference of a product in float32 from the one in float64, shape (users,), by the norms of both sides.

    A sum of n products in any order has an error of at most n u |x||y| with the unit roundoff u = eps / 2 (Higham,
    Accuracy and Stability of Numerical Algorithms, 2002, section 3.1); both conversions and the last rounding add 3 u.
    The other half of eps covers terms of higher order, and `tiny` covers subnormal numbers.
    """
    subnormal_error = factors * float(_SINGLE.tiny) * (1.0 + user_norms + item_norm)
    relative_error = (factors + 4) * float(_SINGLE.eps) * user_norms * item_norm
    return np.where(user_norms > 0, relative_error + subnormal_error, 0.0)


def _threshold(kth: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the smallest float32 product with which a later item may displace the k-th best one; never -inf."""
    # Without an error, an equal product is not enough: ties go to the earlier item.
    threshold = np.where(error > 0, _lower_bound(kth, error), np.nextafter(kth, np.float32(np.inf)))
    return np.maximum(threshold, _SINGLE.min)


def _lower_bound(product: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Compute `product` - `error`, rounded down to float32; `product` itself where the error is 0."""
    lower = np.maximum(product.astype(np.float64) - error, float(_SINGLE.min) / 2).astype(np.float32)
    return np.where(error > 0, np.nextafter(lower, np.float32(-np.inf)), product)


def _descending_keys(scores: np.ndarray) -> np.ndarray:
    """Map float32 scores to integers that sort from high to low, uint64 below 2^32."""
    # Adding zero turns negative zero into zero.
    bits = (scores + np.float32(0.0)).view(np.uint32)
    negative = bits >> np.uint32(31) == 1
    return np.where(negative, bits, ~bits & np.uint32(0x7FFFFFFF)).astype(np.uint64)


def check_arguments(
    user_factors: np.ndarray, item_factors: np.ndarray, k: int, seen: sparse.csr_array | None, threads: int
) -> None:
    """Raise the ValueError of `top_k` for arguments that it cannot rank."""
    if k < 1 or threads < 1:
        raise ValueError(f"expected k and threads of at least 1; got k {k} and threads {threads}")
    if user_factors.ndim != 2 or item_factors.ndim != 2 or user_factors.shape[1] != item_factors.shape[1]:
        raise ValueError(
            f"expected users and items with the same number of factors; got shapes {user_factors.shape} and "
            f"{item_factors.shape}; use the factors of one fit"
        )
    shape = len(user_factors), len(item_factors)
    if seen is not None and seen.shape != shape:
        raise ValueError(f"expected seen items of shape {shape}; got {seen.shape}; pass one row per user")
    user_norm, item_norm = float(_norm_bound(user_factors)), float(_norm_bound(item_factors))
    for name, norm in (("user", user_norm), ("item", item_norm)):
        if not np.isfinite(norm):
            raise ValueError(
                f"expected finite {name} factors; got NaN or infinity; check whether the fit diverged"
            )
    if max(user_norm, item_norm, user_norm * item_norm) >= float(_SINGLE.max):
        raise ValueError(
            f"expected inner products that fit float32; got norms of {user_norm:.3g} and {item_norm:.3g}; "
            "scale the factors"
        )

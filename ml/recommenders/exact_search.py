"""The items with the highest inner products, exact, without an array of users x items.

Blocks of users are multiplied with chunks of items in float32. Few products come near a user's k-th best, and only
those are computed again, in float64. So the answer is defined without regard to blocks, chunks, threads or the order in
which BLAS adds: products of float64, rounded to float32, the k highest, ties by the order of the items.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

# A block of float32 products of one megabyte stays in the second-level cache between product and comparison.
BLOCK_USERS = 256
BLOCK_CELLS = 2**18
# Pairs that are computed again at a time: half a megabyte of float64 for each side with 64 factors.
PAIRS = 2**10
_SINGLE = np.finfo(np.float32)


def top_k(
    users: np.ndarray, items: np.ndarray, k: int, seen: sparse.csr_array | None = None, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (int64) and inner products (float32) of the best `k` items of each user, both (users, k), best first.

    `users` is (users, factors), `items` is (items, factors), float32 or float64. The entries that `seen`
    (users, items) stores are not listed, whatever their value. Where fewer than `k` items are left, the rest is -1 and
    -inf. The bits are the same for any number of threads and any company of users.

    Raises ValueError where `k` or `threads` is below 1, shapes do not fit, a factor is not finite, or products do not
    fit float32.
    """
    check(users, items, k, seen, threads)
    codes = np.full((len(users), k), -1, dtype=np.int64)
    scores = np.full((len(users), k), -np.inf, dtype=np.float32)
    single = np.ascontiguousarray(items, dtype=np.float32)
    error = _error(_reach(users, axis=1), float(_reach(items)), users.shape[1])
    step = max(1, min(BLOCK_USERS, -(-len(users) // threads)))

    def fill(first: int) -> None:
        rows = slice(first, first + step)
        block = _Block(users[rows], items, k, error[rows])
        _search(block, single, None if seen is None else seen[rows])
        codes[rows], scores[rows] = block.codes, block.scores

    # Each worker multiplies on its own core; BLAS threads would compete with the workers.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(0, len(users), step)):
            pass
    return codes, scores


class _Block:
    """The best of the items so far for each of a few users, and the candidates that have not been ranked yet.

    Products in float32 err by `error`, shape (users,). What stays below `bar` is no candidate.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, k: int, error: np.ndarray) -> None:
        self.users, self.items, self.k, self.error = users.astype(np.float64), items, k, error
        self.codes = np.full((len(users), k), -1, dtype=np.int64)
        self.scores = np.full((len(users), k), -np.inf, dtype=np.float32)
        self.waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self.count = 0
        self.bar = _bar(self.scores[:, -1], error)

    def add(self, rows: np.ndarray, codes: np.ndarray) -> None:
        """Candidates as pairs of a user's row and an item; ranked once there are as many as there are places."""
        self.waiting.append((rows, codes))
        self.count += len(rows)
        if self.count >= self.codes.size:
            self.rank()

    def rank(self) -> None:
        """Put the candidates that wait in their places."""
        held = np.nonzero(self.codes >= 0)
        rows = np.concatenate([held[0], *(rows for rows, _ in self.waiting)])
        codes = np.concatenate([self.codes[held], *(codes for _, codes in self.waiting)])
        late = slice(len(held[0]), None)
        scores = np.concatenate([self.scores[held], self.products(rows[late], codes[late])])
        order = np.argsort(_descending(scores) << np.uint64(32) | codes.astype(np.uint64))
        # Of small integers numpy's stable sort is a radix sort.
        order = order[np.argsort(rows[order].astype(np.uint16), kind="stable")]
        ends = np.cumsum(np.bincount(rows, minlength=len(self.users)))
        place = np.arange(len(order)) - np.concatenate([[0], ends[:-1]])[rows[order]]
        kept = order[place < self.k]
        at = rows[kept], place[place < self.k]
        self.codes[at], self.scores[at] = codes[kept], scores[kept]
        self.waiting, self.count = [], 0
        self.bar = _bar(self.scores[:, -1], self.error)

    def products(self, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Inner products of pairs, of float64 and rounded to float32, shape (pairs,)."""
        products = np.empty(len(rows), dtype=np.float32)
        for first in range(0, len(rows), PAIRS):
            pairs = slice(first, first + PAIRS)
            wide = self.items[codes[pairs]].astype(np.float64)
            products[pairs] = np.einsum("pf,pf->p", self.users[rows[pairs]], wide)
        return products


@dataclass(frozen=True)
class _Chunk:
    """Items `first` to `end`, and the positions in them that are not to be listed."""

    first: int
    end: int
    rows: np.ndarray
    columns: np.ndarray


def _search(block: _Block, items: np.ndarray, seen: sparse.csr_array | None) -> None:
    """Find the best of `items`, float32, for the users of the block."""
    # One row per item: BLAS is a quarter faster this way round than with one row per user.
    users, count = np.ascontiguousarray(block.users.T, dtype=np.float32), len(block.users)
    width = max(1, BLOCK_CELLS // count)
    buffer = np.empty(min(width, len(items)) * count, dtype=np.float32)
    near = np.empty(buffer.shape, dtype=bool)
    for chunk in _chunks(len(items), width, seen):
        shape = (chunk.end - chunk.first, count)
        cells = shape[0] * count
        products = np.matmul(items[chunk.first : chunk.end], users, out=buffer[:cells].reshape(shape))
        products[chunk.columns, chunk.rows] = -np.inf
        mask = near[:cells].reshape(shape)
        np.greater_equal(products, block.bar, out=mask)
        if block.k < shape[0] and np.count_nonzero(mask) > 2 * block.codes.size:
            # The k best of this chunk alone are better than the k-th of the chunks before: a higher bar.
            kth = np.partition(products.T, -block.k, axis=1)[:, -block.k]
            np.greater_equal(products, np.maximum(block.bar, _below(kth, 2.0 * block.error)), out=mask)
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
    at = np.searchsorted(columns, edges)
    for i in range(len(edges) - 1):
        span = slice(at[i], at[i + 1])
        yield _Chunk(int(edges[i]), int(edges[i + 1]), rows[span], columns[span] - edges[i])


def _reach(factors: np.ndarray, axis: int | None = None) -> np.ndarray:
    """A bound of the length of each row (`axis` 1) or of any row, float64: NaN or infinite where a factor is."""
    largest = np.maximum(factors.max(axis=axis, initial=0.0), -factors.min(axis=axis, initial=0.0))
    return np.asarray(np.sqrt(factors.shape[1]) * largest.astype(np.float64))


def _error(users: np.ndarray, items: float, factors: int) -> np.ndarray:
    """How far a product in float32 may be from the one in float64, shape (users,), from the reach of both sides.

    n terms in any order err by n u |x||y| with the unit roundoff u = eps / 2 (Higham, Accuracy and Stability of
    Numerical Algorithms, 2002, section 3.1); both conversions and the last rounding add 3 u. The other half of eps
    is for terms of higher order. `tiny` covers what is too small for a normal number.
    """
    least = factors * float(_SINGLE.tiny) * (1.0 + users + items)
    return np.where(users > 0, (factors + 4) * float(_SINGLE.eps) * users * items + least, 0.0)


def _bar(kth: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The product in float32 that a later item needs, lest the k-th best keeps its place; never -inf."""
    # Without an error, later items with equal products have lost their tie already.
    bar = np.where(error > 0, _below(kth, error), np.nextafter(kth, np.float32(np.inf)))
    return np.maximum(bar, _SINGLE.min)


def _below(bound: np.ndarray, error: np.ndarray) -> np.ndarray:
    """`bound` - `error`, rounded down to float32; `bound` itself where there is no error."""
    lower = np.maximum(bound.astype(np.float64) - error, float(_SINGLE.min) / 2).astype(np.float32)
    return np.where(error > 0, np.nextafter(lower, np.float32(-np.inf)), bound)


def _descending(scores: np.ndarray) -> np.ndarray:
    """Integers that sort float32 scores from high to low, uint64 below 2^32."""
    # Adding zero makes the negative zero equal to the other one.
    bits = (scores + np.float32(0.0)).view(np.uint32)
    negative = bits >> np.uint32(31) == 1
    return np.where(negative, bits, ~bits & np.uint32(0x7FFFFFFF)).astype(np.uint64)


def check(users: np.ndarray, items: np.ndarray, k: int, seen: sparse.csr_array | None, threads: int) -> None:
    """The refusals of `top_k`."""
    if k < 1 or threads < 1:
        raise ValueError(f"expected k and threads of at least 1, got k {k} and threads {threads}")
    if users.ndim != 2 or items.ndim != 2 or users.shape[1] != items.shape[1]:
        raise ValueError(
            f"expected users and items with the same number of factors, got shapes {users.shape} and {items.shape}"
        )
    if seen is not None and seen.shape != (len(users), len(items)):
        raise ValueError(
            f"expected seen items of shape {(len(users), len(items))}, got {seen.shape}; one row per user is needed"
        )
    longest = float(_reach(users)), float(_reach(items))
    for name, reach in zip(("user", "item"), longest, strict=True):
        if not np.isfinite(reach):
            raise ValueError(
                f"expected finite {name} factors, got NaN or infinity; the fit may have diverged"
            )
    if max(*longest, longest[0] * longest[1]) >= float(_SINGLE.max):
        raise ValueError(
            f"expected inner products that fit float32, got factors of {longest[0]:.3g} by {longest[1]:.3g}; scale them"
        )

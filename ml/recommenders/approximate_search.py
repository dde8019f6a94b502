"""Top items of a catalogue that stays the same for many users: exact, or of an index with a known recall."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ml.device import cores
from ml.recommenders.exact_search import check, top_k

if TYPE_CHECKING:
    import faiss

# Above, exact search falls below about 1,500 users a second on two cores; `benchmarks/topk.py` has both at 1,000,000.
LARGE = 500_000
RECALL = 0.95
# Vectors that the centres are learned from, for each centre: k-means gains little beyond.
PER_CENTRE = 100


@dataclass(frozen=True, eq=False)
class Exact:
    """All products are looked at."""

    items: np.ndarray = field(repr=False)
    recall: float = 1.0

    def top_k(
        self, users: np.ndarray, k: int, seen: sparse.csr_array | None = None, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `ml.recommenders.exact_search.top_k`."""
        return top_k(users, self.items, k, seen, threads)


@dataclass(frozen=True, eq=False)
class Approximate:
    """Products with the items of the `probes` cells whose centres suit a user best (an inverted file).

    `recall` is the share of the exact lists that was found for users that the number of probes was not chosen on.
    """

    items: np.ndarray = field(repr=False)
    index: "faiss.IndexIVFFlat" = field(repr=False)
    probes: int
    recall: float

    def top_k(
        self, users: np.ndarray, k: int, seen: sparse.csr_array | None = None, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `ml.recommenders.exact_search.top_k`, but some of the best items may be missing; seen items never come."""
        check(users, self.items, k, seen, threads)
        codes = np.full((len(users), k), -1, dtype=np.int64)
        scores = np.full((len(users), k), -np.inf, dtype=np.float32)
        had = np.zeros(len(users), dtype=np.int64) if seen is None else np.diff(seen.indptr)
        # As many as were seen have to be asked for on top: users with like numbers go together.
        size = np.ceil(np.log2(1.0 + had)).astype(np.int64)
        for bits in np.unique(size):
            rows = np.flatnonzero(size == bits)
            wanted = min(k + 2 ** int(bits) - 1, len(self.items))
            found, products = _ask(self.index, users[rows], wanted, self.probes, threads)
            kept = found >= 0
            if seen is not None:
                kept &= ~_stored(seen[rows], found)
            order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
            kept, found, products = (np.take_along_axis(a, order, axis=1) for a in (kept, found, products))
            codes[rows, : kept.shape[1]] = np.where(kept, found, -1)
            scores[rows, : kept.shape[1]] = np.where(kept, products, -np.inf)
        return codes, scores


def nearest(
    items: np.ndarray,
    sample: np.ndarray,
    k: int,
    recall: float = RECALL,
    seed: int = 0,
    threads: int | None = None,
    large: int = LARGE,
) -> Exact | Approximate:
    """Exact up to `large` items; above, an index with the fewest probes that reach `recall` on half of `sample`.

    `items` (items, factors) and `sample` (users, factors; some hundreds like those to come) are float32 or float64. The
    probes are doubled until the wanted recall at `k` is reached; the other half of the sample tells what to expect.
    Raises ValueError as `top_k`, or where the sample has fewer than two users, and ImportError without faiss.
    """
    if len(items) <= large:
        return Exact(items)
    if len(sample) < 2:
        raise ValueError(
            f"expected two users or more to measure recall on, got {len(sample)}; sample some hundreds"
        )
    import faiss

    threads = cores() if threads is None else threads
    truth, _ = top_k(sample, items, k, threads=threads)
    vectors = np.ascontiguousarray(items, dtype=np.float32)
    cells, factors = int(np.sqrt(len(items))), items.shape[1]
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(factors), factors, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed
    faiss.omp_set_num_threads(threads)
    some = np.random.default_rng(seed).choice(len(items), min(len(items), PER_CENTRE * cells), replace=False)
    index.train(vectors[np.sort(some)])
    index.add(vectors)
    probes = 1
    while probes < cells and _recall(index, sample[::2], truth[::2], probes, threads) < recall:
        probes *= 2
    probes = min(probes, cells)
    return Approximate(items, index, probes, _recall(index, sample[1::2], truth[1::2], probes, threads))


def _ask(
    index: "faiss.IndexIVFFlat", users: np.ndarray, k: int, probes: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    faiss.omp_set_num_threads(threads)
    settings = faiss.SearchParametersIVF(nprobe=probes)
    products, codes = index.search(np.ascontiguousarray(users, dtype=np.float32), k, params=settings)
    return codes, products


def _recall(
    index: "faiss.IndexIVFFlat", users: np.ndarray, truth: np.ndarray, probes: int, threads: int
) -> float:
    codes, _ = _ask(index, users, truth.shape[1], probes, threads)
    found = (truth[:, :, None] == codes[:, None, :]).any(axis=2)
    return float(found[truth >= 0].mean())


def _stored(seen: sparse.csr_array, codes: np.ndarray) -> np.ndarray:
    """Which of `codes` (users, n) are stored in the user's row."""
    users, items = seen.shape
    stored = np.repeat(np.arange(users, dtype=np.int64), np.diff(seen.indptr)) * items + seen.indices
    return np.isin(np.arange(users)[:, None] * items + codes, stored) & (codes >= 0)

"""Search indexes over the factors of a fixed catalogue: exact, or approximate with a measured recall."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import sparse

from ml.device import available_cores
from ml.recommenders.exact_search import check_arguments, top_k

if TYPE_CHECKING:
    import faiss

# For more items, exact search serves fewer than about 1,500 users a second on two cores; `benchmarks/topk.py` measures
# both searches with 1,000,000 items.
MAX_EXACT_ITEMS = 500_000
MIN_RECALL = 0.95
# Items per centroid that k-means is trained on: more improve it little.
TRAINING_ITEMS_PER_CENTROID = 100
# Of k-means and of the choice of its training items.
SEED = 0


class ItemIndex(Protocol):
    """Finds the items with the highest inner products; `recall` is the expected share of the exact lists found."""

    @property
    def recall(self) -> float: ...

    def top_k(
        self, users: np.ndarray, k: int, seen: sparse.csr_array | None = None, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True, eq=False)
class ExactIndex:
    """Computes the products of each user with all items."""

    item_factors: np.ndarray = field(repr=False)
    recall: float = 1.0

    def top_k(
        self, users: np.ndarray, k: int, seen: sparse.csr_array | None = None, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the best `k` items of each user as `ml.recommenders.exact_search.top_k` does."""
        return top_k(users, self.item_factors, k, seen, threads)


@dataclass(frozen=True, eq=False)
class IVFIndex:
    """An inverted file: computes the products with the items of the `nprobe` cells whose centroids fit a user best.

    `recall` is measured on other users than those on which `nprobe` was tuned.
    """

    item_factors: np.ndarray = field(repr=False)
    index: "faiss.IndexIVFFlat" = field(repr=False)
    nprobe: int
    recall: float

    def top_k(
        self, users: np.ndarray, k: int, seen: sparse.csr_array | None = None, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find items as `ml.recommenders.exact_search.top_k` does, but some of the best may be missing.

        Seen items are never found.
        """
        check_arguments(users, self.item_factors, k, seen, threads)
        codes = np.full((len(users), k), -1, dtype=np.int64)
        scores = np.full((len(users), k), -np.inf, dtype=np.float32)
        seen_counts = np.zeros(len(users), dtype=np.int64) if seen is None else np.diff(seen.indptr)
        # faiss does not filter seen items, so as many more are searched for: users with similar numbers of seen items
        # are searched for together.
        size_class = np.ceil(np.log2(1.0 + seen_counts)).astype(np.int64)
        for bits in np.unique(size_class):
            rows = np.flatnonzero(size_class == bits)
            wanted = min(k + 2 ** int(bits) - 1, len(self.item_factors))
            found, products = _search(self.index, users[rows], wanted, self.nprobe, threads)
            kept = found >= 0
            if seen is not None:
                kept &= ~_is_stored(seen[rows], found)
            order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
            kept, found, products = (np.take_along_axis(a, order, axis=1) for a in (kept, found, products))
            codes[rows, : kept.shape[1]] = np.where(kept, found, -1)
            scores[rows, : kept.shape[1]] = np.where(kept, products, -np.inf)
        return codes, scores


def build_item_index(
    item_factors: np.ndarray,
    sample_users: np.ndarray,
    k: int,
    min_recall: float = MIN_RECALL,
    threads: int | None = None,
    max_exact_items: int = MAX_EXACT_ITEMS,
) -> ItemIndex:
    """Build an exact index for up to `max_exact_items` items, otherwise an inverted file with `min_recall` at `k`.

    `item_factors` (items, factors) and `sample_users` (users, factors; a few hundred typical users) are float32 or
    float64. The number of cells searched is doubled until one half of the sample reaches `min_recall`; the other half
    measures the recall to expect. Raises ValueError as `top_k`, or if the sample has fewer than two users, and
    ImportError without faiss.
    """
    if len(item_factors) <= max_exact_items:
        return ExactIndex(item_factors)
    if len(sample_users) < 2:
        raise ValueError(
            f"expected two users or more to measure recall on; got {len(sample_users)}; sample a few hundred"
        )
    import faiss

    n_threads = available_cores() if threads is None else threads
    exact_codes, _ = top_k(sample_users, item_factors, k, threads=n_threads)
    vectors = np.ascontiguousarray(item_factors, dtype=np.float32)
    cells, factors = int(np.sqrt(len(item_factors))), item_factors.shape[1]
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(factors), factors, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = SEED
    faiss.omp_set_num_threads(n_threads)
    training_items = np.random.default_rng(SEED).choice(
        len(item_factors), min(len(item_factors), TRAINING_ITEMS_PER_CENTROID * cells), replace=False
    )
    index.train(vectors[np.sort(training_items)])
    index.add(vectors)

    def recall(half: slice, nprobe: int) -> float:
        codes, _ = _search(index, sample_users[half], k, nprobe, n_threads)
        found = (exact_codes[half][:, :, None] == codes[:, None, :]).any(axis=2)
        return float(found[exact_codes[half] >= 0].mean())

    tuning, test = slice(0, None, 2), slice(1, None, 2)
    nprobe = 1
    while nprobe < cells and recall(tuning, nprobe) < min_recall:
        nprobe *= 2
    nprobe = min(nprobe, cells)
    return IVFIndex(item_factors, index, nprobe, recall(test, nprobe))


def _search(
    index: "faiss.IndexIVFFlat", users: np.ndarray, k: int, nprobe: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    faiss.omp_set_num_threads(threads)
    parameters = faiss.SearchParametersIVF(nprobe=nprobe)
    products, codes = index.search(np.ascontiguousarray(users, dtype=np.float32), k, params=parameters)
    return codes, products


def _is_stored(seen: sparse.csr_array, codes: np.ndarray) -> np.ndarray:
    """Mark which of `codes` (users, n) are stored in the user's row."""
    users, items = seen.shape
    stored = np.repeat(np.arange(users, dtype=np.int64), np.diff(seen.indptr)) * items + seen.indices
    return np.isin(np.arange(users)[:, None] * items + codes, stored) & (codes >= 0)

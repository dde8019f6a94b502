"""Search for the best 20 items of many users: `python -m benchmarks.topk`.

Exact search for 100,000 users over 100,000 items with 64 factors and about 20 seen items per user, with one thread and
with two; and faiss where it is installed, which does not filter seen items and so has to search for more. Then the
approximate index, for more than `ml.recommenders.approximate_search.MAX_EXACT_ITEMS` items, against exact search. CPU
seconds are printed too, as they do not depend on other load of the machine.
"""

import argparse
import platform
import resource
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from ml.device import available_cores
from ml.recommenders.approximate_search import MIN_RECALL, build_item_index
from ml.recommenders.exact_search import top_k

USERS, ITEMS, INDEX_ITEMS, FACTORS, SEEN, K, SEED = 100_000, 100_000, 1_000_000, 64, 20, 20, 0
# Users that are compared with a full sort, and users of the approximate search.
CHECKED_USERS, INDEX_USERS = 200, 4_000
# Users per second on two cores.
MIN_USERS_PER_SECOND = 4_000
LIBRARIES = ("numpy", "scipy", "faiss-cpu")


def normal_factors(rows: int, generator: np.random.Generator) -> np.ndarray:
    """Draw independent normal numbers, float32, shape (rows, FACTORS)."""
    return generator.standard_normal((rows, FACTORS), dtype=np.float32)


def clustered_factors(rows: int, seed: int, centroids: np.ndarray) -> np.ndarray:
    """Draw factors around centroids, which have three fifths of the variance; norms vary as popularity does."""
    generator = np.random.default_rng(seed)
    near = centroids[generator.integers(0, len(centroids), rows)] + 0.8 * normal_factors(rows, generator)
    norm = np.exp(0.3 * generator.standard_normal((rows, 1), dtype=np.float32))
    return np.asarray(near * norm, dtype=np.float32)


def seen_items(users: int, items: int, generator: np.random.Generator) -> sparse.csr_array:
    """Draw SEEN items for each user, all items with equal probability."""
    rows, columns = np.repeat(np.arange(users), SEEN), generator.integers(0, items, users * SEEN)
    return sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), (users, items))


def timed(name: str, users: int, call: Callable[[], object]) -> None:
    """Print users per second of wall time, and per two CPU seconds."""
    started, cpu_started = time.perf_counter(), time.process_time()
    call()
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    print(f"  {name:<42} {users / wall:>9,.0f} users/s, {2 * users / cpu:>9,.0f} per 2 CPU seconds")


def peak_gb() -> float:
    """Return the peak memory of the process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def brute_force(
    users: np.ndarray, items: np.ndarray, seen: sparse.csr_array
) -> tuple[np.ndarray, np.ndarray]:
    """Sort all products fully, from one multiplication in float32 and from one in float64."""
    lists = []
    for left, right in ((users, items), (users.astype(np.float64), items.astype(np.float64))):
        products = np.asarray(left @ right.T, dtype=np.float32)
        products[seen.tocoo().coords] = -np.inf
        lists.append(np.argsort(-products, axis=1, kind="stable")[:, :K])
    return lists[0], lists[1]


def measure_exact_search(users: int, items: int, has_faiss: bool) -> None:
    """Time exact search with one and two threads, and compare with a full sort and with faiss."""
    generator = np.random.default_rng(SEED)
    item_factors, user_factors = normal_factors(items, generator), normal_factors(users, generator)
    seen = seen_items(users, items, generator)
    before = peak_gb()
    print(
        f"\ntop {K}, {users:,} users x {items:,} items x {FACTORS}, {SEEN} seen, seed {SEED}; "
        f"at least {MIN_USERS_PER_SECOND:,}"
    )
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for threads in (1, 2):
        name = f"exact search, threads: {threads}"
        search = partial(top_k, user_factors, item_factors, K, seen, threads)
        timed(name, users, lambda t=threads, search=search: found.update({t: search()}))  # type: ignore[misc]
    print(f"  peak memory {peak_gb():.2f} GB, {before:.2f} GB of it before the search")
    is_same = all(np.array_equal(a, b) for a, b in zip(found[1], found[2], strict=True))
    print(f"  same bits with both numbers of threads: {is_same}")
    checked = slice(0, CHECKED_USERS)
    sorted_lists = brute_force(user_factors[checked], item_factors, seen[checked])
    for name, expected in zip(("float32", "float64"), sorted_lists, strict=True):
        same = (found[1][0][checked] == expected).mean()
        print(f"  same items and ranks as a full sort in {name}, {CHECKED_USERS} users: {same:.4%}")
    if has_faiss:
        import faiss

        faiss.omp_set_num_threads(1)
        queries = user_factors[:INDEX_USERS]
        k = K + int(np.diff(seen.indptr).max())
        with threadpool_limits(1):
            timed(
                f"faiss, one thread, top {k}, none filtered",
                len(queries),
                lambda: faiss.knn(queries, item_factors, k, metric=faiss.METRIC_INNER_PRODUCT),
            )


def measure_approximate_search(items: int) -> None:
    """Time the index and exact search on clustered factors."""
    centroids = normal_factors(1_000, np.random.default_rng(SEED))
    item_factors, user_factors, sample = (
        clustered_factors(rows, SEED + i, centroids)
        for i, rows in enumerate((items, INDEX_USERS, 400), start=1)
    )
    seen = seen_items(INDEX_USERS, items, np.random.default_rng(SEED))
    print(
        f"\ntop {K}, {items:,} items x {FACTORS} around {len(centroids):,} centroids, {SEEN} seen, seed {SEED}"
    )
    started = time.process_time()
    index = build_item_index(item_factors, sample, K, MIN_RECALL, threads=1, max_exact_items=0)
    print(f"  built in {time.process_time() - started:.0f} CPU seconds: {index}")
    lists: list[np.ndarray] = []
    quarter = INDEX_USERS // 4
    first, first_seen = user_factors[:quarter], seen[:quarter]
    timed("exact, one thread", quarter, lambda: lists.append(top_k(first, item_factors, K, first_seen)[0]))
    timed("index, one thread", INDEX_USERS, lambda: lists.append(index.top_k(user_factors, K, seen)[0]))
    recall = (lists[0][:, :, None] == lists[1][:quarter, None, :]).any(axis=2).mean()
    print(f"  recall of {quarter:,} other users {recall:.3f}; peak memory {peak_gb():.2f} GB")


def main() -> None:
    """Print all measurements with versions and hardware."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--index-items", type=int, default=INDEX_ITEMS)
    options = parser.parse_args()
    libraries = {}
    for name in LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            print(f"{name} is not installed")
    print(f"python {platform.python_version()}, {available_cores()} cores, {platform.machine()}")
    print(", ".join(f"{name} {number}" for name, number in libraries.items()))
    has_faiss = "faiss-cpu" in libraries
    measure_exact_search(options.users, options.items, has_faiss)
    if has_faiss:
        measure_approximate_search(options.index_items)


if __name__ == "__main__":
    main()

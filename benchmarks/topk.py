"""The best 20 items of many users: `python -m benchmarks.topk`.

100,000 users over 100,000 items with 64 factors, about 20 seen items each, exact, with one thread and with two; beside
faiss where it is installed, which filters no seen items and so has to be asked for more. Then the index above
`ml.recommenders.approximate_search.LARGE` items against the exact search. Seconds of CPU are printed too: what
a busy machine does not change.
"""

import argparse
import platform
import resource
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from ml.device import cores
from ml.recommenders.approximate_search import RECALL, nearest
from ml.recommenders.exact_search import top_k

USERS, ITEMS, MANY, FACTORS, SEEN, K, SEED = 100_000, 100_000, 1_000_000, 64, 20, 20, 0
CHECKED, ASKED = 200, 4_000
# Users a second on two cores.
BOUND = 4_000
LIBRARIES = ("numpy", "scipy", "faiss-cpu")


def factors(rows: int, generator: np.random.Generator) -> np.ndarray:
    """Independent normal numbers, float32, shape (rows, FACTORS)."""
    return generator.standard_normal((rows, FACTORS), dtype=np.float32)


def tastes(rows: int, seed: int, centres: np.ndarray) -> np.ndarray:
    """Three fifths of the variance are of a centre, as of items of one kind; lengths differ, as popularity does."""
    generator = np.random.default_rng(seed)
    near = centres[generator.integers(0, len(centres), rows)] + 0.8 * factors(rows, generator)
    length = np.exp(0.3 * generator.standard_normal((rows, 1), dtype=np.float32))
    return np.asarray(near * length, dtype=np.float32)


def histories(users: int, items: int, generator: np.random.Generator) -> sparse.csr_array:
    """SEEN items of each user, drawn with equal chances."""
    rows, columns = np.repeat(np.arange(users), SEEN), generator.integers(0, items, users * SEEN)
    return sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), (users, items))


def timed(name: str, users: int, call: Callable[[], object]) -> None:
    """One line: users a second by the clock, and per two seconds of CPU."""
    begun, busy = time.perf_counter(), time.process_time()
    call()
    wall, cpu = time.perf_counter() - begun, time.process_time() - busy
    print(f"  {name:<42} {users / wall:>9,.0f} users/s, {2 * users / cpu:>9,.0f} per 2 CPU seconds")


def peak() -> float:
    """Largest memory of the process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def brute_force(
    users: np.ndarray, items: np.ndarray, seen: sparse.csr_array
) -> tuple[np.ndarray, np.ndarray]:
    """A full sort of all products, by a single float32 multiplication and by float64."""
    lists = []
    for left, right in ((users, items), (users.astype(np.float64), items.astype(np.float64))):
        products = np.asarray(left @ right.T, dtype=np.float32)
        products[seen.tocoo().coords] = -np.inf
        lists.append(np.argsort(-products, axis=1, kind="stable")[:, :K])
    return lists[0], lists[1]


def exact(users: int, items: int, libraries: dict[str, str]) -> None:
    """Both numbers of threads, and the agreement."""
    generator = np.random.default_rng(SEED)
    right, left = factors(items, generator), factors(users, generator)
    seen = histories(users, items, generator)
    before = peak()
    print(
        f"\ntop {K}, {users:,} users x {items:,} items x {FACTORS}, {SEEN} seen, seed {SEED}; at least {BOUND:,}"
    )
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for threads in (1, 2):
        name = f"ml.topk, threads: {threads}"
        timed(name, users, lambda t=threads: found.update({t: top_k(left, right, K, seen, t)}))  # type: ignore[misc]
    print(f"  peak memory {peak():.2f} GB, {before:.2f} GB of it before the search")
    print(
        f"  same bits with both: {all(np.array_equal(a, b) for a, b in zip(found[1], found[2], strict=True))}"
    )
    checked = slice(0, CHECKED)
    for name, expected in zip(
        ("float32", "float64"), brute_force(left[checked], right, seen[checked]), strict=True
    ):
        same = (found[1][0][checked] == expected).mean()
        print(f"  same items and places as a full sort of {name}, {CHECKED} users: {same:.4%}")
    if "faiss-cpu" in libraries:
        import faiss

        faiss.omp_set_num_threads(1)
        some = left[:ASKED]
        most = K + int(np.diff(seen.indptr).max())
        with threadpool_limits(1):
            timed(
                f"faiss, one thread, top {most}, none filtered",
                len(some),
                lambda: faiss.knn(some, right, most, metric=faiss.METRIC_INNER_PRODUCT),
            )


def approximate(items: int) -> None:
    """The index against the exact search, on factors in clusters."""
    centres = factors(1_000, np.random.default_rng(SEED))
    right, left, sample = (tastes(n, SEED + i, centres) for i, n in enumerate((items, ASKED, 400), start=1))
    seen = histories(ASKED, items, np.random.default_rng(SEED))
    print(f"\ntop {K}, {items:,} items x {FACTORS} around {len(centres):,} centres, {SEEN} seen, seed {SEED}")
    begun = time.process_time()
    index = nearest(right, sample, K, RECALL, SEED, threads=1, large=0)
    print(f"  built in {time.process_time() - begun:.0f} CPU seconds: {index}")
    lists: list[np.ndarray] = []
    few = slice(0, ASKED // 4)
    timed("exact, one thread", ASKED // 4, lambda: lists.append(top_k(left[few], right, K, seen[few])[0]))
    timed("index, one thread", ASKED, lambda: lists.append(index.top_k(left, K, seen)[0]))
    recall = (lists[0][:, :, None] == lists[1][few][:, None, :]).any(axis=2).mean()
    print(f"  recall of {ASKED // 4:,} other users {recall:.3f}; peak memory {peak():.2f} GB")


def main() -> None:
    """Print everything, with what it was measured on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--many", type=int, default=MANY)
    asked = parser.parse_args()
    libraries = {}
    for name in LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            print(f"{name} is not installed")
    print(f"python {platform.python_version()}, {cores()} cores, {platform.machine()}")
    print(", ".join(f"{name} {number}" for name, number in libraries.items()))
    exact(asked.users, asked.items, libraries)
    if "faiss-cpu" in libraries:
        approximate(asked.many)


if __name__ == "__main__":
    main()

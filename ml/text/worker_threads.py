"""Run parts of a computation on several threads, with the same result for any number of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


def run_all(compute: Callable[[Part], Result], parts: Sequence[Part], threads: int) -> list[Result]:
    """Compute each part, and return the results in the order of the parts.

    Each part is computed by one thread, so that sums do not depend on the number of threads.
    """
    if threads == 1 or len(parts) < 2:
        return [compute(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(compute, parts))

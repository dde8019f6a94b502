"""Fits that run out of memory: they are skipped with a reason, before they start where the limit is known."""

import os
import resource
from pathlib import Path

import pandas as pd

from ml.errors import CandidateSkipped

MEGABYTE = 2**20
# Address space for libraries that a fit loads, and for each thread: its stack, and an arena of the allocator. With
# less, OpenMP ends the process, and other thread pools wait for ever for threads that could not be started.
RESERVE_BYTES, THREAD_BYTES = 128 * MEGABYTE, 80 * MEGABYTE
# A fit holds about as many copies of the table: encoded, binned, and one of the validation rows or of the gradients.
TABLE_COPIES = 4
# Texts of libraries that do not raise MemoryError: LightGBM, torch, thread pools.
_TEXTS = (
    "bad_alloc",
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "can't start new thread",
)
NEXT_STEP = "raise the limit of memory (ulimit -v), or set STEWARD_THREADS to fewer threads"


def require_memory(frame: pd.DataFrame, threads: int) -> None:
    """Raise CandidateSkipped if the address space that is left cannot hold a fit to `frame`; no limit always can."""
    free = free_address_space()
    copies = TABLE_COPIES * int(frame.memory_usage(index=False).sum())
    needed = RESERVE_BYTES + threads * THREAD_BYTES + copies
    if free is not None and free < needed:
        raise CandidateSkipped(
            f"{needed // MEGABYTE:,} MB of memory for a fit to {len(frame):,} rows with {threads} threads",
            f"{free // MEGABYTE:,} MB below the limit",
            NEXT_STEP,
        )


def free_address_space() -> int | None:
    """Return the bytes that this process may still allocate; None without a limit, or where it is unknown."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = Path("/proc/self/statm")
    if limit == resource.RLIM_INFINITY or not pages.exists():
        return None
    return max(limit - int(pages.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE"), 0)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory could not be allocated, or a thread not be started for that."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in _TEXTS)


def out_of_memory(dataset: str) -> CandidateSkipped:
    """Return the error for a fit to a dataset that ran out of memory."""
    return CandidateSkipped(f"enough memory for a fit to the dataset {dataset}", "not enough", NEXT_STEP)

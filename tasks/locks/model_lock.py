"""Model locks: only one run at a time trains a given model, on all machines that share a state directory."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from ml.errors import StewardError
from tasks.settings import Settings

log = logging.getLogger("steward")
# Seconds: twice the longest training run. A run that waits longer waits for a process that hangs.
LOCK_TIMEOUT = 4 * 3600.0


class LockTimeoutError(StewardError):
    """Another run of the same model did not end in time."""

    gate = "lock"


@contextmanager
def model_lock(settings: Settings, model_name: str, timeout_seconds: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Wait until no other run trains this model; the results of that run can then be reused.

    The kernel frees the lock of a killed run. Raises LockTimeoutError after `timeout_seconds`.
    """
    folder = settings.state_dir.resolve() / "model_locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{model_name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("  waiting for the lock on model %s (held by another run)", model_name)
        try:
            lock.acquire(timeout=timeout_seconds)
        except Timeout:
            raise LockTimeoutError(
                f"the lock within {_duration(timeout_seconds)}",
                f"another run of {model_name} that is still running",
                "see what it waits for (`steward doctor`), or end it",
            ) from None
    try:
        yield
    finally:
        lock.release()


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds:g} s"

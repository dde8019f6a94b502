"""Turns: one run at a time trains for one champion, on all of the machines that share a home."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from ml.errors import StewardError
from tasks.settings import Settings

log = logging.getLogger("steward")
# Two runs of the longest training there is; whoever waits longer waits for something that hangs.
LOCK_TIMEOUT = 4 * 3600.0


class LockTimeoutError(StewardError):
    """Another run of the same champion did not end."""

    gate = "turn"


@contextmanager
def model_lock(settings: Settings, model_name: str, timeout_seconds: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Wait until no other run works for this champion; what that one computed is then there to be reused.

    The kernel frees the lock of a killed run. Raises LockTimeoutError after `patience` seconds.
    """
    folder = settings.home.resolve() / "turns"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{model_name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("  waiting: another run of %s is at work", model_name)
        try:
            lock.acquire(timeout=timeout_seconds)
        except Timeout:
            raise LockTimeoutError(
                f"a turn within {timeout_seconds:g} s",
                f"another run of {model_name} that is still at work",
                "see what it waits for (`steward doctor`), or end it",
            ) from None
    try:
        yield
    finally:
        lock.release()

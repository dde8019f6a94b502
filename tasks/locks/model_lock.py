"""Turns: one run at a time trains for one champion, on all of the machines that share a home."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from ml.errors import Refusal
from tasks.settings import Settings

log = logging.getLogger("steward")
# Two runs of the longest training there is; whoever waits longer waits for something that hangs.
PATIENCE = 4 * 3600.0


class TurnRefused(Refusal):
    """Another run of the same champion did not end."""

    gate = "turn"


@contextmanager
def turn(settings: Settings, champion: str, patience: float = PATIENCE) -> Iterator[None]:
    """Wait until no other run works for this champion; what that one computed is then there to be reused.

    The kernel frees the lock of a killed run. Raises TurnRefused after `patience` seconds.
    """
    folder = settings.home.resolve() / "turns"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{champion}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("  waiting: another run of %s is at work", champion)
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            raise TurnRefused(
                f"a turn within {patience:g} s",
                f"another run of {champion} that is still at work",
                "see what it waits for (`steward doctor`), or end it",
            ) from None
    try:
        yield
    finally:
        lock.release()

"""RunLock: what tells a run that is at work from one that was killed.

A run holds a lock in `running/` for as long as its process lives. The kernel lets go of it whatever ends the process,
so a lock that can be taken belongs to a run that is gone and that nobody has put right yet.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tasks.settings import Settings

# Tags of a run in MLflow that lead to its presence: the machine, and the identity there.
HOST_TAG, LOCK_TAG = "steward.host", "steward.presence"


class RunLock:
    """The presence of one run, as a context; `about` is what others may know of it, JSON."""

    def __init__(self, settings: Settings, identity: str, metadata: Mapping[str, Any]) -> None:
        self.folder = folder(settings)
        self.identity = identity
        began = datetime.now(UTC).isoformat(timespec="seconds")
        self.metadata = {
            "id": identity,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "began": began,
            **metadata,
        }
        self._lock: int | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.update_metadata()
        # Locked before it has its name: nobody ever sees it unlocked.
        unnamed = self.folder / f".{self.identity}.{os.getpid()}"
        self._lock = os.open(unnamed, os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unnamed.replace(self._path("lock"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _forget(self.folder, self.identity)
        if self._lock is not None:
            os.close(self._lock)

    def update_metadata(self, **more: Any) -> None:
        """Add to what others may know."""
        self.metadata |= more
        unnamed = self.folder / f".{self.identity}.{os.getpid()}.json"
        unnamed.write_text(json.dumps(self.metadata))
        unnamed.replace(self._path("json"))

    def _path(self, suffix: str) -> Path:
        return self.folder / f"{self.identity}.{suffix}"


def folder(settings: Settings) -> Path:
    return settings.home.resolve() / "running"


def active_runs(settings: Settings) -> list[dict[str, Any]]:
    """What the runs that are at work say of themselves; ids of runs that say nothing yet."""
    known = []
    for lock in sorted(folder(settings).glob("*.lock")):
        with _taken(lock) as gone:
            if not gone and lock.exists():
                known.append(_told(lock))
    return known


def dead_runs(settings: Settings) -> list[dict[str, Any]]:
    """What the runs said of themselves whose process is gone."""
    return [_told(lock) for lock in sorted(folder(settings).glob("*.lock")) if _is_gone(lock)]


@contextmanager
def reconcile(settings: Settings, identity: str) -> Iterator[bool]:
    """Whether this run is gone and nobody else puts it right at this moment; afterwards it is forgotten.

    Whoever raises inside leaves it for the next.
    """
    lock = folder(settings) / f"{identity}.lock"
    with _taken(lock) as gone:
        yield gone
        if gone:
            _forget(lock.parent, identity)


@contextmanager
def _taken(lock: Path) -> Iterator[bool]:
    """Hold the lock of a run that is gone; False where the run is alive, or was put right meanwhile."""
    try:
        handle = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another may have forgotten this run between the opening and the locking.
        yield lock.exists() and os.path.samestat(os.fstat(handle), lock.stat())
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def _is_gone(lock: Path) -> bool:
    with _taken(lock) as gone:
        return gone


def _told(lock: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        told: dict[str, Any] = json.loads(lock.with_suffix(".json").read_text())
        return told
    return {"id": lock.stem}


def _forget(where: Path, identity: str) -> None:
    for suffix in ("lock", "json"):
        (where / f"{identity}.{suffix}").unlink(missing_ok=True)

"""Run locks: tell a run that is still running from one whose process died.

A run holds a file lock in `running/` of the state directory for as long as its process lives. The kernel releases it
however the process ends, so a lock that can be taken belongs to a dead run that nobody has reconciled yet. Commands of
the command line hold one in `commands/`: it leads to flow runs whose process died before they had a lock of their own.
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

# MLflow tags of a run that lead to its lock: the machine, the state directory, and the lock's identity in it.
HOST_TAG, STATE_DIR_TAG, LOCK_TAG = "steward.host", "steward.state_dir", "steward.presence"
# Folders of locks in the state directory.
RUNS, COMMANDS = "running", "commands"
# How a run ended, as MLflow names it; in the name of the metadata file, since a rename needs no space on a full disk.
ENDINGS = ("FINISHED", "FAILED", "KILLED")


class RunLock:
    """The lock of one run, as a context manager; other processes can read its `metadata` (JSON).

    `is_settled` is false from the start of the MLflow run until its final status is written.
    """

    def __init__(
        self, settings: Settings, identity: str, metadata: Mapping[str, Any], folder: str = RUNS
    ) -> None:
        self.folder = lock_folder(settings, folder)
        self.is_settled = True
        self.identity = identity
        self.metadata = {
            "id": identity,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            **metadata,
        }
        self._lock: int | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Create and hold the lock. Raises OSError, for example on a full disk, and leaves nothing behind then."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{self.identity}.{os.getpid()}"
        try:
            self.update_metadata()
            # Locked before it gets its final name: no other process ever sees it unlocked.
            self._lock = os.open(temporary, os.O_CREAT | os.O_RDWR, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            temporary.replace(self._path("lock"))
        except OSError:
            temporary.unlink(missing_ok=True)
            temporary.with_name(f"{temporary.name}.json").unlink(missing_ok=True)
            self.release()
            raise

    def release(self) -> None:
        """Remove the lock: every state of the run is final."""
        _remove_files(self.folder, self.identity)
        self.abandon()

    @property
    def is_held(self) -> bool:
        return self._lock is not None

    def abandon(self) -> None:
        """Release the lock but keep its files: the next reconciliation finds a dead run and writes what is missing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def record_ending(self, status: str) -> None:
        """Record how the run ended, before that is written to MLflow and Prefect, where it may fail."""
        with suppress(OSError):
            self._path("json").rename(self._path(f"{status}.json"))

    def update_metadata(self, **changes: Any) -> None:
        """Add or replace entries of the metadata."""
        self.metadata |= changes
        temporary = self.folder / f".{self.identity}.{os.getpid()}.json"
        temporary.write_text(json.dumps(self.metadata))
        temporary.replace(self._path("json"))

    def _path(self, suffix: str) -> Path:
        return self.folder / f"{self.identity}.{suffix}"


def lock_folder(settings: Settings, folder: str = RUNS) -> Path:
    """Return the folder of run locks, or that of the locks of commands, in the state directory."""
    return settings.state_dir.resolve() / folder


def active_runs(settings: Settings) -> list[dict[str, Any]]:
    """Return the metadata of the runs whose process is alive; only the id where a run has not written more yet."""
    active = []
    for lock in sorted(lock_folder(settings).glob("*.lock")):
        with _take_if_dead(lock) as is_dead:
            if not is_dead and lock.exists():
                active.append(_read_metadata(lock))
    return active


def dead_runs(settings: Settings, folder: str = RUNS) -> list[dict[str, Any]]:
    """Return the metadata of the runs (or commands) whose process died and that were not reconciled yet.

    `ending` is how a run ended, where it could record that.
    """
    locks = sorted(lock_folder(settings, folder).glob("*.lock"))
    return [_read_metadata(lock) for lock in locks if _is_dead(lock)]


@contextmanager
def reconcile(settings: Settings, identity: str, folder: str = RUNS) -> Iterator[bool]:
    """Take over a dead run to record its end; yield False where it is alive or another process does so.

    The lock's files are removed on leaving. An exception inside keeps them, and the run is found again next time.
    """
    lock = lock_folder(settings, folder) / f"{identity}.lock"
    with _take_if_dead(lock) as is_dead:
        yield is_dead
        if is_dead:
            _remove_files(lock.parent, identity)


@contextmanager
def _take_if_dead(lock: Path) -> Iterator[bool]:
    """Hold the lock of a dead run; yield False where the run is alive, or was reconciled in the meantime."""
    try:
        handle = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another process may have removed the file between opening and locking it.
        yield lock.exists() and os.path.samestat(os.fstat(handle), lock.stat())
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def _is_dead(lock: Path) -> bool:
    with _take_if_dead(lock) as is_dead:
        return is_dead


def _read_metadata(lock: Path) -> dict[str, Any]:
    endings = {f".{status}.json": {"ending": status} for status in ENDINGS}
    for suffix, ending in {".json": {}, **endings}.items():
        with suppress(OSError, ValueError):
            metadata: dict[str, Any] = json.loads(lock.with_suffix(suffix).read_text())
            return {**metadata, **ending}
    return {"id": lock.stem}


def _remove_files(folder: Path, identity: str) -> None:
    # The lock first: metadata without a lock are never read.
    for suffix in ("lock", "json", *(f"{status}.json" for status in ENDINGS)):
        (folder / f"{identity}.{suffix}").unlink(missing_ok=True)

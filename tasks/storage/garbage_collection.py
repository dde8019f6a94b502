"""Garbage collection: select objects of the content store that are no longer needed, and delete them safely.

An object first moves to `trash/` and is deleted there, so that no process ever reads a half-deleted object. If the
deletion is killed, the next one empties the trash; a run that no longer finds an object computes it again.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ml.errors import StoredResultError
from tasks.storage.key_file import read_key
from tasks.storage.locked_folder import store_lock
from tasks.storage.object_folder import MANIFEST_FILE, MAX_MANIFEST_BYTES
from tasks.storage.regular_files import read_regular

# Nanoseconds for which the checkpoints of a killed fit are kept: a week, as the run may be repeated.
CHECKPOINT_AGE = 7 * 24 * 3600 * 10**9


@dataclass(frozen=True)
class StoredObject:
    """One result in the store, with the key files that point to it.

    `last_used` is in nanoseconds since 1970. `identifiers` are all names under which records refer to the object: its
    own, the digest of its content, and for golden rows that of their model. `report` is the path of the report that
    a cached run outcome points to.
    """

    name: str
    size_bytes: int
    last_used: int
    identifiers: frozenset[str] = frozenset()
    keys: tuple[Path, ...] = ()
    report: str = ""


@dataclass(frozen=True)
class OrphanedFile:
    """What a killed process left behind: a partial object or key, a key without its object, or trash."""

    path: Path
    size_bytes: int


def list_objects(store: Path) -> list[StoredObject]:
    """List all complete objects. Reads every manifest, changes nothing."""
    keys: dict[str, list[Path]] = {}
    for key in _entries(store / "keys", "*.json"):
        keys.setdefault(_target(key), []).append(key)
    return [
        stored
        for folder in _entries(store / "objects", "[!.]*")
        if (stored := _read_object(folder, tuple(keys.get(folder.name, ()))))
    ]


def expired_objects(
    objects: Iterable[StoredObject],
    required: frozenset[str],
    protected_since: int,
    expire_before: int,
    max_bytes: int,
) -> list[StoredObject]:
    """Select the objects to delete, the longest unused first. Instants are in nanoseconds since 1970.

    Two kinds of objects are kept: those used at or after `protected_since`, and for each identifier in `required` the
    object that was used last (of those with a key, if there are any). Of the others, those last used before
    `expire_before` are selected, then as many as it takes to bring the store down to `max_bytes`.
    """
    oldest_first = sorted(objects, key=lambda stored: (stored.last_used, stored.name))
    best_last = sorted(oldest_first, key=lambda stored: bool(stored.keys))
    kept = set({name: stored.name for stored in best_last for name in stored.identifiers & required}.values())
    total = sum(stored.size_bytes for stored in oldest_first)
    expired = []
    for stored in oldest_first:
        if stored.last_used >= protected_since or stored.name in kept:
            continue
        if stored.last_used < expire_before or total > max_bytes:
            expired.append(stored)
            total -= stored.size_bytes
    return expired


def delete_objects(store: Path, to_delete: Iterable[StoredObject]) -> list[StoredObject]:
    """Delete objects, except those used since they were listed; return the deleted ones."""
    trash = store / "trash"
    trash.mkdir(parents=True, exist_ok=True)
    deleted = []
    for stored in to_delete:
        if _move_to_trash(store, stored, trash):
            deleted.append(stored)
            shutil.rmtree(trash / stored.name)
    return deleted


def orphaned_files(store: Path, protected_since: int) -> list[OrphanedFile]:
    """List what killed processes left behind; nothing written at or after `protected_since` (ns since 1970)."""
    trash = list(_entries(store / "trash", "*"))
    partial = [folder for folder in _entries(store / "objects", "*") if not _read_object(folder)]
    temporary = [path for path in _entries(store / "keys", "*") if path.suffix != ".json"]
    old = [path for path in [*partial, *temporary] if _last_written(path) < protected_since]
    old += [
        folder
        for folder in _entries(store / "checkpoints", "*")
        if _last_written(folder) < protected_since - CHECKPOINT_AGE
    ]
    dangling = [key for key in _entries(store / "keys", "*.json") if not _has_target(store, key)]
    return [OrphanedFile(path, _size(path)) for path in [*trash, *old, *dangling]]


def delete_orphaned_files(store: Path, orphans: Iterable[OrphanedFile]) -> list[OrphanedFile]:
    """Delete orphaned files, except what has become a complete object, or a key of one; return the deleted ones."""
    trash = store / "trash"
    trash.mkdir(parents=True, exist_ok=True)
    deleted = []
    for orphan in orphans:
        path = orphan.path
        with store_lock(store, fcntl.LOCK_EX):
            if path.suffix == ".json" and _has_target(store, path):
                continue
            if path.parent != trash and _read_object(path):
                continue
            # A run deletes what it found damaged, and may be faster.
            if not os.path.lexists(path):
                continue
            path = path.replace(trash / path.name)
        with suppress(FileNotFoundError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        deleted.append(orphan)
    return deleted


def _move_to_trash(store: Path, stored: StoredObject, trash: Path) -> bool:
    """Move an object to the trash if nobody used it since it was listed; the exclusive lock keeps users out."""
    folder = store / "objects" / stored.name
    with store_lock(store, fcntl.LOCK_EX), suppress(FileNotFoundError):
        if (folder / MANIFEST_FILE).stat().st_mtime_ns != stored.last_used:
            return False
        folder.rename(trash / stored.name)
        for key in stored.keys:
            if _target(key) == stored.name:
                key.unlink()
        return True
    return False


def _read_object(folder: Path, keys: tuple[Path, ...] = ()) -> StoredObject | None:
    """Return None for a partial object: one without a complete manifest, or (leading dot) one still being written."""
    path = folder / MANIFEST_FILE
    try:
        last_used = path.stat().st_mtime_ns
        manifest = json.loads(read_regular(path, MAX_MANIFEST_BYTES))
        digest, facts = str(manifest["digest"]), {**manifest["facts"]}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    if folder.name.startswith("."):
        return None
    return StoredObject(
        name=folder.name,
        size_bytes=_size(folder) + sum(map(_size, keys)),
        last_used=last_used,
        identifiers=frozenset({folder.name, digest, str(facts.get("model"))}),
        keys=keys,
        report=str(facts.get("report", "")),
    )


def _target(key: Path) -> str:
    """Return the object that a key points to; empty for a partial or damaged key."""
    try:
        return read_key(key)
    except (FileNotFoundError, StoredResultError):
        return ""


def _has_target(store: Path, key: Path) -> bool:
    target = _target(key)
    return bool(target) and (store / "objects" / target / MANIFEST_FILE).exists()


def _entries(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


def _files(path: Path) -> Iterator[Path]:
    yield path
    yield from path.rglob("*")


def _size(path: Path) -> int:
    """Sum up the bytes of all files, without those deleted in the meantime."""
    total = 0
    for file in _files(path):
        with suppress(FileNotFoundError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _last_written(path: Path) -> int:
    latest = 0
    for file in _files(path):
        with suppress(FileNotFoundError):
            latest = max(latest, file.stat().st_mtime_ns)
    return latest

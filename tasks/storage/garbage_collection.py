"""Sweep: what of the content store may go, and taking it away beside runs that are at work.

An object first moves to `trash/` and is deleted there, so that nobody ever finds half of one. A sweep that is killed
leaves the trash to the next; a run that finds an object gone computes it again.
"""

import fcntl
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.storage.content_store import store_lock


@dataclass(frozen=True)
class Object:
    """One result in the store, with the keys that lead to it.

    `used` is when it was last used (nanoseconds since 1970). `names` are those under which records speak of it: its
    own, the digest of its content, and for golden rows that of their model. `report` is the page that a remembered
    decision points to.
    """

    name: str
    bytes: int
    used: int
    names: frozenset[str] = frozenset()
    keys: tuple[Path, ...] = ()
    report: str = ""


@dataclass(frozen=True)
class Leftover:
    """What a killed process left: half an object, half a key, a key without its object, trash."""

    path: Path
    bytes: int


def objects(store: Path) -> list[Object]:
    """All whole objects. Reads every manifest; changes nothing."""
    keys: dict[str, list[Path]] = {}
    for key in _entries(store / "keys", "*.json"):
        keys.setdefault(_target(key), []).append(key)
    return [
        known
        for folder in _entries(store / "objects", "[!.]*")
        if (known := _object(folder, tuple(keys.get(folder.name, ()))))
    ]


def doomed(
    known: Iterable[Object], needed: frozenset[str], spared: int, expired: int, maximum: int
) -> list[Object]:
    """Which objects go, the longest unused first.

    What was used at or after `spared` stays, and so does, for each name in `needed`, the object of that name that was
    used last, of those that a key leads to if there are any. Of the rest goes what was last used before `expired`, then
    as much as it takes until no more than `maximum` bytes are left. Instants in nanoseconds since 1970.
    """
    oldest_first = sorted(known, key=lambda one: (one.used, one.name))
    best_last = sorted(oldest_first, key=lambda one: bool(one.keys))
    kept = set({name: one.name for one in best_last for name in one.names & needed}.values())
    total = sum(one.bytes for one in oldest_first)
    going = []
    for one in oldest_first:
        if one.used < spared and one.name not in kept and (one.used < expired or total > maximum):
            going.append(one)
            total -= one.bytes
    return going


def sweep(store: Path, going: Iterable[Object]) -> list[Object]:
    """Take objects away, but none that anybody used since it was looked at. Those that went."""
    trash = store / "trash"
    trash.mkdir(parents=True, exist_ok=True)
    gone = []
    for one in going:
        if _to_trash(store, one, trash):
            gone.append(one)
            shutil.rmtree(trash / one.name)
    return gone


def leftovers(store: Path, spared: int) -> list[Leftover]:
    """What killed processes left; nothing that was written at or after `spared` (nanoseconds since 1970)."""
    trash = list(_entries(store / "trash", "*"))
    broken = [folder for folder in _entries(store / "objects", "*") if not _object(folder)]
    unnamed = [path for path in _entries(store / "keys", "*") if path.suffix != ".json"]
    old = [path for path in [*broken, *unnamed] if _written(path) < spared]
    dangling = [key for key in _entries(store / "keys", "*.json") if not _leads(store, key)]
    return [Leftover(path, _bytes(path)) for path in [*trash, *old, *dangling]]


def clear(store: Path, left: Iterable[Leftover]) -> list[Leftover]:
    """Take away what killed processes left. What went: no object that is whole by now, no key that leads to one."""
    trash = store / "trash"
    trash.mkdir(parents=True, exist_ok=True)
    gone = []
    for one in left:
        path = one.path
        with store_lock(store, fcntl.LOCK_EX):
            if (path.suffix == ".json" and _leads(store, path)) or (path.parent != trash and _object(path)):
                continue
            path = path.replace(trash / path.name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        gone.append(one)
    return gone


def _to_trash(store: Path, one: Object, trash: Path) -> bool:
    """Whether it was still as it was seen, and now is in the trash. Alone in the store: nobody takes it up."""
    folder = store / "objects" / one.name
    with store_lock(store, fcntl.LOCK_EX), suppress(FileNotFoundError):
        if (folder / "manifest.json").stat().st_mtime_ns != one.used:
            return False
        folder.rename(trash / one.name)
        for key in one.keys:
            if _target(key) == one.name:
                key.unlink()
        return True
    return False


def _object(folder: Path, keys: tuple[Path, ...] = ()) -> Object | None:
    """None for what is no whole object: no manifest, or half of one. A dot means that it is still being written."""
    manifest = folder / "manifest.json"
    try:
        used, told = manifest.stat().st_mtime_ns, json.loads(manifest.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if folder.name.startswith("."):
        return None
    names = frozenset({folder.name, told["digest"], str(told["facts"].get("model"))})
    size = _bytes(folder) + sum(map(_bytes, keys))
    return Object(folder.name, size, used, names, keys, str(told["facts"].get("report", "")))


def _target(key: Path) -> str:
    """The object that a key leads to; empty for half a key."""
    try:
        return str(json.loads(key.read_text())["object"])
    except (FileNotFoundError, ValueError, KeyError):
        return ""


def _leads(store: Path, key: Path) -> bool:
    target = _target(key)
    return bool(target) and (store / "objects" / target / "manifest.json").exists()


def _entries(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


def _files(path: Path) -> Iterator[Path]:
    yield path
    yield from path.rglob("*")


def _bytes(path: Path) -> int:
    """Of all files; 0 for what is gone by now."""
    total = 0
    for file in _files(path):
        with suppress(FileNotFoundError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _written(path: Path) -> int:
    """When anything in it was last written, nanoseconds since 1970."""
    latest = 0
    for file in _files(path):
        with suppress(FileNotFoundError):
            latest = max(latest, file.stat().st_mtime_ns)
    return latest

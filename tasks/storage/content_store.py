"""Content store: results of stages, addressed by a key of everything that they were computed from.

    objects/<digest>/          one result: Parquet tables, files, and manifest.json (tasks/storage/object_folder.py)
    keys/<key>.json            the object that a computation resulted in

A killed run resumes where it stopped and a repeated run reuses results, because the key of a stage covers the digests
of its inputs, its parameters, the code that computes it and the versions of the libraries that it uses.

Every read is verified. What is damaged or missing when it is looked up is deleted and computed again; what is damaged
later stops the run with StoredResultError, and the next run computes it again.

The modification time of an object's manifest is the time of its last use. Garbage collection holds an exclusive lock on
the store while it checks that time and moves the object away; a run that uses an object holds a shared lock.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from ml.data.digest import json_digest
from ml.errors import StoredResultError
from tasks import activity
from tasks.storage.key_file import key_content, read_key
from tasks.storage.locked_folder import delete_damaged, store_lock
from tasks.storage.object_folder import (
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    count_rows,
    damaged,
    find_damage,
    read_file,
    read_manifest,
    read_table,
    write_object,
)
from tasks.storage.regular_files import read_regular

ROOT = Path(__file__).resolve().parents[2]

log = logging.getLogger("steward")


@dataclass(frozen=True)
class StoredResult:
    """A reference to an object of the store, small enough to be passed between tasks.

    `facts` (JSON) are what the stage found out; `reused` says whether an earlier call computed the object. Reading
    raises StoredResultError where the object was damaged since; it is then deleted, so that the next run computes it.
    """

    digest: str
    folder: Path
    table_names: tuple[str, ...]
    facts: Mapping[str, Any]
    reused: bool

    def table(self, table_name: str) -> pd.DataFrame:
        """Read a table. Raises StoredResultError."""
        with self._deleted_if_damaged():
            return read_table(self.folder, read_manifest(self.folder), table_name)

    def row_count(self, table_name: str) -> int:
        """Count the rows of a table. Raises StoredResultError."""
        with self._deleted_if_damaged():
            return count_rows(self.folder, read_manifest(self.folder), table_name)

    def file(self, name: str) -> bytes:
        """Read a file. Raises StoredResultError."""
        with self._deleted_if_damaged():
            return read_file(self.folder, read_manifest(self.folder), name)

    def files(self) -> dict[str, bytes]:
        """Read all files, by name. Raises StoredResultError."""
        with self._deleted_if_damaged():
            manifest = read_manifest(self.folder)
            return {name: read_file(self.folder, manifest, name) for name in manifest["files"]}

    @property
    def size_bytes(self) -> int:
        """The size of all files in the folder."""
        return sum(path.stat().st_size for path in self.folder.glob("*"))

    @contextmanager
    def _deleted_if_damaged(self) -> Iterator[None]:
        try:
            yield
        except StoredResultError:
            delete_damaged(self.folder.parents[1], self.folder)
            raise


@dataclass(frozen=True)
class StageResult:
    """What a stage returns to be stored: tables, files, and facts about them."""

    tables: Mapping[str, pd.DataFrame]
    facts: Mapping[str, Any]
    files: Mapping[str, bytes] | None = None


# Receives the name of a stage, and how its stored result was damaged.
DamageListener = Callable[[str, str], None]


def log_damage(stage: str, damage: str) -> None:
    """Log that a stored result cannot be used."""
    log.warning("  the stored result of stage %s was damaged (%s); it is computed again", stage, damage)


class Store:
    """Stores and finds results in a folder; with `fresh`, all are computed again and replace the earlier ones.

    `on_damage` is called for each result that was stored and cannot be used.
    """

    def __init__(self, folder: Path, fresh: bool = False, on_damage: DamageListener = log_damage) -> None:
        self.folder, self.fresh, self.on_damage = folder, fresh, on_damage

    def get_or_compute(self, key: str, compute: Callable[[], StageResult], stage: str = "") -> StoredResult:
        """Return the object under `key`; if it is missing or damaged, compute, write and read it back.

        `stage` names the result for people. Raises StoredResultError where a damaged object cannot be deleted.
        """
        # A step is a part of a stage.
        if stage and not stage.startswith("step "):
            activity.begin(stage)
        stored = None if self.fresh else self.lookup(key, stage)
        if stored:
            return stored
        folder = self._write(compute())
        self._write_atomically(self._key_path(key), key_content(key, folder.name))
        return self._read(folder, reused=False)

    def lookup(self, key: str, stage: str = "") -> StoredResult | None:
        """Return the object under `key`; None where there is none, or, once it is reported and deleted, a damaged one.

        Every file of the object is compared with its digest.
        """
        folder = path = self._key_path(key)
        try:
            folder = self.folder / "objects" / read_key(path)
            return self._verified(folder)
        except FileNotFoundError:
            return None
        except StoredResultError as damage:
            self.on_damage(stage or key[:12], damage.got)
            delete_damaged(self.folder, folder)
            return None

    def _verified(self, folder: Path) -> StoredResult:
        """Protect an object from garbage collection, and compare every file with its digest."""
        if not self._mark_used(folder):
            raise damaged("missing: the whole object" if not folder.exists() else f"missing: {MANIFEST_FILE}")
        if damage := find_damage(folder):
            raise damaged(damage)
        return self._read(folder, reused=True)

    def _mark_used(self, folder: Path) -> bool:
        """Mark an object as used now, which protects it from garbage collection; return False where it is missing."""
        with store_lock(self.folder, fcntl.LOCK_SH):
            try:
                # The manifest is the last file written before the folder gets its final name.
                os.utime(folder / MANIFEST_FILE)
            except (FileNotFoundError, NotADirectoryError):
                return False
            except OSError as error:
                raise damaged(f"{MANIFEST_FILE} cannot be read ({type(error).__name__})") from None
            return True

    def objects(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield the folder and the manifest (digest, tables, files, facts) of every object, without verifying it."""
        for path in sorted((self.folder / "objects").glob(f"[!.]*/{MANIFEST_FILE}")):
            # Garbage collection may delete it in the meantime; an unreadable manifest counts as no object.
            with suppress(OSError, ValueError, RecursionError):
                manifest = json.loads(read_regular(path, MAX_MANIFEST_BYTES))
                if isinstance(manifest, dict):
                    yield path.parent, manifest

    def find(self, digest: str) -> StoredResult | None:
        """Return an undamaged object with this content digest, None where there is none."""
        for folder, manifest in self.objects():
            if manifest.get("digest") == digest:
                with suppress(StoredResultError):
                    return self._verified(folder)
        return None

    def _key_path(self, key: str) -> Path:
        return self.folder / "keys" / f"{key}.json"

    def _write(self, result: StageResult) -> Path:
        """Write to a temporary folder, then rename it, so that no reader ever sees a partial object."""
        objects = self.folder / "objects"
        objects.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=objects))
        try:
            name = write_object(temporary, result.tables, result.files or {}, result.facts)
            self._move_into_place(temporary, objects / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return objects / name

    def _move_into_place(self, temporary: Path, target: Path) -> None:
        """Name an object, unless an intact one has the name already: equal names mean equal content."""
        for is_last_attempt in (False, True):
            with suppress(StoredResultError):
                self._verified(target)
                return
            if os.path.lexists(target):
                delete_damaged(self.folder, target)
            try:
                with store_lock(self.folder, fcntl.LOCK_SH):
                    temporary.rename(target)
                return
            except OSError:
                # Another run may have written the same object in the meantime.
                if is_last_attempt or not target.exists():
                    raise

    def _read(self, folder: Path, reused: bool) -> StoredResult:
        manifest = read_manifest(folder)
        return StoredResult(manifest["digest"], folder, tuple(manifest["tables"]), manifest["facts"], reused)

    def _write_atomically(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        with store_lock(self.folder, fcntl.LOCK_SH):
            Path(temporary).replace(path)


def key_of(stage: str, code: Sequence[str], libraries: Sequence[str] = (), **inputs: Any) -> str:
    """Return the key of a computation.

    `code` lists the files and folders, relative to the checkout, that compute the stage; `libraries` the distributions
    whose versions count; `inputs` holds digests, parameters and seeds. Raises FileNotFoundError for code that is
    missing.
    """
    return json_digest(
        {
            "stage": stage,
            "code": _code_digest(tuple(code)),
            "libraries": {name: version(name) for name in libraries},
            **inputs,
        }
    )


@cache
def _code_digest(code: tuple[str, ...]) -> str:
    """Return the SHA-256 of all Python files of `code`, with their paths."""
    digest = hashlib.sha256()
    for path in sorted({file for name in code for file in _python_files(ROOT / name)}):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _python_files(path: Path) -> list[Path]:
    files = list(path.rglob("*.py")) if path.is_dir() else [path]
    if not files:
        # An empty list would silently leave code out of the key.
        raise FileNotFoundError(f"expected Python files in {path}; got none; correct the stage's CODE")
    return files

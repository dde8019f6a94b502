"""Content store: results of stages, addressed by a key of everything that they were computed from.

    objects/<digest>/          one result: Parquet tables, files, and manifest.json
    keys/<key>.json            the object that a computation resulted in

A killed run resumes where it stopped and a repeated run reuses results, because the key of a stage covers the digests
of its inputs, its parameters, the code that computes it and the versions of the libraries that it uses.

The modification time of an object's manifest is the time of its last use. Garbage collection holds an exclusive lock on
the store while it checks that time and moves the object away; a run that uses an object holds a shared lock.
"""

import fcntl
import hashlib
import json
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

from ml.data.digest import json_digest, table_digest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class StoredResult:
    """A reference to an object of the store, small enough to be passed between tasks.

    `facts` (JSON) are what the stage found out; `reused` says whether an earlier call computed the object.
    """

    digest: str
    folder: Path
    table_names: tuple[str, ...]
    facts: Mapping[str, Any]
    reused: bool

    def table(self, table_name: str) -> pd.DataFrame:
        """Read a table."""
        return pd.read_parquet(self.folder / f"{table_name}.parquet")

    def file(self, name: str) -> bytes:
        """Read a file."""
        return (self.folder / name).read_bytes()


@dataclass(frozen=True)
class StageResult:
    """What a stage returns to be stored: tables, files, and facts about them."""

    tables: Mapping[str, pd.DataFrame]
    facts: Mapping[str, Any]
    files: Mapping[str, bytes] | None = None


class Store:
    """Stores and finds results in a folder; with `fresh`, all are computed again and replace the earlier ones."""

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        self.folder, self.fresh = folder, fresh

    def get_or_compute(self, key: str, compute: Callable[[], StageResult]) -> StoredResult:
        """Return the object under `key`; if it is missing or incomplete, compute, write and read it back."""
        stored = None if self.fresh else self.lookup(key)
        if stored:
            return stored
        folder = self._write(compute())
        self._write_atomically(self._key_path(key), json.dumps({"object": folder.name}).encode())
        return self._read(folder, reused=False)

    def lookup(self, key: str) -> StoredResult | None:
        """Return the object under `key`; None where it is missing or incomplete."""
        try:
            name = json.loads(self._key_path(key).read_text())["object"]
        except FileNotFoundError:
            return None
        folder = self.folder / "objects" / name
        return self._read(folder, reused=True) if self._mark_used(folder) else None

    def _mark_used(self, folder: Path) -> bool:
        """Mark an object as used now, which protects it from garbage collection; return False where it is missing."""
        with store_lock(self.folder, fcntl.LOCK_SH):
            try:
                # The manifest is the last file written before the folder gets its final name.
                os.utime(folder / "manifest.json")
            except FileNotFoundError:
                return False
            return True

    def objects(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield the folder and the manifest (digest, tables, files, facts) of every object."""
        for path in sorted((self.folder / "objects").glob("[!.]*/manifest.json")):
            # Garbage collection may delete it in the meantime; an unreadable manifest counts as no object.
            with suppress(FileNotFoundError, ValueError):
                yield path.parent, json.loads(path.read_text())

    def _key_path(self, key: str) -> Path:
        return self.folder / "keys" / f"{key}.json"

    def _write(self, result: StageResult) -> Path:
        """Write to a temporary folder, then rename it, so that no reader ever sees a partial object."""
        files = dict(result.files or {})
        tables = {name: table_digest(frame) for name, frame in result.tables.items()}
        content = {
            "tables": tables,
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        manifest = {"digest": json_digest(content), **content, "facts": result.facts}
        # The name covers the facts too: computations with equal tables may have different facts.
        target = self.folder / "objects" / json_digest(manifest)
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._mark_used(target):
            return target
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
        try:
            for name, frame in result.tables.items():
                frame.to_parquet(temporary / f"{name}.parquet", index=False)
            for name, data in files.items():
                (temporary / name).write_bytes(data)
            (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1))
            self._move_into_place(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return target

    def _move_into_place(self, temporary: Path, target: Path) -> None:
        try:
            with store_lock(self.folder, fcntl.LOCK_SH):
                temporary.rename(target)
        except OSError:
            # Another run may have written the same object in the meantime: equal digests mean equal content.
            if not (target / "manifest.json").exists():
                raise

    def _read(self, folder: Path, reused: bool) -> StoredResult:
        manifest = json.loads((folder / "manifest.json").read_text())
        return StoredResult(manifest["digest"], folder, tuple(manifest["tables"]), manifest["facts"], reused)

    def _write_atomically(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        with store_lock(self.folder, fcntl.LOCK_SH):
            Path(temporary).replace(path)


@contextmanager
def store_lock(store: Path, mode: int) -> Iterator[None]:
    """Lock the folder of a store, which must exist: `fcntl.LOCK_SH` for shared or `fcntl.LOCK_EX` for exclusive."""
    handle = os.open(store, os.O_RDONLY)
    try:
        fcntl.flock(handle, mode)
        yield
    finally:
        os.close(handle)


def find_damage(folder: Path) -> str:
    """Describe how an object differs from its name and manifest, after computing all digests again; "" if intact."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        content = {"tables": dict(manifest["tables"]), "files": dict(manifest["files"])}
        if json_digest(manifest) != folder.name or json_digest(content) != manifest["digest"]:
            return "the manifest was changed"
        named = [*(f"{table}.parquet" for table in content["tables"]), *content["files"]]
        if missing := [name for name in named if not (folder / name).is_file()]:
            return f"missing: {', '.join(missing)}"
        for name, digest in content["tables"].items():
            if table_digest(pd.read_parquet(folder / f"{name}.parquet")) != digest:
                return f"the table {name} was changed"
        for name, digest in content["files"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                return f"the file {name} was changed"
    except Exception as error:  # readers fail on damaged files with many kinds of errors
        return f"cannot be read ({type(error).__name__})"
    return ""


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

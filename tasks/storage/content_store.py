"""The content store: what a stage made, under a key of everything that it was made from.

    objects/<digest>/          one result: Parquet parts, files, and manifest.json
    keys/<key>.json            which object a computation gave

A killed run goes on where it stopped, and a repeated one reuses, because the key of a stage covers the digests of its
inputs, its parameters, the code that computes it and the versions of the libraries it uses.

The time of an object's manifest is when it was last used. Whoever takes objects away
(tasks/storage/garbage_collection.py) holds the store
for itself while it looks at that time and moves the object; whoever uses one, holds it together with others.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from ml.data.digest import digest_of, table_digest

ROOT = Path(__file__).resolve().parents[2]
# What several stages make their results with, besides `ml/`.
SHARED = "tasks/stored_datasets.py"


@dataclass(frozen=True)
class StoredResult:
    """A reference into the store: small enough to travel between tasks.

    `facts` is what the stage found out (JSON), `reused` whether it was there before this run.
    """

    digest: str
    folder: Path
    table_names: tuple[str, ...]
    facts: Mapping[str, Any]
    reused: bool

    def table(self, table_name: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / f"{table_name}.parquet")

    def file(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


@dataclass(frozen=True)
class StageResult:
    """What a stage gives to be stored: tables, files, and the facts about them."""

    tables: Mapping[str, pd.DataFrame]
    facts: Mapping[str, Any]
    files: Mapping[str, bytes] | None = None


class Store:
    """`fresh` computes everything again and puts the new result in the place of the old."""

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        self.folder, self.fresh = folder, fresh

    def get_or_compute(self, key: str, make: Callable[[], StageResult]) -> StoredResult:
        """The result of `make` under `key`: read where it is known and whole, else made, written and read back."""
        known = None if self.fresh else self.lookup(key)
        if known:
            return known
        made = make()
        folder = self._write(made)
        self._replace(self._key_path(key), json.dumps({"object": folder.name}).encode())
        return self._read(folder, reused=False)

    def lookup(self, key: str) -> StoredResult | None:
        """What is known and whole under `key`."""
        try:
            name = json.loads(self._key_path(key).read_text())["object"]
        except FileNotFoundError:
            return None
        folder = self.folder / "objects" / name
        return self._read(folder, reused=True) if self._touch(folder) else None

    def _touch(self, folder: Path) -> bool:
        """Whether the object is there and whole; it then counts as used now, and no sweep takes it from this run."""
        with store_lock(self.folder, fcntl.LOCK_SH):
            try:
                # The manifest is the last file that is written before the folder gets its name.
                os.utime(folder / "manifest.json")
            except FileNotFoundError:
                return False
            return True

    def objects(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Every object that is there and has a manifest (digest, tables, files, facts): its folder, and that."""
        for path in sorted((self.folder / "objects").glob("[!.]*/manifest.json")):
            # A sweep may take it away meanwhile; one that cannot be read is as good as gone.
            with suppress(FileNotFoundError, ValueError):
                yield path.parent, json.loads(path.read_text())

    def _key_path(self, key: str) -> Path:
        return self.folder / "keys" / f"{key}.json"

    def _write(self, made: StageResult) -> Path:
        """Write to a temporary folder, then rename: half a write is never seen."""
        files = dict(made.files or {})
        tables = {name: table_digest(frame) for name, frame in made.tables.items()}
        content = {
            "tables": tables,
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        }
        manifest = {"digest": digest_of(content), **content, "facts": made.facts}
        # Equal tables found by different ways have different facts: the object is both.
        target = self.folder / "objects" / digest_of(manifest)
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._touch(target):
            return target
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
        try:
            for name, frame in made.tables.items():
                frame.to_parquet(temporary / f"{name}.parquet", index=False)
            for name, data in files.items():
                (temporary / name).write_bytes(data)
            (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1))
            self._name(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return target

    def _name(self, temporary: Path, target: Path) -> None:
        try:
            with store_lock(self.folder, fcntl.LOCK_SH):
                temporary.rename(target)
        except OSError:
            # Another run may have written the same object meanwhile: equal digests are equal content.
            if not (target / "manifest.json").exists():
                raise

    def _read(self, folder: Path, reused: bool) -> StoredResult:
        manifest = json.loads((folder / "manifest.json").read_text())
        return StoredResult(manifest["digest"], folder, tuple(manifest["tables"]), manifest["facts"], reused)

    def _replace(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        with store_lock(self.folder, fcntl.LOCK_SH):
            Path(temporary).replace(path)


@contextmanager
def store_lock(store: Path, mode: int) -> Iterator[None]:
    """Hold the store's folder, `fcntl.LOCK_SH` together with others or `LOCK_EX` alone, for moments; it must exist."""
    handle = os.open(store, os.O_RDONLY)
    try:
        fcntl.flock(handle, mode)
        yield
    finally:
        os.close(handle)


def find_damage(folder: Path) -> str:
    """What of an object is not as its name and its manifest say, every digest being computed again; "" for nothing."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        content = {"tables": dict(manifest["tables"]), "files": dict(manifest["files"])}
        if digest_of(manifest) != folder.name or digest_of(content) != manifest["digest"]:
            return "its manifest is not the one that it was named after"
        named = [*(f"{table}.parquet" for table in content["tables"]), *content["files"]]
        if gone := [name for name in named if not (folder / name).is_file()]:
            return f"no file {', '.join(gone)}"
        for name, digest in content["tables"].items():
            if table_digest(pd.read_parquet(folder / f"{name}.parquet")) != digest:
                return f"the table {name} is another"
        for name, digest in content["files"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                return f"the file {name} is another"
    except Exception as error:  # damaged files may break their readers in any way
        return f"cannot be read ({type(error).__name__})"
    return ""


def key_of(stage: str, code: Path, libraries: tuple[str, ...] = (), **made_from: Any) -> str:
    """The key of a computation: `made_from` holds digests, parameters and seeds, `code` is the stage's file."""
    return digest_of(
        {
            "stage": stage,
            "code": _code_digest(code),
            "libraries": {name: version(name) for name in libraries},
            **made_from,
        }
    )


@cache
def _code_digest(stage_file: Path) -> str:
    """SHA-256 of `ml/`, `SHARED` and one stage's file: any change there makes old results unreachable."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "ml").rglob("*.py"), ROOT / SHARED, stage_file]):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()

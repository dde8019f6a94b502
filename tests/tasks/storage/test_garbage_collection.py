"""Garbage collection: required objects are kept, limits hold, and concurrent runs are never disturbed."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.storage.content_store import ROOT, StageResult, Store
from tasks.storage.garbage_collection import (
    StoredObject,
    delete_objects,
    delete_orphaned_files,
    expired_objects,
    list_objects,
    orphaned_files,
)

FAR_FUTURE = 2**62  # nanoseconds since 1970
KEYS = ("one", "two", "three")


def result(key: str) -> StageResult:
    return StageResult({"rows": pd.DataFrame({"a": [len(key), 2]})}, {"key": key}, {"note.txt": key.encode()})


def create_store(folder: Path, *keys: str) -> dict[str, str]:
    """Create a store with one object for each key; return the names of the objects by key."""
    return {key: Store(folder).get_or_compute(key, lambda key=key: result(key)).folder.name for key in keys}


def file_sizes(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_size for p in folder.rglob("*") if p.is_file()}


identifiers = st.frozensets(st.sampled_from("abcdef"), max_size=3)
stored_objects = st.builds(
    StoredObject,
    name=st.uuids().map(str),
    size_bytes=st.integers(0, 9),
    last_used=st.integers(0, 20),
    identifiers=identifiers,
    keys=st.sampled_from([(), (Path("key"),)]),
)


@given(
    st.lists(stored_objects, unique_by=lambda stored: stored.name, max_size=12),
    st.frozensets(st.sampled_from("abcdef")),
    st.integers(0, 21),
    st.integers(0, 21),
    st.integers(0, 40),
)
def test_required_objects_are_kept_and_the_limits_hold(
    objects: list[StoredObject],
    required: frozenset[str],
    protected_since: int,
    expire_before: int,
    max_bytes: int,
) -> None:
    expired = expired_objects(objects, required, protected_since, expire_before, max_bytes)
    expired_names = {stored.name for stored in expired}
    kept = [stored for stored in objects if stored.name not in expired_names]
    assert len(expired_names) == len(expired)
    assert expired_names <= {stored.name for stored in objects}

    must_be_kept = {stored.name for stored in objects if stored.last_used >= protected_since}
    for identifier in required:
        carriers = [stored for stored in objects if identifier in stored.identifiers]
        reachable = [stored for stored in carriers if stored.keys] or carriers
        if reachable:
            latest = max(reachable, key=lambda stored: (stored.last_used, stored.name))
            must_be_kept.add(latest.name)
    assert not expired_names & must_be_kept

    optional = [stored for stored in kept if stored.name not in must_be_kept]
    assert all(stored.last_used >= expire_before for stored in optional)
    assert sum(stored.size_bytes for stored in kept) <= max_bytes or not optional
    # No object within its age was selected without need, and the longest unused came first.
    if expired and expired[-1].last_used >= expire_before:
        assert sum(stored.size_bytes for stored in kept) + expired[-1].size_bytes > max_bytes
    if expired and optional:
        assert max(stored.last_used for stored in expired) <= min(stored.last_used for stored in optional)


def test_list_objects_lists_all_objects_with_their_keys_and_identifiers(tmp_path: Path) -> None:
    assert list_objects(tmp_path) == orphaned_files(tmp_path, FAR_FUTURE) == []
    object_names = create_store(tmp_path, *KEYS)
    Store(tmp_path).get_or_compute("again", lambda: result("one"))
    Store(tmp_path).get_or_compute("golden", lambda: StageResult({}, {"model": "m" * 64}))
    Store(tmp_path).get_or_compute(
        "decided", lambda: StageResult({}, {"report": "/a/run/artifacts/report.html"})
    )
    objects = {stored.name: stored for stored in list_objects(tmp_path)}
    assert len(objects) == 5
    assert sum(stored.size_bytes for stored in objects.values()) == sum(file_sizes(tmp_path).values())
    first = objects[object_names["one"]]
    assert {key.stem for key in first.keys} == {"one", "again"}
    assert Store(tmp_path).lookup("one").digest in first.identifiers  # type: ignore[union-attr]
    assert [stored for stored in objects.values() if "m" * 64 in stored.identifiers]
    reports = [stored.report for stored in objects.values() if stored.report]
    assert reports == ["/a/run/artifacts/report.html"]
    assert orphaned_files(tmp_path, FAR_FUTURE) == []


def test_deleted_objects_go_with_their_keys_and_are_computed_again(tmp_path: Path) -> None:
    object_names = create_store(tmp_path, *KEYS)
    before = sum(file_sizes(tmp_path).values())
    to_delete = [stored for stored in list_objects(tmp_path) if stored.name == object_names["two"]]
    assert delete_objects(tmp_path, to_delete) == to_delete
    assert before - sum(file_sizes(tmp_path).values()) == to_delete[0].size_bytes
    assert not [name for name in file_sizes(tmp_path) if object_names["two"] in name or "two" in name]
    assert orphaned_files(tmp_path, FAR_FUTURE) == []
    assert [Store(tmp_path).get_or_compute(key, lambda key=key: result(key)).reused for key in KEYS] == [
        True,
        False,
        True,
    ]
    assert create_store(tmp_path, *KEYS) == object_names


@pytest.mark.parametrize("use", ["looked up", "computed again"])
def test_objects_used_after_they_were_listed_are_kept(tmp_path: Path, use: str) -> None:
    object_names = create_store(tmp_path, *KEYS)
    to_delete = list_objects(tmp_path)
    if use == "looked up":
        assert Store(tmp_path).lookup("one")
    else:
        Store(tmp_path, fresh=True).get_or_compute("one", lambda: result("one"))
    assert {stored.name for stored in delete_objects(tmp_path, to_delete)} == {
        object_names["two"],
        object_names["three"],
    }
    assert Store(tmp_path).lookup("one").file("note.txt") == b"one"  # type: ignore[union-attr]


def test_a_key_that_points_to_another_object_by_now_is_kept(tmp_path: Path) -> None:
    create_store(tmp_path, "one")
    to_delete = list_objects(tmp_path)
    Store(tmp_path, fresh=True).get_or_compute("one", lambda: result("another"))
    assert delete_objects(tmp_path, to_delete) == to_delete
    assert Store(tmp_path).lookup("one").facts == {"key": "another"}  # type: ignore[union-attr]


def is_locked(store: Path, mode: int) -> bool:
    """Return whether another process could not lock the store in this mode now."""
    handle = os.open(store, os.O_RDONLY)
    try:
        fcntl.flock(handle, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def test_the_store_is_locked_while_an_object_is_used_or_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_store(tmp_path, *KEYS)
    to_delete, locked = list_objects(tmp_path), []
    rename, utime, replace = Path.rename, os.utime, Path.replace

    def spy(mode: int, function: Callable[..., object]) -> Callable[..., object]:
        def spying(*arguments: object) -> object:
            locked.append(is_locked(tmp_path, mode))
            return function(*arguments)

        return spying

    monkeypatch.setattr(os, "utime", spy(fcntl.LOCK_EX, utime))
    Store(tmp_path).lookup("one")
    monkeypatch.setattr(Path, "replace", spy(fcntl.LOCK_EX, replace))
    monkeypatch.setattr(Path, "rename", spy(fcntl.LOCK_EX, rename))
    Store(tmp_path).get_or_compute("four", lambda: result("four"))
    monkeypatch.setattr(Path, "rename", spy(fcntl.LOCK_SH, rename))
    assert len(delete_objects(tmp_path, to_delete)) == 2
    assert locked == [True] * 6  # one used; one missing, then named, then its key; two deleted
    assert not is_locked(tmp_path, fcntl.LOCK_EX)


KILLED_DELETION = """
import os, shutil, signal, sys
from pathlib import Path
from tasks.storage.garbage_collection import delete_objects, list_objects

def kill_self(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def delete_partly(folder):
    next(folder.glob("*.parquet")).unlink()
    kill_self()

{patch}
delete_objects(Path(sys.argv[1]), list_objects(Path(sys.argv[1])))
"""


@pytest.mark.parametrize(
    "patch",
    ["Path.rename = kill_self", "Path.unlink = kill_self", "shutil.rmtree = delete_partly"],
    ids=["move", "keys", "delete"],
)
def test_a_killed_deletion_leaves_a_working_store(tmp_path: Path, patch: str) -> None:
    object_names = create_store(tmp_path, *KEYS)
    child = subprocess.run(
        [sys.executable, "-c", KILLED_DELETION.format(patch=patch), str(tmp_path)], cwd=ROOT, check=False
    )
    assert child.returncode == -signal.SIGKILL
    again = [Store(tmp_path).get_or_compute(key, lambda key=key: result(key)) for key in KEYS]
    assert {key: stored.folder.name for key, stored in zip(KEYS, again, strict=True)} == object_names
    assert sum(stored.reused for stored in again) == (3 if "rename" in patch else 2)
    assert [stored.file("note.txt").decode() for stored in again] == list(KEYS)
    # The next deletion completes the killed one.
    orphans = orphaned_files(tmp_path, FAR_FUTURE)
    assert bool(orphans) == ("rename" not in patch)
    assert delete_orphaned_files(tmp_path, orphans) == orphans
    assert orphaned_files(tmp_path, FAR_FUTURE) == []
    assert list((tmp_path / "trash").glob("*")) == []
    assert create_store(tmp_path, *KEYS) == object_names


def test_files_of_killed_processes_are_deleted_once_old(tmp_path: Path) -> None:
    object_names = create_store(tmp_path, *KEYS)
    partial = tmp_path / "objects" / ".writing-x"
    partial.mkdir()
    (partial / "rows.parquet").write_bytes(b"12345")
    (partial / "manifest.json").write_text('{"digest": "d", "facts": {}}')  # complete, but not yet named
    (tmp_path / "keys" / "tmpx").write_text("{")
    (tmp_path / "keys" / "lost.json").write_text('{"object": "nowhere"}')
    (tmp_path / "keys" / "torn.json").write_text("{")
    (tmp_path / "objects" / object_names["two"] / "manifest.json").unlink()
    regardless_of_age = orphaned_files(tmp_path, 0)
    assert {orphan.path.name for orphan in regardless_of_age} == {"lost.json", "torn.json", "two.json"}
    orphans = orphaned_files(tmp_path, FAR_FUTURE)
    assert {orphan.path.name for orphan in orphans} == {
        ".writing-x", "tmpx", "lost.json", "torn.json", "two.json", object_names["two"]
    }  # fmt: skip
    before = sum(file_sizes(tmp_path).values())
    assert delete_orphaned_files(tmp_path, orphans) == orphans
    assert before - sum(file_sizes(tmp_path).values()) == sum(orphan.size_bytes for orphan in orphans) > 0
    assert {stored.name for stored in list_objects(tmp_path)} == {object_names["one"], object_names["three"]}
    assert create_store(tmp_path, *KEYS) == object_names


def test_files_that_became_complete_since_they_were_listed_are_kept(tmp_path: Path) -> None:
    object_names = create_store(tmp_path, "one")
    folder = tmp_path / "objects" / object_names["one"]
    away = folder.rename(tmp_path / "away")
    folder.mkdir()
    orphans = orphaned_files(tmp_path, FAR_FUTURE)
    assert {orphan.path.name for orphan in orphans} == {"one.json", object_names["one"]}
    away.rename(folder)
    assert delete_orphaned_files(tmp_path, orphans) == []
    assert Store(tmp_path).lookup("one")


@pytest.mark.parametrize("text", ["[]", "{}", "1", '{"facts": 1, "digest": ""}', "[" * 100_000, "\0"])
def test_an_object_with_an_unreadable_manifest_is_orphaned(tmp_path: Path, text: str) -> None:
    names = create_store(tmp_path, *KEYS)
    (tmp_path / "objects" / names["one"] / "manifest.json").write_text(text)
    assert {stored.name for stored in list_objects(tmp_path)} == {names["two"], names["three"]}
    orphans = orphaned_files(tmp_path, FAR_FUTURE)
    assert [orphan.path.name for orphan in orphans] == [names["one"]]
    assert delete_orphaned_files(tmp_path, orphans) == orphans
    assert not Store(tmp_path).get_or_compute("one", lambda: result("one")).reused

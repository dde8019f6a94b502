"""Mark and sweep: what is needed stays, the limits hold, and runs beside it never notice."""

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
from tasks.storage.garbage_collection import Object, clear, doomed, leftovers, objects, sweep

LATER = 2**62  # nanoseconds since 1970, after everything here
KEYS = ("one", "two", "three")


def made(key: str) -> StageResult:
    return StageResult({"rows": pd.DataFrame({"a": [len(key), 2]})}, {"key": key}, {"note.txt": key.encode()})


def store_with(folder: Path, *keys: str) -> dict[str, str]:
    """A store in which each key leads to an object of its own; the names of these."""
    return {key: Store(folder).get_or_compute(key, lambda key=key: made(key)).folder.name for key in keys}


def tree(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_size for p in folder.rglob("*") if p.is_file()}


names = st.frozensets(st.sampled_from("abcdef"), max_size=3)
stored = st.builds(
    Object,
    name=st.uuids().map(str),
    bytes=st.integers(0, 9),
    used=st.integers(0, 20),
    names=names,
    keys=st.sampled_from([(), (Path("key"),)]),
)


@given(
    st.lists(stored, unique_by=lambda one: one.name, max_size=12),
    st.frozensets(st.sampled_from("abcdef")),
    st.integers(0, 21),
    st.integers(0, 21),
    st.integers(0, 40),
)
def test_what_is_needed_stays_and_the_limits_hold(
    known: list[Object], needed: frozenset[str], spared: int, expired: int, maximum: int
) -> None:
    going = doomed(known, needed, spared, expired, maximum)
    gone = {one.name for one in going}
    kept = [one for one in known if one.name not in gone]
    assert len(gone) == len(going)
    assert gone <= {one.name for one in known}

    must_stay = {one.name for one in known if one.used >= spared}
    for name in needed:
        carriers = [one for one in known if name in one.names]
        findable = [one for one in carriers if one.keys] or carriers
        if findable:
            last = max(findable, key=lambda one: (one.used, one.name))
            must_stay.add(last.name)
    assert not gone & must_stay

    free = [one for one in kept if one.name not in must_stay]
    assert all(one.used >= expired for one in free)
    assert sum(one.bytes for one in kept) <= maximum or not free
    # Nothing younger than the age went without need, and the longest unused went first.
    if going and going[-1].used >= expired:
        assert sum(one.bytes for one in kept) + going[-1].bytes > maximum
    if going and free:
        assert max(one.used for one in going) <= min(one.used for one in free)


def test_objects_are_what_the_store_holds(tmp_path: Path) -> None:
    assert objects(tmp_path) == leftovers(tmp_path, LATER) == []
    of = store_with(tmp_path, *KEYS)
    Store(tmp_path).get_or_compute("again", lambda: made("one"))
    Store(tmp_path).get_or_compute("golden", lambda: StageResult({}, {"model": "m" * 64}))
    Store(tmp_path).get_or_compute(
        "decided", lambda: StageResult({}, {"report": "/a/run/artifacts/report.html"})
    )
    known = {one.name: one for one in objects(tmp_path)}
    assert len(known) == 5
    assert sum(one.bytes for one in known.values()) == sum(tree(tmp_path).values())
    one = known[of["one"]]
    assert {key.stem for key in one.keys} == {"one", "again"}
    assert Store(tmp_path).lookup("one").digest in one.names  # type: ignore[union-attr]
    assert [found for found in known.values() if "m" * 64 in found.names]
    assert [found.report for found in known.values() if found.report] == ["/a/run/artifacts/report.html"]
    assert leftovers(tmp_path, LATER) == []


def test_what_is_swept_is_gone_with_its_keys_and_made_again(tmp_path: Path) -> None:
    of = store_with(tmp_path, *KEYS)
    before = sum(tree(tmp_path).values())
    going = [one for one in objects(tmp_path) if one.name == of["two"]]
    assert sweep(tmp_path, going) == going
    assert before - sum(tree(tmp_path).values()) == going[0].bytes
    assert not [name for name in tree(tmp_path) if of["two"] in name or "two" in name]
    assert leftovers(tmp_path, LATER) == []
    assert [Store(tmp_path).get_or_compute(key, lambda key=key: made(key)).reused for key in KEYS] == [
        True,
        False,
        True,
    ]
    assert store_with(tmp_path, *KEYS) == of


@pytest.mark.parametrize("use", ["recall", "made again"])
def test_what_is_used_after_it_was_looked_at_stays(tmp_path: Path, use: str) -> None:
    of = store_with(tmp_path, *KEYS)
    going = objects(tmp_path)
    if use == "recall":
        assert Store(tmp_path).lookup("one")
    else:
        Store(tmp_path, fresh=True).get_or_compute("one", lambda: made("one"))
    assert {one.name for one in sweep(tmp_path, going)} == {of["two"], of["three"]}
    assert Store(tmp_path).lookup("one").file("note.txt") == b"one"  # type: ignore[union-attr]


def test_a_key_that_leads_elsewhere_by_now_stays(tmp_path: Path) -> None:
    store_with(tmp_path, "one")
    going = objects(tmp_path)
    Store(tmp_path, fresh=True).get_or_compute("one", lambda: made("another"))
    assert sweep(tmp_path, going) == going
    assert Store(tmp_path).lookup("one").facts == {"key": "another"}  # type: ignore[union-attr]


def refused(store: Path, how: int) -> bool:
    """Whether another process could not hold the store so at this moment."""
    handle = os.open(store, os.O_RDONLY)
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def test_the_store_is_held_while_an_object_is_taken_up_or_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_with(tmp_path, *KEYS)
    going, seen = objects(tmp_path), []
    rename, utime, replace = Path.rename, os.utime, Path.replace

    def spy(how: int, do: Callable[..., object]) -> Callable[..., object]:
        def spying(*arguments: object) -> object:
            seen.append(refused(tmp_path, how))
            return do(*arguments)

        return spying

    monkeypatch.setattr(os, "utime", spy(fcntl.LOCK_EX, utime))
    Store(tmp_path).lookup("one")
    monkeypatch.setattr(Path, "replace", spy(fcntl.LOCK_EX, replace))
    monkeypatch.setattr(Path, "rename", spy(fcntl.LOCK_EX, rename))
    Store(tmp_path).get_or_compute("four", lambda: made("four"))
    monkeypatch.setattr(Path, "rename", spy(fcntl.LOCK_SH, rename))
    assert len(sweep(tmp_path, going)) == 2
    assert seen == [True] * 6  # one taken up; one that is not there, named, and its key; two taken away
    assert not refused(tmp_path, fcntl.LOCK_EX)


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from tasks.storage.garbage_collection import objects, sweep

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def half(folder):
    next(folder.glob("*.parquet")).unlink()
    die()

{at}
sweep(Path(sys.argv[1]), objects(Path(sys.argv[1])))
"""


@pytest.mark.parametrize(
    "at", ["Path.rename = die", "Path.unlink = die", "shutil.rmtree = half"], ids=["move", "keys", "delete"]
)
def test_a_sweep_killed_in_the_middle_leaves_a_store_that_works(tmp_path: Path, at: str) -> None:
    of = store_with(tmp_path, *KEYS)
    child = subprocess.run([sys.executable, "-c", KILLED.format(at=at), str(tmp_path)], cwd=ROOT, check=False)
    assert child.returncode == -signal.SIGKILL
    again = [Store(tmp_path).get_or_compute(key, lambda key=key: made(key)) for key in KEYS]
    assert {key: stored.folder.name for key, stored in zip(KEYS, again, strict=True)} == of
    assert sum(stored.reused for stored in again) == (3 if "rename" in at else 2)
    assert [stored.file("note.txt").decode() for stored in again] == list(KEYS)
    # The next sweep ends what that one began.
    left = leftovers(tmp_path, LATER)
    assert bool(left) == ("rename" not in at)
    assert clear(tmp_path, left) == left
    assert leftovers(tmp_path, LATER) == []
    assert list((tmp_path / "trash").glob("*")) == []
    assert store_with(tmp_path, *KEYS) == of


def test_what_killed_processes_left_goes_once_it_is_old(tmp_path: Path) -> None:
    of = store_with(tmp_path, *KEYS)
    half = tmp_path / "objects" / ".writing-x"
    half.mkdir()
    (half / "rows.parquet").write_bytes(b"12345")
    (half / "manifest.json").write_text('{"digest": "d", "facts": {}}')  # all but named
    (tmp_path / "keys" / "tmpx").write_text("{")
    (tmp_path / "keys" / "lost.json").write_text('{"object": "nowhere"}')
    (tmp_path / "keys" / "torn.json").write_text("{")
    (tmp_path / "objects" / of["two"] / "manifest.json").unlink()
    young = leftovers(tmp_path, 0)
    assert {one.path.name for one in young} == {"lost.json", "torn.json", "two.json"}
    left = leftovers(tmp_path, LATER)
    assert {one.path.name for one in left} == {
        ".writing-x", "tmpx", "lost.json", "torn.json", "two.json", of["two"]
    }  # fmt: skip
    before = sum(tree(tmp_path).values())
    assert clear(tmp_path, left) == left
    assert before - sum(tree(tmp_path).values()) == sum(one.bytes for one in left) > 0
    assert {one.name for one in objects(tmp_path)} == {of["one"], of["three"]}
    assert store_with(tmp_path, *KEYS) == of


def test_what_became_whole_since_it_was_looked_at_stays(tmp_path: Path) -> None:
    of = store_with(tmp_path, "one")
    whole = tmp_path / "objects" / of["one"]
    away = whole.rename(tmp_path / "away")
    whole.mkdir()
    left = leftovers(tmp_path, LATER)
    assert {one.path.name for one in left} == {"one.json", of["one"]}
    away.rename(whole)
    assert clear(tmp_path, left) == []
    assert Store(tmp_path).lookup("one")

"""The content store: what is reused, what is not, and what a killed process leaves."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.storage import content_store as module
from tasks.storage.content_store import StageResult, Store, StoredResult, find_damage, key_of

CHILD = """
import os, signal, sys
from pathlib import Path
import pandas as pd
from tasks.storage.content_store import Made, Store

def table():
    {before}
    return Made({{"rows": pd.DataFrame({{"a": [1, 2, 3]}})}}, {{"found": 3}}, {{"note.txt": b"hello"}})

{setup}
stored = Store(Path(sys.argv[1])).remember("key", table)
print(stored.digest, stored.reused)
"""
DIE = "os.kill(os.getpid(), signal.SIGKILL)"


def start(folder: Path, setup: str = "", before: str = "") -> "subprocess.Popen[str]":
    code = CHILD.format(setup=setup, before=before)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        cwd=module.ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )


def made(value: int = 1) -> StageResult:
    frame = pd.DataFrame({"a": [value, 2, 3], "b": pd.Series(["x", None, "z"], dtype="str")})
    return StageResult(
        {"rows": frame, "other": frame.head(1)}, {"found": value, "by": ("x",)}, {"note.txt": b"hello"}
    )


class Counted:
    """A computation that knows how often it was made."""

    def __init__(self, result: Any = None) -> None:
        self.calls, self.result = 0, result

    def __call__(self) -> StageResult:
        self.calls += 1
        return self.result or made()


def test_what_was_stored_is_read_back(tmp_path: Path) -> None:
    stored = Store(tmp_path).get_or_compute("key", made)
    pd.testing.assert_frame_equal(stored.table("rows"), made().tables["rows"])
    assert stored.file("note.txt") == b"hello"
    assert stored.table_names == ("rows", "other")
    # Facts are what JSON makes of them, whether they were just made or are reused.
    assert stored.facts == {"found": 1, "by": ["x"]}
    assert not stored.reused


def test_a_key_is_computed_once(tmp_path: Path) -> None:
    compute = Counted()
    first = Store(tmp_path).get_or_compute("key", compute)
    second = Store(tmp_path).get_or_compute("key", compute)
    assert compute.calls == 1
    assert second == StoredResult(first.digest, first.folder, first.table_names, first.facts, reused=True)
    Store(tmp_path).get_or_compute("another", compute)
    assert compute.calls == 2


def test_fresh_computes_again_and_takes_the_place_of_the_old(tmp_path: Path) -> None:
    Store(tmp_path).get_or_compute("key", made)
    fresh = Store(tmp_path, fresh=True).get_or_compute("key", lambda: made(7))
    assert not fresh.reused
    assert Store(tmp_path).get_or_compute("key", made).facts["found"] == 7


def test_equal_tables_have_one_digest_and_keep_their_own_facts(tmp_path: Path) -> None:
    tables = made().tables
    one = Store(tmp_path).get_or_compute("one", lambda: StageResult(tables, {"seconds": 1}))
    two = Store(tmp_path).get_or_compute("two", lambda: StageResult(tables, {"seconds": 2}))
    assert one.digest == two.digest
    assert Store(tmp_path).get_or_compute("one", made).facts == {"seconds": 1}
    assert Store(tmp_path).get_or_compute("two", made).facts == {"seconds": 2}


def test_equal_results_of_two_keys_are_one_object(tmp_path: Path) -> None:
    one, two = (Store(tmp_path).get_or_compute(key, made) for key in ("one", "two"))
    assert one.folder == two.folder
    assert len(list((tmp_path / "objects").iterdir())) == 1


def test_an_object_that_was_removed_is_made_again(tmp_path: Path) -> None:
    first = Store(tmp_path).get_or_compute("key", made)
    (first.folder / "manifest.json").unlink()
    for file in first.folder.iterdir():
        file.unlink()
    first.folder.rmdir()
    again = Store(tmp_path).get_or_compute("key", made)
    assert not again.reused
    assert again.digest == first.digest


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def cannot_be_written() -> StageResult:
        return StageResult({"rows": pd.DataFrame({"a": [1]})}, {}, {"no/such/folder": b""})

    with pytest.raises(OSError, match="no/such/folder"):
        Store(tmp_path).get_or_compute("key", cannot_be_written)
    with pytest.raises(TypeError):
        Store(tmp_path).get_or_compute("key", lambda: StageResult({}, {"no json": np.int64(1)}))
    with pytest.raises(ZeroDivisionError):
        Store(tmp_path).get_or_compute("key", lambda: made(1 // 0))
    assert list((tmp_path / "objects").iterdir()) == []
    assert not Store(tmp_path).get_or_compute("key", made).reused


def test_an_interrupt_is_never_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where another process has just finished the same object."""
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        rename(self, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).get_or_compute("key", made)
    assert not [p for p in (tmp_path / "objects").iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("step", ["rename", "replace"])
def test_a_process_killed_before_its_last_step_leaves_nothing_to_read(tmp_path: Path, step: str) -> None:
    """`rename` gives the object its name, `replace` the key its object: dead before either, all is made again."""
    child = start(tmp_path, setup=f"Path.{step} = lambda self, target: {DIE}")
    assert child.communicate(timeout=60)[0] == ""
    assert child.returncode == -signal.SIGKILL
    assert list((tmp_path).rglob("manifest.json"))  # all was written, and still
    compute = Counted()
    stored = Store(tmp_path).get_or_compute("key", compute)
    assert compute.calls == 1
    assert not stored.reused
    assert Store(tmp_path).get_or_compute("key", compute).reused


def test_two_processes_that_make_one_key_at_once_both_get_it(tmp_path: Path) -> None:
    """Both have begun before either goes on: each says so, then waits for a line."""
    waiting = "print('begun', flush=True); sys.stdin.readline()"
    children = [start(tmp_path, before=waiting) for _ in range(2)]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "begun\n"
    answers = [child.communicate("go\n", timeout=60)[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert answers[0] == answers[1]
    assert len(list((tmp_path / "objects").iterdir())) == 1
    assert Store(tmp_path).get_or_compute("key", Counted()).digest == answers[0][0]


def test_who_comes_second_to_an_object_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process names the same object between this one's last look and its rename."""
    rename = Path.rename

    def overtaken(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        Store(tmp_path).get_or_compute("key", made)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    stored = Store(tmp_path).get_or_compute("key", made)
    assert [p.name for p in (tmp_path / "objects").iterdir()] == [stored.folder.name]


@pytest.fixture
def stored(tmp_path: Path) -> StoredResult:
    table = pd.DataFrame({"a": [1.0, None], "b": ["x", "y"], "c": [["i"], []]})
    return Store(tmp_path).get_or_compute(
        "key", lambda: StageResult({"rows": table}, {"found": 2}, {"note.txt": b"hello"})
    )


def test_what_is_there_is_listed_and_without_fault(tmp_path: Path, stored: StoredResult) -> None:
    (tmp_path / "objects" / ".writing-half").mkdir()
    (tmp_path / "objects" / ".writing-half" / "manifest.json").write_text("{}")
    (tmp_path / "objects" / "torn").mkdir()
    (tmp_path / "objects" / "torn" / "manifest.json").write_text('{"digest"')
    ((folder, manifest),) = Store(tmp_path).objects()
    assert (folder, manifest["digest"], manifest["facts"]) == (stored.folder, stored.digest, {"found": 2})
    assert find_damage(folder) == ""


@pytest.mark.parametrize("damage", ["cell", "half", "file", "missing", "facts", "digest", "name"])
def test_what_is_damaged_is_found_out(damage: str, stored: StoredResult) -> None:
    folder, rows, note = stored.folder, stored.folder / "rows.parquet", stored.folder / "note.txt"
    manifest = folder / "manifest.json"
    match damage:
        case "cell":
            pd.read_parquet(rows).assign(b=["x", "z"]).to_parquet(rows, index=False)
        case "half":
            rows.write_bytes(rows.read_bytes()[:100])
        case "file":
            note.write_bytes(b"hallo")
        case "missing":
            note.unlink()
        case "facts":
            manifest.write_text(manifest.read_text().replace('"found": 2', '"found": 3'))
        case "digest":
            manifest.write_text(manifest.read_text().replace(stored.digest, "0" * 64))
        case "name":
            folder = folder.rename(folder.with_name("0" * 64))
    assert find_damage(folder)


STAGE = module.ROOT / "tasks" / "store.py"


def test_a_key_hangs_on_everything_that_the_result_is_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> list[str]:
        return [
            key_of("stage", STAGE, ("numpy",), raw="a", seed=1),
            key_of("other", STAGE, ("numpy",), raw="a", seed=1),
            key_of("stage", module.ROOT / "tasks" / "split.py", ("numpy",), raw="a", seed=1),
            key_of("stage", STAGE, ("numpy", "pandas"), raw="a", seed=1),
            key_of("stage", STAGE, ("numpy",), raw="b", seed=1),
            key_of("stage", STAGE, ("numpy",), raw="a", seed=2),
            key_of("stage", STAGE, ("numpy",), raw="a"),
        ]

    before = keys()
    assert before == keys()
    assert len(set(before)) == len(before)
    assert key_of("stage", STAGE, ("numpy",), seed=1, raw="a") == before[0]
    monkeypatch.setattr(module, "version", lambda name: "0.0.1")
    assert not set(before) & set(keys())


def test_a_key_hangs_on_the_code_of_the_techniques(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ml" / "deep").mkdir(parents=True)
    (tmp_path / "tasks").mkdir()
    technique, stage = tmp_path / "ml" / "deep" / "trees.py", tmp_path / "stage.py"
    shared = tmp_path / "tasks" / "parts.py"
    monkeypatch.setattr(module, "ROOT", tmp_path)

    def key(trees: str, staged: str, told: str = "c = 1") -> str:
        technique.write_text(trees)
        stage.write_text(staged)
        shared.write_text(told)
        module._code_digest.cache_clear()
        return key_of("stage", stage)

    keys = [
        key("a = 1", "b = 1"),
        key("a = 2", "b = 1"),
        key("a = 1", "b = 2"),
        key("a = 1", "b = 1", "c = 2"),
    ]
    assert len(set(keys)) == 4
    assert key("a = 1", "b = 1") == keys[0]
    module._code_digest.cache_clear()

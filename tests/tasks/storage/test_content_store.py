"""Content store: what is reused, what is computed again, and what a killed process leaves behind."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.storage import content_store as module
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of
from tasks.storage.object_folder import find_damage

CHILD = """
import os, signal, sys
from pathlib import Path
import pandas as pd
from tasks.storage.content_store import StageResult, Store

def compute():
    {before}
    return StageResult({{"rows": pd.DataFrame({{"a": [1, 2, 3]}})}}, {{"found": 3}}, {{"note.txt": b"hello"}})

{setup}
stored = Store(Path(sys.argv[1])).get_or_compute("key", compute)
print(stored.digest, stored.reused)
"""
KILL_SELF = "os.kill(os.getpid(), signal.SIGKILL)"


def start_child(folder: Path, setup: str = "", before: str = "") -> "subprocess.Popen[str]":
    code = CHILD.format(setup=setup, before=before)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        cwd=module.ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )


def result(value: int = 1) -> StageResult:
    frame = pd.DataFrame({"a": [value, 2, 3], "b": pd.Series(["x", None, "z"], dtype="str")})
    return StageResult(
        {"rows": frame, "other": frame.head(1)}, {"found": value, "by": ("x",)}, {"note.txt": b"hello"}
    )


class CountingComputation:
    """Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> StageResult:
        self.calls += 1
        return result()


def test_a_stored_result_is_read_back_unchanged(tmp_path: Path) -> None:
    stored = Store(tmp_path).get_or_compute("key", result)
    pd.testing.assert_frame_equal(stored.table("rows"), result().tables["rows"])
    assert stored.file("note.txt") == b"hello"
    assert stored.table_names == ("rows", "other")
    # Facts have passed through JSON, whether they were just computed or are reused.
    assert stored.facts == {"found": 1, "by": ["x"]}
    assert not stored.reused


def test_each_key_is_computed_once(tmp_path: Path) -> None:
    compute = CountingComputation()
    first = Store(tmp_path).get_or_compute("key", compute)
    second = Store(tmp_path).get_or_compute("key", compute)
    assert compute.calls == 1
    assert second == StoredResult(first.digest, first.folder, first.table_names, first.facts, reused=True)
    Store(tmp_path).get_or_compute("another", compute)
    assert compute.calls == 2


def test_fresh_computes_again_and_replaces_the_earlier_result(tmp_path: Path) -> None:
    Store(tmp_path).get_or_compute("key", result)
    fresh = Store(tmp_path, fresh=True).get_or_compute("key", lambda: result(7))
    assert not fresh.reused
    assert Store(tmp_path).get_or_compute("key", result).facts["found"] == 7


def test_equal_tables_share_a_digest_and_keep_their_own_facts(tmp_path: Path) -> None:
    tables = result().tables
    one = Store(tmp_path).get_or_compute("one", lambda: StageResult(tables, {"seconds": 1}))
    two = Store(tmp_path).get_or_compute("two", lambda: StageResult(tables, {"seconds": 2}))
    assert one.digest == two.digest
    assert Store(tmp_path).get_or_compute("one", result).facts == {"seconds": 1}
    assert Store(tmp_path).get_or_compute("two", result).facts == {"seconds": 2}


def test_two_keys_with_equal_results_share_one_object(tmp_path: Path) -> None:
    one, two = (Store(tmp_path).get_or_compute(key, result) for key in ("one", "two"))
    assert one.folder == two.folder
    assert len(list((tmp_path / "objects").iterdir())) == 1


def test_a_removed_object_is_computed_again(tmp_path: Path) -> None:
    first = Store(tmp_path).get_or_compute("key", result)
    (first.folder / "manifest.json").unlink()
    for file in first.folder.iterdir():
        file.unlink()
    first.folder.rmdir()
    again = Store(tmp_path).get_or_compute("key", result)
    assert not again.reused
    assert again.digest == first.digest


def test_an_error_leaves_no_object_behind(tmp_path: Path) -> None:
    def cannot_be_written() -> StageResult:
        return StageResult({"rows": pd.DataFrame({"a": [1]})}, {}, {"no/such/folder": b""})

    with pytest.raises(OSError, match="no/such/folder"):
        Store(tmp_path).get_or_compute("key", cannot_be_written)
    with pytest.raises(TypeError):
        Store(tmp_path).get_or_compute("key", lambda: StageResult({}, {"no json": np.int64(1)}))
    with pytest.raises(ZeroDivisionError):
        Store(tmp_path).get_or_compute("key", lambda: result(1 // 0))
    assert list((tmp_path / "objects").iterdir()) == []
    assert not Store(tmp_path).get_or_compute("key", result).reused


def test_keyboard_interrupt_is_never_suppressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another process has just written the same object."""
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        rename(self, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).get_or_compute("key", result)
    assert not [p for p in (tmp_path / "objects").iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("step", ["rename", "replace"])
def test_a_process_killed_before_its_last_step_leaves_nothing_readable(tmp_path: Path, step: str) -> None:
    """`rename` names the object, `replace` writes the key; killed before either, the result is computed again."""
    child = start_child(tmp_path, setup=f"Path.{step} = lambda self, target: {KILL_SELF}")
    assert child.communicate(timeout=60)[0] == ""
    assert child.returncode == -signal.SIGKILL
    assert list((tmp_path).rglob("manifest.json"))  # everything was written, but not named
    compute = CountingComputation()
    stored = Store(tmp_path).get_or_compute("key", compute)
    assert compute.calls == 1
    assert not stored.reused
    assert Store(tmp_path).get_or_compute("key", compute).reused


def test_two_processes_computing_one_key_at_once_both_get_the_result(tmp_path: Path) -> None:
    """Both start before either continues: each prints a line, then waits for one."""
    wait = "print('started', flush=True); sys.stdin.readline()"
    children = [start_child(tmp_path, before=wait) for _ in range(2)]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "started\n"
    outputs = [child.communicate("go\n", timeout=60)[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert outputs[0] == outputs[1]
    assert len(list((tmp_path / "objects").iterdir())) == 1
    assert Store(tmp_path).get_or_compute("key", CountingComputation()).digest == outputs[0][0]


def test_the_slower_of_two_writers_uses_the_object_of_the_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process names the same object between the last check of this one and its rename."""
    rename = Path.rename

    def overtaken(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        Store(tmp_path).get_or_compute("key", result)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    stored = Store(tmp_path).get_or_compute("key", result)
    assert [p.name for p in (tmp_path / "objects").iterdir()] == [stored.folder.name]


@pytest.fixture
def stored(tmp_path: Path) -> StoredResult:
    table = pd.DataFrame({"a": [1.0, None], "b": ["x", "y"], "c": [["i"], []]})
    return Store(tmp_path).get_or_compute(
        "key", lambda: StageResult({"rows": table}, {"found": 2}, {"note.txt": b"hello"})
    )


def test_objects_lists_complete_objects_without_damage(tmp_path: Path, stored: StoredResult) -> None:
    (tmp_path / "objects" / ".writing-half").mkdir()
    (tmp_path / "objects" / ".writing-half" / "manifest.json").write_text("{}")
    (tmp_path / "objects" / "torn").mkdir()
    (tmp_path / "objects" / "torn" / "manifest.json").write_text('{"digest"')
    ((folder, manifest),) = Store(tmp_path).objects()
    assert (folder, manifest["digest"], manifest["facts"]) == (stored.folder, stored.digest, {"found": 2})
    assert find_damage(folder) == ""


@pytest.mark.parametrize("damage", ["cell", "half", "file", "missing", "facts", "digest", "name"])
def test_find_damage_detects_every_kind_of_change(damage: str, stored: StoredResult) -> None:
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


CODE = ("ml/data", "tasks/split.py")


def test_the_key_depends_on_every_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> list[str]:
        return [
            key_of("stage", CODE, ("numpy",), raw="a", seed=1),
            key_of("other", CODE, ("numpy",), raw="a", seed=1),
            key_of("stage", ("ml/data", "tasks/train.py"), ("numpy",), raw="a", seed=1),
            key_of("stage", CODE, ("numpy", "pandas"), raw="a", seed=1),
            key_of("stage", CODE, ("numpy",), raw="b", seed=1),
            key_of("stage", CODE, ("numpy",), raw="a", seed=2),
            key_of("stage", CODE, ("numpy",), raw="a"),
        ]

    before = keys()
    assert before == keys()
    assert len(set(before)) == len(before)
    assert key_of("stage", CODE, ("numpy",), seed=1, raw="a") == before[0]
    monkeypatch.setattr(module, "version", lambda name: "0.0.1")
    assert not set(before) & set(keys())


def test_the_key_depends_on_the_code_of_the_stage_and_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {name: tmp_path / name for name in ("ml/room/deep/trees.py", "tasks/stage.py", "ml/other.py")}
    for path in sources.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(module, "ROOT", tmp_path)

    def key(technique: str, stage: str, unlisted: str = "c = 1") -> str:
        for path, text in zip(sources.values(), (technique, stage, unlisted), strict=True):
            path.write_text(text)
        module._code_digest.cache_clear()
        return key_of("stage", ("ml/room", "tasks/stage.py"))

    keys = [key("a = 1", "b = 1"), key("a = 2", "b = 1"), key("a = 1", "b = 2")]
    assert len(set(keys)) == 3
    assert key("a = 1", "b = 1") == key("a = 1", "b = 1", "c = 2") == keys[0]
    sources["ml/room/deep/trees.py"].rename(tmp_path / "ml" / "room" / "renamed.py")
    module._code_digest.cache_clear()
    assert key_of("stage", ("ml/room", "tasks/stage.py")) not in keys
    module._code_digest.cache_clear()


@pytest.mark.parametrize("missing", ["ml/empty", "ml/no_such_file.py"])
def test_listed_code_that_is_missing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    (tmp_path / "ml" / "empty").mkdir(parents=True)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError):
        key_of("stage", (missing,))

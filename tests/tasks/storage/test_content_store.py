"""Content store: what is reused, what is computed again, and what a killed process leaves behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.data.digest import json_digest
from ml.errors import StoredResultError
from tasks.storage import content_store as module
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of
from tasks.storage.locked_folder import delete_damaged
from tasks.storage.object_folder import find_damage
from tests.guard import GUARD

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
    assert child.communicate(timeout=GUARD)[0] == ""
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
    outputs = [child.communicate("go\n", timeout=GUARD)[0].split() for child in children]
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


def test_a_damaged_result_is_reported_and_computed_again(
    tmp_path: Path, stored: StoredResult, caplog: pytest.LogCaptureFixture
) -> None:
    """The labels of a table are exchanged in a valid Parquet file."""
    rows = stored.table("rows")
    rows.assign(b=["y", "x"]).to_parquet(stored.folder / "rows.parquet", index=False)
    damages: list[tuple[str, str]] = []
    store = Store(tmp_path, on_damage=lambda stage, damage: damages.append((stage, damage)))

    def compute() -> StageResult:
        return StageResult({"rows": rows}, {"found": 2}, {"note.txt": b"hello"})

    again = store.get_or_compute("key", compute, "validate")
    assert damages == [("validate", "the table rows was changed")]
    assert (again.digest, again.reused) == (stored.digest, False)
    assert again.table("rows")["b"].tolist() == ["x", "y"]
    assert store.get_or_compute("key", compute).reused
    assert not list((tmp_path / "trash").iterdir())
    (again.folder / "note.txt").write_bytes(b"hallo")
    Store(tmp_path).get_or_compute("key", compute, "validate")
    message = "the stored result of stage validate was damaged (the file note.txt was changed)"
    assert f"{message}; it is computed again" in caplog.text


@pytest.mark.parametrize("read", ["table", "file", "files", "row_count"])
def test_a_result_damaged_after_its_lookup_stops_the_run_and_is_deleted(
    tmp_path: Path, stored: StoredResult, read: str
) -> None:
    name = "note.txt" if read in ("file", "files") else "rows.parquet"
    data = (stored.folder / name).read_bytes()
    (stored.folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    arguments = {"file": ["note.txt"], "table": ["rows"], "row_count": ["rows"]}.get(read, [])
    with pytest.raises(
        StoredResultError, match="was changed; repeat the command: it computes the result again"
    ):
        getattr(stored, read)(*arguments)
    assert not stored.folder.exists()
    assert Store(tmp_path).lookup("key") is None


def test_files_that_the_manifest_does_not_name_are_not_read(stored: StoredResult) -> None:
    (stored.folder / "more.json").write_text("{}")
    assert list(stored.files()) == ["note.txt"]


def write_as_earlier_release(stored: StoredResult) -> Path:
    """Rewrite object and key in the form of releases that had no digests of files and no checksum of keys."""
    manifest = json.loads((stored.folder / "manifest.json").read_text())
    del manifest["stored_files"]
    folder = stored.folder.rename(stored.folder.with_name(json_digest(manifest)))
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    key = stored.folder.parents[1] / "keys" / "key.json"
    key.write_text(json.dumps({"object": folder.name}))
    return folder


def test_objects_of_earlier_releases_are_verified_by_content(tmp_path: Path, stored: StoredResult) -> None:
    rows = stored.table("rows")
    folder = write_as_earlier_release(stored)
    earlier = Store(tmp_path).lookup("key")
    assert earlier
    pd.testing.assert_frame_equal(earlier.table("rows"), rows)
    assert (earlier.row_count("rows"), earlier.file("note.txt")) == (2, b"hello")
    # Another file with equal content is the same table; a changed cell is not.
    rows.to_parquet(folder / "rows.parquet", index=False, compression="gzip")
    assert Store(tmp_path).lookup("key") == earlier
    rows.assign(b=["x", "z"]).to_parquet(folder / "rows.parquet", index=False)
    assert find_damage(folder) == "the table rows was changed"
    with pytest.raises(StoredResultError, match="the table rows was changed"):
        earlier.table("rows")
    assert Store(tmp_path).lookup("key") is None


def test_the_key_of_another_computation_is_not_used(tmp_path: Path) -> None:
    Store(tmp_path).get_or_compute("one", lambda: result(1))
    Store(tmp_path).get_or_compute("two", lambda: result(2))
    shutil.copy(tmp_path / "keys" / "two.json", tmp_path / "keys" / "one.json")
    assert Store(tmp_path).get_or_compute("one", lambda: result(1)).facts["found"] == 1


def test_numbers_as_keys_of_facts_do_not_look_like_damage(tmp_path: Path) -> None:
    """JSON makes them text, which is sorted differently."""
    facts = {number: number for number in (2, 10)}
    Store(tmp_path).get_or_compute("key", lambda: StageResult({}, facts))  # type: ignore[arg-type]
    reused = Store(tmp_path).get_or_compute("key", result)
    assert (reused.reused, reused.facts) == (True, {"2": 2, "10": 10})


def test_an_object_that_another_process_healed_is_kept(stored: StoredResult) -> None:
    delete_damaged(stored.folder.parents[1], stored.folder)
    assert stored.file("note.txt") == b"hello"


def test_a_pipe_in_place_of_a_file_is_damage(tmp_path: Path, stored: StoredResult) -> None:
    """Opening it to read would wait for ever."""
    (stored.folder / "note.txt").unlink()
    os.mkfifo(stored.folder / "note.txt")
    assert find_damage(stored.folder) == "the file note.txt cannot be read (NotRegularFileError)"
    assert Store(tmp_path).lookup("key") is None


def test_a_folder_in_place_of_a_file_leaves_no_open_files(stored: StoredResult) -> None:
    (stored.folder / "note.txt").unlink()
    (stored.folder / "note.txt").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        assert find_damage(stored.folder) == "the file note.txt cannot be read (NotRegularFileError)"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_of_any_size_does_not_fill_the_memory(stored: StoredResult) -> None:
    """The file is sparse: it takes no space on the disk."""
    with (stored.folder / "rows.parquet").open("r+b") as file:
        file.truncate(2**40)
    tracemalloc.start()
    try:
        assert find_damage(stored.folder) == "the table rows was changed"
        with pytest.raises(StoredResultError):
            stored.table("rows")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_damaged_object_that_cannot_be_deleted_is_an_error_with_the_next_step(
    tmp_path: Path, stored: StoredResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    (stored.folder / "note.txt").write_bytes(b"")
    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(
        StoredResultError, match=f"Permission denied in .*; delete {stored.folder}, then repeat"
    ):
        Store(tmp_path).lookup("key")


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

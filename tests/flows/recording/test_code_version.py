"""Which code runs: by commit where there is one, and by content everywhere."""

import shutil
import subprocess
from pathlib import Path

import pytest

from flows.recording.code_version import FOLDERS, code, knows


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=root, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with one file in each folder that counts, and one beside them; one commit."""
    if not shutil.which("git"):
        pytest.skip("no git on the PATH")
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.py").write_text("a = 1\n")
    (tmp_path / "README.md").write_text("read me\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit(root: Path) -> None:
    before = code(root)
    assert (before.commit, before.dirty) == (git(root, "rev-parse", "HEAD"), False)
    (root / "README.md").write_text("read it again\n")
    assert code(root) == before
    assert list(before.digests) == list(FOLDERS)


@pytest.mark.parametrize("name", ["one.py", "two.py"])
def test_changed_or_new_code_is_not(name: str, root: Path) -> None:
    before = code(root)
    (root / "tasks" / name).write_text("a = 2\n")
    after = code(root)
    assert (after.commit, after.dirty) == (before.commit, True)
    assert [f for f in FOLDERS if after.digests[f] != before.digests[f]] == ["tasks"]


def test_what_a_repository_knows(root: Path) -> None:
    assert knows(git(root, "rev-parse", "HEAD"), root) is True
    assert knows("0" * 40, root) is False


def test_outside_of_a_checkout_content_tells(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, digests = git(root, "rev-parse", "HEAD"), code(root).digests
    monkeypatch.setenv("PATH", "")
    assert (code(root).commit, code(root).dirty, knows(commit, root)) == (None, None, None)
    monkeypatch.undo()
    shutil.rmtree(root / ".git")
    assert (code(root).commit, code(root).dirty, knows(commit, root)) == (None, None, None)
    assert code(root).digests == digests

"""Identify code by commit where there is one, and by content everywhere."""

import shutil
import subprocess
from pathlib import Path

import pytest

from flows.recording.code_version import FOLDERS, commit_exists, current_code


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=root, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Create a repository of one commit, with a file in each recorded folder and one outside."""
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


def test_a_clean_working_tree_matches_its_commit(root: Path) -> None:
    before = current_code(root)
    assert (before.commit, before.dirty) == (git(root, "rev-parse", "HEAD"), False)
    (root / "README.md").write_text("read it again\n")
    assert current_code(root) == before
    assert list(before.digests) == list(FOLDERS)


@pytest.mark.parametrize("name", ["one.py", "two.py"])
def test_changed_or_new_files_make_the_tree_dirty(name: str, root: Path) -> None:
    before = current_code(root)
    (root / "tasks" / name).write_text("a = 2\n")
    after = current_code(root)
    assert (after.commit, after.dirty) == (before.commit, True)
    assert [f for f in FOLDERS if after.digests[f] != before.digests[f]] == ["tasks"]


def test_commit_exists_in_its_repository_only(root: Path) -> None:
    assert commit_exists(git(root, "rev-parse", "HEAD"), root) is True
    assert commit_exists("0" * 40, root) is False


def test_digests_identify_code_without_git(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, digests = git(root, "rev-parse", "HEAD"), current_code(root).digests
    monkeypatch.setenv("PATH", "")
    assert (current_code(root).commit, current_code(root).dirty, commit_exists(commit, root)) == (
        None,
        None,
        None,
    )
    monkeypatch.undo()
    shutil.rmtree(root / ".git")
    assert (current_code(root).commit, current_code(root).dirty, commit_exists(commit, root)) == (
        None,
        None,
        None,
    )
    assert current_code(root).digests == digests

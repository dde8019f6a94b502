"""The state directory is closed for other users, and files written into it are private."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.private_folder import create_private, excess_mode, restrict, user_file_mode
from tasks.settings import Settings


@pytest.fixture(autouse=True)
def common_umask() -> Iterator[None]:
    """Start each test with the umask of most systems."""
    previous = os.umask(0o022)
    yield
    os.umask(previous)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_state_directory_and_its_files_are_private(tmp_path: Path) -> None:
    home = tmp_path / "above" / "home"
    Settings(state_dir=home).create_state_dir()
    assert mode(home) == 0o700
    (home / "ledger").mkdir()
    (home / "ledger" / "a.jsonl").touch()
    assert (mode(home / "ledger"), mode(home / "ledger" / "a.jsonl")) == (0o700, 0o600)


def test_a_state_directory_of_an_earlier_release_is_closed(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    tmp_path.chmod(0o755)
    Settings(state_dir=tmp_path).create_state_dir()
    assert mode(tmp_path) == 0o700


def test_a_group_can_share_the_state_directory(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    tmp_path.chmod(0o2775)
    Settings(state_dir=tmp_path, shared_home=True).create_state_dir()
    assert mode(tmp_path) == 0o2770
    (tmp_path / "file").touch()
    assert mode(tmp_path / "file") == 0o660


@pytest.mark.parametrize(("content", "bits"), [("notes.txt", 0o755), ("store", 0o1777)])
def test_folders_that_are_no_state_directory_keep_their_mode(tmp_path: Path, content: str, bits: int) -> None:
    """STEWARD_HOME may be a folder that others need, such as /tmp, by mistake."""
    (tmp_path / content).mkdir()
    tmp_path.chmod(bits)
    create_private(tmp_path, shared=False)
    assert mode(tmp_path) == bits
    assert excess_mode(tmp_path, shared=False) == bits & 0o077
    assert restrict(tmp_path, shared=False)
    assert mode(tmp_path) == bits & ~0o077


def test_files_outside_of_it_follow_the_umask_of_the_user(tmp_path: Path) -> None:
    create_private(tmp_path / "home", shared=False)
    create_private(tmp_path / "home", shared=False)
    # The umask that this process was started with, not the one that it has now.
    assert user_file_mode() & 0o600 == 0o600
    assert user_file_mode() != 0o600 or os.umask(0o077) == 0o077

"""The identity of a state directory is made once, whole, and read back."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ml.errors import UsageError
from tasks.settings import load
from tasks.state_dir_id import FILE_NAME, read_state_dir_id, state_dir_id


def test_the_identity_is_made_once_and_stays(tmp_path: Path) -> None:
    settings = load(state_dir=tmp_path / "state")
    assert read_state_dir_id(settings) is None
    identity = state_dir_id(settings)
    assert state_dir_id(settings) == read_state_dir_id(settings) == identity
    assert [path.name for path in settings.state_dir.iterdir()] == [FILE_NAME]


def test_processes_that_start_at_once_get_the_same_identity(tmp_path: Path) -> None:
    settings = load(state_dir=tmp_path / "state")
    with ThreadPoolExecutor(8) as threads:
        identities = set(threads.map(lambda _: state_dir_id(settings), range(64)))
    assert len(identities) == 1


def test_two_state_directories_differ(tmp_path: Path) -> None:
    assert state_dir_id(load(state_dir=tmp_path / "a")) != state_dir_id(load(state_dir=tmp_path / "b"))


@pytest.mark.parametrize("content", [b"", b"mine", b"\xff" * 16, b"0" * 1000])
def test_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(UsageError, match="an identity"):
        state_dir_id(load(state_dir=tmp_path))

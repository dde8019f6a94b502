"""The file of the secret: private, generated once, replaced if another user could have read it."""

import os
from pathlib import Path

import pytest

from tasks.local_servers import api_secret


def test_secret_is_generated_once_and_private(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        secret = api_secret.ensure_api_secret(tmp_path)
    finally:
        os.umask(previous)
    file = tmp_path / api_secret.FILE_NAME
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [api_secret.FILE_NAME]
    assert len(secret) >= api_secret.MIN_CHARACTERS
    assert api_secret.ensure_api_secret(tmp_path) == api_secret.read_api_secret(tmp_path) == secret
    assert api_secret.privacy_problem(tmp_path) is None


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o604])
def test_secret_that_others_could_use_is_replaced(tmp_path: Path, mode: int) -> None:
    secret = api_secret.ensure_api_secret(tmp_path)
    (tmp_path / api_secret.FILE_NAME).chmod(mode)
    assert f"mode {mode:04o}" in str(api_secret.privacy_problem(tmp_path))
    assert api_secret.ensure_api_secret(tmp_path) != secret
    assert api_secret.privacy_problem(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 50])
def test_damaged_secret_is_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / api_secret.FILE_NAME
    file.touch(mode=0o600)
    file.write_bytes(content)
    assert api_secret.read_api_secret(tmp_path) is None
    assert api_secret.ensure_api_secret(tmp_path) == api_secret.read_api_secret(tmp_path)


def test_linked_secret_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "known"
    target.touch(mode=0o600)
    target.write_text("k" * 60)
    (tmp_path / api_secret.FILE_NAME).symlink_to(target)
    assert api_secret.privacy_problem(tmp_path) == "is no regular file"
    assert api_secret.ensure_api_secret(tmp_path) != "k" * 60
    assert target.read_text() == "k" * 60

"""Model lock: runs of one model wait for each other, with a message; other models are independent."""

import logging
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from tasks.locks.model_lock import LockTimeoutError, model_lock
from tasks.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "home")


def test_a_second_run_of_a_model_waits_and_then_times_out(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="steward")
    with model_lock(settings, "case.data"), model_lock(settings, "case.other"):
        times_out = pytest.raises(
            LockTimeoutError,
            match=r"expected the lock within 0\.01 s; got another run of case\.data that is still running",
        )
        with times_out, model_lock(settings, "case.data", timeout_seconds=0.01):
            raise AssertionError
        assert "waiting for the lock on model case.data (held by another run)" in caplog.text
        assert "case.other" not in caplog.text
    with model_lock(settings, "case.data", timeout_seconds=0.0):
        pass


def test_long_timeouts_are_shown_in_hours(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(lock: FileLock, timeout: float) -> None:
        raise Timeout(str(lock.lock_file))

    monkeypatch.setattr(FileLock, "acquire", time_out)
    with (
        pytest.raises(LockTimeoutError, match="expected the lock within 4 h"),
        model_lock(settings, "case.data"),
    ):
        raise AssertionError

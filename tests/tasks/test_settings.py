"""Settings from the environment, invalid values, and what is prepared for libraries."""

import errno
import gc
import os
from pathlib import Path

import pytest

from ml.errors import UsageError
from tasks.library_variables import GARBAGE_THRESHOLDS, LIBRARY_VARIABLES, prepare_libraries
from tasks.settings import ROOT, Settings, load


@pytest.fixture(autouse=True)
def _no_steward_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("STEWARD_")]:
        monkeypatch.delenv(name)


def test_by_default_all_folders_are_in_the_project() -> None:
    settings = load()
    assert settings.state_dir == ROOT / "mlruns"
    assert settings.contracts == ROOT / "expectations"
    assert settings.data_dir is None
    assert settings.threads == len(os.sched_getaffinity(0))
    assert settings.device == "cpu"
    assert settings.mlflow_uri == f"sqlite:///{ROOT / 'mlruns' / 'mlflow.db'}"


def test_variables_have_the_prefix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEWARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STEWARD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("STEWARD_THREADS", "3")
    monkeypatch.setenv("STEWARD_TRACKING_URI", "postgresql://somewhere/mlflow")
    monkeypatch.setenv("THREADS", "7")
    settings = load()
    assert (settings.state_dir, settings.data_dir) == (tmp_path / "home", tmp_path / "data")
    assert settings.threads == 3
    assert settings.mlflow_uri == "postgresql://somewhere/mlflow"
    assert settings.artifacts_dir.parent == settings.ledger_dir.parent == tmp_path / "home"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty STEWARD_HOME would otherwise be the folder that the command was started in."""
    monkeypatch.setenv("STEWARD_HOME", "")
    monkeypatch.setenv("STEWARD_DATA_DIR", "")
    assert load().state_dir == ROOT / "mlruns"
    assert load().data_dir is None


@pytest.mark.parametrize("threads", ["0", "-2", "many", "1.5"])
def test_an_invalid_value_is_an_error_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv("STEWARD_THREADS", threads)
    with pytest.raises(UsageError, match="STEWARD_THREADS"):
        load()


def test_a_mistyped_variable_is_an_error_and_another_one_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Kubernetes sets it for a service with the name of the project.
    monkeypatch.setenv("STEWARD_SERVICE_HOST", "10.0.0.1")
    for _ in range(2):
        load()
    assert caplog.messages == [
        "the environment variable STEWARD_SERVICE_HOST is no setting and has no effect (docs/settings.md)"
    ]
    monkeypatch.setenv("STEWARD_HOEM", "elsewhere")
    with pytest.raises(
        UsageError, match="got the environment variable STEWARD_HOEM; did you mean STEWARD_HOME"
    ):
        load()


def test_an_unknown_setting_is_an_error() -> None:
    with pytest.raises(UsageError, match="STEWARD_TREADS"):
        load(treads=2)


def test_create_state_dir_leaves_an_empty_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        Settings(state_dir=folder).create_state_dir()
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_a_state_directory_that_is_not_writable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "state", Path("/proc/steward")):
        with pytest.raises(UsageError, match="STEWARD_HOME"):
            Settings(state_dir=folder).create_state_dir()


def test_a_network_disk_without_file_locks_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(UsageError, match="a disk with file locks; got No locks available"):
        Settings(state_dir=tmp_path / "home").create_state_dir()
    assert list((tmp_path / "home").iterdir()) == []


def test_library_variables_are_set_unless_they_are_set_already(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (*LIBRARY_VARIABLES, "PREFECT_HOME", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
        # Set and deleted by monkeypatch, so that the values set below are removed after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    monkeypatch.setenv("PREFECT_HOME", "/elsewhere")
    prepare_libraries(Settings(state_dir=tmp_path / "home"))
    assert os.environ["OPENBLAS_NUM_THREADS"] == "4"
    assert os.environ["PREFECT_HOME"] == "/elsewhere"
    assert os.environ["MPLCONFIGDIR"].startswith(str(tmp_path))
    for telemetry in ("DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY"):
        assert os.environ[telemetry] == "1"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == os.environ["GX_ANALYTICS_ENABLED"] == "false"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    # Garbage is still searched for, but not all the time while the libraries are imported.
    assert gc.get_threshold() == GARBAGE_THRESHOLDS

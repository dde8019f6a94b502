"""The environment: what it may say, what it may not, and what libraries are told."""

import os
from pathlib import Path

import pytest

from ml.errors import UsageError
from tasks.settings import LIBRARIES, ROOT, Settings, load, prepare_libraries


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("STEWARD_")]:
        monkeypatch.delenv(name)


def test_without_an_environment_everything_lies_in_the_project() -> None:
    settings = load()
    assert settings.home == ROOT / "mlruns"
    assert settings.contracts == ROOT / "expectations"
    assert settings.data_dir is None
    assert settings.threads == len(os.sched_getaffinity(0))
    assert settings.device == "cpu"
    assert settings.mlflow_uri == f"sqlite:///{ROOT / 'mlruns' / 'mlflow.db'}"


def test_each_variable_has_the_prefix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEWARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STEWARD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("STEWARD_THREADS", "3")
    monkeypatch.setenv("STEWARD_TRACKING_URI", "postgresql://somewhere/mlflow")
    monkeypatch.setenv("THREADS", "7")
    settings = load()
    assert (settings.home, settings.data_dir) == (tmp_path / "home", tmp_path / "data")
    assert settings.threads == 3
    assert settings.mlflow_uri == "postgresql://somewhere/mlflow"
    assert settings.artifacts.parent == settings.ledger.parent == tmp_path / "home"


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty STEWARD_HOME would otherwise be the folder that the command was started in."""
    monkeypatch.setenv("STEWARD_HOME", "")
    monkeypatch.setenv("STEWARD_DATA_DIR", "")
    assert load().home == ROOT / "mlruns"
    assert load().data_dir is None


@pytest.mark.parametrize("threads", ["0", "-2", "many", "1.5"])
def test_a_bad_value_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv("STEWARD_THREADS", threads)
    with pytest.raises(UsageError, match="STEWARD_THREADS"):
        load()


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(UsageError, match="STEWARD_TREADS"):
        load(treads=2)


def test_prepare_makes_the_home_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    home = tmp_path / "a" / "b"
    for _ in range(2):
        Settings(home=home).prepare()
    assert home.is_dir()
    assert list(home.iterdir()) == []


def test_a_home_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "home", Path("/proc/steward")):
        with pytest.raises(UsageError, match="STEWARD_HOME"):
            Settings(home=home).prepare()


def test_libraries_are_told_and_what_a_person_has_set_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (*LIBRARIES, "PREFECT_HOME", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
        # So that the values set below are taken away after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    monkeypatch.setenv("PREFECT_HOME", "/mine")
    prepare_libraries(Settings(home=tmp_path / "home"))
    assert (tmp_path / "home").is_dir()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "4"
    assert os.environ["PREFECT_HOME"] == "/mine"
    assert os.environ["MPLCONFIGDIR"].startswith(str(tmp_path))
    for telemetry in ("DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY"):
        assert os.environ[telemetry] == "1"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == os.environ["GX_ANALYTICS_ENABLED"] == "false"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"

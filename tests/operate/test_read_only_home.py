"""A state directory on a disk that is mounted read-only: commands that only read work, the others say what to do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import steward
from ml.errors import UsageError

# The state directory is created once.
pytestmark = pytest.mark.xdist_group("champions")
SCORE = ["score", "fintech-risk", "--data", "loans.csv", "--out", "scores.csv"]


@pytest.fixture
def read_only(
    trained_champions: Path, tmp_path: Path, mount: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Path:
    folder = tmp_path / "read-only"
    folder.mkdir()
    mount("--bind", str(trained_champions), str(folder))
    mount("-o", "remount,ro,bind", str(folder))
    monkeypatch.setenv("STEWARD_HOME", str(folder / "home"))
    monkeypatch.setenv("STEWARD_CONTRACTS", str(folder / "contracts"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loans.csv").write_bytes((folder / "loans.csv").read_bytes())
    return folder / "home"


def test_a_read_only_home_can_be_looked_at_and_not_changed(read_only: Path) -> None:
    for reading in (["champion", "--history"], ["ledger"], ["lineage"]):
        command, *options = reading
        arguments = [command, "fintech-risk", *options]
        done = CliRunner().invoke(steward.app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert "promote" in done.stdout
    for writing in (
        ["run", "fintech-risk"],
        ["validate", "fintech-risk"],
        SCORE,
        ["champion", "fintech-risk", "--rollback", "--reason", "a bug"],
        ["maintain", "--dry-run"],
    ):
        with pytest.raises(
            UsageError, match=r"expected a writable folder .*; got Read-only file system; set STEWARD_HOME"
        ):
            CliRunner().invoke(steward.app, writing, catch_exceptions=False)

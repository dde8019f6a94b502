"""Home, disk, versions, telemetry, clock."""

import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from operate.checks import machine
from operate.checks.finding import Finding
from tasks.settings import ROOT

Examine = Callable[..., list[Finding]]


def test_a_home_that_can_be_written(home: Path, found: Examine) -> None:
    (sound,) = found("home")
    assert sound.state == "ok"


def test_a_home_below_a_file(tmp_path: Path, found: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("STEWARD_HOME", str(tmp_path / "file" / "home"))
    (bad,) = found("home")
    assert (bad.state, bad.found) == ("bad", f"{tmp_path / 'file'} is no folder")


def test_a_home_that_may_only_be_read(home: Path, found: Examine, mount: Callable[..., None]) -> None:
    """By the file system: root may do what modes forbid."""
    mount("--bind", str(home), str(home))
    mount("-o", "remount,ro,bind", str(home))
    (bad,) = found("home")
    assert (bad.state, bad.found) == ("bad", f"cannot be written: {home}")


def test_a_part_of_the_home_that_may_only_be_read(
    home: Path, found: Examine, mount: Callable[..., None]
) -> None:
    (home / "ledger").mkdir()
    mount("--bind", str(home / "ledger"), str(home / "ledger"))
    mount("-o", "remount,ro,bind", str(home / "ledger"))
    (bad,) = found("home")
    assert (bad.state, bad.found) == ("bad", f"cannot be written: {home / 'ledger'}")


@pytest.mark.skipif(os.geteuid() == 0, reason="modes do not bind root")
def test_a_home_that_modes_close(home: Path, found: Examine) -> None:
    home.chmod(0o500)
    (bad,) = found("home")
    home.chmod(0o700)
    assert bad.state == "bad"


@pytest.mark.parametrize(
    ("options", "state", "said"),
    [
        ("size=100m", "bad", "0.1 GB free"),
        ("size=4g", "warn", "4.3 GB free"),
        ("size=6g", "ok", "6.4 GB free"),
        ("size=6g,nr_inodes=100", "bad", "more files"),
    ],
)
def test_room_on_the_disk(
    home: Path, found: Examine, mount: Callable[..., None], options: str, state: str, said: str
) -> None:
    mount("-t", "tmpfs", "-o", options, "tmpfs", str(home))
    ours = [finding for finding in found("disk") if str(home) in finding.found]
    assert [(finding.state, said in finding.found) for finding in ours] == [(state, True)]


def test_folders_that_settings_name(home: Path, found: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEWARD_DATA_DIR", raising=False)
    assert {finding.state for finding in found("folders")} == {"ok"}
    monkeypatch.setenv("STEWARD_DATA_DIR", str(home / "nowhere"))
    monkeypatch.setenv("STEWARD_CONTRACTS", str(home / "mlflow.db"))
    assert [finding.state for finding in found("folders")] == ["bad", "bad"]


def test_versions(home: Path, found: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert [finding.state for finding in found("versions")] == ["ok"]
    (tmp_path / "constraints.txt").write_text("typer==0.0.1\njinja2==0.0.2  # old\nnot-installed==1.0\n")
    (other,) = found("versions")
    assert other.state == "warn"
    assert " instead of 0.0.1" in other.found
    assert " instead of 0.0.2" in other.found
    assert "not-installed" not in other.found
    project = (tmp_path / "pyproject.toml").read_text().replace('"typer",', '"not-installed>=1", "typer",')
    (tmp_path / "pyproject.toml").write_text(project)
    missing, _ = found("versions")
    assert (missing.state, missing.found) == ("bad", "not installed: not-installed")


def test_telemetry(home: Path, found: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding.state for finding in found("telemetry")] == ["ok"]
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "True")
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "1")
    assert [(finding.state, finding.fix) for finding in found("telemetry")] == [
        ("bad", "unset DO_NOT_TRACK"),
        ("bad", "unset GX_ANALYTICS_ENABLED"),
    ]


def test_a_clock_behind_its_own_past(home: Path, found: Examine) -> None:
    ledger = home / "ledger" / "fintech-risk.simulated.jsonl"
    ledger.parent.mkdir()

    def written(at: datetime) -> None:
        ledger.write_text(json.dumps({"at": at.isoformat()}) + "\n")

    written(datetime.now(UTC))
    assert [finding.state for finding in found("clock")] == ["ok"]
    written(datetime.now(UTC) + timedelta(hours=5))
    (bad,) = found("clock")
    assert bad.state == "bad"
    assert bad.found == "5.0 hours behind the last line of fintech-risk.simulated.jsonl"
    written(datetime.now(UTC))
    later = time.time() + 1800
    os.utime(home / "mlflow.db", (later, later))
    (bad,) = found("clock")
    assert bad.found == "30 minutes behind the file mlflow.db"

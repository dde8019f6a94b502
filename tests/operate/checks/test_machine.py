"""`doctor` on the state directory, folders, disk, versions, telemetry and clock."""

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

RunChecks = Callable[..., list[Finding]]


def test_writable_state_directory_is_ok(home: Path, check: RunChecks) -> None:
    (finding,) = check("state_dir")
    assert finding.status == "ok"


def test_state_directory_below_a_file_is_bad(
    tmp_path: Path, check: RunChecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("STEWARD_HOME", str(tmp_path / "file" / "home"))
    (bad,) = check("state_dir")
    assert (bad.status, bad.message) == ("bad", f"{tmp_path / 'file'} is not a folder")


def test_read_only_state_directory_is_bad(home: Path, check: RunChecks, mount: Callable[..., None]) -> None:
    """A read-only mount, since root ignores file modes."""
    mount("--bind", str(home), str(home))
    mount("-o", "remount,ro,bind", str(home))
    (bad,) = check("state_dir")
    assert (bad.status, bad.message) == ("bad", f"not writable: {home}")


def test_read_only_folder_in_the_state_directory_is_bad(
    home: Path, check: RunChecks, mount: Callable[..., None]
) -> None:
    (home / "ledger").mkdir()
    mount("--bind", str(home / "ledger"), str(home / "ledger"))
    mount("-o", "remount,ro,bind", str(home / "ledger"))
    (bad,) = check("state_dir")
    assert (bad.status, bad.message) == ("bad", f"not writable: {home / 'ledger'}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root ignores file modes")
def test_state_directory_without_write_permission_is_bad(home: Path, check: RunChecks) -> None:
    home.chmod(0o500)
    (bad,) = check("state_dir")
    home.chmod(0o700)
    assert bad.status == "bad"


def test_state_directory_that_others_can_read_warns_and_is_fixed(
    home: Path, check: RunChecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ok,) = check("permissions")
    assert (ok.status, ok.message) == ("ok", f"only its owner can use {home}")
    home.chmod(0o755)
    (found,) = check("permissions")
    assert (found.status, "(mode 0755)" in found.message) == ("warn", True)
    assert found.fix.startswith("steward doctor --fix")
    monkeypatch.setenv("STEWARD_SHARED_HOME", "true")
    assert [finding.status for finding in check("permissions")] == ["warn"]
    home.chmod(0o750)
    assert [finding.status for finding in check("permissions")] == ["ok"]
    monkeypatch.delenv("STEWARD_SHARED_HOME")
    repaired, ok = check("permissions", fix=True)
    assert (repaired.status, ok.status) == ("ok", "ok")
    assert home.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        ("size=100m", "bad", "0.1 GB free"),
        ("size=4g", "warn", "4.3 GB free"),
        ("size=6g", "ok", "6.4 GB free"),
        ("size=6g,nr_inodes=100", "bad", "more files"),
    ],
)
def test_free_bytes_and_inodes_decide_the_disk_status(
    home: Path, check: RunChecks, mount: Callable[..., None], options: str, status: str, text: str
) -> None:
    mount("-t", "tmpfs", "-o", options, "tmpfs", str(home))
    findings = [finding for finding in check("disk") if str(home) in finding.message]
    assert [(finding.status, text in finding.message) for finding in findings] == [(status, True)]


def test_unreadable_folders_of_the_settings_are_bad(
    home: Path, check: RunChecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STEWARD_DATA_DIR", raising=False)
    assert {finding.status for finding in check("folders")} == {"ok"}
    monkeypatch.setenv("STEWARD_DATA_DIR", str(home / "nowhere"))
    monkeypatch.setenv("STEWARD_CONTRACTS", str(home / "mlflow.db"))
    assert [finding.status for finding in check("folders")] == ["bad", "bad"]


def test_other_versions_warn_and_missing_packages_are_bad(
    home: Path, check: RunChecks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert [finding.status for finding in check("versions")] == ["ok"]
    (tmp_path / "constraints.txt").write_text("typer==0.0.1\njinja2==0.0.2  # old\nnot-installed==1.0\n")
    (other,) = check("versions")
    assert other.status == "warn"
    assert " instead of 0.0.1" in other.message
    assert " instead of 0.0.2" in other.message
    assert "not-installed" not in other.message
    project = (tmp_path / "pyproject.toml").read_text().replace('"typer",', '"not-installed>=1", "typer",')
    (tmp_path / "pyproject.toml").write_text(project)
    missing, _ = check("versions")
    assert (missing.status, missing.message) == ("bad", "not installed: not-installed")


def test_variables_that_enable_telemetry_are_bad(
    home: Path, check: RunChecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [finding.status for finding in check("telemetry")] == ["ok"]
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "True")
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "1")
    assert [(finding.status, finding.fix) for finding in check("telemetry")] == [
        ("bad", "unset DO_NOT_TRACK"),
        ("bad", "unset GX_ANALYTICS_ENABLED"),
    ]


def test_clock_behind_recorded_times_is_bad(
    home: Path, check: RunChecks, write_ledger: Callable[..., None]
) -> None:
    def write_entry(time_of_entry: datetime) -> None:
        decision = {"verdict": "promote", "before": None, "champion": 1, "at": time_of_entry.isoformat()}
        write_ledger("fintech-risk.simulated", decision)

    write_entry(datetime.now(UTC))
    assert [finding.status for finding in check("clock")] == ["ok"]
    write_entry(datetime.now(UTC) + timedelta(hours=5))
    (bad,) = check("clock")
    assert bad.status == "bad"
    assert bad.message == "5.0 hours behind the last entry of fintech-risk.simulated.jsonl"
    write_entry(datetime.now(UTC))
    future = time.time() + 1800
    os.utime(home / "mlflow.db", (future, future))
    (bad,) = check("clock")
    assert bad.message == "30 minutes behind the file mlflow.db"

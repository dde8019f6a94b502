"""`steward maintain`: text, JSON and errors."""

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import steward
from ml.errors import UsageError
from tasks.settings import load
from tasks.storage.content_store import StageResult, Store
from tasks.tracking import connection

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def expired(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Store a result past its retention; return its name."""
    monkeypatch.setenv("STEWARD_STORE_DAYS", "10")
    connection.connect(load())
    store = Store(home / "store")
    store.get_or_compute("new", lambda: StageResult({}, {}, {"x": b"new"}))
    folder = store.get_or_compute("old", lambda: StageResult({}, {}, {"x": bytes(5000)})).folder
    past = time.time() - 11 * 86400
    os.utime(folder / "manifest.json", (past, past))
    return folder.name


def output_of(*arguments: str) -> str:
    result = CliRunner().invoke(steward.app, ["maintain", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_dry_run_prints_the_same_as_the_deletion(home: Path, expired: str) -> None:
    files = [*(home / "store" / "objects" / expired).iterdir(), home / "store" / "keys" / "old.json"]
    size = sum(path.stat().st_size for path in files)
    assert 5000 < size < 6000
    preview = output_of("--dry-run")
    line = next(line for line in preview.splitlines() if expired in line)
    assert line.split()[:3] == ["result", f"{size / 1000:.1f}", "kB"]
    assert "over 10 days" in line
    assert f"would free {size / 1000:.1f} kB; the store: " in preview
    assert (home / "store" / "objects" / expired).is_dir()
    assert output_of().replace("freed", "would free") == preview
    assert not (home / "store" / "objects" / expired).exists()
    assert output_of().startswith("0 objects, freed 0 B")


def test_json_is_one_object(expired: str) -> None:
    preview, report = (json.loads(output_of("--json", *options)) for options in (["--dry-run"], []))
    assert (preview.pop("dry_run"), report.pop("dry_run")) == (True, False)
    assert preview == report
    (deleted,) = report["deleted"]
    assert (deleted["kind"], deleted["name"]) == ("result", expired)
    assert report["freed_bytes"] == deleted["bytes"] > 5000
    assert 0 < report["store_bytes"] < 1000


@pytest.mark.parametrize("arguments", [["--dry-run"], []], ids=["dry", "real"])
def test_unreachable_server_is_one_message(
    home: Path, expired: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    url = "http://127.0.0.1:9/api"
    with (
        temporary_settings({PREFECT_API_URL: url}),
        pytest.raises(UsageError, match=f"a Prefect server at {url}"),
    ):
        output_of(*arguments)
    assert (home / "store" / "objects" / expired).is_dir()

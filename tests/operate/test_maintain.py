"""`steward maintain`, as an operator sees it."""

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
def old(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a result that nobody needs and that was last used long ago."""
    monkeypatch.setenv("STEWARD_STORE_DAYS", "10")
    connection.connect(load())
    store = Store(home / "store")
    store.get_or_compute("new", lambda: StageResult({}, {}, {"x": b"new"}))
    folder = store.get_or_compute("old", lambda: StageResult({}, {}, {"x": bytes(5000)})).folder
    then = time.time() - 11 * 86400
    os.utime(folder / "manifest.json", (then, then))
    return folder.name


def said(*arguments: str) -> str:
    result = CliRunner().invoke(steward.app, ["maintain", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_says_what_would_go_and_then_what_went(home: Path, old: str) -> None:
    would = said("--dry-run")
    line = next(line for line in would.splitlines() if old in line)
    assert line.split()[:3] == ["result", "5.3", "kB"]
    assert "over 10 days" in line
    assert "would free 5.3 kB; the store: " in would
    assert (home / "store" / "objects" / old).is_dir()
    assert said().replace("freed", "would free") == would
    assert not (home / "store" / "objects" / old).exists()
    assert said().startswith("0 things, freed 0 B")


def test_json_is_one_object(old: str) -> None:
    would, did = (json.loads(said("--json", *more)) for more in (["--dry-run"], []))
    assert (would.pop("dry_run"), did.pop("dry_run")) == (True, False)
    assert would == did
    (gone,) = did["gone"]
    assert (gone["kind"], gone["name"]) == ("result", old)
    assert did["freed_bytes"] == gone["bytes"] > 5000
    assert 0 < did["store_bytes"] < 1000


@pytest.mark.parametrize("arguments", [["--dry-run"], []], ids=["dry", "real"])
def test_a_server_that_is_away_is_one_message(
    home: Path, old: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    nowhere = "http://127.0.0.1:9/api"
    with (
        temporary_settings({PREFECT_API_URL: nowhere}),
        pytest.raises(UsageError, match=f"a Prefect server at {nowhere}"),
    ):
        said(*arguments)
    assert (home / "store" / "objects" / old).is_dir()

"""Secrets of the environment are in nothing that a run prints or writes, whether it succeeds or fails."""

import base64
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg2
import pytest

from tasks.settings import load
from tasks.tracking import connection as tracking
from tasks.tracking import registry

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "aws/5ecret+of/the+cloud",
    "PREFECT_API_KEY": "pnu_5ecretOfThePrefectServer",
    "DATABRICKS_TOKEN": "dapi5ecret0fTheLakehouse",
}


def file_contents(*folders: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the bytes of every file, and the content of SQLite databases as SQL."""
    for path in (p for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()):
        data = path.read_bytes()
        yield str(path), data
        if data.startswith(b"SQLite format 3"):
            with closing(sqlite3.connect(path)) as connection:
                yield f"{path} (dumped)", "\n".join(connection.iterdump()).encode()


def table_contents(uri: str) -> Iterator[tuple[str, bytes]]:
    """Yield the rows of every table of a PostgreSQL database."""
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (name,) in cursor.fetchall():
            cursor.execute(f'SELECT * FROM "{name}"')
            yield f"table {name}", "\n".join(map(str, cursor.fetchall())).encode()


def places_with(secret: str, places: Iterator[tuple[str, bytes]]) -> list[str]:
    """Return the places that contain a secret, plain or encoded."""
    forms = {secret, quote(secret), quote(secret, safe=""), base64.b64encode(secret.encode()).decode()}
    return [place for place, data in places if any(form.encode() in data for form in forms)]


def steward(uri: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [Path(sys.executable).parent / "steward", *arguments],
        env={**os.environ, **SECRETS, "STEWARD_TRACKING_URI": uri, "PREFECT_LOGGING_LEVEL": "DEBUG"},
        capture_output=True,
        text=True,
        check=False,
    )


def outputs(done: "subprocess.CompletedProcess[str]") -> Iterator[tuple[str, bytes]]:
    yield "stdout", done.stdout.encode()
    yield "stderr", done.stderr.encode()


def test_successful_run_reveals_no_secret(
    home: Path,
    contracts: Path,
    prefect_api: str,
    postgres: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = postgres("privacy")
    done = steward(uri, "run", "fintech-risk", "--time-budget", "5", "--verbose")
    assert done.returncode == 0, done.stderr
    # The run was complete: champion in that database, files in the state directory.
    monkeypatch.setenv("STEWARD_TRACKING_URI", uri)
    assert registry.get_champion(tracking.connect(load()), "fintech-risk.simulated") is not None
    assert next(home.glob("artifacts/fintech-risk/*/artifacts/report.html"), None)
    server = Path(os.environ["PREFECT_HOME"])
    for secret in (*SECRETS.values(), str(urlsplit(uri).password)):
        assert places_with(secret, outputs(done)) == []
        assert places_with(secret, file_contents(home, server)) == []
        assert places_with(secret, table_contents(uri)) == []
    assert places_with("verdict: promote", outputs(done)) == ["stderr"]
    assert places_with("fintech-risk.simulated", table_contents(uri)) != []


def test_failed_run_reveals_no_secret(home: Path, contracts: Path, prefect_api: str) -> None:
    done = steward("postgresql://ann:5ecret%2Fpw@127.0.0.1:9/mlflow", "run", "fintech-risk", "--verbose")
    assert done.returncode == 2
    assert "Connection refused" in done.stderr
    for secret in (*SECRETS.values(), "5ecret/pw"):
        assert places_with(secret, outputs(done)) == []
        assert places_with(secret, file_contents(home, Path(os.environ["PREFECT_HOME"]))) == []


def test_search_finds_secrets_in_files_and_databases(tmp_path: Path) -> None:
    secret = "a/5ecret"
    (tmp_path / "log.txt").write_text(f"https://ann:{quote(secret, safe='')}@host")
    with closing(sqlite3.connect(tmp_path / "some.db")) as connection, connection:
        connection.execute("CREATE TABLE words (word)")
        # Longer than a database page, so the file contains it in parts.
        connection.execute("INSERT INTO words VALUES (?)", ("x" * 4060 + secret + "x" * 9000,))
    places = [Path(place.split(" ")[0]).name for place in places_with(secret, file_contents(tmp_path))]
    assert sorted(set(places)) == ["log.txt", "some.db"]

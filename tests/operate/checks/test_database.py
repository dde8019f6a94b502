"""`doctor` on MLflow's database: it names each fault, changes nothing, and its fix works."""

import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy
from alembic import command
from mlflow.store.db import utils as mlflow_database

from ml.errors import UsageError
from operate.checks.finding import Finding
from tasks.settings import load
from tasks.tracking import connection as tracking
from tasks.tracking import database
from tasks.tracking.run import start_run as start_run

RunChecks = Callable[..., list[Finding]]
CHILD_SCRIPT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 5")
for statement in sys.argv[2:]:
    connection.execute(statement)
print("done", flush=True)
sys.stdin.readline()
"""
INSERT_ROWS = """INSERT INTO tags (key, value, run_uuid)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
SELECT i, hex(zeroblob(200)), 'r' FROM n"""


@pytest.fixture
def start_child() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Yield a function that starts a process which runs SQL on the database file and then waits."""
    started: list[subprocess.Popen[str]] = []

    def start(file: Path, *statements: str) -> "subprocess.Popen[str]":
        arguments = [sys.executable, "-c", CHILD_SCRIPT, str(file), *statements]
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "done\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def contents(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def tables(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def test_intact_database_is_reported_with_kind_and_version(home: Path, check: RunChecks) -> None:
    lock, intact = check("database_lock", "database", deep=True)
    assert (lock.status, intact.status) == ("ok", "ok")
    head = mlflow_database._get_latest_schema_revision()
    assert intact.message == f"SQLite at {home / 'mlflow.db'}, schema version {head}, as MLflow expects"


def test_file_that_is_not_a_database_blocks_other_checks(home: Path, check: RunChecks) -> None:
    (home / "mlflow.db").write_text("no database " * 100)
    before = contents(home)
    bad, *blocked = check("database", "runs", "artifacts", "ledger", fix=True)
    assert bad.status == "bad"
    assert "file is not a database" in bad.message
    assert "from a backup" in bad.fix
    assert [(finding.status, finding.fix) for finding in blocked] == [("warn", "fix `database` first")] * 3
    assert contents(home) == before
    with pytest.raises(UsageError, match="file is not a database"):
        tracking.connect(load())


def test_damaged_database_is_reported(home: Path, check: RunChecks) -> None:
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        connection.execute(INSERT_ROWS)
    data = bytearray((home / "mlflow.db").read_bytes())
    page = int.from_bytes(data[16:18], "big")
    # Damage only pages of rows, which were written last; the schema stays intact.
    for start in range(len(data) // page * 3 // 4 * page, len(data), page):
        data[start : start + 12] = b"\xff" * 12
    (home / "mlflow.db").write_bytes(data)
    (bad,) = check("database")
    assert bad.status == "bad"
    assert "is damaged" in bad.message


def test_missing_database_is_bad_only_if_there_is_other_data(home: Path, check: RunChecks) -> None:
    (home / "mlflow.db").unlink()
    (finding,) = check("database")
    assert (finding.status, finding.message) == (
        "ok",
        f"no database yet: the first run creates {home / 'mlflow.db'}",
    )
    (home / "ledger").mkdir()
    (home / "ledger" / "case.data.jsonl").touch()
    (lost,) = check("database")
    assert lost.status == "bad"
    assert "is missing, but there is data in: ledger" in lost.message
    assert not (home / "mlflow.db").exists()


@pytest.mark.parametrize("statements", [["BEGIN EXCLUSIVE"], ["BEGIN IMMEDIATE", INSERT_ROWS]])
def test_lock_is_reported_with_its_process(
    home: Path, check: RunChecks, start_child: Callable[..., "subprocess.Popen[str]"], statements: list[str]
) -> None:
    process = start_child(home / "mlflow.db", *statements)
    (bad,) = check("database_lock")
    assert bad.status == "bad"
    assert f"process {process.pid} ({sys.executable}" in bad.message
    assert f"kill {process.pid}" in bad.fix
    process.kill()
    process.wait()
    assert all(finding.status == "ok" for finding in check("database_lock"))


def test_unfinished_transaction_of_a_killed_process_is_rolled_back_by_the_fix(
    home: Path, check: RunChecks, start_child: Callable[..., "subprocess.Popen[str]"]
) -> None:
    process = start_child(home / "mlflow.db", "BEGIN IMMEDIATE", INSERT_ROWS)
    process.kill()
    process.wait()
    before = contents(home)
    assert (home / "mlflow.db-journal").stat().st_size > 0
    (bad,) = check("database_lock", "database")
    assert bad.status == "bad"
    assert "an unfinished transaction of a killed process" in bad.message
    assert contents(home) == before

    copy = shutil.copytree(home, home.with_name("copy"))
    fixed, intact = check("database", fix=True)
    assert "rolled back an unfinished transaction" in fixed.message
    assert intact.status == "ok"
    # A run does the same.
    tracking.connect(load(home=copy))
    for folder in (home, copy):
        with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
            assert connection.execute("SELECT count(*) FROM tags").fetchone() == (0,)


def test_older_schema_is_not_migrated_and_the_suggested_command_migrates_it(
    home: Path, check: RunChecks
) -> None:
    file = home / "mlflow.db"
    # Without anything of value in it, it would be made again.
    start_run(tracking.connect(load()), load(), "fintech-risk", "kept", {}, [])
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        configuration = mlflow_database._get_alembic_config(str(engine.url))  # type: ignore[no-untyped-call]
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, "-1")
    engine.dispose()
    older = tracking.read_schema_versions(load().mlflow_uri).found
    before = contents(home)
    (bad,) = check("database", fix=True)
    assert bad.status == "bad"
    assert f"version {older} (older)" in bad.message
    # MLflow itself would migrate it when it connects.
    with pytest.raises(UsageError, match="older"):
        tracking.connect(load())
    after = contents(home)
    assert {name: after[name] for name in before} == before

    _, _, suggested = bad.fix.partition("then: ")
    assert suggested == f"mlflow db upgrade sqlite:///{file}"
    binary, *arguments = shlex.split(suggested)
    upgraded = subprocess.run(
        [Path(sys.executable).parent / binary, *arguments], capture_output=True, text=True, check=False
    )
    assert upgraded.returncode == 0, upgraded.stderr
    (intact,) = check("database")
    assert intact.status == "ok"
    tracking.connect(load())


def test_newer_schema_is_rejected(home: Path, check: RunChecks) -> None:
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    (bad,) = check("database")
    assert "version ffffffffffff (unknown, so newer)" in bad.message
    with pytest.raises(UsageError, match="newer"):
        tracking.connect(load())


def test_database_of_another_application_is_rejected(home: Path, check: RunChecks) -> None:
    (home / "mlflow.db").unlink()
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE pets (name)")
    (bad,) = check("database")
    assert "got 1 other tables" in bad.message
    with pytest.raises(UsageError, match="other tables"):
        tracking.connect(load())
    assert tables(home / "mlflow.db") == {"pets"}


def test_unreachable_server_is_reported_without_secrets(
    home: Path, check: RunChecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEWARD_TRACKING_URI", "postgresql://ann:s3cret@127.0.0.1:9/mlflow?passfile=s3cret")
    bad, *blocked = check("database", "runs", "artifacts", "ledger", "clock")
    assert bad.status == "bad"
    assert "postgresql://ann@127.0.0.1:9/mlflow" in bad.message
    assert "Connection refused" in bad.message
    assert "s3cret" not in str([bad, *blocked])
    assert {finding.status for finding in blocked} == {"warn", "ok"}


@pytest.mark.parametrize(
    "uri", ["mysql://ann:s3cret@h/m", "http://h:5000", "s3cret", "sqlite://", "postgresql"]
)
def test_invalid_database_url_is_not_quoted(
    home: Path, check: RunChecks, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("STEWARD_TRACKING_URI", uri)
    for bad in check("database", "artifacts"):
        assert bad.status in ("bad", "warn")
        assert "s3cret" not in str(bad)
    with pytest.raises(UsageError) as rejected:
        tracking.connect(load())
    assert "s3cret" not in str(rejected.value)


def test_postgresql_is_reported_with_version_and_clock_and_moved_artifacts_with_sql(
    home: Path, check: RunChecks, postgres: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = postgres("doctor")
    monkeypatch.setenv("STEWARD_TRACKING_URI", uri)
    (empty,) = check("database")
    assert (empty.status, "empty" in empty.message) == ("ok", True)
    settings = load()
    client = tracking.connect(settings)
    assert {finding.status for finding in check("database", "clock", "runs", "artifacts", "ledger")} <= {"ok"}
    assert "same time as the database server" in check("clock")[0].message
    # Messages contain no password; libpq reads it from PGPASSWORD.
    redacted, password = database.redacted_url(settings.mlflow_uri), str(urlsplit(uri).password)
    assert password not in redacted
    monkeypatch.setenv("PGPASSWORD", password)
    with (
        database.open_read_only(redacted) as connection,
        pytest.raises(sqlalchemy.exc.DBAPIError, match="read-only"),
    ):
        connection.execute(sqlalchemy.text("CREATE TABLE pets (name text)"))

    start_run(client, settings, "it's", "first", {}, []).log_text("facts.json", "{}")
    moved = home.rename(home.with_name("moved_home"))
    monkeypatch.setenv("STEWARD_HOME", str(moved))
    with pytest.raises(UsageError, match="steward doctor --fix"):
        start_run(client, load(), "it's", "second", {}, [])
    (bad,) = check("artifacts", fix=True)
    assert bad.status == "bad"
    _, _, sql = bad.fix.partition("\n")
    engine = sqlalchemy.create_engine(settings.mlflow_uri, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(sql)
    engine.dispose()
    (intact,) = check("artifacts")
    assert intact.status == "ok", intact
    run = start_run(client, load(), "it's", "second", {}, [])
    assert str(moved) in run.artifact_uri("facts.json")

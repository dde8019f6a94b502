"""MLflow's database in every bad state: the doctor says which, changes nothing, and its fix is one."""

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

Examine = Callable[..., list[Finding]]
CHILD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 5")
for statement in sys.argv[2:]:
    connection.execute(statement)
print("done", flush=True)
sys.stdin.readline()
"""
FILL = """INSERT INTO tags (key, value, run_uuid)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
SELECT i, hex(zeroblob(200)), 'r' FROM n"""


@pytest.fixture
def child() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts a process that has run these statements on the database file, and holds on."""
    started: list[subprocess.Popen[str]] = []

    def start(file: Path, *statements: str) -> "subprocess.Popen[str]":
        arguments = [sys.executable, "-c", CHILD, str(file), *statements]
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


def test_a_sound_one_is_told_by_kind_and_version(home: Path, found: Examine) -> None:
    lock, sound = found("lock", "database", deep=True)
    assert (lock.state, sound.state) == ("ok", "ok")
    head = mlflow_database._get_latest_schema_revision()
    assert sound.found == f"SQLite at {home / 'mlflow.db'}, tables of version {head}, as MLflow expects"


def test_a_file_that_is_none(home: Path, found: Examine) -> None:
    (home / "mlflow.db").write_text("no database " * 100)
    before = contents(home)
    bad, *blocked = found("database", "runs", "artifacts", "ledger", fix=True)
    assert bad.state == "bad"
    assert "file is not a database" in bad.found
    assert "from a backup" in bad.fix
    assert [(one.state, one.fix) for one in blocked] == [("warn", "put `database` right first")] * 3
    assert contents(home) == before
    with pytest.raises(UsageError, match="file is not a database"):
        tracking.connect(load())


def test_a_damaged_one(home: Path, found: Examine) -> None:
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        connection.execute(FILL)
    data = bytearray((home / "mlflow.db").read_bytes())
    page = int.from_bytes(data[16:18], "big")
    # Rows were written last; the tables' own description stays whole.
    for start in range(len(data) // page * 3 // 4 * page, len(data), page):
        data[start : start + 12] = b"\xff" * 12
    (home / "mlflow.db").write_bytes(data)
    (bad,) = found("database")
    assert bad.state == "bad"
    assert "is damaged" in bad.found


def test_a_lost_one(home: Path, found: Examine) -> None:
    (home / "mlflow.db").unlink()
    (none,) = found("database")
    assert (none.state, none.found) == ("ok", f"none yet: the first run makes {home / 'mlflow.db'}")
    (home / "ledger").mkdir()
    (home / "ledger" / "case.data.jsonl").touch()
    (lost,) = found("database")
    assert lost.state == "bad"
    assert "though ledger are there" in lost.found
    assert not (home / "mlflow.db").exists()


@pytest.mark.parametrize("statements", [["BEGIN EXCLUSIVE"], ["BEGIN IMMEDIATE", FILL]])
def test_one_that_a_process_keeps_locked(
    home: Path, found: Examine, child: Callable[..., "subprocess.Popen[str]"], statements: list[str]
) -> None:
    process = child(home / "mlflow.db", *statements)
    (bad,) = found("lock")
    assert bad.state == "bad"
    assert f"process {process.pid} ({sys.executable}" in bad.found
    assert f"kill {process.pid}" in bad.fix
    process.kill()
    process.wait()
    assert all(finding.state == "ok" for finding in found("lock"))


def test_half_a_change_of_a_killed_process(
    home: Path, found: Examine, child: Callable[..., "subprocess.Popen[str]"]
) -> None:
    process = child(home / "mlflow.db", "BEGIN IMMEDIATE", FILL)
    process.kill()
    process.wait()
    before = contents(home)
    assert (home / "mlflow.db-journal").stat().st_size > 0
    (bad,) = found("lock", "database")
    assert bad.state == "bad"
    assert "half a change" in bad.found
    assert contents(home) == before

    copy = shutil.copytree(home, home.with_name("copy"))
    mended, sound = found("database", fix=True)
    assert "took back half a change" in mended.found
    assert sound.state == "ok"
    # A run does the same, unasked.
    tracking.connect(load(home=copy))
    for folder in (home, copy):
        with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
            assert connection.execute("SELECT count(*) FROM tags").fetchone() == (0,)


def test_an_older_one_is_not_migrated_but_told_how(home: Path, found: Examine) -> None:
    file = home / "mlflow.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        configuration = mlflow_database._get_alembic_config(str(engine.url))  # type: ignore[no-untyped-call]
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, "-1")
    engine.dispose()
    older = tracking.schema(load().mlflow_uri).found
    before = contents(home)
    (bad,) = found("database", fix=True)
    assert bad.state == "bad"
    assert f"version {older} (older)" in bad.found
    # MLflow itself would add what is missing at its first look.
    with pytest.raises(UsageError, match="older"):
        tracking.connect(load())
    after = contents(home)
    assert {name: after[name] for name in before} == before

    _, _, told = bad.fix.partition("then: ")
    assert told == f"mlflow db upgrade sqlite:///{file}"
    binary, *arguments = shlex.split(told)
    upgraded = subprocess.run(
        [Path(sys.executable).parent / binary, *arguments], capture_output=True, text=True, check=False
    )
    assert upgraded.returncode == 0, upgraded.stderr
    (sound,) = found("database")
    assert sound.state == "ok"
    tracking.connect(load())


def test_one_of_a_newer_version(home: Path, found: Examine) -> None:
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    (bad,) = found("database")
    assert "version ffffffffffff (unknown, so newer)" in bad.found
    with pytest.raises(UsageError, match="newer"):
        tracking.connect(load())


def test_one_of_somebody_else(home: Path, found: Examine) -> None:
    (home / "mlflow.db").unlink()
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE pets (name)")
    (bad,) = found("database")
    assert "got 1 other tables" in bad.found
    with pytest.raises(UsageError, match="other tables"):
        tracking.connect(load())
    assert tables(home / "mlflow.db") == {"pets"}


def test_no_server_there(home: Path, found: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEWARD_TRACKING_URI", "postgresql://ann:s3cret@127.0.0.1:9/mlflow?passfile=s3cret")
    bad, *blocked = found("database", "runs", "artifacts", "ledger", "clock")
    assert bad.state == "bad"
    assert "postgresql://ann@127.0.0.1:9/mlflow" in bad.found
    assert "Connection refused" in bad.found
    assert "s3cret" not in str([bad, *blocked])
    assert {one.state for one in blocked} == {"warn", "ok"}


@pytest.mark.parametrize(
    "uri", ["mysql://ann:s3cret@h/m", "http://h:5000", "s3cret", "sqlite://", "postgresql"]
)
def test_an_address_that_is_none(
    home: Path, found: Examine, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("STEWARD_TRACKING_URI", uri)
    for bad in found("database", "artifacts"):
        assert bad.state in ("bad", "warn")
        assert "s3cret" not in str(bad)
    with pytest.raises(UsageError) as refused:
        tracking.connect(load())
    assert "s3cret" not in str(refused.value)


def test_a_server_is_told_by_its_version_and_its_clock_and_gets_sql_for_what_moved(
    home: Path, found: Examine, postgres: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = postgres("doctor")
    monkeypatch.setenv("STEWARD_TRACKING_URI", uri)
    (empty,) = found("database")
    assert (empty.state, "empty" in empty.found) == ("ok", True)
    settings = load()
    client = tracking.connect(settings)
    assert {one.state for one in found("database", "clock", "runs", "artifacts", "ledger")} <= {"ok"}
    assert "as the database's server" in found("clock")[0].found
    # What the doctor tells holds no password; libpq takes it from its own variable.
    shown, password = database.shown(settings.mlflow_uri), str(urlsplit(uri).password)
    assert password not in shown
    monkeypatch.setenv("PGPASSWORD", password)
    with database.reading(shown) as connection, pytest.raises(sqlalchemy.exc.DBAPIError, match="read-only"):
        connection.execute(sqlalchemy.text("CREATE TABLE pets (name text)"))

    start_run(client, settings, "it's", "first", {}, []).write("facts.json", "{}")
    moved = home.rename(home.with_name("moved_home"))
    monkeypatch.setenv("STEWARD_HOME", str(moved))
    with pytest.raises(UsageError, match="steward doctor --fix"):
        start_run(client, load(), "it's", "second", {}, [])
    (bad,) = found("artifacts", fix=True)
    assert bad.state == "bad"
    _, _, sql = bad.fix.partition("\n")
    engine = sqlalchemy.create_engine(settings.mlflow_uri, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(sql)
    engine.dispose()
    (sound,) = found("artifacts")
    assert sound.state == "ok", sound
    run = start_run(client, load(), "it's", "second", {}, [])
    assert str(moved) in run.uri("facts.json")

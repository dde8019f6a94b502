"""MLflow's tables are created whole or not at all; unfinished ones of an earlier release are made again."""

import multiprocessing
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from mlflow.store.db import utils as mlflow_database
from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine

from ml.errors import UsageError
from operate.checks.finding import Finding
from operate.doctor import CHECKS, run_checks
from tasks.settings import ROOT, Settings, load
from tasks.tracking import connection, database, table_creation
from tests.guard import GUARD

# MLflow runs 1,688 statements to create its tables.
STATEMENTS = (1, 5, 30, 60, 300, 900, 1200, 1650)


# No file may become larger than 100 kB.
CONNECT_WITH_LITTLE_ROOM = """
import resource
from ml.errors import UsageError
from tasks.settings import load
from tasks.tracking import connection
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    connection.connect(load())
except UsageError as error:
    print(error)
"""


def run_in_child(function: Callable[[], object]) -> int:
    """Run a function in a forked process; return its exit code, negative for a signal."""
    process = multiprocessing.get_context("fork").Process(target=function)
    process.start()
    process.join(GUARD)
    assert process.exitcode is not None
    return process.exitcode


def kill_at_statement(number: int) -> None:
    """Kill this process right before it runs so many SQL statements."""
    remaining = [number]

    @event.listens_for(Engine, "before_cursor_execute")
    def count(*_: Any) -> None:
        remaining[0] -= 1
        if remaining[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def create_in_place(file: Path, kill_at: int) -> None:
    """Create the tables as earlier releases did, and kill the process meanwhile."""
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    event.listen(engine, "connect", table_creation._write_unsafely)

    def create() -> None:
        kill_at_statement(kill_at)
        mlflow_database._initialize_tables(engine)  # type: ignore[no-untyped-call]

    assert run_in_child(create) == -signal.SIGKILL


def check(*names: str, fix: bool = False) -> list[Finding]:
    return list(run_checks(fix, checks=[check for check in CHECKS if check.name in names]))


def schema(file: Path) -> dict[str, list[str]]:
    """Return the definition of each table and index, its lines sorted: MLflow's migrations do not fix their order."""
    with closing(sqlite3.connect(file)) as opened:
        definitions = opened.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: sorted(line.strip(" ,\t") for line in sql.splitlines()) for name, sql in definitions}


@pytest.fixture
def new_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set STEWARD_HOME to a folder that does not exist yet."""
    monkeypatch.setenv("STEWARD_HOME", str(tmp_path / "new"))
    return tmp_path / "new"


def test_kills_while_the_tables_are_created_leave_nothing_that_stops_the_next_run(
    new_home: Path, empty_database: Path
) -> None:
    for number in STATEMENTS:

        def create(kill_at: int = number) -> None:
            kill_at_statement(kill_at)
            connection.connect(load())

        assert run_in_child(create) == -signal.SIGKILL
        assert not (new_home / "mlflow.db").exists()
        # What the process before left was deleted.
        assert len(list(new_home.glob(".mlflow.db.creating-*"))) == 1
        (finding,) = check("database")
        assert (finding.status, finding.message[:15]) == ("ok", "no database yet")
    client = connection.connect(load())
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    assert schema(new_home / "mlflow.db") == schema(empty_database)
    assert sorted(path.name for path in new_home.iterdir()) == ["mlflow.db", "mlflow.lock"]
    assert check("database")[0].message.endswith("as MLflow expects")


def test_the_tables_are_those_that_mlflow_creates(tmp_path: Path, empty_database: Path) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'mlflow.db'}")
    event.listen(engine, "connect", table_creation._write_unsafely)
    mlflow_database._initialize_tables(engine)  # type: ignore[no-untyped-call]
    engine.dispose()
    assert schema(tmp_path / "mlflow.db") == schema(empty_database)


def test_a_full_disk_while_the_tables_are_created_is_one_message_and_leaves_nothing(new_home: Path) -> None:
    new_home.mkdir()
    done = subprocess.run(
        [sys.executable, "-B", "-W", "ignore", "-c", CONNECT_WITH_LITTLE_ROOM],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"expected room for MLflow's database in .*; free disk space", done.stdout), done.stdout
    assert [path.name for path in new_home.iterdir()] == ["mlflow.lock"]


def test_unfinished_tables_of_an_earlier_release_are_reported_and_made_again(new_home: Path) -> None:
    new_home.mkdir()
    file = new_home / "mlflow.db"
    # Without alembic_version, with an empty one, and with the revision of a migration between first and last.
    for number in (20, 30, 60, 900):
        file.unlink(missing_ok=True)
        create_in_place(file, number)
        before = file.read_bytes()
        bad, *blocked = check("database", "runs")
        assert (bad.status, bad.message) == (
            "bad",
            "expected complete tables of MLflow; got tables that a process which was killed left unfinished;"
            " they hold nothing",
        )
        assert bad.fix == "start any run, which makes them again, or: steward doctor --fix"
        assert [finding.fix for finding in blocked] == ["fix `database` first"]
        with pytest.raises(UsageError, match="left unfinished"):
            connection.connect_read_only(load())
        assert file.read_bytes() == before
    fixed, intact = check("database", fix=True)
    assert fixed.message == "repaired: made MLflow's tables again, which were unfinished and held nothing"
    assert intact.status == "ok"
    (kept,) = new_home.glob("mlflow.db.incomplete-*")
    assert kept.read_bytes() == before


def test_a_run_makes_unfinished_tables_again(new_home: Path, caplog: pytest.LogCaptureFixture) -> None:
    new_home.mkdir()
    create_in_place(new_home / "mlflow.db", 30)
    assert connection.connect(load()).search_experiments()[0].name == "Default"
    (kept,) = new_home.glob("mlflow.db.incomplete-*")
    assert f"unfinished and held nothing: kept as {kept} and made again" in caplog.text


def test_unfinished_tables_that_hold_a_run_are_refused_and_stay(home: Path) -> None:
    file = home / "mlflow.db"
    connection.connect(load()).create_run("0")
    with closing(sqlite3.connect(file)) as opened, opened:
        opened.execute("DELETE FROM alembic_version")
    before = file.read_bytes()
    (bad,) = check("database", fix=True)
    assert (bad.status, bad.message) == (
        "bad",
        "expected complete tables of MLflow; got tables without a version, with rows in runs, tags",
    )
    assert bad.fix == "restore the database from a backup, or move it away: the next run creates new tables"
    with pytest.raises(UsageError, match="with rows in runs"):
        connection.connect(load())
    assert file.read_bytes() == before


def server_tables(uri: str) -> dict[str, list[tuple[Any, ...]]]:
    engine = sqlalchemy.create_engine(uri)
    query = sqlalchemy.text(
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY 1, 2"
    )
    with engine.connect() as opened:
        found = {"columns": [tuple(row) for row in opened.execute(query)]}
        indexes = opened.execute(sqlalchemy.text("SELECT indexdef FROM pg_indexes ORDER BY 1"))
        found["indexes"] = [tuple(row) for row in indexes if "public." in row[0]]
    engine.dispose()
    return found


def test_a_kill_on_a_server_leaves_no_table_and_unfinished_ones_are_made_again(
    postgres: Callable[[str], str], tmp_path: Path
) -> None:
    killed, reference = (Settings(state_dir=tmp_path, tracking_uri=postgres(n)) for n in ("killed", "whole"))

    def create() -> None:
        kill_at_statement(300)
        connection.connect(killed)

    assert run_in_child(create) == -signal.SIGKILL
    assert not server_tables(killed.mlflow_uri)["columns"]
    # An earlier release created the first tables in a transaction of their own.
    engine = sqlalchemy.create_engine(killed.mlflow_uri)
    mlflow_database.InitialBase.metadata.create_all(engine)
    with engine.begin() as opened:
        opened.execute(sqlalchemy.text("CREATE TABLE pets (name text)"))
    with pytest.raises(UsageError, match="other tables"):
        connection.connect(killed)
    with engine.begin() as opened:
        opened.execute(sqlalchemy.text("DROP TABLE pets"))
        opened.execute(sqlalchemy.text("INSERT INTO experiments (name) VALUES ('kept')"))
    with pytest.raises(UsageError, match="with rows in experiments"):
        connection.connect(killed)
    with engine.begin() as opened:
        opened.execute(sqlalchemy.text("DELETE FROM experiments"))
    with pytest.raises(UsageError, match="they hold nothing"):
        connection.connect_read_only(killed)
    assert connection.connect(killed).search_experiments()[0].name == "Default"

    whole = sqlalchemy.create_engine(reference.mlflow_uri)
    mlflow_database._initialize_tables(whole)  # type: ignore[no-untyped-call]
    assert server_tables(killed.mlflow_uri) == server_tables(reference.mlflow_uri)
    for opened_engine in (engine, whole):
        opened_engine.dispose()


def test_only_rows_that_mlflow_does_not_write_by_itself_are_of_value(home: Path) -> None:
    def found(opened: Connection) -> list[str]:
        return table_creation.tables_with_rows(opened)

    uri = load().mlflow_uri
    client = connection.connect(load())
    with database.open_read_only(uri) as opened:
        assert found(opened) == []
    client.create_registered_model("a.b")
    client.create_experiment("mine")
    with database.open_read_only(uri) as opened:
        assert found(opened) == ["experiments", "registered_models"]

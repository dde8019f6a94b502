"""Create MLflow's tables so that a process killed meanwhile, or a full disk, leaves nothing half made.

An SQLite file is made aside and linked into place when it is complete; on a database server all tables are made in one
transaction. Tables that an earlier release left unfinished are made again if they hold nothing.
"""

import logging
import os
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from mlflow.store.db import utils as mlflow_database
from mlflow.store.db.base_sql_model import Base
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase
from sqlalchemy import Connection, MetaData, create_engine, event, inspect, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from ml.errors import UsageError
from tasks.tracking import database

log = logging.getLogger("steward")
# Rows that MLflow itself writes when it creates its tables; any other row is something of value.
SEEDED_ROWS = {
    "experiments": "experiment_id = 0",
    "workspaces": "name = 'default'",
    "alembic_version": "1 = 1",
}
# Alembic copies a table under such a name before it replaces it.
TEMPORARY_PREFIX = "_alembic_tmp_"
# Any number that no other application is likely to take as the key of its advisory lock.
ADVISORY_LOCK = 5_478_322_909


def are_mlflow_tables(names: Iterable[str]) -> bool:
    """Return whether all these names are names of MLflow's tables."""
    known = {*Base.metadata.tables, *InitialBase.metadata.tables, "alembic_version"}
    return {name.removeprefix(TEMPORARY_PREFIX) for name in names} <= known


def tables_with_rows(connection: Connection) -> list[str]:
    """Return the tables that hold a row other than those that MLflow writes when it creates them."""
    names = sorted(inspect(connection).get_table_names())
    queries = {
        name: f'SELECT 1 FROM "{name}" WHERE NOT ({SEEDED_ROWS.get(name, "1 = 0")}) LIMIT 1' for name in names
    }
    return [name for name, query in queries.items() if connection.execute(text(query)).first()]


def create_tables(uri: str) -> None:
    """Create MLflow's tables where there are none, and again where unfinished ones hold nothing.

    The caller holds the lock of the state directory. Raises UsageError where the disk is full.
    """
    file = database.sqlite_file(uri)
    if file is None:
        _create_on_server(uri)
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _create_file(file)
    except (OperationalError, sqlite3.OperationalError, OSError) as error:
        problem = str(getattr(error, "orig", error)).splitlines()[0]
        next_step = "free disk space and run again; nothing was left behind"
        raise UsageError(f"room for MLflow's database in {file.parent}", problem, next_step) from None


def delete_unfinished_files(file: Path) -> None:
    """Delete what processes that died left beside the file while they made it."""
    for folder in file.parent.glob(f".{file.name}.creating-*"):
        process = folder.name.rpartition("-")[2]
        if not process.isdigit() or int(process) == os.getpid() or not psutil.pid_exists(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _create_file(file: Path) -> None:
    folder = file.with_name(f".{file.name}.creating-{os.getpid()}")
    folder.mkdir()
    try:
        temporary = folder / file.name
        engine = create_engine(f"sqlite:///{temporary}", poolclass=NullPool)
        event.listen(engine, "connect", _write_unsafely)
        try:
            mlflow_database._initialize_tables(engine)  # type: ignore[no-untyped-call]
        finally:
            engine.dispose()
        _sync(temporary)
        if not database.is_missing(file):
            _set_aside(file)
        # Unlike a rename, a link fails where another process was first, whose tables then stay.
        with suppress(FileExistsError):
            os.link(temporary, file)
        _sync(file.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_unsafely(connection: sqlite3.Connection, _: object) -> None:
    """Write without waiting for the disk: the file is only used once it is complete and on disk."""
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")


def _set_aside(file: Path) -> None:
    """Rename a file that holds nothing, with its journal."""
    kept = file.with_name(f"{file.name}.incomplete-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
    with closing(sqlite3.connect(file)) as connection:
        # Closes a write-ahead log of a killed process.
        connection.execute("PRAGMA journal_mode = DELETE")
    file.rename(kept)
    log.warning("  MLflow's tables were unfinished and held nothing: kept as %s and made again", kept)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _create_on_server(uri: str) -> None:
    """Create the tables in one transaction, after dropping unfinished ones that hold nothing."""
    config = mlflow_database._get_alembic_config("")  # type: ignore[no-untyped-call]
    script = ScriptDirectory.from_config(config)
    engine = create_engine(database.parse_uri(uri), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            # Another machine may be creating them.
            connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
            if database.schema_revision(connection) == script.get_current_head():
                return
            _drop_unfinished_tables(connection)
            InitialBase.metadata.create_all(connection)
            environment = EnvironmentContext(
                config, script, fn=lambda revision, _: script._upgrade_revs("heads", revision)
            )
            with environment:
                environment.configure(connection=connection, target_metadata=Base.metadata)
                environment.run_migrations()
    finally:
        engine.dispose()


def _drop_unfinished_tables(connection: Connection) -> None:
    names = inspect(connection).get_table_names()
    if not names:
        return
    quoted = ", ".join(f'"{name}"' for name in names)
    connection.execute(text(f"LOCK TABLE {quoted} IN ACCESS EXCLUSIVE MODE"))
    if not are_mlflow_tables(names) or tables_with_rows(connection):
        raise UsageError("unfinished tables of MLflow that hold nothing", "other tables or rows", "run again")
    unfinished = MetaData()
    unfinished.reflect(connection, only=names)
    # Without CASCADE: where something else depends on a table, the transaction fails and all stays.
    unfinished.drop_all(connection)
    log.warning("  MLflow's tables were unfinished and held nothing: made again")

"""Connection to MLflow: clients that can write or only read, schema versions, and compaction of the database."""

import errno
import logging
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache

import mlflow
from alembic.script import ScriptDirectory
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.store.db.utils import _get_alembic_config
from sqlalchemy import Connection

from ml.errors import UsageError
from tasks.settings import Settings
from tasks.tracking import database, table_creation

log = logging.getLogger("steward")
# The name under which flows use MLflow's client: they do not import mlflow.
Client = MlflowClient
# Seconds that a run waits for the lock of another process.
LOCK_TIMEOUT = 20.0
# Seconds between attempts to reach a database server.
RETRY_PAUSES = (1, 2)


def connect(settings: Settings) -> Client:
    """Connect to MLflow's database; its tables are created on first use, under a lock against a second process.

    Raises UsageError where it cannot be reached, or where its tables are of another version: nothing is migrated
    without being asked for.
    """
    lock = FileLock(settings.state_dir / "mlflow.lock")
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise settings.unwritable_error(error) from None
        raise
    try:
        _prepare_tables(settings.mlflow_uri)
        client = _client(settings)
        client.search_experiments(max_results=1)
    finally:
        lock.release()
    return client


@dataclass(frozen=True)
class SchemaVersions:
    """Versions of MLflow's tables: the one found (None: no tables), and the one that the installed MLflow expects.

    Tables are `unfinished` where their creation was interrupted and they hold nothing of value.
    """

    found: str | None
    expected: str
    is_older: bool
    is_unfinished: bool = False


def read_schema_versions(uri: str, timeout_seconds: float = database.LOCK_TIMEOUT) -> SchemaVersions:
    """Read the version of MLflow's tables without creating or migrating any.

    `timeout_seconds` bounds the wait for the lock of another process. Raises UsageError where none can be read, for
    tables of another application, and for tables without a version that hold something.
    """
    expected, revisions = _known_revisions()
    with database.open_read_only(uri, timeout_seconds) as connection:
        tables = database.table_names(connection)
        found = database.schema_revision(connection)
        is_older = found in revisions - {expected}
        if (found is None and tables) or is_older:
            return _unfinished_versions(connection, tables, SchemaVersions(found, expected, is_older))
        if tables and "experiments" not in tables:
            raise _other_tables(tables)
    return SchemaVersions(found, expected, is_older)


@cache
def _known_revisions() -> tuple[str, frozenset[str]]:
    """Return the version of the tables that the installed MLflow expects, and all that it knows. It runs 70 scripts."""
    script = ScriptDirectory.from_config(_get_alembic_config(""))  # type: ignore[no-untyped-call]
    revisions = frozenset(each.revision for each in script.walk_revisions())
    return str(script.get_current_head()), revisions


def _unfinished_versions(
    connection: Connection, tables: set[str], versions: SchemaVersions
) -> SchemaVersions:
    """Decide whether tables without the current version were left by a killed process, and hold nothing."""
    if not table_creation.are_mlflow_tables(tables):
        if versions.is_older:
            return versions
        raise _other_tables(tables)
    with_rows = table_creation.tables_with_rows(connection)
    if not with_rows:
        return replace(versions, is_unfinished=True)
    if versions.found is None:
        raise UsageError(
            "complete tables of MLflow",
            f"tables without a version, with rows in {', '.join(with_rows)}",
            "restore the database from a backup, or move it away: the next run creates new tables",
        )
    return versions


def _other_tables(tables: set[str]) -> UsageError:
    return UsageError("MLflow's tables", f"{len(tables)} other tables", "give MLflow a database of its own")


def require_current_schema(uri: str, timeout_seconds: float = database.LOCK_TIMEOUT) -> SchemaVersions:
    """Raise UsageError for unfinished tables and for those of another version, which MLflow would migrate by itself."""
    versions = read_schema_versions(uri, timeout_seconds)
    if versions.is_unfinished:
        raise UsageError(
            "complete tables of MLflow",
            "tables that a process which was killed left unfinished; they hold nothing",
            "start any run, which makes them again, or: steward doctor --fix",
        )
    if versions.found in (None, versions.expected):
        return versions
    # The command shown holds no password; libpq also reads it from the environment.
    password = "" if database.sqlite_file(uri) else ", with PGPASSWORD set"
    next_step = f"back up the database, then{password}: mlflow db upgrade {database.redacted_url(uri)}"
    if not versions.is_older:
        next_step = "install the version of MLflow that wrote them (constraints.txt), or restore a backup"
    age = "older" if versions.is_older else "unknown, so newer"
    raise UsageError(
        f"MLflow's tables of version {versions.expected}", f"version {versions.found} ({age})", next_step
    )


def connect_read_only(settings: Settings) -> Client:
    """Connect for a command that creates nothing; raise UsageError where there are no tables of this version."""
    if require_current_schema(settings.mlflow_uri).found is None:
        raise UsageError(
            "MLflow's tables", "an empty database", "start a first run, which creates them: steward run CASE"
        )
    return _client(settings)


def _client(settings: Settings) -> Client:
    # Loading a model by `models:/` in this process uses the global URI.
    mlflow.set_tracking_uri(settings.mlflow_uri)
    return MlflowClient(settings.mlflow_uri, settings.mlflow_uri)


def finish_tables(settings: Settings) -> bool:
    """Make unfinished tables again; return whether there were any. Raises UsageError."""
    uri, file = settings.mlflow_uri, database.sqlite_file(settings.mlflow_uri)
    if (file and database.is_missing(file)) or not read_schema_versions(uri, LOCK_TIMEOUT).is_unfinished:
        return False
    with FileLock(settings.state_dir / "mlflow.lock"):
        # Another process may have made them again.
        if not read_schema_versions(uri, LOCK_TIMEOUT).is_unfinished:
            return False
        table_creation.create_tables(uri)
    return True


def _prepare_tables(uri: str) -> None:
    """Return once the database has tables of the current version; create them where there are none.

    Raises UsageError after a few attempts to reach the database.
    """
    file = database.sqlite_file(uri)
    if file:
        table_creation.delete_unfinished_files(file)
    if (file and database.is_missing(file)) or not _has_tables(uri, file is not None):
        table_creation.create_tables(uri)
    require_current_schema(uri, LOCK_TIMEOUT)


def _has_tables(uri: str, is_file: bool) -> bool:
    """Return whether there are complete tables, of any version."""
    database.recover_journal(uri, LOCK_TIMEOUT)
    for pause in (*RETRY_PAUSES, None):
        try:
            versions = read_schema_versions(uri, LOCK_TIMEOUT)
            return versions.found is not None and not versions.is_unfinished
        except database.DatabaseUnreadableError:
            if is_file or pause is None:
                raise
            # A server that restarts, or that has no free connection, is back soon. MLflow would retry for 100 seconds.
            time.sleep(pause)
    return False


def vacuum_database(settings: Settings) -> int:
    """Shrink an SQLite file of which a quarter or more is free pages; return the bytes given back to the disk.

    No run may be active; one that starts meanwhile waits. A database server does this itself: 0 bytes.
    """
    file = database.sqlite_file(settings.mlflow_uri)
    if file is None:
        return 0
    size_before = file.stat().st_size
    try:
        with (
            FileLock(settings.state_dir / "mlflow.lock"),
            closing(sqlite3.connect(file, timeout=LOCK_TIMEOUT, isolation_level=None)) as connection,
        ):
            pages, free_pages = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count")
            )
            # VACUUM writes a copy beside the file before it replaces the file.
            if 4 * free_pages >= pages and shutil.disk_usage(file.parent).free > 2 * size_before:
                connection.execute("VACUUM")
    except sqlite3.OperationalError as error:
        log.warning("  %s was not compacted: %s", file.name, error)
    return size_before - file.stat().st_size

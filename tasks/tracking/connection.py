"""Connection to MLflow: clients that can write or only read, schema versions, and compaction of the database."""

import logging
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass

import mlflow
from alembic.script import ScriptDirectory
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.store.db.utils import _get_alembic_config

from ml.errors import UsageError
from tasks.settings import Settings
from tasks.tracking import database

log = logging.getLogger("steward")
# The name under which flows use MLflow's client: they do not import mlflow.
Client = MlflowClient
# Seconds that a run waits for the lock of another process.
LOCK_TIMEOUT = 20.0
# Seconds between attempts to reach a database server.
RETRY_PAUSES = (1, 2)


def connect(settings: Settings) -> Client:
    """Connect to MLflow's database and create it on first use; a lock keeps two processes from creating it at once.

    Raises UsageError where it cannot be reached, or where its tables are of another version: nothing is migrated
    without being asked for.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.state_dir / "mlflow.lock"):
        _wait_until_usable(settings.mlflow_uri)
        client = _client(settings)
        client.search_experiments(max_results=1)
    return client


@dataclass(frozen=True)
class SchemaVersions:
    """Versions of MLflow's tables: the one found (None: no tables), and the one that the installed MLflow expects."""

    found: str | None
    expected: str
    is_older: bool


def read_schema_versions(uri: str, timeout_seconds: float = database.LOCK_TIMEOUT) -> SchemaVersions:
    """Read the version of MLflow's tables without creating or migrating any.

    `timeout_seconds` bounds the wait for the lock of another process. Raises UsageError where none can be read.
    """
    with database.open_read_only(uri, timeout_seconds) as connection:
        found = database.schema_revision(connection)
    script = ScriptDirectory.from_config(_get_alembic_config(""))  # type: ignore[no-untyped-call]
    expected = str(script.get_current_head())
    revisions = {script_revision.revision for script_revision in script.walk_revisions()}
    return SchemaVersions(found, expected, found in revisions - {expected})


def require_current_schema(uri: str, timeout_seconds: float = database.LOCK_TIMEOUT) -> SchemaVersions:
    """Raise UsageError for tables of another version: MLflow would migrate older ones as soon as it connects."""
    versions = read_schema_versions(uri, timeout_seconds)
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


def _wait_until_usable(uri: str) -> None:
    """Return once the database can be used or is yet to be created; raise UsageError after a few attempts."""
    file = database.sqlite_file(uri)
    if file and database.is_missing(file):
        return
    database.recover_journal(uri, LOCK_TIMEOUT)
    for pause in RETRY_PAUSES:
        try:
            require_current_schema(uri, LOCK_TIMEOUT)
            return
        except database.DatabaseUnreadableError:
            if file:
                raise
            # A server that restarts, or that has no free connection, is back soon. MLflow would retry for 100 seconds.
            time.sleep(pause)
    require_current_schema(uri, LOCK_TIMEOUT)


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

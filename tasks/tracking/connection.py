"""Tracking: one MLflow run per flow run, a child per candidate; addressed by id, never through an active run."""

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
# The one name under which flows know MLflow.
Client = MlflowClient
# Seconds: that a run waits for another's lock, and between attempts to reach a server.
BUSY, PAUSES = 20.0, (1, 2)


def connect(settings: Settings) -> Client:
    """A client of our database, which is made once: two at the same time would race.

    Raises UsageError where it cannot be reached, or has tables of another version: nothing is migrated unasked.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.home / "mlflow.lock"):
        _wait_for(settings.mlflow_uri)
        client = _client(settings)
        client.search_experiments(max_results=1)
    return client


@dataclass(frozen=True)
class Schema:
    """Versions of MLflow's tables: the one found (None: no tables), and the one that this MLflow works with."""

    found: str | None
    expected: str
    older: bool


def schema(uri: str, patience: float = database.LOCK) -> Schema:
    """The version of the tables, with nothing made and nothing migrated.

    `patience` is in seconds, for the lock of another process. Raises UsageError where none can be read.
    """
    with database.reading(uri, patience) as connection:
        found = database.revision(connection)
    script = ScriptDirectory.from_config(_get_alembic_config(""))  # type: ignore[no-untyped-call]
    expected = str(script.get_current_head())
    known = {one.revision for one in script.walk_revisions()}
    return Schema(found, expected, found in known - {expected})


def refuse_another_schema(uri: str, patience: float = database.LOCK) -> Schema:
    """Raises UsageError for tables of another version: as soon as MLflow looks, it migrates those that lack some."""
    seen = schema(uri, patience)
    if seen.found in (None, seen.expected):
        return seen
    # libpq reads a password from there too, and the command line shows none.
    password = "" if database.file_of(uri) else ", with PGPASSWORD set"
    todo = f"back up the database, then{password}: mlflow db upgrade {database.shown(uri)}"
    if not seen.older:
        todo = "install the version of MLflow that wrote them (constraints.txt), or restore a backup"
    age = "older" if seen.older else "unknown, so newer"
    raise UsageError(f"MLflow's tables of version {seen.expected}", f"version {seen.found} ({age})", todo)


def look(settings: Settings) -> Client:
    """A client for whoever makes nothing. Raises UsageError where there are no tables of this version."""
    if refuse_another_schema(settings.mlflow_uri).found is None:
        raise UsageError("MLflow's tables", "an empty database", "the first run makes them: steward run CASE")
    return _client(settings)


def _client(settings: Settings) -> Client:
    # Loading a model by `models:/` in this process asks the global address.
    mlflow.set_tracking_uri(settings.mlflow_uri)
    return MlflowClient(settings.mlflow_uri, settings.mlflow_uri)


def _wait_for(uri: str) -> None:
    """Returns when the database may be used, or has yet to be made. Raises UsageError, after a few attempts."""
    file = database.file_of(uri)
    if file and database.is_missing(file):
        return
    database.take_back(uri, BUSY)
    for pause in PAUSES:
        try:
            refuse_another_schema(uri, BUSY)
            return
        except database.UnreadableError:
            if file:
                raise
            # A server that starts again, or has no connection left, is back soon. MLflow would try for 100 seconds.
            time.sleep(pause)
    refuse_another_schema(uri, BUSY)


def compact(settings: Settings) -> int:
    """Give back to the disk what deleting left in an SQLite file, where that is a quarter or more; bytes.

    A run that begins waits meanwhile; of those that are at work there must be none. A server looks after itself.
    """
    file = database.file_of(settings.mlflow_uri)
    if file is None:
        return 0
    before = file.stat().st_size
    try:
        with (
            FileLock(settings.home / "mlflow.lock"),
            closing(sqlite3.connect(file, timeout=BUSY, isolation_level=None)) as connection,
        ):
            pages, free = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count")
            )
            # The file is written anew beside itself before it is replaced.
            if 4 * free >= pages and shutil.disk_usage(file.parent).free > 2 * before:
                connection.execute("VACUUM")
    except sqlite3.OperationalError as error:
        log.warning("  %s was left as large as it is: %s", file.name, error)
    return before - file.stat().st_size

"""Checks of MLflow's database: schema version, damage, locks."""

import fcntl
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psutil

from operate.checks.finding import CheckContext, Finding

# Offset and length of the bytes of an SQLite file that processes lock: pending, reserved, shared.
LOCK_BYTES = (0x40000000, 512)
LOCK_TIMEOUT = 2  # seconds


def database(context: CheckContext) -> Iterator[Finding]:
    """Check that the tables are readable, undamaged, and of the version that the installed MLflow expects."""
    from tasks.tracking.connection import require_current_schema
    from tasks.tracking.database import is_missing, redacted_url

    uri, file = context.settings.mlflow_uri, context.database_file
    location = str(file) if file else redacted_url(uri)
    kind = "SQLite" if file else "PostgreSQL"
    if file and is_missing(file):
        yield _missing(context, file)
        return
    # Raises for a database that cannot be read, and for tables that are unfinished or of another version.
    schema = require_current_schema(uri)
    if schema.found is None:
        yield Finding("database", "ok", f"{kind} at {location}, empty: the first run creates the tables")
        return
    damage = _damage(context)
    if damage:
        fix = f"stop all runs, then: sqlite3 {location} .recover | sqlite3 whole.db; or restore a backup"
        yield Finding("database", "bad", f"{location} is damaged: {damage}", fix)
        return
    message = f"{kind} at {location}, schema version {schema.found}, as MLflow expects"
    yield Finding("database", "ok", message)


def _missing(context: CheckContext, file: Path) -> Finding:
    remains = [name for name in ("ledger", "artifacts") if any((context.state_dir / name).glob("*"))]
    if not remains:
        return Finding("database", "ok", f"no database yet: the first run creates {file}")
    fix = f"restore {file} from a backup; without one, move the whole state directory away and start again"
    return Finding("database", "bad", f"{file} is missing, but there is data in: {', '.join(remains)}", fix)


def fix_database(context: CheckContext) -> Iterator[str]:
    """Roll back the unfinished transaction of a process that was killed, and make unfinished tables again."""
    from tasks.tracking.connection import finish_tables
    from tasks.tracking.database import recover_journal

    file = context.database_file
    journal = file.with_name(file.name + "-journal") if file else None
    if journal and journal.exists():
        recover_journal(context.settings.mlflow_uri)
        yield f"rolled back an unfinished transaction in {file}"
    if finish_tables(context.settings):
        yield "made MLflow's tables again, which were unfinished and held nothing"


def _damage(context: CheckContext) -> str:
    """Return the result of SQLite's own check, empty without damage; a deep check compares indexes with tables."""
    from sqlalchemy import text

    if not context.database_file:
        return ""
    with context.open_database() as connection:
        query = "PRAGMA integrity_check(1)" if context.deep else "PRAGMA quick_check(1)"
        result = str(connection.execute(text(query)).scalar())
    return "" if result == "ok" else " ".join(result.split())


def database_lock(context: CheckContext) -> Iterator[Finding]:
    """Check whether a process keeps all others from writing to the SQLite file, and which."""
    file = context.database_file
    if not file or not os.access(file, os.R_OK):
        return
    if file.with_name(file.name + "-journal").exists() and locking_process(file) is None:
        # Opening the file for writing would roll back the transaction of a process that was killed.
        return
    if file.with_name(file.name + "-wal").exists():
        message = "not checked: the database has a write-ahead log, which the check might close"
        yield Finding("database_lock", "ok", message)
        return
    address = f"file:{quote(str(file))}?mode=rw"
    try:
        connection = sqlite3.connect(address, uri=True, timeout=LOCK_TIMEOUT, isolation_level=None)
        with closing(connection):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.DatabaseError as error:
        if "locked" not in str(error):
            # `state_dir` or `database` reports the cause.
            return
        pid = locking_process(file)
        process = f"process {pid} ({_command(pid)})" if pid else "an unknown process"
        command = f"kill {pid}" if pid else f"fuser -k {file}"
        fix = f"wait if it is working; end it if it hangs: {command}"
        message = f"{file} has been locked for {LOCK_TIMEOUT} seconds by {process}"
        yield Finding("database_lock", "bad", message, fix)
        return
    yield Finding("database_lock", "ok", f"{file} is not locked")


def locking_process(file: Path) -> int | None:
    """Return the process that holds SQLite's write lock of a file; None if the system does not tell."""
    request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, *LOCK_BYTES, 0)
    with file.open("rb") as opened:
        kind, *_, pid = struct.unpack("hhqqi4x", fcntl.fcntl(opened, fcntl.F_GETLK, request))
    return pid if kind != fcntl.F_UNLCK and pid > 0 else None


def _command(pid: int) -> str:
    try:
        # Further arguments may contain a password.
        return " ".join(psutil.Process(pid).cmdline()[:2]).strip() or "unknown"
    except psutil.Error:
        return "unknown"

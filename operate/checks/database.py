"""MLflow's database: kind, version of its tables, wholeness, locks."""

import fcntl
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from operate.checks.finding import Finding, Look

# The bytes of an SQLite file by whose locks processes agree: pending, reserved, shared.
LOCK_BYTES = (0x40000000, 512)
LONG = 2  # seconds that a change may take


def database(look: Look) -> Iterator[Finding]:
    """Whether the tables can be read, are whole, and are those that the installed MLflow expects."""
    from tasks.tracking import connection as tracking
    from tasks.tracking.database import is_missing, shown

    uri = look.settings.mlflow_uri
    where = str(look.file) if look.file else shown(uri)
    kind = "SQLite" if look.file else "PostgreSQL"
    if look.file and is_missing(look.file):
        left = [part for part in ("ledger", "artifacts") if any((look.home / part).glob("*"))]
        if left:
            fix = f"restore {where} from a backup; without one, move the whole home away and begin anew"
            yield Finding("database", "bad", f"no file {where}, though {' and '.join(left)} are there", fix)
        else:
            yield Finding("database", "ok", f"none yet: the first run makes {where}")
        return
    # Raises for what cannot be read, and for tables of another version.
    seen = tracking.refuse_another_schema(uri)
    if seen.found is None:
        yield Finding("database", "ok", f"{kind} at {where}, empty: the first run makes the tables")
        return
    damage = _damage(look)
    if damage:
        fix = f"stop all runs, then: sqlite3 {where} .recover | sqlite3 whole.db; or restore a backup"
        yield Finding("database", "bad", f"{where} is damaged: {damage}", fix)
        return
    yield Finding("database", "ok", f"{kind} at {where}, tables of version {seen.found}, as MLflow expects")


def mend_database(look: Look) -> Iterator[str]:
    """Take back half a change of a process that was killed."""
    from tasks.tracking.database import take_back

    journal = look.file.with_name(look.file.name + "-journal") if look.file else None
    if journal and journal.exists():
        take_back(look.settings.mlflow_uri)
        yield f"took back half a change of {look.file}"


def _damage(look: Look) -> str:
    """What SQLite finds wrong with its own file; with `deep` also whether its indexes agree with its tables."""
    from sqlalchemy import text

    if not look.file:
        return ""
    with look.reading() as connection:
        question = "PRAGMA integrity_check(1)" if look.deep else "PRAGMA quick_check(1)"
        said = str(connection.execute(text(question)).scalar())
    return "" if said == "ok" else " ".join(said.split())


def lock(look: Look) -> Iterator[Finding]:
    """Whether a process keeps all others from writing, and which."""
    file = look.file
    if not file or not os.access(file, os.R_OK):
        return
    if file.with_name(file.name + "-journal").exists() and holder(file) is None:
        # Half a change of a process that is gone: opened to write, SQLite would take it back at once.
        return
    if file.with_name(file.name + "-wal").exists():
        yield Finding("lock", "ok", "not asked: changes go to a log, which asking might close")
        return
    address = f"file:{quote(str(file))}?mode=rw"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=LONG, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.DatabaseError as error:
        if "locked" not in str(error):
            # The checks of the home and of the database say why.
            return
        pid = holder(file)
        name = f"process {pid} ({_command(pid)})" if pid else "a process that the system does not tell"
        end = f"kill {pid}" if pid else f"fuser -k {file}"
        fix = f"wait for it if it is at work; end it if it hangs: {end}"
        yield Finding("lock", "bad", f"{file} has been locked for {LONG} seconds by {name}", fix)
        return
    yield Finding("lock", "ok", f"{file} is free to be written")


def holder(file: Path) -> int | None:
    """The process whose lock keeps others from writing this SQLite file; None where the system does not tell."""
    asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, *LOCK_BYTES, 0)
    with file.open("rb") as opened:
        kind, *_, pid = struct.unpack("hhqqi4x", fcntl.fcntl(opened, fcntl.F_GETLK, asked))
    return pid if kind != fcntl.F_UNLCK and pid > 0 else None


def _command(pid: int) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        # Arguments may hold a password.
        return " ".join(word.decode(errors="replace") for word in words[:2]).strip() or "unknown"
    return "unknown"

"""Reading MLflow's database without MLflow, which creates missing tables and migrates old ones when it connects."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from ml.errors import UsageError

# Seconds: the wait for the lock of another process, and for a server to answer.
LOCK_TIMEOUT, CONNECT_TIMEOUT = 2.0, 5
# Bytes 18 and 19 of an SQLite file in write-ahead-log mode: https://www.sqlite.org/fileformat.html#the_database_header
WAL_HEADER = b"\x02\x02"


class DatabaseUnreadableError(UsageError):
    """The URL is valid, but the database there cannot be read."""


def parse_uri(uri: str) -> URL:
    """Parse the URL of a database; raise a UsageError that does not quote it, as it may hold a password."""
    expected = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME as MLflow's database"
    with suppress(ArgumentError, ValueError):
        url = make_url(uri)
        kind = url.get_backend_name()
        if kind == "postgresql" or (kind == "sqlite" and url.database not in (None, "", ":memory:")):
            return url
        raise UsageError(expected, f"a URL that begins with {url.drivername}:", "set STEWARD_TRACKING_URI")
    raise UsageError(expected, "text that is not a database URL", "set STEWARD_TRACKING_URI")


def redacted_url(uri: str) -> str:
    """Return the URL without its password and without its options, which may hold one too."""
    url = parse_uri(uri)
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database).render_as_string()


def sqlite_file(uri: str) -> Path | None:
    """Return the file of an SQLite database; None for a server."""
    url = parse_uri(uri)
    return Path(url.database or "").absolute() if url.get_backend_name() == "sqlite" else None


@contextmanager
def open_read_only(
    uri: str, timeout_seconds: float = LOCK_TIMEOUT, immutable: bool = False
) -> Iterator[Connection]:
    """Open a connection that cannot write and leaves no file behind.

    `timeout_seconds` bounds the wait for the lock of another process. With `immutable`, an SQLite file is read as it
    is, without the changes in its write-ahead log. Raises UsageError for an invalid URL, DatabaseUnreadableError where
    no connection can be opened.
    """
    url, file = parse_uri(uri), sqlite_file(uri)
    if file:
        # Opening a database in WAL mode would create the log's files. Without a log, no process is writing.
        immutable = immutable or (_is_wal(file) and is_missing(_with_suffix(file, "-wal")))
        options = f"mode=ro&uri=true{'&immutable=1' if immutable else ''}"
        engine = create_engine(
            f"sqlite:///file:{quote(str(file))}?{options}",
            poolclass=NullPool,
            connect_args={"timeout": timeout_seconds},
        )
    else:
        engine = create_engine(
            url,
            poolclass=NullPool,
            connect_args={"connect_timeout": CONNECT_TIMEOUT},
            execution_options={"postgresql_readonly": True},
        )
    try:
        connection = engine.connect()
        # SQLite reads nothing before the first statement.
        connection.execute(text("SELECT count(*) FROM sqlite_master" if file else "SELECT 1"))
    except (DBAPIError, NoSuchModuleError) as error:
        raise _unreadable(error, uri) from None
    with connection:
        yield connection


def recover_journal(uri: str, timeout_seconds: float = LOCK_TIMEOUT) -> None:
    """Let SQLite roll back the transaction of a killed process, which needs a connection that may write.

    Raises DatabaseUnreadableError where that fails.
    """
    file = sqlite_file(uri)
    if file and not is_missing(_with_suffix(file, "-journal")):
        file_uri = f"file:{quote(str(file))}?mode=rw"
        try:
            with closing(sqlite3.connect(file_uri, uri=True, timeout=timeout_seconds)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.Error as error:
            raise _unreadable(error, uri) from None


def table_names(connection: Connection) -> set[str]:
    """Return the names of all tables."""
    return set(inspect(connection).get_table_names())


def schema_revision(connection: Connection) -> str | None:
    """Read the Alembic revision of the tables; None where there is none, as before the first migration.

    Raises UsageError for several revisions.
    """
    if "alembic_version" not in table_names(connection):
        return None
    revisions = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    if len(revisions) > 1:
        raise UsageError(
            "one version of MLflow's tables", f"{len(revisions)}", "restore the database from a backup"
        )
    return str(revisions[0]) if revisions else None


def _unreadable(error: Exception, uri: str) -> DatabaseUnreadableError:
    """Translate the error of a database driver."""
    file = sqlite_file(uri)
    problem = " ".join(str(getattr(error, "orig", error)).splitlines()[:1])
    password = parse_uri(uri).password
    problem = problem.replace(str(password), "***") if password else problem
    next_step = "check that the server runs, and the user, password and name in STEWARD_TRACKING_URI"
    if file:
        next_step = f"make {file} a file that this user can read"
        if is_missing(file):
            problem = "no such file"
        elif "not a database" in problem or "malformed" in problem:
            next_step = (
                f"restore {file} from a backup; without one, move the state directory away and start afresh"
            )
        elif "locked" in problem:
            next_step = f"wait for the process that holds the lock, or end it: fuser {file}"
        elif "readonly" in problem and not is_missing(_with_suffix(file, "-journal")):
            problem = "an unfinished transaction of a killed process"
            next_step = "start any run, which rolls it back, or: steward doctor --fix"
    return DatabaseUnreadableError(f"a database at {redacted_url(uri)}", problem, next_step)


def is_missing(file: Path) -> bool:
    """Return whether the file is known not to exist; False where this user may not look into its folder."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_wal(file: Path) -> bool:
    with suppress(OSError), file.open("rb") as opened:
        return opened.read(20)[18:20] == WAL_HEADER
    return False


def _with_suffix(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)

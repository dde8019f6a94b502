"""MLflow's database seen from outside: MLflow itself makes tables, and migrates old ones, at its own first look."""

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

# Seconds that a look waits for another's lock, and for a server to answer.
LOCK, ANSWER = 2.0, 5
WAL_HEADER = b"\x02\x02"


class UnreadableError(UsageError):
    """The address is one, but what it leads to cannot be read."""


def address(uri: str) -> URL:
    """The parsed address. Raises UsageError, which does not quote it: a misspelt one may hold a password."""
    wanted = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME as MLflow's database"
    with suppress(ArgumentError, ValueError):
        url = make_url(uri)
        kind = url.get_backend_name()
        if kind == "postgresql" or (kind == "sqlite" and url.database not in (None, "", ":memory:")):
            return url
        raise UsageError(wanted, f"an address that begins with {url.drivername}:", "set STEWARD_TRACKING_URI")
    raise UsageError(wanted, "something that is no address of a database", "set STEWARD_TRACKING_URI")


def shown(uri: str) -> str:
    """The address without its password, and without options, which may hold one too."""
    url = address(uri)
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database).render_as_string()


def file_of(uri: str) -> Path | None:
    """The file of an SQLite database; None for a server."""
    url = address(uri)
    return Path(url.database or "").absolute() if url.get_backend_name() == "sqlite" else None


@contextmanager
def reading(uri: str, patience: float = LOCK, still: bool = False) -> Iterator[Connection]:
    """A connection that cannot write, and leaves no file. Waits `patience` seconds for the lock of another process.

    With `still`, an SQLite file is read as it lies there, without what its log may add.

    Raises UsageError for an address that is none, UnreadableError where no connection can be had.
    """
    url, file = address(uri), file_of(uri)
    if file:
        # Reading a database in write-ahead mode would make the files of its log; without a log nobody writes now.
        still = still or (_is_wal(file) and is_missing(_beside(file, "-wal")))
        address_of_file = (
            f"sqlite:///file:{quote(str(file))}?mode=ro&uri=true{'&immutable=1' if still else ''}"
        )
        engine = create_engine(address_of_file, poolclass=NullPool, connect_args={"timeout": patience})
    else:
        engine = create_engine(
            url,
            poolclass=NullPool,
            connect_args={"connect_timeout": ANSWER},
            execution_options={"postgresql_readonly": True},
        )
    try:
        connection = engine.connect()
        # SQLite reads nothing before the first question.
        connection.execute(text("SELECT count(*) FROM sqlite_master" if file else "SELECT 1"))
    except (DBAPIError, NoSuchModuleError) as error:
        raise _unreadable(error, uri) from None
    with connection:
        yield connection


def take_back(uri: str, patience: float = LOCK) -> None:
    """Let SQLite take back half a change that a killed process left, as it does for whoever may write.

    Raises UnreadableError where that cannot be.
    """
    file = file_of(uri)
    if file and not is_missing(_beside(file, "-journal")):
        address_of_file = f"file:{quote(str(file))}?mode=rw"
        try:
            with closing(sqlite3.connect(address_of_file, uri=True, timeout=patience)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.Error as error:
            raise _unreadable(error, uri) from None


def revision(connection: Connection) -> str | None:
    """The version of MLflow's tables; None where there are no tables. Raises UsageError for the tables of others."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if not {"experiments", "alembic_version"} <= set(tables):
        raise UsageError(
            "MLflow's tables", f"{len(tables)} other tables", "give MLflow a database of its own"
        )
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    if len(found) != 1:
        raise UsageError(
            "one version of MLflow's tables", f"{len(found)}", "restore the database from a backup"
        )
    return str(found[0])


def _unreadable(error: Exception, uri: str) -> UnreadableError:
    """One sentence for what a driver says."""
    file, where = file_of(uri), shown(uri)
    said = " ".join(str(getattr(error, "orig", error)).splitlines()[:1])
    password = address(uri).password
    said = said.replace(str(password), "***") if password else said
    todo = "see that the server is up, and that user, password and name in STEWARD_TRACKING_URI are right"
    if file:
        todo = f"make {file} a file that this user can read"
        if is_missing(file):
            said = "no such file"
        elif "not a database" in said or "malformed" in said:
            todo = f"restore {file} from a backup; without one, move the whole home away and begin anew"
        elif "locked" in said:
            todo = f"wait for the process that holds it, or end that one: fuser {file}"
        elif "readonly" in said and not is_missing(_beside(file, "-journal")):
            said = "half a change of a process that was killed"
            todo = "any run takes it back, as does: steward doctor --fix"
    return UnreadableError(f"a database at {where}", said, todo)


def is_missing(file: Path) -> bool:
    """Whether there is no such file, as far as this user may know: what lies in a closed folder may be there."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_wal(file: Path) -> bool:
    """Whether the file's header says that changes go to a log beside it."""
    with suppress(OSError), file.open("rb") as opened:
        return opened.read(20)[18:20] == WAL_HEADER
    return False


def _beside(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)

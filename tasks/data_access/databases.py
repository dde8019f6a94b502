"""Read the rows of one SELECT from a database that SQLAlchemy knows, in a read-only transaction, rolled back."""

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, CursorResult, Engine, create_engine
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ml.errors import DataGateError, UsageError
from tasks.data_access.database_url import DatabaseQuery
from tasks.data_access.extracts import write_extract
from tasks.formats.cell_text import cell_text, number_texts
from tasks.formats.read_limits import ReadLimits

FETCHED_ROWS = 20_000
BLOCK_CELLS = 2**21
CONNECT_SECONDS = 15
# A server that has gone silently, with its machine or network, is found out within a minute, while slow ones are waited
# for: by default a system asks after two hours.
KEEP_ALIVE = {
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 4,
    "tcp_user_timeout": 60_000,
}
# What reads: the words that a query may begin with.
READING = ("select", "with", "values", "table")
# Comments and quoted texts, in which a semicolon ends nothing.
QUOTED = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$", re.S)
# What SQLite lets a query do; all else, such as attaching a file, is refused.
SQLITE_ALLOWED = (
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
)
# Beginnings of SQLite's messages that quote nothing but names of the query.
SQLITE_MESSAGES = (
    "no such table",
    "no such column",
    "near ",
    "incomplete input",
    "ambiguous column",
    "no such function",
)
# Class of PostgreSQL's codes for mistakes in a query: messages name parts of the query only.
MISTAKE_IN_QUERY = "42"
READ_ONLY = "25006"
# In messages of SQLite and PostgreSQL about queries that write.
WRITES = ("not authorized", "readonly", "data-modifying")


def check_query(query: DatabaseQuery) -> None:
    """Check that a query only reads, and that its database is known. Raises UsageError; nothing is connected to."""
    plain = QUOTED.sub(" ", query.query).strip().rstrip(";").lower()
    if ";" in plain or not plain.lstrip("( \t\r\n").startswith(READING):
        raise UsageError(
            "one query that reads, a SELECT",
            "several, or one that writes",
            "correct --query: nothing is written",
        )
    _engine(query).dispose()


def read_query(query: DatabaseQuery, store: Path, limits: ReadLimits) -> Path:
    """Write the rows of a query to an extract, block by block, and return it; all cells are texts.

    Raises DataGateError where the database or the query fails, and where the result is empty or past a limit.
    """
    with _rows(query) as result:
        names = list(result.keys())
        limits.check_columns("the query", len(names))
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise DataGateError(
                "each column of the query once", f"{repeated} more than once", "name them by AS"
            )
        schema = pa.schema([(name, pa.large_string()) for name in names])
        return write_extract(store, schema, _blocks(result, schema, limits))


@contextmanager
def _rows(query: DatabaseQuery) -> Iterator[CursorResult[Any]]:
    """Yield the rows of a query. All errors of the database become one of ours, without its text and any password."""
    engine = _engine(query)
    fetched: list[CursorResult[Any]] = []
    try:
        with engine.connect() as connection:
            result = _read_only(connection).exec_driver_sql(query.query)
            fetched.append(result)
            if not result.returns_rows:
                raise DataGateError("rows from the query", "none: it reads nothing", "write a SELECT")
            yield result
    except SQLAlchemyError as error:
        raise _failure(query, error, bool(fetched)) from None
    finally:
        engine.dispose()


def _engine(query: DatabaseQuery) -> Engine:
    url = query.address
    try:
        if url.get_backend_name() == "sqlite":
            return create_engine("sqlite://", creator=lambda: _sqlite(url.database), poolclass=NullPool)
        arguments: dict[str, Any] = {}
        if url.get_driver_name() == "psycopg2":
            # The whole session is read-only, whatever the query says.
            read_only = {"options": "-c default_transaction_read_only=on"}
            arguments = {"connect_timeout": CONNECT_SECONDS, **KEEP_ALIVE, **read_only}
        return create_engine(url, poolclass=NullPool, connect_args=arguments)
    except (NoSuchModuleError, ImportError):
        raise UsageError(
            "a database whose driver is installed, such as sqlite or postgresql",
            url.drivername,
            "install the driver that SQLAlchemy names for it",
        ) from None


def _sqlite(file: str | None) -> sqlite3.Connection:
    path = Path(file or "").absolute()
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    # Views of a hostile file must not call functions with side effects.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.set_authorizer(_authorize)
    return connection


def _authorize(action: int, name: str | None, value: str | None, *_: str | None) -> int:
    # SQLAlchemy asks how connections are isolated.
    asks = action == sqlite3.SQLITE_PRAGMA and name == "read_uncommitted" and value is None
    return sqlite3.SQLITE_OK if asks or action in SQLITE_ALLOWED else sqlite3.SQLITE_DENY


def _read_only(connection: Connection) -> Connection:
    # Without parameters, a percent sign in the query is one.
    options: dict[str, Any] = {"stream_results": True, "max_row_buffer": FETCHED_ROWS, "no_parameters": True}
    if connection.dialect.name == "postgresql":
        options["postgresql_readonly"] = True
    return connection.execution_options(**options)


def _blocks(result: CursorResult[Any], schema: pa.Schema, limits: ReadLimits) -> Iterator[pa.Table]:
    block_rows = max(BLOCK_CELLS // len(schema), 1)
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    # Rows of SQLAlchemy, which a query given as text needs for nothing, take most of the time of fetching.
    while fetched := result.cursor_strategy.fetchmany(result, result.cursor, min(FETCHED_ROWS, block_rows)):
        rows += len(fetched)
        limits.check_rows("the query", rows)
        columns = [
            _texts(cells, name) for name, cells in zip(schema.names, zip(*fetched, strict=True), strict=True)
        ]
        batch = pa.RecordBatch.from_arrays(columns, schema=schema)
        size += batch.nbytes
        if size > limits.unpacked_bytes:
            raise DataGateError(
                f"at most {limits.unpacked_bytes / 1e9:.3g} GB from the query",
                "more",
                "select fewer rows or columns, or raise STEWARD_MAX_UNPACKED_GIGABYTES",
            )
        batches.append(batch)
        if sum(batch.num_rows for batch in batches) >= block_rows:
            yield pa.Table.from_batches(batches, schema)
            batches = []
    if not rows:
        raise DataGateError("at least one row from the query", "none", "correct --query")
    if batches:
        yield pa.Table.from_batches(batches, schema)


def _texts(cells: Sequence[Any], column: str) -> pa.Array:
    """Return the cells as texts: those of one common type at once, others, such as several types, one by one."""
    kinds = set(map(type, cells)) - {type(None)}
    try:
        if len(kinds) == 1 and (write := WRITERS.get(kinds.pop())):
            return write(cells)
    except (pa.ArrowException, OverflowError):
        pass  # a whole number of more than 64 bits
    try:
        return pa.array([cell_text(cell) for cell in cells], pa.large_string())
    except (TypeError, ValueError):
        raise DataGateError(
            f"numbers, texts or times in the column {column!r} of the query",
            "values of another type",
            "leave the column out, or cast it to text in the query",
        ) from None


# How cells of one type become texts at once, equal to what `cell_text` returns for each.
WRITERS: dict[type, Callable[[Sequence[Any]], pa.Array]] = {
    str: lambda cells: pa.array(cells, pa.large_string()),
    int: lambda cells: pc.cast(pa.array(cells, pa.int64()), pa.large_string()),
    float: lambda cells: number_texts(pa.array(cells, pa.float64())),
    date: lambda cells: pc.cast(pa.array(cells, pa.date32()), pa.large_string()),
}


def _failure(query: DatabaseQuery, error: SQLAlchemyError, has_begun: bool) -> DataGateError:
    original = getattr(error, "orig", None)
    text, code = str(original or ""), str(getattr(original, "pgcode", None) or "")
    database = f"the database {query.url}"
    if "password authentication failed" in text or "no password supplied" in text or code.startswith("28"):
        return DataGateError(f"{database} to accept user and password", "a refusal", "correct them")
    if code == READ_ONLY or any(sign in text for sign in WRITES):
        return DataGateError(
            "a query that only reads", "one that writes", "correct --query: nothing was written"
        )
    if code.startswith(MISTAKE_IN_QUERY):
        return _query_error(str(getattr(original.diag, "message_primary", "")) if original else "")
    if text.startswith(SQLITE_MESSAGES):
        return _query_error(text)
    if isinstance(error, DBAPIError) and (error.connection_invalidated or (has_begun and not code)):
        return DataGateError(
            f"all rows of the query from {database}",
            "a connection that was lost half-way",
            "try again: nothing of it was kept",
        )
    if not has_begun and not code:
        return DataGateError(database, "no answer, or no such database", "check address, file and network")
    kind = f"error {code}" if code else type(original or error).__name__
    return DataGateError(f"rows of the query from {database}", f"a failure ({kind})", "correct --query")


def _query_error(message: str) -> DataGateError:
    return DataGateError("a query that the database understands", message, "correct --query")

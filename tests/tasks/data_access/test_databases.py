"""Databases as data: the same table as from a file, one clear error for what fails, nothing written, no password."""

import contextlib
import math
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import create_engine

from ml.data.digest import table_digest
from ml.errors import DataGateError, UsageError
from tasks.data_access.database_url import DatabaseQuery, database_query, without_password
from tasks.data_access.databases import KEEP_ALIVE, _engine, check_query, read_query
from tasks.data_access.extracts import FOLDER
from tasks.data_access.locate import DatasetSource
from tasks.formats.read_limits import ReadLimits
from tasks.source import read_source
from tasks.storage.content_store import Store, StoredResult
from tasks.validate import apply_contract
from tests.tasks.test_doors import FRAME, TYPES, contract

SELECT = f"SELECT {', '.join(TYPES)} FROM loans ORDER BY id"


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    path = tmp_path / "loans.db"
    with sqlite3.connect(path) as connection:
        # SQLite has no type for truth values.
        FRAME.assign(active=FRAME["active"].astype(str)).to_sql("loans", connection, index=False)
    connection.close()
    return path


@pytest.fixture(scope="module")
def loans(postgres: Callable[[str], str]) -> str:
    """Address, with password, of a PostgreSQL database with the table `loans`."""
    url = postgres("doors")
    engine = create_engine(url)
    FRAME.to_sql("loans", engine, index=False, if_exists="replace")
    engine.dispose()
    return url


def read(folder: Path, database: DatabaseQuery, **limits: int) -> StoredResult:
    source = DatasetSource("small", contract(), (), limits=ReadLimits(**limits), database=database)
    return read_source(source, Store(folder / "store"))


def postgres_query(url: str, query: str) -> DatabaseQuery:
    return database_query(without_password(url), query)


def extracts(folder: Path) -> list[Path]:
    return [*(folder / "store" / FOLDER).glob("*"), *(folder / "store" / FOLDER).glob(".*")]


def digest_of(stored: StoredResult) -> str:
    return table_digest(apply_contract(stored.table("rows"), contract()).clean)


def test_sqlite_ends_as_the_same_table(tmp_path: Path, sqlite_file: Path) -> None:
    expected = table_digest(apply_contract(FRAME, contract()).clean)
    for address in (str(sqlite_file), f"sqlite:///{sqlite_file}"):
        stored = read(tmp_path, database_query(address, SELECT))
        assert digest_of(stored) == expected
    assert stored.facts["origin"]["database"] == {"url": f"sqlite:///{sqlite_file}", "query": SELECT}
    # The same rows are the same extract, and the stored result is used again.
    assert stored.reused
    assert [path.name for path in extracts(tmp_path)] == list(stored.facts["origin"]["files"])


def test_postgresql_ends_as_the_same_table(tmp_path: Path, loans: str) -> None:
    expected = table_digest(apply_contract(FRAME, contract()).clean)
    stored = read(tmp_path, postgres_query(loans, SELECT))
    assert digest_of(stored) == expected
    # Numbers as `numeric`, identifiers as uuid, and a percent sign, which is no parameter.
    query = SELECT.replace("amount", "amount::numeric AS amount") + " -- 100 %s"
    assert digest_of(read(tmp_path, postgres_query(loans, query))) == expected


def test_no_password_is_in_what_is_recorded(tmp_path: Path, loans: str) -> None:
    password = loans.split(":")[2].split("@")[0]
    database = postgres_query(loans, SELECT)
    stored = read(tmp_path, database)
    assert password not in repr(database) + repr(stored.facts) + str(database.address)
    assert without_password("postgresql://me@h/db?sslmode=require&sslpassword=x") == (
        "postgresql://me@h/db?sslmode=require"
    )
    with pytest.raises(UsageError, match="PGPASSWORD") as error:
        database_query(loans, SELECT)
    assert password not in str(error.value)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT nothing FROM loans", 'column "nothing" does not exist'),
        ("SELECT FROM WHERE", "syntax error"),
        ("SELECT id FROM loans WHERE id = 'Jane Doe 4711'", "at least one row from the query; got none"),
        ("SELECT (name || 'Jane Doe 4711')::integer AS count FROM loans", "a failure (error 22P02)"),
        ("WITH gone AS (DELETE FROM loans RETURNING *) SELECT * FROM gone", "a query that only reads"),
        ("SELECT id, id FROM loans", "each column of the query once"),
        ("SELECT ARRAY[1] AS id", "in the column 'id' of the query"),
        (
            "SELECT n AS count, CASE n WHEN 45000 THEN pg_terminate_backend(pg_backend_pid())::text END AS name"
            " FROM generate_series(1, 60000) n",
            "a connection that was lost half-way",
        ),
    ],
)
def test_a_query_that_fails_is_one_clear_error(tmp_path: Path, loans: str, query: str, message: str) -> None:
    with pytest.raises(DataGateError) as error:
        read(tmp_path, postgres_query(loans, query))
    assert message in str(error.value)
    assert "4711" not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None
    assert extracts(tmp_path) == []
    assert read(tmp_path, postgres_query(loans, "SELECT * FROM loans")).facts["rows"] == len(FRAME)


@pytest.fixture
def cutting_proxy(loans: str) -> Iterator[str]:
    """Address of the database through a proxy that cuts a connection after 200 kB from the server."""
    user, _, place = loans.rpartition("@")
    address, _, name = place.partition("/")
    host, _, port = address.partition(":")
    listener = socket.create_server(("127.0.0.1", 0))

    def pass_on(source: socket.socket, target: socket.socket, most: float) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while passed < most and (data := source.recv(4096)):
                target.sendall(data)
                passed += len(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                server = socket.create_connection((host, int(port)))
                for pair in ((client, server, math.inf), (server, client, 200_000.0)):
                    threading.Thread(target=pass_on, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"{user}@127.0.0.1:{listener.getsockname()[1]}/{name}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_connection_that_drops_half_way_leaves_nothing(tmp_path: Path, cutting_proxy: str) -> None:
    """The server sends no message: its machine or the network is gone."""
    query = "SELECT n AS count, repeat('Jane Doe 4711', 9) AS name FROM generate_series(1, 60000) n"
    with pytest.raises(DataGateError, match="a connection that was lost half-way") as error:
        read(tmp_path, postgres_query(cutting_proxy, query))
    assert "4711" not in str(error.value)
    assert extracts(tmp_path) == []


def test_a_server_that_is_silent_is_asked_whether_it_lives(loans: str) -> None:
    engine = _engine(postgres_query(loans, SELECT))
    with engine.connect() as connection:
        parameters = connection.connection.driver_connection.get_dsn_parameters()  # type: ignore[union-attr]
    engine.dispose()
    assert {key: parameters[key] for key in KEEP_ALIVE} == {
        key: str(value) for key, value in KEEP_ALIVE.items()
    }


def test_a_wrong_password_is_one_clear_error(tmp_path: Path, loans: str) -> None:
    user, _, rest = loans.partition("@")
    wrong = f"{user.rpartition(':')[0]}:Secret4711@{rest}"
    with pytest.raises(DataGateError, match="to accept user and password") as error:
        read(tmp_path, postgres_query(wrong, SELECT))
    assert "Secret4711" not in str(error.value)
    assert extracts(tmp_path) == []


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("postgresql://me:Secret4711@127.0.0.1:1/db", DataGateError, "no answer, or no such database"),
        ("sqlite:////nowhere/loans.db", DataGateError, "no answer, or no such database"),
        ("nodb://me:Secret4711@h/db", UsageError, "whose driver is installed"),
        ("postgresql://me:Secret4711@h:port/db", UsageError, "the address of a database"),
    ],
)
def test_an_unreachable_database_is_one_clear_error(
    tmp_path: Path, address: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        read(tmp_path, postgres_query(address, SELECT))
    assert "Secret4711" not in str(raised.value)
    assert extracts(tmp_path) == []


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM loans",
        "SELECT 1; DROP TABLE loans",
        "  -- SELECT\n UPDATE loans SET bad = 0",
        "ATTACH 'other.db' AS other",
        "",
    ],
)
def test_queries_that_write_are_refused_before_anything_is_connected_to(query: str) -> None:
    with pytest.raises(UsageError):
        check_query(database_query("sqlite:////nowhere/loans.db", query))


def test_a_semicolon_in_a_text_or_comment_is_none(sqlite_file: Path) -> None:
    for query in ("SELECT ';' AS a /* ; */ -- ;\n;", "(SELECT $$;$$)", 'SELECT 1 AS "a;b"'):
        check_query(database_query(str(sqlite_file), query))


@pytest.mark.parametrize(
    "query",
    [
        "WITH a AS (SELECT 1) INSERT INTO loans SELECT * FROM loans",
        "WITH a AS (SELECT 1) DELETE FROM loans",
        "SELECT load_extension('x')",
    ],
)
def test_sqlite_is_opened_for_reading(tmp_path: Path, sqlite_file: Path, query: str) -> None:
    before = sqlite_file.read_bytes()
    with pytest.raises(DataGateError):
        read(tmp_path, database_query(str(sqlite_file), query))
    assert sqlite_file.read_bytes() == before


def test_columns_of_several_types_are_texts(tmp_path: Path) -> None:
    """SQLite has types of cells, not of columns."""
    path = tmp_path / "odd.db"
    with sqlite3.connect(path) as connection:
        pd.DataFrame({"name": ["x", None], "count": [1, 2.5]}, dtype=object).to_sql(
            "odd", connection, index=False
        )
        connection.execute("UPDATE odd SET name = 7 WHERE name IS NULL")
    connection.close()
    rows = read(tmp_path, database_query(str(path), "SELECT name, count FROM odd")).table("rows")
    assert rows.to_numpy().tolist() == [["x", "1"], ["7", "2.5"]]


def test_a_result_past_a_limit_leaves_nothing(tmp_path: Path, sqlite_file: Path) -> None:
    for limits in ({"rows": 5}, {"columns": 2}, {"unpacked_bytes": 100}):
        with pytest.raises(DataGateError, match="at most"):
            read(tmp_path, database_query(str(sqlite_file), SELECT), **limits)
    assert extracts(tmp_path) == []


def test_a_long_result_is_written_in_blocks(tmp_path: Path, sqlite_file: Path) -> None:
    numbers = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 50001) SELECT x AS count FROM n"
    path = read_query(database_query(str(sqlite_file), numbers), tmp_path, replace(ReadLimits(), rows=50_001))
    assert pd.read_parquet(path)["count"].tolist() == [str(n) for n in range(1, 50_002)]


def test_a_file_that_is_no_database_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "loans.db").write_bytes(b"id,amount\n" * 100)
    with pytest.raises(DataGateError, match="no such database"):
        read(tmp_path, database_query(str(tmp_path / "loans.db"), SELECT))

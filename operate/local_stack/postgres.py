"""PostgreSQL for both: MLflow in the database that is named, Prefect beside it in `<name>_prefect`.

The password travels in the environment of processes only: never in arguments, files or messages.
"""

from contextlib import closing
from typing import TYPE_CHECKING, Any

from ml.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import URL

BESIDE = "_prefect"


def address(uri: str) -> "URL":
    """As libpq reads it. Raises UsageError for what is no address of a PostgreSQL database."""
    from tasks.tracking import database

    url = database.address(uri)
    if url.get_backend_name() != "postgresql" or not url.database:
        wanted = "--database postgresql://USER:PASSWORD@HOST:PORT/NAME"
        raise UsageError(wanted, database.shown(uri), "name one, or leave it out for SQLite")
    return url.set(drivername="postgresql")


def for_prefect(uri: str) -> str:
    """What Prefect's server connects with, password included."""
    url = address(uri)
    query = {{"sslmode": "ssl"}.get(name, name): value for name, value in url.query.items()}
    beside = url.set(drivername="postgresql+asyncpg", database=f"{url.database}{BESIDE}", query=query)
    return beside.render_as_string(hide_password=False)


def create(uri: str) -> None:
    """Make the two databases where they are missing. Raises UsageError where that cannot be."""
    import psycopg2
    from psycopg2 import sql

    from tasks.tracking import database

    url = address(uri)
    try:
        with closing(_connect(url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            for name in (url.database, f"{url.database}{BESIDE}"):
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg2.Error as error:
        said = str(error).strip().partition("\n")[0]
        todo = f"see that it answers, and that {url.database}{BESIDE} is there or may be made by this user"
        raise UsageError(f"PostgreSQL at {database.shown(uri)}", said, todo) from None


def _connect(url: "URL") -> Any:
    """To the database that is named, or else to the one that is always there."""
    import psycopg2

    try:
        return psycopg2.connect(url.render_as_string(hide_password=False), connect_timeout=10)
    except psycopg2.OperationalError as error:
        if "does not exist" not in str(error):
            raise
    beside = url.set(database="postgres").render_as_string(hide_password=False)
    return psycopg2.connect(beside, connect_timeout=10)

"""PostgreSQL databases of `steward up`: the named one for MLflow, and `<name>_prefect` for Prefect.

The password is only in the environment of processes: never in arguments, files or messages.
"""

from contextlib import closing
from typing import TYPE_CHECKING, Any

from ml.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import URL

PREFECT_SUFFIX = "_prefect"


def parse_url(uri: str) -> "URL":
    """Parse the address of a PostgreSQL database as libpq reads it. Raises UsageError for any other address."""
    from tasks.tracking import database

    url = database.parse_uri(uri)
    if url.get_backend_name() != "postgresql" or not url.database:
        raise UsageError(
            "--database postgresql://USER:PASSWORD@HOST:PORT/NAME",
            database.redacted_url(uri),
            "name such a database, or omit --database to use SQLite",
        )
    return url.set(drivername="postgresql")


def prefect_url(uri: str) -> str:
    """Return the address of Prefect's database, with password, for the driver of Prefect's server."""
    url = parse_url(uri)
    query = {{"sslmode": "ssl"}.get(name, name): value for name, value in url.query.items()}
    url = url.set(drivername="postgresql+asyncpg", database=f"{url.database}{PREFECT_SUFFIX}", query=query)
    return url.render_as_string(hide_password=False)


def create_databases(uri: str) -> None:
    """Create the two databases unless they exist. Raises UsageError if that fails."""
    import psycopg2
    from psycopg2 import sql

    from tasks.tracking import database

    url = parse_url(uri)
    try:
        with closing(_connect(url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            for name in (url.database, f"{url.database}{PREFECT_SUFFIX}"):
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg2.Error as error:
        raise UsageError(
            f"PostgreSQL at {database.redacted_url(uri)}",
            str(error).strip().partition("\n")[0],
            f"check that the server runs, and that {url.database}{PREFECT_SUFFIX} exists or this user may create it",
        ) from None


def _connect(url: "URL") -> Any:
    """Connect to the named database; if it does not exist, to `postgres`, which always does."""
    import psycopg2

    try:
        return psycopg2.connect(url.render_as_string(hide_password=False), connect_timeout=10)
    except psycopg2.OperationalError as error:
        if "does not exist" not in str(error):
            raise
    default = url.set(database="postgres").render_as_string(hide_password=False)
    return psycopg2.connect(default, connect_timeout=10)

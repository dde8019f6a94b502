"""Addresses of databases: their passwords are taken out before anything is recorded, and kept in this process only."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from ml.errors import UsageError

SQLITE_ENDINGS = (".db", ".sqlite", ".sqlite3")
# Keys of an address's query that may hold secrets.
SECRETS = ("password", "passwd", "pwd", "secret", "token")
_NEXT_STEP = "write DIALECT://USER@HOST:PORT/DATABASE, such as postgresql://me@localhost/shop"
# Full addresses by what is recorded of them.
_full_addresses: dict[str, URL] = {}


@dataclass(frozen=True)
class DatabaseQuery:
    """A query of a database; `url` is without password."""

    url: str
    query: str

    @property
    def address(self) -> URL:
        """The address with the password that this process was given, if any."""
        return _full_addresses.get(self.url) or make_url(self.url)


def is_database(data: str | Sequence[str]) -> bool:
    """Return whether `data` is the address of a database."""
    return isinstance(data, str) and "://" in data


def without_password(data: str) -> str:
    """Return an address without its password, which is kept for the queries of this process. Raises UsageError."""
    url = _parse(data)
    public = _public(url)
    recorded = public.render_as_string(hide_password=False)
    if public != url:
        _full_addresses[recorded] = url
    return recorded


def database_query(data: str, query: str | None) -> DatabaseQuery:
    """Return what `--data` and `--query` name. Raises UsageError for an address with a password: it is recorded."""
    if query is None or not query.strip():
        raise UsageError("--query SQL with the address of a database", "none", "write a SELECT")
    if Path(data).suffix.lower() in SQLITE_ENDINGS and not is_database(data):
        data = f"sqlite:///{Path(data).expanduser().absolute()}"
    url = _parse(data)
    if _public(url) != url:
        raise UsageError(
            "an address without password, as parameters of flows are recorded",
            "one with a password",
            "leave it out, and set PGPASSWORD or use ~/.pgpass where the flow runs; change that password",
        )
    return DatabaseQuery(url.render_as_string(hide_password=False), query)


def _parse(data: str) -> URL:
    try:
        return make_url(data)
    except (ArgumentError, ValueError):
        # The message may quote the password.
        raise UsageError("the address of a database", "one that cannot be read", _NEXT_STEP) from None


def _public(url: URL) -> URL:
    query = {
        key: value for key, value in url.query.items() if not any(word in key.lower() for word in SECRETS)
    }
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query)

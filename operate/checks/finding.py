"""Findings of `steward doctor`, and what its checks are given."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ml.errors import StewardError
from tasks.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tasks.tracking.connection import Client

Status = Literal["ok", "warn", "bad"]


@dataclass(frozen=True)
class Finding:
    """Result of a check; with any status but "ok", `fix` is a command or an instruction."""

    check: str
    status: Status
    message: str
    fix: str = ""


class CheckBlockedError(Exception):
    """The check needs MLflow's database, which cannot be read."""


class NoRunsYetError(Exception):
    """There is nothing to check, since no run has started."""


@dataclass
class CheckContext:
    """What every check is given; `deep` checks may take long."""

    settings: Settings
    deep: bool = False

    @property
    def state_dir(self) -> Path:
        return self.settings.state_dir.resolve()

    @property
    def database_file(self) -> Path | None:
        """The file of MLflow's SQLite database; None on PostgreSQL."""
        from tasks.tracking.database import sqlite_file

        return sqlite_file(self.settings.mlflow_uri)

    @contextmanager
    def open_database(self) -> Iterator["Connection"]:
        """Connect read-only to MLflow's tables. Raises CheckBlockedError or NoRunsYetError."""
        from tasks.tracking.database import open_read_only

        self._require_tables()
        with open_read_only(self.settings.mlflow_uri) as connection:
            yield connection

    @property
    def client(self) -> "Client":
        """MLflow's client, which creates no tables. Raises CheckBlockedError or NoRunsYetError."""
        from tasks.tracking.connection import connect_read_only

        self._require_tables()
        return connect_read_only(self.settings)

    def _require_tables(self) -> None:
        if self._tables == "unreadable":
            raise CheckBlockedError
        if self._tables == "none":
            raise NoRunsYetError

    @cached_property
    def _tables(self) -> Literal["unreadable", "none", "readable"]:
        from tasks.tracking.connection import require_current_schema
        from tasks.tracking.database import is_missing

        try:
            if self.database_file and is_missing(self.database_file):
                return "none"
            schema = require_current_schema(self.settings.mlflow_uri)
        except StewardError:
            return "unreadable"
        return "readable" if schema.found else "none"

"""Findings: what a look at one thing gives, and what all looks share."""

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

State = Literal["ok", "warn", "bad"]
# Seconds that a look waits for whoever may not answer.
PATIENCE = 5


@dataclass(frozen=True)
class Finding:
    """What one check found; whatever is not ok names its fix, a command or an act."""

    check: str
    state: State
    found: str
    fix: str = ""


class BlockedError(Exception):
    """This cannot be looked at while MLflow's database cannot."""


class NothingYetError(Exception):
    """There has been no run yet: there is nothing to look at."""


@dataclass
class Look:
    """One look at everything. `deep` takes as long as it takes."""

    settings: Settings
    deep: bool = False

    @property
    def home(self) -> Path:
        return self.settings.home.resolve()

    @property
    def file(self) -> Path | None:
        """The file of MLflow's database; None for a server."""
        from tasks.tracking.database import file_of

        return file_of(self.settings.mlflow_uri)

    @contextmanager
    def reading(self) -> Iterator["Connection"]:
        """A connection that cannot write, to tables that are known to be MLflow's and of its version.

        Raises BlockedError, or NothingYetError.
        """
        from tasks.tracking.database import reading

        self._possible()
        with reading(self.settings.mlflow_uri) as connection:
            yield connection

    @property
    def client(self) -> "Client":
        """MLflow's client, which makes no tables here. Raises BlockedError, or NothingYetError."""
        from tasks.tracking import connection as tracking

        self._possible()
        return tracking.look(self.settings)

    def _possible(self) -> None:
        if self._version == "unreadable":
            raise BlockedError
        if self._version == "none":
            raise NothingYetError

    @cached_property
    def _version(self) -> Literal["unreadable", "none", "right"]:
        from tasks.tracking import connection as tracking
        from tasks.tracking.database import is_missing

        try:
            if self.file and is_missing(self.file):
                return "none"
            seen = tracking.refuse_another_schema(self.settings.mlflow_uri)
        except StewardError:
            return "unreadable"
        return "right" if seen.found else "none"

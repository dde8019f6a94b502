"""Tracking: one MLflow run per flow run, a child per candidate; addressed by id, never through an active run."""

import json
import logging
import math
import shutil
import socket
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import mlflow
from alembic.script import ScriptDirectory
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag
from mlflow.store.db.utils import _get_alembic_config
from mlflow.utils.mlflow_tags import (
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
)

from ml.refusal import UsageError
from tasks import database, presence
from tasks.settings import Settings

log = logging.getLogger("steward")
# The one name under which flows know MLflow.
Client = MlflowClient
# Seconds: that a run waits for another's lock, and between attempts to reach a server.
BUSY, PAUSES = 20.0, (1, 2)


def connect(settings: Settings) -> Client:
    """A client of our database, which is made once: two at the same time would race.

    Raises UsageError where it cannot be reached, or has tables of another version: nothing is migrated unasked.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.home / "mlflow.lock"):
        _wait_for(settings.mlflow_uri)
        client = _client(settings)
        client.search_experiments(max_results=1)
    return client


@dataclass(frozen=True)
class Tracked:
    """One MLflow run."""

    client: MlflowClient
    run_id: str
    experiment_id: str

    def record(
        self,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Log numbers, parameters and tags; what is not finite is no number that MLflow can compare, and stays out."""
        now = int(time.time() * 1000)
        finite = {k: v for k, v in (metrics or {}).items() if v is not None and math.isfinite(v)}
        self.client.log_batch(
            self.run_id,
            [Metric(name, float(value), now, 0) for name, value in finite.items()],
            [Param(name, str(value)[:6000]) for name, value in (params or {}).items()],
            [RunTag(name, str(value)[:8000]) for name, value in (tags or {}).items()],
        )

    def child(self, name: str, metrics: Mapping[str, float], params: Mapping[str, Any]) -> None:
        """A finished run below this one."""
        tags = {MLFLOW_PARENT_RUN_ID: self.run_id, MLFLOW_RUN_NAME: name, MLFLOW_SOURCE_NAME: "steward"}
        run = self.client.create_run(self.experiment_id, run_name=name, tags=tags)
        Tracked(self.client, run.info.run_id, self.experiment_id).record(metrics, params)
        self.client.set_terminated(run.info.run_id, "FINISHED")

    def datasets(self, digests: Mapping[str, str], name: str, origin: Mapping[str, Any]) -> None:
        """Which tables the run used, by digest; never their rows."""
        inputs = [
            DatasetInput(Dataset(f"{name}.{part}", digest[:36], "steward", json.dumps(origin)), [])
            for part, digest in digests.items()
        ]
        self.client.log_inputs(self.run_id, inputs)

    def write(self, name: str, text: str) -> None:
        self.client.log_text(self.run_id, text, name)

    def describe(self, text: str) -> None:
        """What MLflow shows at the top of the run's page; Markdown."""
        self.client.set_tag(self.run_id, MLFLOW_RUN_NOTE, text)

    def uri(self, name: str) -> str:
        return f"{self.client.get_run(self.run_id).info.artifact_uri}/{name}"

    def finish(self, status: str) -> None:
        """FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run_id, status)


def start(
    client: MlflowClient,
    settings: Settings,
    experiment: str,
    name: str,
    tags: Mapping[str, str],
    inputs: Sequence[str],
) -> Tracked:
    """A new run in the case's experiment, which is made on first use.

    Raises UsageError where the home was moved: the run would be written to where the home was.
    """
    with FileLock(settings.home / "mlflow.lock"):
        known = client.get_experiment_by_name(experiment)
        location = (settings.artifacts / experiment).as_uri()
        if known:
            _refuse_moved(known.artifact_location, settings.artifacts / experiment)
        experiment_id = known.experiment_id if known else client.create_experiment(experiment, location)
    run = client.create_run(
        experiment_id,
        run_name=name,
        tags={
            MLFLOW_SOURCE_NAME: "steward",
            presence.HOST: socket.gethostname(),
            **tags,
            "steward.inputs": " ".join(inputs),
        },
    )
    return Tracked(client, run.info.run_id, experiment_id)


@dataclass(frozen=True)
class Schema:
    """Versions of MLflow's tables: the one found (None: no tables), and the one that this MLflow works with."""

    found: str | None
    expected: str
    older: bool


def schema(uri: str, patience: float = database.LOCK) -> Schema:
    """The version of the tables, with nothing made and nothing migrated.

    `patience` is in seconds, for the lock of another process. Raises UsageError where none can be read.
    """
    with database.reading(uri, patience) as connection:
        found = database.revision(connection)
    script = ScriptDirectory.from_config(_get_alembic_config(""))  # type: ignore[no-untyped-call]
    expected = str(script.get_current_head())
    known = {one.revision for one in script.walk_revisions()}
    return Schema(found, expected, found in known - {expected})


def refuse_another_schema(uri: str, patience: float = database.LOCK) -> Schema:
    """Raises UsageError for tables of another version: as soon as MLflow looks, it migrates those that lack some."""
    seen = schema(uri, patience)
    if seen.found in (None, seen.expected):
        return seen
    # libpq reads a password from there too, and the command line shows none.
    password = "" if database.file_of(uri) else ", with PGPASSWORD set"
    todo = f"back up the database, then{password}: mlflow db upgrade {database.shown(uri)}"
    if not seen.older:
        todo = "install the version of MLflow that wrote them (constraints.txt), or restore a backup"
    age = "older" if seen.older else "unknown, so newer"
    raise UsageError(f"MLflow's tables of version {seen.expected}", f"version {seen.found} ({age})", todo)


def look(settings: Settings) -> Client:
    """A client for whoever makes nothing. Raises UsageError where there are no tables of this version."""
    if refuse_another_schema(settings.mlflow_uri).found is None:
        raise UsageError("MLflow's tables", "an empty database", "the first run makes them: steward run CASE")
    return _client(settings)


def _client(settings: Settings) -> Client:
    # Loading a model by `models:/` in this process asks the global address.
    mlflow.set_tracking_uri(settings.mlflow_uri)
    return MlflowClient(settings.mlflow_uri, settings.mlflow_uri)


def _wait_for(uri: str) -> None:
    """Returns when the database may be used, or has yet to be made. Raises UsageError, after a few attempts."""
    file = database.file_of(uri)
    if file and database.is_missing(file):
        return
    database.take_back(uri, BUSY)
    for pause in PAUSES:
        try:
            refuse_another_schema(uri, BUSY)
            return
        except database.UnreadableError:
            if file:
                raise
            # A server that starts again, or has no connection left, is back soon. MLflow would try for 100 seconds.
            time.sleep(pause)
    refuse_another_schema(uri, BUSY)


def compact(settings: Settings) -> int:
    """Give back to the disk what deleting left in an SQLite file, where that is a quarter or more; bytes.

    A run that begins waits meanwhile; of those that are at work there must be none. A server looks after itself.
    """
    file = database.file_of(settings.mlflow_uri)
    if file is None:
        return 0
    before = file.stat().st_size
    try:
        with (
            FileLock(settings.home / "mlflow.lock"),
            closing(sqlite3.connect(file, timeout=BUSY, isolation_level=None)) as connection,
        ):
            pages, free = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count")
            )
            # The file is written anew beside itself before it is replaced.
            if 4 * free >= pages and shutil.disk_usage(file.parent).free > 2 * before:
                connection.execute("VACUUM")
    except sqlite3.OperationalError as error:
        log.warning("  %s was left as large as it is: %s", file.name, error)
    return before - file.stat().st_size


def _refuse_moved(location: str, here: Path) -> None:
    there = Path(unquote(urlparse(location).path)) if location.startswith("file:") else None
    if there and not there.parent.is_dir() and here.is_dir():
        raise UsageError(f"artifacts in {there}", f"no such folder, but {here}", "steward doctor --fix")

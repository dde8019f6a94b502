"""Check of artifact addresses: MLflow stores absolute paths, which are wrong after the state directory was moved."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlparse

from ml.errors import UsageError
from operate.checks.finding import CheckContext, Finding

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Columns in which MLflow stores artifact addresses.
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)


@dataclass(frozen=True)
class ArtifactRoot:
    """A folder of artifacts, the URI prefix that names it, and the number of addresses with that prefix."""

    prefix: str
    folder: Path
    count: int


def artifacts(context: CheckContext) -> Iterator[Finding]:
    """Check that all artifact addresses point into this state directory."""
    expected = context.settings.artifacts_dir
    with context.open_database() as connection:
        roots = _artifact_roots(connection)
    foreign_roots = [root for root in roots if root.folder.resolve() != expected]
    for root in foreign_roots:
        message = f"{root.count:,} artifact addresses point to {root.folder}"
        if root.folder.is_dir():
            fix = (
                f"use the state directory that they belong to: STEWARD_HOME={root.folder.parent}; or, if this one"
                f" replaces it: cp -rn {root.folder}/. {expected}, delete {root.folder}, steward doctor --fix"
            )
            yield Finding("artifacts", "warn", f"{message}, outside this state directory", fix)
        elif expected.is_dir():
            message += f", which does not exist, while {expected} does: the state directory was moved"
            yield Finding("artifacts", "bad", message, _fix_command(context, foreign_roots))
        else:
            fix = f"restore {expected} from a backup, then: steward doctor --fix"
            message += f": neither that folder nor {expected} exists"
            yield Finding("artifacts", "bad", message, fix)
    if not foreign_roots:
        count = sum(root.count for root in roots)
        yield Finding("artifacts", "ok", f"{count:,} artifact addresses, all in this state directory")


def fix_artifacts(context: CheckContext) -> Iterator[str]:
    """Rewrite the addresses of a moved state directory in one transaction, after a copy of the database file.

    Raises UsageError while a run is running, since it would go on writing to the old addresses.
    """
    from tasks.locks.run_lock import active_runs

    expected, file = context.settings.artifacts_dir, context.database_file
    with context.open_database() as connection:
        moved = [
            root
            for root in _artifact_roots(connection)
            if not root.folder.is_dir() and root.folder.resolve() != expected
        ]
    if not moved or not expected.is_dir() or file is None:
        return
    if runs := active_runs(context.settings):
        raise UsageError(
            "no active run", f"{len(runs)} running", "wait until it ends, then: steward doctor --fix"
        )
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    copy = file.with_name(f"{file.name}.{now}.before-doctor")
    address = f"file:{quote(str(file))}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        # Locks out writers between copy and update. Any error rolls the whole update back.
        connection.execute("BEGIN IMMEDIATE")
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        count = sum(connection.execute(line).rowcount for line in _update_statements(moved, expected))
        connection.execute("COMMIT")
    yield f"rewrote {count:,} artifact addresses to {expected}; copy of the database before: {copy}"


def _fix_command(context: CheckContext, roots: list[ArtifactRoot]) -> str:
    if context.database_file:
        return "steward doctor --fix"
    moved = [root for root in roots if not root.folder.is_dir()]
    statements = _update_statements(moved, context.settings.artifacts_dir)
    lines = ["BEGIN;", *(f"{statement};" for statement in statements), "COMMIT;"]
    return "back up the database, then run as its owner:\n" + "\n".join(lines)


def _update_statements(roots: list[ArtifactRoot], folder: Path) -> list[str]:
    """Write SQL for both databases. LIKE is not used: `_` in a folder's name would match any character."""
    return [
        f"UPDATE {table} SET {column} = {_quoted(folder.as_uri())} || substr({column}, {len(root.prefix) + 1})"
        f" WHERE substr({column}, 1, {len(root.prefix) + 1}) = {_quoted(root.prefix + '/')}"
        for root in roots
        for table, column in COLUMNS
    ]


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _artifact_roots(connection: "Connection") -> list[ArtifactRoot]:
    """Group all addresses `<root>/<experiment>/...` of Steward's experiments by root."""
    from sqlalchemy import text

    experiments = {str(name) for (name,) in connection.execute(text("SELECT name FROM experiments")).all()}
    counts: dict[str, int] = {}
    for table, column in COLUMNS:
        query = f"SELECT {column} FROM {table} WHERE {column} LIKE 'file:%'"
        for (address,) in connection.execute(text(query)):
            with suppress(ValueError):
                prefix = _root_prefix(str(address), experiments)
                counts[prefix] = counts.get(prefix, 0) + 1
    return [
        ArtifactRoot(prefix, Path(unquote(urlparse(prefix).path)), count)
        for prefix, count in sorted(counts.items())
    ]


def _root_prefix(address: str, experiments: set[str]) -> str:
    """Return what precedes `/<experiment>` in an address. Raises ValueError if it contains no experiment."""
    parts = address.split("/")
    last = max(
        i for i, part in enumerate(parts) if unquote(part) in experiments and parts[i - 1] == "artifacts"
    )
    return "/".join(parts[:last])

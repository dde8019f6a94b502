"""Artifacts: MLflow keeps absolute addresses, which a moved home leaves pointing to where it was."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlparse

from ml.errors import UsageError
from operate.checks.finding import Finding, Look

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Where MLflow keeps addresses, with the experiment that each belongs to left out: its name is part of the address.
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)


@dataclass(frozen=True)
class Root:
    """A folder of artifacts that addresses begin with, as they spell it, and how many do."""

    address: str
    folder: Path
    addresses: int


def artifacts(look: Look) -> Iterator[Finding]:
    """Whether the artifacts are where MLflow says."""
    here = look.settings.artifacts
    with look.reading() as connection:
        roots = _roots(connection)
    strange = [root for root in roots if root.folder.resolve() != here]
    for root in strange:
        addresses = f"{root.addresses:,} addresses of artifacts lead to {root.folder}"
        if root.folder.is_dir():
            found = f"{addresses}, outside of this home"
            fix = f"use the home that they belong to: STEWARD_HOME={root.folder.parent}; or, where this one takes its"
            fix += f" place: cp -rn {root.folder}/. {here}, take {root.folder} away, steward doctor --fix"
            yield Finding("artifacts", "warn", found, fix)
        elif here.is_dir():
            found = f"{addresses}, which is not there, while {here} is: this home was moved"
            yield Finding("artifacts", "bad", found, _how(look, strange))
        else:
            fix = f"restore {here} from a backup, then: steward doctor --fix"
            yield Finding("artifacts", "bad", f"{addresses}: neither that nor {here} is there", fix)
    if not strange:
        count = sum(root.addresses for root in roots)
        yield Finding("artifacts", "ok", f"{count:,} addresses of artifacts, all in this home")


def mend_artifacts(look: Look) -> Iterator[str]:
    """Rewrite the addresses of a moved home, in one transaction, after a copy of the database's file.

    Raises UsageError while a run is at work: it would go on writing to the old addresses.
    """
    from tasks.locks.run_lock import active_runs

    here, file = look.settings.artifacts, look.file
    with look.reading() as connection:
        moved = [r for r in _roots(connection) if not r.folder.is_dir() and r.folder.resolve() != here]
    if not moved or not here.is_dir() or file is None:
        return
    if at_work := active_runs(look.settings):
        raise UsageError("no run at work", f"{len(at_work)}", "wait for it, then: steward doctor --fix")
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    copy = file.with_name(f"{file.name}.{now}.before-doctor")
    address = f"file:{quote(str(file))}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        # Nobody writes between the copy and the change; whatever is raised takes all of the change back.
        connection.execute("BEGIN IMMEDIATE")
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        count = sum(connection.execute(line).rowcount for line in _statements(moved, here))
        connection.execute("COMMIT")
    yield f"rewrote {count:,} addresses of artifacts to {here}; the database as it was: {copy}"


def _how(look: Look, roots: list[Root]) -> str:
    if look.file:
        return "steward doctor --fix"
    moved = [root for root in roots if not root.folder.is_dir()]
    lines = ["BEGIN;", *(f"{line};" for line in _statements(moved, look.settings.artifacts)), "COMMIT;"]
    return "back up the database, and let its owner run:\n" + "\n".join(lines)


def _statements(roots: list[Root], here: Path) -> list[str]:
    """SQL that both databases understand. LIKE would take the `_` of a folder's name for any character."""
    return [
        f"UPDATE {table} SET {column} = {_quoted(here.as_uri())} || substr({column}, {len(root.address) + 1})"
        f" WHERE substr({column}, 1, {len(root.address) + 1}) = {_quoted(root.address + '/')}"
        for root in roots
        for table, column in COLUMNS
    ]


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _roots(connection: "Connection") -> list[Root]:
    """Every folder `<somewhere>/<experiment>` of ours without its last part, and how many addresses begin with it."""
    from sqlalchemy import text

    experiments = connection.execute(text("SELECT name, artifact_location FROM experiments")).all()
    known = {str(name) for name, _ in experiments}
    counts: dict[str, int] = {}
    for table, column in COLUMNS:
        question = f"SELECT {column} FROM {table} WHERE {column} LIKE 'file:%'"
        for (address,) in connection.execute(text(question)):
            with suppress(ValueError):
                root = _root(str(address), known)
                counts[root] = counts.get(root, 0) + 1
    return [Root(address, Path(unquote(urlparse(address).path)), n) for address, n in sorted(counts.items())]


def _root(address: str, experiments: set[str]) -> str:
    """What is before `/<experiment>` in an address of ours. Raises ValueError where no experiment is in it."""
    parts = address.split("/")
    last = max(
        i for i, part in enumerate(parts) if unquote(part) in experiments and parts[i - 1] == "artifacts"
    )
    return "/".join(parts[:last])

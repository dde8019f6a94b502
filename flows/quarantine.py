"""Batches with rows in quarantine: list them, show their rows, and put repaired rows back."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ml.contract.schema import Contract
from ml.errors import UsageError
from tasks.data_access.locate import load_contract
from tasks.repaired_rows import Release, files_of_batch, quarantined_cells, read_repaired, release_rows
from tasks.settings import Settings, load
from tasks.storage.content_store import Store
from tasks.tracking import connection, run_history

# Batches that are listed.
MAX_BATCHES = 20


@dataclass(frozen=True)
class QuarantinedBatch:
    """A batch with rows in quarantine, as the last run on it recorded them; `rules` are those that removed rows.

    `source` is the digest of the stored table.
    """

    run_id: str
    started: str
    case: str
    contract: str
    contract_file: str | None
    verdict: str
    rows: int
    quarantined: int
    rules: list[dict[str, Any]]
    differences: list[str]
    source: str


def quarantined_batches(case: str, data: str) -> list[QuarantinedBatch]:
    """List the last batches of a model with rows in quarantine, newest first; each table once.

    Raises UsageError where there is none.
    """
    settings = load()
    client = connection.connect_read_only(settings)
    batches: dict[str, QuarantinedBatch] = {}
    for run in _runs(client, f"{case}.{data}"):
        batch = _batch(run, case)
        if batch and batch.source not in batches:
            batches[batch.source] = batch
        if len(batches) == MAX_BATCHES:
            break
    if not batches:
        raise UsageError(
            f"a batch of {case}.{data} with rows in quarantine",
            "none so far",
            f"run `steward run {case} --data {data}` first",
        )
    return list(batches.values())


def _runs(client: connection.Client, name: str) -> Iterator[run_history.RecordedRun]:
    for summary in run_history.last_runs(client, name, 10 * MAX_BATCHES):
        if run := run_history.read_run(client, summary.run_id):
            yield run


def _batch(run: run_history.RecordedRun, case: str) -> QuarantinedBatch | None:
    """Return the batch of a run; None where it has no row in quarantine, or was refused before that was known."""
    facts: dict[str, Any] = dict(run.facts or {})
    validation = facts.get("validate", {})
    sources = [stage["digest"] for stage in facts.get("stages", []) if stage["stage"] == "source"]
    if not sources or not validation.get("quarantined"):
        return None
    removing = [r for r in validation["rules"] if r["action"] == "quarantine" and r["violations"]]
    return QuarantinedBatch(
        run.run_id,
        datetime.fromisoformat(facts["started"]).astimezone(UTC).isoformat(timespec="seconds"),
        case,
        facts["contract"],
        facts.get("contract_file"),
        run.tags.get("steward.verdict", ""),
        validation["rows"],
        validation["quarantined"],
        sorted(removing, key=lambda rule: -rule["violations"]),
        validation.get("quarantine_differences", []),
        sources[0],
    )


def find_batch(case: str, data: str, run: str | None) -> QuarantinedBatch:
    """Return the newest batch with rows in quarantine, or that of a run by the begin of its id. Raises UsageError."""
    batches = quarantined_batches(case, data)
    found = [batch for batch in batches if batch.run_id.startswith(run or "")]
    if not found or (run and len(found) > 1):
        known = ", ".join(batch.run_id[:8] for batch in batches)
        raise UsageError(
            f"one run of {known}", f"{run!r}, which fits {len(found)}", "see `steward quarantine`"
        )
    return found[0]


def rows_in_quarantine(batch: QuarantinedBatch) -> pd.DataFrame:
    """Return the rows of a batch that the contract, as it is now, quarantines, with their cells as they were read."""
    settings = load()
    return quarantined_cells(_stored_rows(batch, settings), _contract(batch, settings))


def release(batch: QuarantinedBatch, file: Path, out: Path) -> tuple[Release, tuple[Path, ...]]:
    """Put the repaired rows of a file into their batch, write it for a run to read, and return the files too.

    That is one Parquet file; where the contract keeps the names of files, a new folder with one for each, in their
    order. Nothing is written where no row passes the rules. Raises UsageError or DataGateError.
    """
    settings = load()
    contract, rows = _contract(batch, settings), _stored_rows(batch, settings)
    # Refused before anything is read: a released batch has the same files.
    names = list(files_of_batch(rows, contract))
    _require_new(out, ("",) if contract.read.source_column else (".csv", ".parquet"))
    store = Store(settings.state_dir.resolve() / "store")
    repaired = read_repaired(file, contract, settings.read_limits, store)
    released = release_rows(rows, repaired, contract)
    if not released.released:
        return released, ()
    parts = files_of_batch(released.rows, contract)
    if not contract.read.source_column:
        write_table(parts[""], out)
        return released, (out,)
    with _whole(out) as folder:
        folder.mkdir(mode=0o700)
        for name, part in parts.items():
            write_table(part, folder / f"{name}.parquet")
    return released, tuple(out / f"{name}.parquet" for name in names)


def write_table(rows: pd.DataFrame, path: Path) -> None:
    """Write cells as they are to a new Parquet or CSV file that only this user can read; whole, or not at all."""
    _require_new(path, (".csv", ".parquet"))
    with _whole(path) as temporary:
        # Created first, so that nobody else can ever read it.
        temporary.touch(mode=0o600, exist_ok=False)
        if path.suffix == ".csv":
            rows.to_csv(temporary, index=False)
            return
        for column in rows.select_dtypes("object"):
            rows = rows.assign(**{str(column): rows[column].map(str, na_action="ignore")})
        rows.to_parquet(temporary, index=False)


def _require_new(path: Path, endings: tuple[str, ...]) -> None:
    """Raise UsageError for a path that exists, has another ending, or whose folder does not exist."""
    if path.exists():
        raise UsageError("a new file", f"{path}, which exists", "name another one")
    if path.suffix not in endings or not path.resolve().parent.is_dir():
        expected = (
            "FILE.csv or FILE.parquet" if endings != ("",) else "a new FOLDER, for a file of each name,"
        )
        raise UsageError(f"{expected} in a folder that exists", str(path), "name such a one")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield another name for a new file or folder, which gets its own when it is complete. A failure leaves neither."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.rename(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def _contract(batch: QuarantinedBatch, settings: Settings) -> Contract:
    name = batch.contract_file or batch.contract.partition(".")[2]
    return load_contract(batch.case, name, settings)


def _stored_rows(batch: QuarantinedBatch, settings: Settings) -> pd.DataFrame:
    store = Store(settings.state_dir.resolve() / "store")
    stored = store.find(batch.source)
    if stored is None:
        raise UsageError(
            "the table of the batch in the content store",
            "no such table: its retention has ended",
            "run again on its files",
        )
    return stored.table("rows")

"""Source: read the files of a dataset, or run its simulator, into a table whose cells are as they came."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.contract.read_options import ReadOptions
from ml.data import item_attributes
from ml.simulators import SIMULATORS
from tasks.data_access.data_paths import file_labels, source_names
from tasks.data_access.databases import read_query
from tasks.data_access.locate import DatasetSource
from tasks.data_access.stacked_files import FilePart, join, stack
from tasks.data_facts import SourceFacts
from tasks.error_boundary import is_unexpected, redact_errors
from tasks.formats.file_ending import check_file_end
from tasks.formats.file_formats import read_in_order
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of

CODE = (
    "tasks/source.py",
    "tasks/error_boundary.py",
    "tasks/dropped_columns.py",
    "tasks/data_facts.py",
    "tasks/formats",
    "tasks/data_access",
    "ml/contract",
    "ml/data",
    "ml/device.py",
    "ml/errors.py",
    "ml/simulators",
)


@task(
    name="source",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=1,
    retry_condition_fn=lambda *arguments: _is_io_error(arguments),
)
@redact_errors
def source(dataset_source: DatasetSource, store: Store) -> StoredResult:
    """Store the data as they came: the table `rows`, for simulated data also `oracle` (the true probabilities).

    A side table of items is the table `items`, and `titles` where it has some, in the forms of
    `ml.data.item_attributes`. Raises DataGateError for a
    file that cannot be read as the contract says.
    """
    return read_source(dataset_source, store)


def read_source(dataset_source: DatasetSource, store: Store) -> StoredResult:
    """Run the stage outside of a flow; arguments and result are those of the task `source`."""
    if database := dataset_source.database:
        extract = read_query(database, store.folder, dataset_source.limits)
        dataset_source = replace(dataset_source, files=(extract,))
    if dataset_source.files:
        return read_files(dataset_source, store)
    options = dataset_source.contract.read
    key = key_of(
        "source", CODE, ("numpy",), simulator=options.simulator, rows=options.rows, seed=options.seed
    )
    return store.get_or_compute(key, lambda: _simulate(options), "source")


def read_files(dataset_source: DatasetSource, store: Store) -> StoredResult:
    """Store the files as one table, and the side table of items, if there is one."""
    for path in dataset_source.all_files:
        dataset_source.limits.check_file_size(path.name, path.stat().st_size)
    files = dataset_source.all_files
    digests = {label: _sha256(path) for label, path in zip(file_labels(files), files, strict=True)}
    contract = dataset_source.contract
    options = contract.read
    side_table = contract.item_attributes if dataset_source.item_attributes_file else None
    key = key_of(
        "source",
        CODE,
        ("pyarrow", "pandas"),
        files=digests,
        read=options.model_dump(),
        limits=asdict(dataset_source.limits),
        database=asdict(dataset_source.database) if dataset_source.database else None,
        # Keys ignore the order of a mapping, but files without a header take it for their column names.
        columns=list(options.columns),
        items=side_table.model_dump() if side_table else None,
        # Recorded in the facts.
        published=[contract.publication.get("url"), contract.publication.get("sha256")],
    )
    return store.get_or_compute(key, lambda: _read_files(dataset_source, digests), "source")


def _simulate(options: ReadOptions) -> StageResult:
    assert options.simulator  # the parser accepts no contract that has neither simulator nor files
    started = time.perf_counter()
    simulation = SIMULATORS[options.simulator](options.rows, options.seed)
    facts: SourceFacts = {
        "origin": {"simulator": options.simulator, "rows": options.rows, "seed": options.seed},
        "rows": len(simulation.rows),
        "dropped_columns": {"count": 0, "positions": {}},
        "seconds": time.perf_counter() - started,
    }
    return StageResult({"rows": simulation.rows, "oracle": simulation.oracle}, facts)


def _read_files(dataset_source: DatasetSource, digests: Mapping[str, str]) -> StageResult:
    started = time.perf_counter()
    contract, files = dataset_source.contract, dataset_source.files
    options = contract.read
    parts: list[FilePart] = []
    dropped, notes, row_count = {}, [], 0
    contents = read_in_order(files, options, dataset_source.limits)
    names = zip(file_labels(files), source_names(files), strict=True)
    for (label, name), (path, content) in zip(names, contents, strict=True):
        notes += check_file_end(path, content.table, options)
        if content.ragged_lines:
            left_out = "1 line was" if content.ragged_lines == 1 else f"{content.ragged_lines:,} lines were"
            notes.append(f"{path.name}: {left_out} left out, with too many cells or too few")
        if content.dropped:
            dropped[label] = list(content.dropped)
        parts.append(FilePart(label, _with_source_column(name, content.table, options)))
        row_count += content.table.num_rows
        del content
        dataset_source.limits.check_rows("all files together", row_count)
    rows = stack(parts) if options.join is None else join(parts, options.join)
    if options.row_column:
        rows[options.row_column] = np.arange(1, len(rows) + 1)
    tables = {"rows": rows[[column for column in options.columns if column in rows.columns]]}
    if contract.item_attributes and dataset_source.item_attributes_file:
        side_table = dataset_source.item_attributes_file.read_bytes()
        tables["items"] = item_attributes.read_attribute_table(side_table, contract.item_attributes)
        if contract.item_attributes.title:
            tables["titles"] = item_attributes.read_title_table(side_table, contract.item_attributes)
    published = contract.publication.get("sha256", {})
    facts: SourceFacts = {
        "origin": {
            "files": dict(digests),
            "url": contract.publication.get("url"),
            **({"database": asdict(dataset_source.database)} if dataset_source.database else {}),
        },
        "differs_from_published": sorted(n for n, sha in digests.items() if published.get(n, sha) != sha),
        "rows": len(rows),
        "file_notes": notes,
        # Columns that the contract does not name are dropped. Without a header, their names would be cells.
        "dropped_columns": {"count": sum(map(len, dropped.values())), "positions": dropped},
        "seconds": time.perf_counter() - started,
    }
    return StageResult(tables, facts)


def _with_source_column(name: str, table: pa.Table, options: ReadOptions) -> pa.Table:
    """Add the column with the name of the file."""
    if not options.source_column:
        return table
    names = pa.array([name], pa.string())
    cells = pa.DictionaryArray.from_arrays(pa.array(np.zeros(table.num_rows, np.int32)), names)
    return table.append_column(options.source_column, cells.dictionary_decode())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_io_error(arguments: tuple[Any, ...]) -> bool:
    """Return whether a retry can help. Prefect passes task, task run and state."""
    state = arguments[2]
    return is_unexpected(state.data, OSError) or is_unexpected(
        getattr(state.data, "exception", None), OSError
    )

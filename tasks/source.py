"""Source: read the files of a dataset, or run its simulator, into a table whose cells are as they came."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.contract.read_options import ReadOptions
from ml.data import item_attributes
from ml.data.casting import TEXT_DTYPE
from ml.errors import DataGateError
from ml.simulators import SIMULATORS
from tasks.data_facts import SourceFacts
from tasks.error_boundary import is_unexpected, redact_errors
from tasks.file_content import FileContent
from tasks.file_ending import check_file_end
from tasks.file_formats import read_file
from tasks.locate import DatasetSource
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of

CODE = (
    "tasks/source.py",
    "tasks/error_boundary.py",
    "tasks/dropped_columns.py",
    "tasks/data_facts.py",
    "tasks/file_content.py",
    "tasks/file_formats.py",
    "tasks/file_ending.py",
    "tasks/locate.py",
    "tasks/parquet_format.py",
    "tasks/read_limits.py",
    "tasks/text_formats.py",
    "tasks/intent_format.py",
    "ml/contract",
    "ml/data",
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
    digests = {path.name: _sha256(path) for path in dataset_source.all_files}
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
    frames, dropped, notes = [], {}, []
    for path in files:
        content = read_file(path, options, dataset_source.limits)
        notes += check_file_end(path, content.table, options)
        if content.dropped:
            dropped[path.name] = list(content.dropped)
        frames.append(_to_frame(path, content, options))
        dataset_source.limits.check_rows("all files together", sum(map(len, frames)))
    rows = _stack(frames) if options.join is None else _join(frames, options.join)
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
        "origin": {"files": dict(digests), "url": contract.publication.get("url")},
        "differs_from_published": sorted(n for n, sha in digests.items() if published.get(n, sha) != sha),
        "rows": len(rows),
        "file_notes": notes,
        # Columns that the contract does not name are dropped. Without a header, their names would be cells.
        "dropped_columns": {"count": sum(map(len, dropped.values())), "positions": dropped},
        "seconds": time.perf_counter() - started,
    }
    return StageResult(tables, facts)


def _to_frame(path: Path, content: FileContent, options: ReadOptions) -> pd.DataFrame:
    """Convert the columns, and add the one with the name of the file; the content's table is given up for it."""
    table = content.take_table()
    columns: dict[str, pd.Series] = {}
    n_rows = table.num_rows
    # One by one, each released when it is converted: memory never holds two whole tables.
    for name in table.column_names:
        # Pandas metadata in a Parquet file would make a column the index.
        columns[name] = table.select([name]).to_pandas(
            ignore_metadata=True, types_mapper=lambda t: TEXT_DTYPE if t == pa.string() else None
        )[name]
        # A column with a missing value would become float, where ids above 2^53 are no longer distinct.
        if table[name].type == pa.int64() and table[name].null_count:
            columns[name] = table[name].to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
        table = table.drop_columns([name])
    if options.source_column:
        columns[options.source_column] = pd.Series(path.stem, range(n_rows), TEXT_DTYPE)
    return pd.DataFrame({name: column.array for name, column in columns.items()}, range(n_rows), copy=False)


def _stack(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    types = [dict(frame.dtypes) for frame in frames]
    differing = sorted({c for t in types for c in {**types[0], **t} if t.get(c) != types[0].get(c)})
    if differing:
        raise DataGateError(
            "the same columns, of the same types, in all files",
            f"{differing} not in all",
            "correct the files",
        )
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _join(frames: Sequence[pd.DataFrame], key: str) -> pd.DataFrame:
    """Return the rows of the first file in their order, with the columns of the others."""
    rows = frames[0]
    try:
        for other in frames[1:]:
            with_key = other.dropna(subset=[key])
            rows = rows.merge(with_key, "left", on=key, suffixes=(None, None), validate="many_to_one")
    except (KeyError, ValueError):
        raise DataGateError(
            f"{key!r} in every file, each value once after the first file, and no other column twice",
            "files that cannot be joined so",
            "correct the files, or meta.read.join",
        ) from None
    return rows


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_io_error(arguments: tuple[Any, ...]) -> bool:
    """Return whether a retry can help. Prefect passes task, task run and state."""
    state = arguments[2]
    return is_unexpected(state.data, OSError) or is_unexpected(
        getattr(state.data, "exception", None), OSError
    )

"""Source: from a name or a file to a table in the store, exactly as it came."""

import hashlib
import io
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.contract.schema import LINES, Read
from ml.data import item_attributes
from ml.data.casting import TEXT
from ml.errors import DataGateError
from ml.simulators import SIMULATORS
from tasks.locate import DatasetSource
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of

BYTE_ORDER_MARK = "\ufeff"
# What readers raise for a file that is not what it should be: bad text, unknown encoding, damaged or locked archive.
UNREADABLE = (ValueError, LookupError, RuntimeError, EOFError, OSError, zlib.error, zipfile.BadZipFile)


@task(
    name="source",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=1,
    retry_condition_fn=lambda *a: _is_io(a),
)
def source(located: DatasetSource, store: Store) -> StoredResult:
    """The data as it came: text as text, one part `rows`, and for simulated data the part `oracle`.

    A side table of items is the part `items`, in the form of `ml.data.item_attributes.table`. Raises DataGateError for
    a file that cannot be read as the contract says.
    """
    return read(located, store)


def read(located: DatasetSource, store: Store) -> StoredResult:
    """What the task does, for callers outside of a flow."""
    if located.files:
        return read_files(located, store)
    how = located.contract.read
    key = key_of("source", Path(__file__), ("numpy",), simulator=how.simulator, rows=how.rows, seed=how.seed)
    return store.get_or_compute(key, lambda: _simulate(how))


def read_files(located: DatasetSource, store: Store) -> StoredResult:
    """The files as one table, and the side table."""
    shas = {path.name: _sha256(path) for path in located.paths}
    contract = located.contract
    how = contract.read
    # Keys do not depend on the order of a mapping, but columns without a header do. What was published goes into facts.
    key = key_of(
        "source",
        Path(__file__),
        ("pyarrow", "pandas"),
        files=shas,
        read=asdict(how),
        columns=list(how.columns),
        items=asdict(contract.items) if contract.items and located.item_attributes_file else None,
        published=[contract.about.get("url"), contract.about.get("sha256")],
    )
    return store.get_or_compute(key, lambda: _read_files(located, shas))


def _simulate(how: Read) -> StageResult:
    assert how.simulator  # parse() lets no contract through that has neither simulator nor files
    begun = time.perf_counter()
    simulation = SIMULATORS[how.simulator](how.rows, how.seed)
    origin = {"simulator": how.simulator, "rows": how.rows, "seed": how.seed}
    seconds = time.perf_counter() - begun
    facts = {"origin": origin, "rows": len(simulation.rows), "dropped_columns": [], "seconds": seconds}
    return StageResult({"rows": simulation.rows, "oracle": simulation.oracle}, facts)


def _read_files(located: DatasetSource, shas: dict[str, str]) -> StageResult:
    begun = time.perf_counter()
    contract, files = located.contract, located.files
    how = contract.read
    tables = [_read_file(path, how) for path in files]
    frames = [_known_columns(path, table, how) for path, table in zip(files, tables, strict=True)]
    rows = _join(frames, how.join) if how.join else _stack(frames)
    if how.row_column:
        rows[how.row_column] = np.arange(1, len(rows) + 1)
    expected = [c for c in how.columns if c in rows.columns]
    tabled = {"rows": rows[expected]}
    if contract.items and located.item_attributes_file:
        tabled["items"] = item_attributes.table(located.item_attributes_file.read_bytes(), contract.items)
    published = contract.about.get("sha256", {})
    facts: dict[str, Any] = {
        "origin": {"files": shas, "url": contract.about.get("url")},
        "unlike_published": sorted(n for n, sha in shas.items() if published.get(n, sha) != sha),
        "rows": len(rows),
        # Dropped, because the contract does not speak of them; named, because nothing is dropped silently.
        "dropped_columns": sorted({c for table in tables for c in table.column_names} - set(how.columns)),
        "seconds": time.perf_counter() - begun,
    }
    return StageResult(tabled, facts)


def _known_columns(path: Path, table: pa.Table, how: Read) -> pd.DataFrame:
    """The columns that the contract speaks of, and the one that says from which file a row is."""
    names = [c for c in table.column_names if c in how.columns]
    named = [*names, how.source_column, how.row_column]
    twice = sorted({c for c in names if named.count(c) > 1})
    if twice:
        raise DataGateError(f"each column once in {path.name}", f"{twice} more than once", "keep one of each")
    # Pandas' own notes in a Parquet file would make a column the index.
    frame: pd.DataFrame = table.select(names).to_pandas(
        ignore_metadata=True, types_mapper=lambda t: TEXT if t == pa.string() else None
    )
    # As floats, which they become beside a missing one, ids above 2^53 run into one another.
    for name in (c for c in names if table[c].type == pa.int64() and table[c].null_count):
        frame[name] = (
            table[name].to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get).set_axis(frame.index)
        )
    if how.source_column:
        frame[how.source_column] = pd.Series(path.stem, frame.index, TEXT)
    return frame


def _stack(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    kinds = [dict(frame.dtypes) for frame in frames]
    unlike = sorted({c for k in kinds for c in {**kinds[0], **k} if k.get(c) != kinds[0].get(c)})
    if unlike:
        raise DataGateError(
            "the same columns, of the same types, in all files", f"{unlike} not in all", "correct the files"
        )
    return pd.concat(frames, ignore_index=True)


def _join(frames: Sequence[pd.DataFrame], key: str) -> pd.DataFrame:
    """The rows of the first file in their order, with what the others say about each."""
    rows = frames[0]
    try:
        for other in frames[1:]:
            known = other.dropna(subset=[key])
            rows = rows.merge(known, "left", on=key, suffixes=(None, None), validate="many_to_one")
    except (KeyError, ValueError):
        raise DataGateError(
            f"{key!r} in every file, each value once after the first file, and no other column twice",
            "files that cannot be joined so",
            "correct the files, or meta.read.join",
        ) from None
    return rows


def _read_file(path: Path, how: Read) -> pa.Table:
    try:
        table = _read_table(path, how)
        table.column_names  # noqa: B018 (names that are no text are found out here)
        return table
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the file's
        # Arrow quotes the offending line: cell values of people do not belong in messages.
        reason = str(error).split(":")[0]
        raise DataGateError(
            f"{path.name} as the contract's meta.read says ({how.format}, separator {how.separator!r}, {how.encoding})",
            reason,
            "correct the file, or meta.read",
        ) from None


def _read_table(path: Path, how: Read) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
            if len(members) != 1:
                raise DataGateError("one file in the archive", f"{len(members)}", f"repack {path.name}")
            with archive.open(members[0]) as member:
                return _read_text(member, how)
    with path.open("rb") as file:
        return _read_text(file, how)


def _read_text(file: Any, how: Read) -> pa.Table:
    return _read_lines(file, how) if how.format in LINES else _read_csv(file, how)


def _read_lines(file: Any, how: Read) -> pa.Table:
    """One row for each item of each line, in their order; empty lines count as lines and have no items.

    Raises ValueError where no line has an item, as with another separator.
    """
    users: list[str] = []
    items: list[str] = []
    with io.TextIOWrapper(file, how.encoding) as lines:
        for number, line in enumerate(lines, 1):
            cells = _cells(line, number, how)
            named = how.format == "sequences"
            found = cells[1:] if named else cells
            users += [cells[0] if named else str(number)] * len(found) if found else []
            items += found
    if not items:
        raise ValueError("no line has an item")
    table = pa.table([pa.array(users, pa.string()), pa.array(items, pa.string())], list(how.in_files))
    # The same words are missing, and the same white space is none, as in other text.
    return _stripped(table, how) if how.strip else _without(table, how)


def _cells(line: str, number: int, how: Read) -> list[str]:
    line = line.rstrip("\n").removeprefix(BYTE_ORDER_MARK if number == 1 else "")
    return line.split(how.separator) if line.strip() else []


def _without(table: pa.Table, how: Read) -> pa.Table:
    """The cells that say missing are missing."""
    words = pa.array(how.missing, pa.string())
    null = pa.scalar(None, pa.string())
    columns = [pc.if_else(pc.is_in(column, words), null, column) for column in table.columns]
    return pa.table(columns, table.column_names)


def _read_csv(file: Any, how: Read) -> pa.Table:
    """Every cell as text: what it means is decided by validation, in the open."""
    names = None if how.header else list(how.in_files)
    # In padded cells, the words for missing are found after the padding is gone.
    missing = [] if how.strip else list(how.missing)
    table = pacsv.read_csv(
        file,
        pacsv.ReadOptions(encoding=how.encoding, column_names=names),
        pacsv.ParseOptions(delimiter=how.separator, newlines_in_values=True),
        pacsv.ConvertOptions(
            column_types=dict.fromkeys(how.columns, pa.string()),
            null_values=missing,
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    return _stripped(table, how) if how.strip else table


def _stripped(table: pa.Table, how: Read) -> pa.Table:
    """The columns of the contract without white space around their cells, missing where a word says so."""
    words = pa.array(how.missing, pa.string())
    for position, name in enumerate(table.column_names):
        if name in how.columns:
            cells = pc.utf8_trim_whitespace(table.column(position))
            cells = pc.if_else(pc.is_in(cells, words), pa.scalar(None, pa.string()), cells)
            table = table.set_column(position, name, cells)
    return table


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_io(arguments: tuple[Any, ...]) -> bool:
    """Try again only where trying again can help: Prefect gives task, task run and state."""
    state = arguments[2]
    return isinstance(state.data, OSError) or isinstance(getattr(state.data, "exception", None), OSError)

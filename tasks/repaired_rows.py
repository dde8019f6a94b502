"""Take rows out of quarantine: write them to a file with their cells, and put repaired ones back into their batch."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ml.contract.read_options import ReadOptions
from ml.contract.schema import Contract
from ml.data.casting import cast_columns
from ml.errors import UsageError
from tasks.data_access.locate import DatasetSource
from tasks.formats.read_limits import ReadLimits
from tasks.source import read_files
from tasks.storage.content_store import Store
from tasks.validate import find_quarantined_rows

# Columns of the file beside those of the contract: the row in its batch, from 0, and the rules that it breaks.
ROW, RULES = "quarantined_row", "rules"


@dataclass(frozen=True)
class Release:
    """A batch with repaired rows in their places: how many rows pass the rules now, and which rules others break."""

    rows: pd.DataFrame
    released: int
    remaining: dict[str, int]


def quarantined_cells(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return the rows of a batch that the contract quarantines: their number, the rules, and their cells as read."""
    found = find_quarantined_rows(rows, contract)
    rules = found.groupby("row")["rule"].agg(lambda names: "; ".join(dict.fromkeys(names)))
    cells = _with_text_categories(rows.iloc[rules.index.to_numpy()].reset_index(drop=True), contract)
    return pd.concat([pd.DataFrame({ROW: rules.index, RULES: rules.to_numpy()}), cells], axis=1)


def read_repaired(path: Path, contract: Contract, limits: ReadLimits, store: Store) -> pd.DataFrame:
    """Read a file that `quarantined_cells` was written to. Raises UsageError or DataGateError."""
    read = contract.read
    columns = {ROW: "integer", **read.columns}
    options = ReadOptions(
        columns=columns,
        files=(path.name,),
        missing=read.missing,
        strip=read.strip,
    )
    reading = replace(contract, read=options, item_attributes=None)
    repaired = read_files(DatasetSource(path.stem, reading, (path,), limits=limits), store).table("rows")
    missing = [column for column in columns if column not in repaired]
    if missing:
        raise UsageError(
            f"the columns of {path.name} as `steward quarantine --export` wrote them",
            f"no column {', '.join(map(repr, missing))}",
            "keep all columns",
        )
    return repaired


def release_rows(rows: pd.DataFrame, repaired: pd.DataFrame, contract: Contract) -> Release:
    """Put repaired rows into their batch and apply the contract to the whole batch.

    Only rows that break no rule any more take their places; the others stay as they were. Raises UsageError for rows
    that are not in quarantine.
    """
    numbers = cast_columns(repaired[[ROW]], {ROW: "integer"})[0][ROW]
    known = set(find_quarantined_rows(rows, contract)["row"])
    strangers = [n for n in numbers if n not in known]
    if strangers or numbers.duplicated().any():
        raise UsageError(
            f"each {ROW} once, of rows that are in quarantine",
            f"{len(strangers)} others" if strangers else "one of them twice",
            "export the rows again, and change only their cells",
        )
    positions = numbers.astype("int64").to_numpy()
    repaired = _with_places(rows, repaired, positions, contract)
    both = _in_place(rows, repaired, positions, contract)
    broken = find_quarantined_rows(both, contract)
    broken = broken[broken["row"].isin(positions)]
    passed = ~pd.Series(positions).isin(broken["row"]).to_numpy()
    remaining = {str(rule): int(count) for rule, count in broken["rule"].value_counts().items()}
    return Release(
        _in_place(rows, repaired[passed], positions[passed], contract), int(passed.sum()), remaining
    )


def _with_places(
    rows: pd.DataFrame, repaired: pd.DataFrame, positions: np.ndarray, contract: Contract
) -> pd.DataFrame:
    """Return repaired rows with the file and the number that they were read with: these are no cells to repair."""
    read = contract.read
    places = [column for column in (read.source_column, read.row_column) if column in rows]
    return repaired.assign(**{str(c): rows[c].iloc[positions].to_numpy() for c in places})


def files_of_batch(rows: pd.DataFrame, contract: Contract) -> dict[str, pd.DataFrame]:
    """Return the rows by the name of their file, in the order of the files, without the columns that the reader adds.

    The name is empty where the contract keeps none. Raises UsageError for files that are joined, or whose names have
    folders.
    """
    read = contract.read
    names = rows[read.source_column].unique() if read.source_column else [""]
    if read.join is not None or any("/" in name for name in names):
        raise UsageError(
            "a contract that joins no files, and files of different names",
            f"those of {contract.name}",
            "repair the files themselves",
        )
    cells = rows.drop(columns=[c for c in (read.source_column, read.row_column) if c in rows])
    if not read.source_column:
        return {"": cells}
    return {str(n): cells[rows[read.source_column] == n].reset_index(drop=True) for n in names}


def _in_place(
    rows: pd.DataFrame, repaired: pd.DataFrame, positions: np.ndarray, contract: Contract
) -> pd.DataFrame:
    """Return the batch with other cells in some rows."""
    changed = _with_text_categories(rows, contract)
    for column in changed.columns:
        cells = changed[column].astype(object)
        cells.iloc[positions] = repaired[column].astype(object).to_numpy()
        changed[column] = cells
    return changed


def _with_text_categories(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return the rows with categories as text, as those of a CSV file are: the number 1.0 is the category 1."""
    changed = rows.copy()
    for column, kind in contract.read.columns.items():
        if kind == "category" and column in rows:
            changed[column] = cast_columns(rows[[column]], {column: kind})[0][column]
    return changed

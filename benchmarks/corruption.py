"""Ways to corrupt some rows of a data set as it was read, and whether the rule that should remove them does."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ml.contract.schema import Contract
from ml.simulators import SIMULATORS
from tasks.data_access.locate import DatasetSource
from tasks.source import read_files
from tasks.storage.content_store import Store
from tasks.validate import apply_contract

SAMPLE_LINES, CORRUPTED_ROWS = 400, 5
# Smaller files are read whole: some are sorted by class.
WHOLE_BYTES = 60_000
# Gets the table and the numbers of some rows; returns the cells of these rows that change, by column.
Change = Callable[[pd.DataFrame, np.ndarray], dict[str, Sequence[Any]]]


@dataclass(frozen=True)
class Corruption:
    """A fault of single rows, and the rule that removes them, without `column_values_to_` before its name.

    Only rows for which `where` holds are corrupted.
    """

    name: str
    change: Change
    rule: str
    where: Callable[[pd.DataFrame], pd.Series] | None = None

    @property
    def rule_name(self) -> str:
        """Return the name of the rule as validation reports it."""
        whole = self.rule.startswith(("column_", "compound_", "present(", "type("))
        return self.rule if whole else f"column_values_to_{self.rule}"


def scaled(column: str, factor: float) -> Change:
    """Multiply numbers, as another unit or a shifted decimal does."""

    def change(frame: pd.DataFrame, rows: np.ndarray) -> dict[str, Sequence[Any]]:
        numbers = pd.to_numeric(frame[column].iloc[rows]) * factor
        return {column: [int(n) if float(n).is_integer() else n for n in numbers]}

    return change


def shifted(column: str, distance: float) -> Change:
    """Add a number."""

    def change(frame: pd.DataFrame, rows: np.ndarray) -> dict[str, Sequence[Any]]:
        numbers = pd.to_numeric(frame[column].iloc[rows]) + distance
        return {column: [int(n) if float(n).is_integer() else n for n in numbers]}

    return change


def set_to(column: str, value: Any) -> Change:
    """Replace cells by one value."""
    return lambda frame, rows: {column: [value] * len(rows)}


def missing(column: str) -> Change:
    """Remove the values of cells."""
    return set_to(column, None)


def prefixed(column: str, text: str) -> Change:
    """Put a text before the values of cells."""
    return lambda frame, rows: {column: [f"{text}{cell}" for cell in frame[column].iloc[rows]]}


def exchanged(first: str, second: str) -> Change:
    """Exchange the cells of two columns."""
    return lambda frame, rows: {first: list(frame[second].iloc[rows]), second: list(frame[first].iloc[rows])}


def of_row_before(*columns: str) -> Change:
    """Repeat cells of the row before."""
    return lambda frame, rows: {column: list(frame[column].iloc[rows - 1]) for column in columns}


def sample_rows(source: DatasetSource, folder: Path) -> pd.DataFrame:
    """Read some lines of each file of a data set, or simulate a few rows; `folder` is for copies.

    Of a log these are the first ones, as its rows belong together; of a table they are spread over the file.
    """
    if source.contract.read.simulator:
        return SIMULATORS[source.contract.read.simulator](2 * SAMPLE_LINES, 0).rows.head(SAMPLE_LINES)
    copies = tuple(_copy_lines(path, folder, source.contract.is_recommendation) for path in source.files)
    contract = replace(source.contract, item_attributes=None)
    sample = replace(source, contract=contract, files=copies, item_attributes_file=None)
    return read_files(sample, Store(folder / "store")).table("rows")


def _copy_lines(path: Path, folder: Path, first: bool) -> Path:
    copy = folder / path.name
    if path.stat().st_size < WHOLE_BYTES:
        shutil.copy(path, copy)
    elif path.suffix == ".parquet":
        start = next(pq.ParquetFile(path).iter_batches(SAMPLE_LINES))
        pq.write_table(pa.Table.from_batches([start]), copy)
    else:
        with path.open("rb") as opened:
            lines = list(islice(opened, SAMPLE_LINES if first else None))
        # The first line may be a header.
        copy.write_bytes(b"".join(lines[:1] + lines[1 :: max(len(lines) // SAMPLE_LINES, 1)]))
    return copy


def corrupt(frame: pd.DataFrame, corruptions: Sequence[Corruption]) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Corrupt a few rows by each of the corruptions, in parts of the table; return it and their numbers."""
    damaged, chosen = frame.copy(), []
    for part, corruption in zip(
        np.array_split(np.arange(1, len(frame)), len(corruptions)), corruptions, strict=True
    ):
        fits = corruption.where(frame).to_numpy(bool) if corruption.where else np.ones(len(frame), bool)
        # Every second row: a change may look at the row before.
        rows = part[fits[part]][::2][:CORRUPTED_ROWS]
        for column, cells in corruption.change(frame, rows).items():
            changed = damaged[column].astype(object)
            changed.iloc[rows] = pd.Series(cells, dtype=object)
            damaged[column] = changed
        chosen.append(rows)
    return damaged, chosen


def rows_caught(
    frame: pd.DataFrame, contract: Contract, corruptions: Sequence[Corruption]
) -> list[tuple[int, int]]:
    """Return, for each corruption, the rows corrupted and those of them that its rule removed.

    The bound on rows in quarantine is lifted. Raises DataGateError where the sample is refused for another reason.
    """
    damaged, chosen = corrupt(frame, corruptions)
    result = apply_contract(damaged, replace(contract, max_quarantined_share=0.999))
    removed = pd.concat([result.quarantine, result.excluded])
    return [
        (len(rows), len({*rows} & {*removed.loc[removed["rule"] == corruption.rule_name, "row"]}))
        for rows, corruption in zip(chosen, corruptions, strict=True)
    ]

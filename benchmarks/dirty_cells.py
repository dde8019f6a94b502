"""Corrupt single cells of a table of texts, seeded, and say which: what a drafted contract has to find."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

Corruption = Callable[[str, np.random.Generator], str | None]


def _typo(cell: str, rng: np.random.Generator) -> str | None:
    if len(cell) < 4 or not cell.isalpha():
        return None
    place = int(rng.integers(1, len(cell) - 1))
    return cell[:place] + cell[place + 1 :]


def _case(cell: str, rng: np.random.Generator) -> str | None:
    return cell.swapcase() if cell.swapcase() != cell and not _is_number(cell) else None


def _scaled(factor: float) -> Corruption:
    return lambda cell, rng: f"{float(cell) * factor:.6g}" if _is_number(cell) and float(cell) != 0 else None


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


CORRUPTIONS: Mapping[str, Corruption] = {
    "a letter is missing": _typo,
    "another case": _case,
    "a word among numbers": lambda cell, rng: "unknown" if _is_number(cell) else None,
    "an unknown code": lambda cell, rng: "-999" if _is_number(cell) else None,
    "another sign": lambda cell, rng: f"-{cell}" if _is_number(cell) and float(cell) > 0 else None,
    "1000 times": _scaled(1000.0),
    "10 times": _scaled(10.0),
    "a tenth": _scaled(0.1),
    "garbage": lambda cell, rng: "\u00c3\u00a9#",
}


def corrupt(
    cells: pd.DataFrame, columns: list[str], share: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the table with a share of the cells of `columns` corrupted, and the name of each cell's corruption.

    `cells` are texts; a cell without corruption has an empty name. Cells that a corruption cannot change stay clean.
    """
    rng = np.random.default_rng(seed)
    dirty = cells.copy()
    made = pd.DataFrame("", cells.index, columns)
    names = [*CORRUPTIONS]
    for column in columns:
        values = cells[column].to_numpy(dtype=object).copy()
        kinds = made[column].to_numpy(dtype=object).copy()
        for row in np.flatnonzero((rng.random(len(cells)) < share) & cells[column].notna().to_numpy()):
            name = names[int(rng.integers(len(names)))]
            changed = CORRUPTIONS[name](str(values[row]), rng)
            if changed is not None and changed != values[row]:
                values[row], kinds[row] = changed, name
        dirty[column] = pd.Series(values, cells.index, dtype=cells[column].dtype)
        made[column] = kinds
    return dirty, made

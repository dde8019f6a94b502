"""Misspell categories of public data sets, and count which spellings a draft repairs, rightly and wrongly.

    python -m benchmarks.misspellings [NAME ...]

Of the rows of each table, some cells of categories lose a letter. What a draft repairs in the clean rows is wrong,
unless it is really misspelt there: the spellings are printed. Needs STEWARD_DATA_DIR.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.dirty_cells import CORRUPTIONS
from benchmarks.doors import SETS, SHOP
from ml.data.casting import TEXT_DTYPE
from ml.drafting.request import DraftRequest
from ml.drafting.sample import take_sample
from ml.drafting.spellings import (
    MAX_REPAIRED_LABELS,
    MIN_RIGHT_ROWS,
    SAME_LETTERS,
    find_misspellings,
    find_repairs,
)
from operate.contract import case_kind, read_cells
from tasks.settings import load

SHARE = 0.002
TABLES = [name for name, chosen in SETS.items() if chosen.case != SHOP]


def misspell(cells: pd.DataFrame, columns: Sequence[str]) -> tuple[pd.DataFrame, dict[str, dict[str, str]]]:
    """Return the table with some categories misspelt, and by column the right spelling of each wrong one."""
    rng, dirty, made = np.random.default_rng(0), cells.copy(), {}
    for column in columns:
        text = cells[column].astype(TEXT_DTYPE).to_numpy(dtype=object).copy()
        known, right = {*text}, {}
        frequent = {label for label, n in cells[column].value_counts().items() if n >= MIN_RIGHT_ROWS}
        for row in np.flatnonzero(rng.random(len(cells)) < SHARE):
            changed = CORRUPTIONS["a letter is missing"](text[row], rng) if text[row] in frequent else None
            if changed is not None and changed not in known:
                right[changed], text[row] = text[row], changed
        dirty[column] = pd.Series(text, cells.index, dtype=TEXT_DTYPE)
        made[column] = right
    return dirty, made


def repairs(cells: pd.DataFrame, request: DraftRequest) -> dict[str, dict[str, str]]:
    """Return what a draft repairs in letters, by column: the right spelling of each wrong one."""
    found = {
        column.name: {e.wrong: e.right for e in find_repairs(column) if e.why != SAME_LETTERS}
        for column in take_sample(cells, request).columns
    }
    return {column: values for column, values in found.items() if values}


def main(names: Sequence[str]) -> None:
    """Print a line for each set, and the totals."""
    settings = load()
    if settings.data_dir is None:
        sys.exit("expected STEWARD_DATA_DIR; got no such variable; set it")
    totals = np.zeros(4, dtype=int)
    print("set | repaired in clean rows | misspelt | suspected before | repaired, wrongly")
    for name in names or TABLES:
        chosen = SETS[name]
        rows, request = read_cells(str(settings.data_dir / chosen.file), case_kind(chosen.case))
        sample = take_sample(rows, request)
        columns = [
            c.name for c in sample.columns if c.kind == "category" and c.distinct <= MAX_REPAIRED_LABELS
        ]
        clean = repairs(rows, request)
        dirty, made = misspell(rows, columns)
        found = repairs(dirty, request)
        suspected = sum(
            made[c.name].get(error.wrong) is not None
            for c in take_sample(dirty, request).columns
            if c.name in made
            for error in find_misspellings(c)
        )
        right = sum(made[c].get(wrong) == to for c, values in found.items() for wrong, to in values.items())
        all_found = sum(map(len, found.values())) - sum(map(len, clean.values()))
        counts = [sum(map(len, made.values())), suspected, right, all_found - right]
        totals += counts
        print(f"{name} | {clean or 'nothing'} | {counts[0]} | {counts[1]} | {right}, {counts[3]}", flush=True)
    misspelt, suspected, right, wrong = totals
    print(
        f"{misspelt} spellings: {suspected / max(misspelt, 1):.2f} suspected; repaired {right / max(misspelt, 1):.2f}, "
        f"precision {right / max(right + wrong, 1):.3f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TABLES)}")
    main(parser.parse_args().names)

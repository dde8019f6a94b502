"""Repair the values of categories that a contract lists, and count each repair."""

from collections.abc import Collection, Mapping

import pandas as pd

from ml.contract.read_options import ReadOptions
from ml.data.casting import cast_columns

Counts = Mapping[str, Mapping[str, int]]


def replace_values(
    frame: pd.DataFrame, options: ReadOptions, columns: Collection[str]
) -> tuple[pd.DataFrame, Counts]:
    """Return the table with repaired `columns`, and how often which repair was made, by column.

    Both values of a repair are those of the contract, and may be named.
    """
    repaired, counts = {}, {}
    for column, values in options.replace.items():
        if column not in columns:
            continue
        cells = cast_columns(frame[[column]], {column: "category"})[0][column]
        found = cells[cells.isin(list(values))]
        if len(found):
            # Where the cell is no text, its category is.
            cells.loc[found.index] = found.map(values)
            repaired[column] = cells
            counts[column] = {
                f"{old!r} to {'missing' if new is None else repr(new)}": count
                for old, new in values.items()
                if (count := int((found == old).sum()))
            }
    return (frame.assign(**repaired) if repaired else frame), counts

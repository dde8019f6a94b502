"""Units of rows with texts: rows with the same or similar texts are one unit, which a split keeps together."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ml.contract.schema import Contract
from ml.data.copies import mix_bits
from ml.data.near_duplicates import NearDuplicates, find_near_duplicates
from ml.data.relatives import GroupedUnits, group_relatives
from ml.data.row_split import row_entities

# Between the texts of several columns: a character that texts do not have.
SEPARATOR = "\x1f"


@dataclass(frozen=True)
class RowUnits:
    """The unit of each row (uint64), and the rows with similar texts where the contract has columns with texts.

    `relatives` counts rows that are (near) copies or relatives, where the contract groups them.
    """

    units: np.ndarray
    similar_texts: NearDuplicates | None
    relatives: GroupedUnits | None = None


def row_units(rows: pd.DataFrame, contract: Contract) -> RowUnits:
    """Return the units of a table: the entities of its rows, merged where their texts are the same or nearly so.

    Entities of the role `group` are not merged, as two customers may write the same. The hash of a merged unit is made
    from the smallest one of its entities, so that it mostly stays in its dataset when similar rows are added.
    """
    entities = row_entities(rows, contract)
    if contract.split.group_near_copies:
        inputs = [column for column in contract.inputs if column not in contract.roles.text]
        relatives = group_relatives(rows[inputs], entities)
        return replace(_by_texts(rows, relatives.units, contract), relatives=relatives)
    return _by_texts(rows, entities, contract)


def _by_texts(rows: pd.DataFrame, entities: np.ndarray, contract: Contract) -> RowUnits:
    if not contract.roles.text:
        return RowUnits(entities, None)
    similar = find_near_duplicates(joined_texts(rows, contract.roles.text))
    if contract.roles.group:
        return RowUnits(entities, similar)
    by_group = pd.Series(entities).groupby(similar.groups)
    least = by_group.transform("min").to_numpy()
    # The smallest of several hashes is no uniform one: large groups would all be in test.
    return RowUnits(np.where(by_group.transform("nunique") > 1, mix_bits(least), entities), similar)


def joined_texts(rows: pd.DataFrame, columns: tuple[str, ...]) -> list[str]:
    """Return the texts of each row as one; a missing one is empty."""
    cells = [rows[column].astype("object").where(rows[column].notna(), "").tolist() for column in columns]
    return cells[0] if len(cells) == 1 else [SEPARATOR.join(texts) for texts in zip(*cells, strict=True)]

"""Group rows that are copies, near copies or relatives of one another, where a contract asks for it.

Relatives are rows that noise was added to, so that too many columns differ for `ml.data.copies`. A row is related to
its nearest neighbour if that is nearer than the nearest neighbours of all but one in a thousand rows of a table with
the same columns, but independent ones. In tables with strongly dependent columns, rows that are only alike are grouped
too: the evaluation is then more careful than necessary.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.data.copies import copy_groups, find_copies, mix_bits

CHANCE = 0.001
MIN_ROWS, MIN_COLUMNS = 50, 3
# Of two rows, one with a missing value: too far apart for all else to be near.
MISSING_DISTANCE = 50.0
MAX_CATEGORIES = 20
# Numbers that are compared at most to find the nearest neighbours; a table that needs more is searched for copies only.
MAX_COMPARED = 1e10


@dataclass(frozen=True)
class GroupedUnits:
    """The unit of each row (uint64), the rows in units that grouping has merged, and the rows of the largest of them.

    `copies_only`: the table is too large for relatives to be looked for.
    """

    units: np.ndarray
    rows: int
    largest: int
    copies_only: bool


def group_relatives(frame: pd.DataFrame, entities: np.ndarray) -> GroupedUnits:
    """Merge the entities of rows that are copies or relatives, directly or through others.

    The hash of a merged unit is made from the smallest one of its entities, so that it mostly stays in its dataset when
    rows are added.
    """
    codes, distinct = pd.factorize(entities)
    blocks = _blocks(frame)
    copies_only = float(len(frame)) ** 2 * sum(block.shape[1] for block in blocks) > MAX_COMPARED
    related = np.empty((0, 2), np.int64) if copies_only else find_relatives(frame)
    pairs = np.concatenate([find_copies(frame), related])
    groups = copy_groups(codes[pairs], len(distinct))[codes]
    by_group = pd.Series(entities).groupby(groups)
    merged = (by_group.transform("nunique") > 1).to_numpy()
    units = np.where(merged, mix_bits(by_group.transform("min").to_numpy()), entities)
    sizes = np.bincount(groups[merged]) if merged.any() else np.zeros(1, np.int64)
    return GroupedUnits(units, int(merged.sum()), int(sizes.max()), copies_only)


def find_relatives(frame: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """Return pairs of positions of a row and its nearest neighbour, shape (pairs, 2), where that is near beyond chance.

    Numbers are measured in interquartile ranges; different categories are 1 apart.
    """
    from scipy.spatial import cKDTree

    blocks, rows = _blocks(frame), len(frame)
    if rows < MIN_ROWS or len(blocks) < MIN_COLUMNS:
        return np.empty((0, 2), np.int64)
    rng = np.random.default_rng(seed)
    places = np.hstack(blocks)
    independent = np.hstack([block[rng.permutation(rows)] for block in blocks])
    by_chance = cKDTree(independent).query(independent, k=2, p=1)[0][:, 1]
    distance, neighbour = cKDTree(places).query(places, k=2, p=1)
    # Of rows at the same place, one may come first instead of the row itself.
    other = np.where(neighbour[:, 1] == np.arange(rows), neighbour[:, 0], neighbour[:, 1])
    related = np.flatnonzero(distance[:, 1] < np.quantile(by_chance, CHANCE))
    return np.column_stack([related, other[related]]).astype(np.int64)


def _blocks(frame: pd.DataFrame) -> list[np.ndarray]:
    return [block for name in frame.columns if (block := _coordinates(frame[name])).size]


def _coordinates(values: pd.Series) -> np.ndarray:
    """Return the coordinates of one column, shape (rows, coordinates); none where it does not vary."""
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(np.float64, na_value=np.nan)
        present = numbers[np.isfinite(numbers)]
        if not len(present) or (len(present) == len(numbers) and np.ptp(present) == 0.0):
            return np.empty((len(numbers), 0))
        low, first, third, high = np.quantile(present, [0.01, 0.25, 0.75, 0.99])
        scale = float((third - first) or (high - low) or np.ptp(present) or 1.0)
        place = (np.clip(numbers, low - 10.0 * scale, high + 10.0 * scale) - first) / scale
        return np.asarray(np.nan_to_num(place, nan=-MISSING_DISTANCE)[:, None])
    codes, names = pd.factorize(values)
    counts = np.bincount(codes + 1, minlength=len(names) + 1)
    if (counts > 0).sum() < 2:
        return np.empty((len(codes), 0))
    kept = np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]
    return np.asarray((codes[:, None] + 1 == kept) * 0.5)

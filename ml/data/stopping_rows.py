"""Set aside training rows on which a fit is stopped or its penalty is chosen, so that other rows can score it."""

import numpy as np

from ml.data.dataset import Dataset
from ml.data.folds import mix_hashes
from ml.data.target import Target

# The share of the training rows that is set aside.
STOPPING_SHARE = 0.2
# Large tables need a smaller share: the loss on 5,000 rows is known well enough.
MAX_STOPPING_ROWS = 5000


def stopping_split(
    train: Dataset, target: Target, seed: int, share: float = STOPPING_SHARE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the rows to fit to, and of those to stop on, both in the order of `train`.

    Units are not divided, and each class has its share of the stopping rows, as in the folds of `assign_folds`. Both
    arrays depend on the content of units and the seed, never on the order of rows. Where units do not allow a division,
    rows are divided; a table with one row of each class is used for both.
    """
    strata = np.zeros(len(train.truth)) if target == "numeric" else train.truth.to_numpy(np.float64)
    share = min(share, MAX_STOPPING_ROWS / max(len(strata), 1))
    rows = np.arange(len(strata), dtype=np.uint64)
    for units in (train.units, rows):
        is_stopping = _select_units(units, strata, share, seed)
        if is_stopping.any():
            return np.flatnonzero(~is_stopping), np.flatnonzero(is_stopping)
    return np.arange(len(strata)), np.arange(len(strata))


def _select_units(units: np.ndarray, strata: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Select about a share of the rows of each stratum, at least one unit of it and never all; shape (rows,)."""
    unit_hashes, unit_of_row = np.unique(units, return_inverse=True)
    sizes = np.bincount(unit_of_row)
    # A unit with rows of several classes counts for the last of them, which is the positive one of two.
    stratum = np.full(len(unit_hashes), -np.inf)
    np.maximum.at(stratum, unit_of_row, strata)
    mixed = mix_hashes(unit_hashes, seed)
    selected = np.zeros(len(unit_hashes), bool)
    for value in np.unique(stratum):
        members = np.flatnonzero(stratum == value)
        members = members[np.argsort(mixed[members], kind="stable")]
        rows_so_far = np.cumsum(sizes[members])
        count = int(np.searchsorted(rows_so_far, share * rows_so_far[-1], side="right"))
        selected[members[: min(max(count, 1), len(members) - 1)]] = True
    return np.asarray(selected[unit_of_row])

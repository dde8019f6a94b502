"""Count how often the same test rows have judged, and divide the error rate among these looks.

A challenger that is no better is promoted by chance at each look with the level of that look. The levels of all looks
on the same rows add up to `ERROR_RATE` (weighted Bonferroni; Alosh, Bretz and Huque, 2014), however many there are and
however their outcomes depend on one another: so in at most that share of ledgers is any challenger promoted by chance.

A *recipe* is what a model is made by: candidate, hyperparameters, columns and code, without data and seed. Most nights
train a known recipe again, which rarely makes a better model; their looks share a small part of the error rate, so that
a new recipe has power left after a year of nights. Nothing in this depends on the outcomes on the test rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.digest import row_hashes

# The chance that any challenger that is no better is ever promoted on the same rows.
ERROR_RATE = 0.05
# What recipes that are judged again share of it; the others share the rest.
REPEATED_SHARE = 0.2
# An earlier look counts if at least this share of the present rows judged then.
SAME_ROWS = 0.2
# Units that a sketch keeps: the share that two have in common is estimated within .04, and exact up to this size.
SKETCH_UNITS = 128
_DIGITS = 12


@dataclass(frozen=True)
class EarlierLook:
    """An earlier decision about the model: the sketch of its rows, its recipe, and whether models were compared.

    `rows` and `recipe` are None in entries from before looks were counted. `is_new_recipe` as in `Look`.
    """

    rows: str | None
    recipe: str | None
    is_look: bool = True
    is_new_recipe: bool = False


@dataclass(frozen=True)
class Look:
    """The look that a comparison is: its number on these rows, from 1, and its level.

    `level` is the chance to promote a challenger that is no better. `unrecorded` counts the earlier looks of which it
    is not known on which rows they were; each counts as one on these.
    """

    number: int
    level: float
    is_new_recipe: bool
    unrecorded: int

    @property
    def confidence(self) -> float:
        """The confidence of the two-sided interval whose lower limit decides at this level."""
        return 1.0 - 2.0 * self.level

    def __str__(self) -> str:
        recipe = "a new recipe" if self.is_new_recipe else "a known recipe"
        before = f"; {self.unrecorded} looks before they were counted" if self.unrecorded else ""
        return f"look {self.number} on these rows, level {self.level:.2g}, {recipe}{before}"


def look_level(number: int, is_new_recipe: bool) -> float:
    """Return the level of the `number`-th look of its kind, from 1.

    The k-th of new recipes has 2 / ((k + 1)(k + 2)) of their part: 1/3, 1/6, 1/10, ... The k-th of known ones has
    1 / (k (k + 1)): 1/2, 1/6, 1/12, ... Both add up to 1.
    """
    if is_new_recipe:
        return (1.0 - REPEATED_SHARE) * ERROR_RATE * 2.0 / ((number + 1.0) * (number + 2.0))
    return REPEATED_SHARE * ERROR_RATE / (number * (number + 1.0))


def next_look(rows: str, recipe: str, earlier: Iterable[EarlierLook]) -> Look:
    """Return the look that the next comparison is, on the rows with this sketch, of a challenger of this recipe."""
    on_these = [look for look in earlier if look.rows is None or shared_share(rows, look.rows) >= SAME_ROWS]
    is_new = all(look.recipe != recipe for look in on_these)
    looks = [look for look in on_these if look.is_look]
    unrecorded = sum(look.rows is None for look in looks)
    of_this_kind = sum(look.rows is not None and look.is_new_recipe == is_new for look in looks) + unrecorded
    return Look(len(looks) + 1, look_level(of_this_kind + 1, is_new), is_new, unrecorded)


def sketch_rows(dataset: Dataset) -> str:
    """Sketch which units a dataset has, and of an event log with which targets: an item bought later is another row.

    The sketch has the smallest hashes (bottom-k; Bar-Yossef et al., 2002), in hexadecimal digits without separators.
    """
    if dataset.truth.dtype == object:
        targets = pd.DataFrame({"unit": dataset.units, "items": dataset.truth.map(repr).to_numpy()})
        if dataset.truth_times is not None:
            targets["times"] = dataset.truth_times.map(repr).to_numpy()
        keys = row_hashes(targets)
    else:
        # Rows were assigned to test by the size of their units' hashes.
        keys = row_hashes(pd.DataFrame({"unit": dataset.units}))
    smallest = np.unique(keys)[:SKETCH_UNITS]
    return "".join(f"{int(key):016x}"[:_DIGITS] for key in smallest)


def shared_share(present: str, earlier: str) -> float:
    """Estimate the share of the units of a present sketch that an earlier one has as well.

    A test part that shrinks, or that is a part of the earlier one, shares all of its units; one that grows shares what
    it had before.
    """
    now, before = _hashes(present), _hashes(earlier)
    # A full sketch says nothing about units with larger hashes than its own.
    limits = [max(hashes) for hashes in (now, before) if len(hashes) >= SKETCH_UNITS]
    known = {key for key in now if not limits or key <= min(limits)}
    # Where none can be compared, nothing shows that the rows are others.
    return len(known & before) / len(known) if known else 1.0


def _hashes(sketch: str) -> set[str]:
    return {sketch[start : start + _DIGITS] for start in range(0, len(sketch), _DIGITS)}

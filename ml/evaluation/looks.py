"""Count how often the same test rows have judged, and divide the error rate among these looks.

A challenger uses a look only if it leads the champion on validation rows, and the larger the lead, the larger the part
of the error rate that its look may spend. Validation rows are independent of the test rows, so this costs no validity.

A challenger that is no better is promoted by chance at each look with the level of that look. The levels of all looks
on the same rows add up to `ERROR_RATE` (weighted Bonferroni; Alosh, Bretz and Huque, 2014), however many there are and
however their outcomes depend on one another: so in at most that share of ledgers is any challenger promoted by chance.

A *recipe* is what a model is made by: candidate, hyperparameters, columns and code, without data and seed. Most nights
train a known recipe again, which rarely makes a better model; their looks share a small part of the error rate, so that
a new recipe has power left after a year of nights. Nothing in this depends on the outcomes on the test rows.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from scipy import stats

from ml.data.dataset import Dataset
from ml.data.digest import row_hashes

# The chance that any challenger that is no better is ever promoted on the same rows.
ERROR_RATE = 0.05
# What recipes that are judged again share of it; the others share the rest.
REPEATED_SHARE = 0.2
# An earlier look counts if at least this share of the present rows judged then.
SAME_ROWS = 0.2
# If this share of the validation rows that a champion knows is among its own, it was only selected by them all.
SAME_VALIDATION_ROWS = 0.95
# Units that a sketch keeps: the share that two have in common is estimated within .04, and exact up to this size.
SKETCH_UNITS = 128
_DIGITS = 12
# Leads on validation rows. Where models cannot be compared there, a lead is unknown, and every comparison is a look.
CLEAR, SOME, UNKNOWN = "clear", "some", "unknown"
# The largest one-sided p-values of a clear lead, and of a lead that is worth a look.
CLEAR_P, SOME_P = 0.01, 0.1
# The first look of a kind needs a lead, but not beyond chance: nothing has been spent yet.
FIRST_P = 0.5
# From so many other recipes on, a lead is compared with their leads on the same rows over the same champion.
MIN_RECIPES = 30
# The largest p-values of a clear lead, and of one that is worth a look, among those of other recipes.
CLEAR_AMONG_P, SOME_AMONG_P = 0.001, 0.02
# With this number c, the n-th look with such a lead spends 1 / (n + c) of what is left; after n looks c / (n + c) are.
_CLEAR_C, _SOME_C, _UNKNOWN_NEW_C, _UNKNOWN_KNOWN_C = 0.5, 5.0, 2.0, 1.0


@dataclass(frozen=True)
class EarlierLook:
    """An earlier decision about the model: the sketch of its rows, its recipe, and whether models were compared.

    `rows` and `recipe` are None in entries from before looks were counted. `is_new_recipe` and `lead` as in `Look`.
    `lead_value` is the lead on validation rows over the present champion; None over another one, or where unknown.
    """

    rows: str | None
    recipe: str | None
    is_look: bool = True
    is_new_recipe: bool = False
    lead: str = UNKNOWN
    lead_value: float | None = None


@dataclass(frozen=True)
class Lead:
    """A lead on validation rows: its one-sided p-value, and its p-value among the leads of other recipes, if known."""

    p_value: float
    among: float | None = None


@dataclass(frozen=True)
class Look:
    """The look that a comparison is: its number on these rows, from 1, and its level.

    `level` is the chance to promote a challenger that is no better. `unrecorded` counts the earlier looks of which it
    is not known on which rows they were; each counts as one on these. `lead` is the challenger's on validation rows.
    """

    number: int
    level: float
    is_new_recipe: bool
    unrecorded: int
    lead: str = UNKNOWN

    @property
    def confidence(self) -> float:
        """The confidence of the two-sided interval whose lower limit decides at this level."""
        return 1.0 - 2.0 * self.level

    def __str__(self) -> str:
        recipe = "a new recipe" if self.is_new_recipe else "a known recipe"
        before = f"; {self.unrecorded} looks before they were counted" if self.unrecorded else ""
        lead = "" if self.lead == UNKNOWN else f", {self.lead} lead on validation rows"
        return f"look {self.number} on these rows, level {self.level:.2g}, {recipe}{lead}{before}"


def look_level(
    is_new_recipe: bool, lead: str = UNKNOWN, before: Mapping[str, int] = MappingProxyType({})
) -> float:
    """Return the level of a look of its kind; `before` counts the earlier ones of this kind by their lead.

    Each look spends a part of what all earlier ones left, in whatever order leads follow each other, so all levels of a
    kind together stay below its share. Without leads, the k-th of new recipes has 2 / ((k + 1)(k + 2)) of their share:
    1/3, 1/6, 1/10, ... The k-th of known ones has 1 / (k (k + 1)): 1/2, 1/6, 1/12, ... Both add up to 1.
    """
    constants = {
        CLEAR: _CLEAR_C,
        SOME: _SOME_C,
        UNKNOWN: _UNKNOWN_NEW_C if is_new_recipe else _UNKNOWN_KNOWN_C,
    }
    left = ERROR_RATE * (1.0 - REPEATED_SHARE if is_new_recipe else REPEATED_SHARE)
    for each, constant in constants.items():
        left *= constant / (before.get(each, 0) + constant)
    return left / (before.get(lead, 0) + 1.0 + constants[lead])


def next_look(
    rows: str, recipe: str, earlier: Iterable[EarlierLook], lead: Lead | None = None
) -> Look | None:
    """Return the look that the next comparison is, on the rows with this sketch, of a challenger of this recipe.

    `lead` is that on validation rows, None where it is unknown. Return None for a lead too small to be worth a look.
    """
    on_these = _on_these_rows(rows, earlier)
    is_new = all(look.recipe != recipe for look in on_these)
    looks = [look for look in on_these if look.is_look]
    unrecorded = sum(look.rows is None for look in looks)
    before = Counter(look.lead for look in looks if look.rows is not None and look.is_new_recipe == is_new)
    before[UNKNOWN] += unrecorded
    kind = kind_of_lead(lead, is_first=before.total() == 0)
    if kind is None:
        return None
    return Look(len(looks) + 1, look_level(is_new, kind, before), is_new, unrecorded, kind)


def kind_of_lead(lead: Lead | None, is_first: bool) -> str | None:
    """Return the kind of a lead; None for one that is not worth a look.

    Among the leads of many recipes that are no better, one that is better stands out more than over the champion, whose
    own luck on the validation rows is in all of them.
    """
    if lead is None:
        return UNKNOWN
    if lead.among is not None:
        if lead.p_value < FIRST_P and lead.among <= CLEAR_AMONG_P:
            return CLEAR
        return SOME if lead.p_value <= SOME_P and lead.among <= SOME_AMONG_P else None
    if lead.p_value <= CLEAR_P:
        return CLEAR
    return SOME if lead.p_value <= SOME_P or (is_first and lead.p_value < FIRST_P) else None


def leads_of_others(rows: str, recipe: str, earlier: Iterable[EarlierLook]) -> list[float]:
    """Return the last lead of each other recipe over the present champion."""
    found = {
        look.recipe: look.lead_value
        for look in _on_these_rows(rows, earlier)
        if look.lead_value is not None and look.recipe != recipe
    }
    return list(found.values())


def p_among(value: float, others: Sequence[float]) -> float | None:
    """Return the chance of a lead at least as large from a recipe like the others, by the prediction interval of t.

    None for fewer than `MIN_RECIPES` others.
    """
    if len(others) < MIN_RECIPES:
        return None
    mean, deviation = float(np.mean(others)), float(np.std(others, ddof=1))
    if deviation == 0.0:
        return float(value <= mean)
    t = (value - mean) / (deviation * np.sqrt(1.0 + 1.0 / len(others)))
    return float(stats.t.sf(t, len(others) - 1))


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


def shared_share(present: str, earlier: str, unknown: float = 1.0) -> float:
    """Estimate the share of the units of a present sketch that an earlier one has as well.

    A test part that shrinks, or that is a part of the earlier one, shares all of its units; one that grows shares what
    it had before.
    """
    now, before = _hashes(present), _hashes(earlier)
    # A full sketch says nothing about units with larger hashes than its own.
    limits = [max(hashes) for hashes in (now, before) if len(hashes) >= SKETCH_UNITS]
    known = {key for key in now if not limits or key <= min(limits)}
    return len(known & before) / len(known) if known else unknown


def rows_not_fitted_to(valid: Dataset, unseen: np.ndarray, selected_by: str) -> np.ndarray:
    """Return the positions of the validation rows that the champion was not fitted to.

    Its package lists the rows that it was fitted to or selected by; `unseen` are the positions of the others.
    `selected_by` is the sketch of its own validation rows, empty where it was fitted to them or none was recorded.
    """
    known = np.setdiff1d(np.arange(len(valid.frame)), unseen)
    if len(known) and selected_by:
        # Where none of few rows can be compared, nothing shows that the champion was only selected by them.
        share = shared_share(sketch_rows(valid.take(known)), selected_by, unknown=0.0)
        return np.arange(len(valid.frame)) if share >= SAME_VALIDATION_ROWS else unseen
    return unseen


def _on_these_rows(rows: str, earlier: Iterable[EarlierLook]) -> list[EarlierLook]:
    return [look for look in earlier if look.rows is None or shared_share(rows, look.rows) >= SAME_ROWS]


def _hashes(sketch: str) -> set[str]:
    return {sketch[start : start + _DIGITS] for start in range(0, len(sketch), _DIGITS)}

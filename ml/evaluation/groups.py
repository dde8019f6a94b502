"""Divide the rows of a dataset into the groups of a sensitive column: its values, or quartiles of numbers and times."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.rare_values import MIN_PEOPLE, POOLED

# Groups with fewer units, or fewer units of a class, are listed without a metric: its interval would be too wide.
MIN_UNITS = 100
MIN_CLASS_UNITS = 20
# Groups of one column that are measured on their own, those of most units; the others are one group together.
MAX_GROUPS = 30
SMALLER = f"all but the {MAX_GROUPS} largest groups"
MISSING = "missing"
# Names of groups are in reports, logs and MLflow.
MAX_NAME_LENGTH = 100
QUARTILES = 4
# How bounds of bands are written: the first format in which no two are equal.
NUMBER_FORMATS = tuple(f"{{:.{digits}g}}".format for digits in (6, 9, 12, 17))
DATE_FORMATS = ("{:%Y-%m-%d}".format, str)


@dataclass(frozen=True)
class Group:
    """A group of rows: their positions, and why it is not evaluated; empty where it is.

    `values` counts the values that are pooled in it. The number of rows of a hidden group must not be shown.
    """

    column: str
    label: str
    rows: np.ndarray
    values: int
    is_hidden: bool
    reason: str

    def facts(self) -> dict[str, Any]:
        """Describe the group as facts."""
        facts: dict[str, Any] = {
            "column": self.column,
            "group": self.label,
            "rows": None if self.is_hidden else len(self.rows),
            "evaluated": not self.reason,
        }
        if self.values > 1:
            facts["values"] = self.values
        return facts | ({"reason": self.reason} if self.reason else {})


def find_groups(dataset: Dataset, sensitive: tuple[str, ...]) -> Iterator[Group]:
    """Find the groups of each sensitive column, at most `MAX_GROUPS` and two pools of each, by name."""
    for column in sensitive:
        codes, names, pooled = _pool(_labels(dataset.metadata[column]), dataset.units)
        by_code = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
        hidden = _groups_without_counts(codes, names, dataset.units)
        for name, rows in zip(names, by_code, strict=True):
            reason = too_small(dataset, rows)
            yield Group(column, name, rows, pooled.get(name, 1), name in hidden, reason)


def _pool(labels: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, list[str], dict[str, int]]:
    """Pool rare values, and all groups but the largest.

    Return for each row the position of its group among the names, the sorted names, and how many values each pool has.
    Names are kept once: a long value takes no memory for each row.
    """
    codes, values = pd.factorize(labels)
    sizes = _count_units(codes, units)
    rare = np.flatnonzero(sizes < MIN_PEOPLE)
    common = np.flatnonzero(sizes >= MIN_PEOPLE)
    smaller = sorted(common, key=lambda code: (-sizes[code], values[code]))[MAX_GROUPS:]
    names = values.astype(object)
    names[common] = [_short_name(name) for name in names[common]]
    names[rare], names[smaller] = POOLED, SMALLER
    merged, groups = pd.factorize(names, sort=True)
    return merged[codes], groups.tolist(), {POOLED: len(rare), SMALLER: len(smaller)}


def _short_name(value: str) -> str:
    """Return a long value as its beginning and a digest, so that different values keep different names."""
    if len(value) <= MAX_NAME_LENGTH:
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{value[:MAX_NAME_LENGTH]}... ({len(value):,} characters, SHA-256 {digest[:8]})"


def _count_units(codes: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Count the units with each code."""
    pairs = pd.DataFrame({"code": codes, "unit": units}).drop_duplicates()
    return np.bincount(pairs["code"])


def _groups_without_counts(codes: np.ndarray, names: list[str], units: np.ndarray) -> set[str]:
    """Return the pool and the smallest other group, if the pool has fewer than `MIN_PEOPLE` units; else nothing."""
    sizes = dict(zip(names, _count_units(codes, units).tolist(), strict=True))
    if sizes.pop(POOLED, MIN_PEOPLE) >= MIN_PEOPLE:
        return set()
    return {POOLED, *([min(sizes, key=lambda name: sizes[name])] if sizes else [])}


def _labels(values: pd.Series) -> np.ndarray:
    """Return the group of each row: its quartile for numbers and times, else its value."""
    is_ordered = pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values)
    if is_ordered and values.nunique() > QUARTILES:
        bands = pd.qcut(values, QUARTILES, duplicates="drop")
        # The code of a missing value is -1.
        names = [*_band_names([band.right for band in bands.cat.categories][:-1]), MISSING]
        return np.array(names, dtype=object)[bands.cat.codes]
    return values.astype(object).where(values.notna(), MISSING).astype(str).to_numpy(dtype=object)


def _band_names(bounds: Sequence[Any]) -> list[str]:
    """Name the bands between inner bounds. The outer ones are open: their ends are the values of single people."""
    is_time = any(isinstance(bound, pd.Timestamp) for bound in bounds)
    for write in DATE_FORMATS if is_time else NUMBER_FORMATS:
        ends = [write(bound) for bound in bounds]
        if len(set(ends)) == len(ends):
            break
    if not ends:
        return ["all values"]
    return [f"up to {ends[0]}", *(f"{low} to {high}" for low, high in pairwise(ends)), f"above {ends[-1]}"]


def too_small(dataset: Dataset, rows: np.ndarray) -> str:
    """Return why rows are too few to be evaluated; empty where they are enough. No number of rows is named."""
    units, truth = dataset.units[rows], dataset.truth.to_numpy()[rows]
    if len(np.unique(units)) < MIN_UNITS:
        return f"fewer than {MIN_UNITS} units"
    if dataset.classes or truth.dtype == object:
        return ""
    if (truth == truth[0]).all():
        return "all target values are equal"
    is_binary = bool(np.isin(truth, (0.0, 1.0)).all())
    if is_binary and not has_enough_events(truth, units):
        return f"fewer than {MIN_CLASS_UNITS} units of one class"
    return ""


def has_enough_events(events: np.ndarray, codes: np.ndarray) -> bool:
    """Tell whether units with and without an event are enough for a normal test of a shift."""
    return all(len(np.unique(codes[events == value])) >= MIN_CLASS_UNITS for value in (0.0, 1.0))

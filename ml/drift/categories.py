"""Category columns: a summary of a sample, and how far another sample is from it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.drift.numeric import MIN_ROWS

MAX_CATEGORIES = 500
NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)


@dataclass(frozen=True)
class CategorySummary:
    """The shares of the frequent categories among the values; `other` is that of all with fewer than 10 rows or units.

    `respelled` is the share of pooled values that differ from a frequent category in case and white space only.
    """

    missing: float
    values: int
    shares: Mapping[str, float]
    other: float
    respelled: float


@dataclass(frozen=True)
class CategoryDistance:
    """How the values of a batch relate to a reference: shares of values, except `variation`.

    `variation` is the total variation distance, with everything that the reference does not know in one category.
    `unknown` is the share of values that the reference does not know, `respelled` of those in another spelling.
    """

    variation: float
    unknown: float
    respelled: float
    shares: Mapping[str, float]


def summarize_categories(column: pd.Series, units: pd.Series | None = None) -> CategorySummary:
    """Summarise a text column; `units` are the persons or other entities of its rows, where these have several."""
    counts = column.value_counts()
    total = int(counts.sum())
    missing = 1.0 - total / len(column) if len(column) else 0.0
    number = counts if units is None else units.groupby(column).nunique().reindex(counts.index)
    frequent = counts[number >= MIN_ROWS].head(MAX_CATEGORIES)
    shares = {str(value): float(count / total) for value, count in frequent.items()}
    rare = counts[~counts.index.isin(frequent.index)]
    other = float(rare.sum() / total) if total else 0.0
    return CategorySummary(missing, total, shares, other, _respelled_share(shares, rare, total))


def category_distance(reference: CategorySummary, column: pd.Series) -> CategoryDistance:
    """Compare the values of a column with the reference."""
    counts = column.value_counts()
    total = max(int(counts.sum()), 1)
    is_known = counts.index.isin(list(reference.shares))
    known, unknown = counts[is_known], counts[~is_known]
    shares = {str(value): float(count / total) for value, count in known.items()}
    unknown_share = float(unknown.sum() / total)
    differences = [abs(share - shares.get(value, 0.0)) for value, share in reference.shares.items()]
    variation = 0.5 * (sum(differences) + abs(reference.other - unknown_share))
    respelled = _respelled_share(reference.shares, unknown, total)
    return CategoryDistance(variation, unknown_share, respelled, shares)


def vanished(reference: CategorySummary, distance: CategoryDistance, units: int, level: float) -> list[float]:
    """Return the reference shares of categories that the batch lacks although chance alone would have brought them."""
    absent = [share for value, share in reference.shares.items() if value not in distance.shares]
    return [share for share in absent if (1.0 - share) ** units < level / max(len(reference.shares), 1)]


def _respelled_share(known: Iterable[str], others: pd.Series, total: int) -> float:
    """Return the share of `others` (counts by value) that are a known category in another spelling."""
    folded = {_fold(value) for value in known}
    is_respelled = np.array([_fold(str(value)) in folded for value in others.index], dtype=bool)
    return float(others.to_numpy()[is_respelled].sum() / total) if total and len(others) else 0.0


def _fold(value: str) -> str:
    """Return a spelling without case, white space and signs around it; codes such as 01 and 1.0 become 1."""
    folded = "".join(value.casefold().split()).strip("\"'`.,;:_-")
    return f"{float(folded):g}" if NUMBER.fullmatch(folded) else folded

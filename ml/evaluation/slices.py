"""A per-user metric on slices of users or of target items, with its interval over users."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.rare_values import MIN_PEOPLE
from ml.evaluation.mean_intervals import mean_interval

# A metric of each user of a dataset, shape (users,).
PerUserMetric = Callable[[Dataset], np.ndarray]
# A row of the report: the names of the slice, `users`, and the `value`, `low` and `high` of the metric.
SliceRow = dict[str, Any]
# Slices of users by number of events in their history, both bounds included.
HISTORY_LENGTHS = ((0, 0), (1, 4), (5, 19), (20, 10**9))


def by_history_length(dataset: Dataset, values: np.ndarray) -> list[SliceRow]:
    """Slice the users by length of history: rows with `history` and the interval of `values`, (users,)."""
    lengths = dataset.frame["items"].map(len).to_numpy()
    rows = []
    for low, high in HISTORY_LENGTHS:
        name = "none" if high == 0 else f"{low} and more" if high > 10**6 else f"{low} to {high}"
        rows += _slice_rows({"history": name}, values[(lengths >= low) & (lengths <= high)])
    return rows


def by_cold_start(dataset: Dataset, per_user_metric: PerUserMetric, popularity: pd.Series) -> list[SliceRow]:
    """Slice the users, and the target items, by whether any history holds them: rows with `by`, `slice`, the interval.

    An item is new if it is not in the index of `popularity`, as `ml.evaluation.beyond_accuracy.user_counts` counts it.
    """
    has_history = dataset.frame["items"].map(len).to_numpy() > 0
    values = per_user_metric(dataset)
    users = _slice_rows({"by": "user", "slice": "no history"}, values[~has_history])
    users += _slice_rows({"by": "user", "slice": "some history"}, values[has_history])
    known_items = set(popularity.index)
    return [
        *users,
        *_target_slice("item", "known", dataset, per_user_metric, known_items.__contains__),
        *_target_slice("item", "new", dataset, per_user_metric, lambda item: item not in known_items),
    ]


def by_popularity(dataset: Dataset, per_user_metric: PerUserMetric, popularity: pd.Series) -> list[SliceRow]:
    """Slice the target items by popularity: rows as of `by_cold_start`, and the number of `items` in the slice.

    Head, middle and tail hold about a third of all events each, from the most popular item on; items in no history are
    in none of them. A slice contains the users with a target item in it, with their other targets removed.
    """
    events_before = (popularity.cumsum() - popularity) / max(popularity.sum(), 1)
    third = np.minimum((3 * events_before).astype(np.int64), 2)
    rows = []
    for number, name in enumerate(("head", "middle", "tail")):
        items = set(popularity.index[third == number])
        found = _target_slice("popularity", name, dataset, per_user_metric, items.__contains__)
        rows += [row | {"items": len(items)} for row in found]
    return rows


def _target_slice(
    by: str, name: str, dataset: Dataset, per_user_metric: PerUserMetric, in_slice: Callable[[str], bool]
) -> list[SliceRow]:
    truth = dataset.truth.map(lambda items: [item for item in items if in_slice(item)])
    rows = np.flatnonzero(truth.map(len).to_numpy() > 0)
    sliced = replace(dataset, truth=truth).take(rows)
    return _slice_rows({"by": by, "slice": name}, per_user_metric(sliced)) if len(rows) else []


def _slice_rows(names: SliceRow, values: np.ndarray) -> list[SliceRow]:
    # A slice of few users is left out: it could show the values of one of them.
    if len(values) < MIN_PEOPLE:
        return []
    return [{**names, "users": len(values), **asdict(mean_interval(values))}]

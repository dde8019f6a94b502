"""A measure of lists for some users or some items alone, with its interval over users."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.evaluation.confidence_intervals import mean_interval

# The measure of each user of a part, shape (users,).
PerUser = Callable[[Dataset], np.ndarray]
Line = dict[str, Any]
LENGTHS = ((0, 0), (1, 4), (5, 19), (20, 10**9))


def by_length(part: Dataset, values: np.ndarray) -> list[Line]:
    """By length of history: lines with `history`, `users`, `value`, `low`, `high`."""
    lengths = part.frame["items"].map(len).to_numpy()
    lines = []
    for low, high in LENGTHS:
        name = "none" if high == 0 else f"{low} and more" if high > 10**6 else f"{low} to {high}"
        lines += _line({"history": name}, values[(lengths >= low) & (lengths <= high)])
    return lines


def by_newness(part: Dataset, measured: PerUser, popular: pd.Series) -> list[Line]:
    """By whether the user, and the wanted item, was known before: lines with `by`, `slice`, `users` and the interval.

    An item is new where no history holds it, that is, where `popular` (as
    `ml.evaluation.beyond_accuracy.owners` gives it) lacks it.
    """
    some = part.frame["items"].map(len).to_numpy() > 0
    values = measured(part)
    users = _line({"by": "user", "slice": "no history"}, values[~some])
    users += _line({"by": "user", "slice": "some history"}, values[some])
    known = set(popular.index)
    return [
        *users,
        *_of_items("item", "known", part, measured, known.__contains__),
        *_of_items("item", "new", part, measured, lambda item: item not in known),
    ]


def by_popularity(part: Dataset, measured: PerUser, popular: pd.Series) -> list[Line]:
    """By popularity of the wanted item: lines as of `by_newness`, with the number of `items` besides.

    Head, middle and tail hold about a third of all events each, from the most popular item on; items that nobody had
    are in none. A slice has the users who wanted such an item, judged as if they had wanted nothing else.
    """
    before = (popular.cumsum() - popular) / max(popular.sum(), 1)
    third = np.minimum((3 * before).astype(np.int64), 2)
    lines = []
    for number, name in enumerate(("head", "middle", "tail")):
        items = set(popular.index[third == number])
        found = _of_items("popularity", name, part, measured, items.__contains__)
        lines += [line | {"items": len(items)} for line in found]
    return lines


def _of_items(
    by: str, name: str, part: Dataset, measured: PerUser, wanted: Callable[[str], bool]
) -> list[Line]:
    truth = part.truth.map(lambda items: [item for item in items if wanted(item)])
    rows = np.flatnonzero(truth.map(len).to_numpy() > 0)
    mine = replace(part, truth=truth).take(rows)
    return _line({"by": by, "slice": name}, measured(mine)) if len(rows) > 1 else []


def _line(names: Line, values: np.ndarray) -> list[Line]:
    """One line, or none: a slice of one user would be a row."""
    return [{**names, "users": len(values), **asdict(mean_interval(values))}] if len(values) > 1 else []

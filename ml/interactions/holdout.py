"""Histories without their end, and the end as what is to be foretold: lessons from a log alone."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset

HoldOut = Literal["time", "last", "random"]


def usual(train: Dataset) -> HoldOut:
    """Like what will be asked: the last event of each history, but by time where the log is divided so.

    Where that is not said, by time where all times are known: who comes after an instant is then asked for all that
    follows. A session begins after any such instant, and would be no more than somebody new.
    """
    if train.split_by in ("last", "session", "any"):
        return "last"
    # From Parquet, an empty list comes as an array of objects.
    known = all(np.isfinite(np.asarray(times, np.float64)).all() for times in train.frame["times"])
    return "time" if known else "last"


def lessons(
    train: Dataset, how: HoldOut, share: float, seed: int, events: int
) -> list[tuple[Dataset, pd.Series]]:
    """Histories, and what came after each, one list a row. Models may know the first histories only.

    Of the last `events` of each user (last), each is foretold from all before it; of time and random there is one
    lesson (`held_out`).
    """
    if how != "last":
        return [held_out(train, how, share, seed)]
    return [_without_last(train, events - taught) for taught in range(events)]


def held_out(train: Dataset, how: HoldOut, share: float, seed: int) -> tuple[Dataset, pd.Series]:
    """The histories without what is held out, and what was held out of each, one list for each row.

    That is the last `share` of the log (time), the last event of each user (last), or a `share` of each user's events
    (random). An item that is left in the history is no lesson unless items may repeat.
    """
    if how == "last":
        return _without_last(train, 1)
    frame = train.frame
    lengths = frame["items"].map(len).to_numpy(np.int64)
    if how == "time":
        times = np.concatenate([np.asarray(one, np.float64) for one in frame["times"]])
        out = times >= np.quantile(times, 1.0 - share)
        # A log of one instant has no end to hold out.
        out &= not out.all()
    else:
        out = np.random.default_rng(seed).random(lengths.sum()) < share
    marks = np.split(out, np.cumsum(lengths)[:-1])
    return _parted(train, [~mark for mark in marks], marks)


def _without_last(train: Dataset, events: int) -> tuple[Dataset, pd.Series]:
    """Without the last events of each user, and the first of these; whoever has no more keeps one, to tell from."""
    left = [max(len(items) - events, min(1, len(items))) for items in train.frame["items"]]
    places = [np.arange(len(items)) for items in train.frame["items"]]
    kept = [place < n for place, n in zip(places, left, strict=True)]
    first = [
        place == n if n == len(place) - events else place < 0 for place, n in zip(places, left, strict=True)
    ]
    return _parted(train, kept, first)


def _parted(train: Dataset, kept: list[np.ndarray], taken: list[np.ndarray]) -> tuple[Dataset, pd.Series]:
    """The marks are those of each user's events."""
    frame = train.frame
    # What an event counts, where that is told, is held out with it.
    lists = [name for name in ("items", "times", "weights") if name in frame]
    before = {name: _series(frame, map(_marked, frame[name], kept)) for name in lists}
    after = (
        _new(_marked(items, mark), left, train.allow_repeats)
        for items, mark, left in zip(frame["items"], taken, before["items"], strict=True)
    )
    return replace(train, frame=frame.assign(**before)), _series(frame, after)


def _series(frame: pd.DataFrame, lists: Iterable[list[Any]]) -> pd.Series:
    return pd.Series(list(lists), index=frame.index, dtype=object)


def _marked(values: Sequence[Any], marks: np.ndarray) -> list[Any]:
    return [value for value, marked in zip(values, marks, strict=True) if marked]


def _new(taken: list[str], left: list[str], repeat: bool) -> list[str]:
    known = set() if repeat else set(left)
    return [item for item in dict.fromkeys(taken) if item not in known]

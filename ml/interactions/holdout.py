"""Hold out the end of each history as the prediction target."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset

HoldoutPolicy = Literal["time", "last", "random"]


def default_holdout(train: Dataset) -> HoldoutPolicy:
    """Choose the policy that resembles the split of the data set: `time` for a split by time, `last` for the others.

    Without a known split it is `time` where all times are known. A session split needs `last`: a holdout by time would
    keep whole sessions back, with an empty history each.
    """
    if train.split_by in ("last", "session", "random_last_out"):
        return "last"
    # From Parquet, an empty list comes as an array of objects.
    all_timed = all(np.isfinite(np.asarray(times, np.float64)).all() for times in train.frame["times"])
    return "time" if all_timed else "last"


def training_queries(
    train: Dataset, policy: HoldoutPolicy, share: float, seed: int, events: int
) -> list[tuple[Dataset, pd.Series]]:
    """Return training queries for a reranker: pairs of histories and their held-out items, one list of items per row.

    The policy `last` gives one pair for each of the last `events` events of a user, earliest first, each predicted from
    all events before it; `time` and `random` give one pair (`hold_out`). First-stage models may be fitted on the
    histories of the first pair only.
    """
    if policy != "last":
        return [hold_out(train, policy, share, seed)]
    return [_hold_out_last(train, n) for n in range(events, 0, -1)]


def hold_out(train: Dataset, policy: HoldoutPolicy, share: float, seed: int) -> tuple[Dataset, pd.Series]:
    """Split histories into what is left of them and the items that are held out, one list of items per row.

    Held out is the last `share` of the log (`time`), the last event of each user (`last`), or a random `share` of all
    events (`random`). Items that are still in the history are no targets unless `train` allows repeats.
    """
    if policy == "last":
        return _hold_out_last(train, 1)
    frame = train.frame
    lengths = frame["items"].map(len).to_numpy(np.int64)
    if policy == "time":
        times = np.concatenate([np.asarray(user_times, np.float64) for user_times in frame["times"]])
        held_out = times >= np.quantile(times, 1.0 - share)
        # A log of one instant has no end to hold out.
        held_out &= not held_out.all()
    else:
        held_out = np.random.default_rng(seed).random(lengths.sum()) < share
    masks = np.split(held_out, np.cumsum(lengths)[:-1])
    return _split_by_masks(train, [~mask for mask in masks], masks)


def _hold_out_last(train: Dataset, events: int) -> tuple[Dataset, pd.Series]:
    """Remove the last `events` events of each user; the target is the first of them.

    A user with no more events than that keeps the first one and has no target.
    """
    n_kept = [max(len(items) - events, min(1, len(items))) for items in train.frame["items"]]
    positions = [np.arange(len(items)) for items in train.frame["items"]]
    kept = [position < n for position, n in zip(positions, n_kept, strict=True)]
    targets = [
        position == n if n == len(position) - events else position < 0
        for position, n in zip(positions, n_kept, strict=True)
    ]
    return _split_by_masks(train, kept, targets)


def _split_by_masks(
    train: Dataset, kept: list[np.ndarray], targets: list[np.ndarray]
) -> tuple[Dataset, pd.Series]:
    """Split each user's events by masks, one per user, shape (events of the user,)."""
    frame = train.frame
    columns = [name for name in ("items", "times", "weights") if name in frame]
    histories = {name: _series(frame, map(_masked, frame[name], kept)) for name in columns}
    target_items = (
        _distinct_targets(_masked(items, mask), history, train.allow_repeats)
        for items, mask, history in zip(frame["items"], targets, histories["items"], strict=True)
    )
    return replace(train, frame=frame.assign(**histories)), _series(frame, target_items)


def _series(frame: pd.DataFrame, lists: Iterable[list[Any]]) -> pd.Series:
    return pd.Series(list(lists), index=frame.index, dtype=object)


def _masked(values: Sequence[Any], mask: np.ndarray) -> list[Any]:
    return [value for value, selected in zip(values, mask, strict=True) if selected]


def _distinct_targets(items: list[str], history: list[str], allow_repeats: bool) -> list[str]:
    excluded = set() if allow_repeats else set(history)
    return [item for item in dict.fromkeys(items) if item not in excluded]

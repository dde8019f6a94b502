"""Why an item stands in a list: the events of the user's history that its score comes from."""

from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd

from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories

# How many of the last events are left out in turn, where a model cannot tell what each contributes.
OCCLUDED = 20
# Of an item, and the share that it has in what speaks for the recommended one.
Reasons = list[tuple[str, float]]


@runtime_checkable
class Scorer(Protocol):
    """A model of recommendation that scores every item of its catalogue, shape (users, items)."""

    @property
    def catalogue(self) -> Catalogue: ...

    def scores(self, histories: Histories) -> np.ndarray: ...


@runtime_checkable
class Explained(Protocol):
    """One that knows what each event of one user adds to the score of the item `code`, shape (events,).

    The contributions sum to the score, or to the part of it that depends on the history; those of a model of several
    stages to that of the model that put the item forward.
    """

    @property
    def catalogue(self) -> Catalogue: ...

    def contributions(self, history: Histories, code: int) -> np.ndarray: ...


def reasons(model: Scorer | Explained, frame: pd.DataFrame, prediction: pd.DataFrame) -> list[Reasons]:
    """For each row of a prediction for the users of `frame`: what of the history speaks for the item, most first.

    Shares are of the sum of the positive contributions, and sum to 1. No reason at all means that nothing of the
    history speaks for the item: it is popular with others, all or those of the segment. Only models without
    `contributions` are asked by `occlusion`. Raises KeyError for a user that `frame` lacks, ValueError for an item that
    the catalogue lacks.
    """
    row = {user: place for place, user in enumerate(frame["user"])}
    histories = model.catalogue.sequences(frame)
    codes = pd.Index(model.catalogue.items, dtype=object).get_indexer(pd.Index(prediction["item"]))
    if (codes < 0).any():
        raise ValueError(
            f"expected items of the model's catalogue, got {int((codes < 0).sum())} others; "
            "pass the prediction of this model"
        )
    # One object for all items of a user, so that a model may remember what it found out of that history.
    of = {user: histories.block(slice(row[user], row[user] + 1)) for user in prediction["user"].unique()}
    return [
        _shares(model.catalogue, of[user], contributions(model, of[user], int(code)))
        for user, code in zip(prediction["user"], codes, strict=True)
    ]


def with_reasons(
    model: Scorer | Explained, frame: pd.DataFrame, prediction: pd.DataFrame, best: int
) -> pd.DataFrame:
    """The prediction with columns `because` (list of items, most first) and `shares` (of each, likewise).

    They are of the `best` items of each user, as `reasons` tells them, and empty lists where nothing of the history
    speaks for the item; of items further down they are None. Errors as in `reasons`.
    """
    asked = np.flatnonzero(prediction["rank"].to_numpy() <= best)
    because, shares = (np.full(len(prediction), None, dtype=object) for _ in range(2))
    for row, found in zip(asked, reasons(model, frame, prediction.iloc[asked]), strict=True):
        because[row], shares[row] = [item for item, _ in found], [share for _, share in found]
    return prediction.assign(because=because, shares=shares)


def contributions(model: Scorer | Explained, history: Histories, code: int) -> np.ndarray:
    """What each event of one user adds to the score of item `code`, shape (events,), told or found by occlusion."""
    if isinstance(model, Explained):
        return np.asarray(model.contributions(history, code), dtype=np.float64)
    return occlusion(model, history, code)


def occlusion(model: Scorer, history: Histories, code: int) -> np.ndarray:
    """By how much the score of item `code` drops without each of the last `OCCLUDED` events of one user (events,).

    A history that is scored by popularity gives no reason, and what is left of one when an event is gone counts as 0
    where it is scored so: numbers of users are on a scale of their own.
    """
    events = len(history.items)
    tried = np.arange(max(0, events - OCCLUDED), events)
    left = [np.delete(np.arange(events), at) for at in tried]
    every = np.concatenate([np.arange(events), *left]).astype(np.int64)
    start = np.concatenate([[0], np.cumsum([events, *map(len, left)])])
    users = np.arange(len(start) - 1)
    histories = replace(
        history,
        start=start,
        items=history.items[every],
        times=history.times[every],
        told=history.weights[every],
        segment=None if history.segment is None else history.segment.repeat(len(users)),
    )
    scores = model.scores(histories)
    common = model.catalogue.common(histories, users)
    by_popularity = (scores == common).all(axis=1) | (np.diff(start) == 0)
    score = np.where(by_popularity, 0.0, scores[:, code])
    dropped = np.zeros(events)
    if not by_popularity[0]:
        dropped[tried] = score[0] - score[1:]
    return dropped


def _shares(catalogue: Catalogue, history: Histories, contributed: np.ndarray) -> Reasons:
    """Of each item that speaks for the recommended one; several events with an item are one reason."""
    items, place = np.unique(history.items, return_inverse=True)
    total = np.bincount(place, contributed, minlength=len(items))
    order = np.argsort(-total, kind="stable")
    speaks = order[total[order] > 0]
    everything = total[speaks].sum()
    return [(catalogue.items[items[at]], float(total[at] / everything)) for at in speaks]

"""Explain recommendations by the events of the user's history that their scores come from."""

from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd

from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories

# Number of last events that are removed in turn, for models without contributions of their own.
MAX_OCCLUDED_EVENTS = 20
# Items of the history with their weights, highest first; weights sum to 1.
Explanation = list[tuple[str, float]]


@runtime_checkable
class ItemScorer(Protocol):
    """A recommender that scores every item of its catalogue."""

    @property
    def catalogue(self) -> Catalogue: ...

    def scores(self, histories: Histories) -> np.ndarray:
        """Score all items for all users, shape (users, items)."""
        ...


@runtime_checkable
class ExplainableModel(Protocol):
    """A recommender that attributes a score to the events of the user's history."""

    @property
    def catalogue(self) -> Catalogue: ...

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """Return what each event of one user contributes to the score of the item `code`, shape (events,).

        Contributions sum to the score, or to the part of it that depends on the history. Those of a model of several
        stages are about the score of the model that proposed the item.
        """
        ...


def explain_recommendations(
    model: ItemScorer | ExplainableModel, frame: pd.DataFrame, prediction: pd.DataFrame
) -> list[Explanation]:
    """Explain each row of a prediction for the users of `frame` by items of the user's history.

    Weights are shares of the sum of the positive contributions. An explanation is empty where no contribution is
    positive: the item is popular among all users, or those of the segment. Models without `contributions` are explained
    by occlusion. Raises KeyError for a user that `frame` lacks, ValueError for an item that the catalogue lacks.
    """
    row_of = {user: row for row, user in enumerate(frame["user"])}
    histories = model.catalogue.encode(frame)
    codes = pd.Index(model.catalogue.items, dtype=object).get_indexer(pd.Index(prediction["item"]))
    if (codes < 0).any():
        raise ValueError(
            f"expected items of the model's catalogue; got {int((codes < 0).sum())} others; "
            "pass the prediction of this model"
        )
    # One object for all items of a user, by which a model may cache what it computes from the history.
    history_of = {
        user: histories.slice_users(slice(row_of[user], row_of[user] + 1))
        for user in prediction["user"].unique()
    }
    explanations = []
    for user, code in zip(prediction["user"], codes, strict=True):
        contributions = event_contributions(model, history_of[user], int(code))
        explanations.append(_explanation(model.catalogue, history_of[user], contributions))
    return explanations


def add_explanations(
    model: ItemScorer | ExplainableModel, frame: pd.DataFrame, prediction: pd.DataFrame, max_rank: int
) -> pd.DataFrame:
    """Return the prediction with the columns `explanation_items` and `explanation_weights`, lists of equal length.

    They hold the explanations of the items up to `max_rank`, empty lists where nothing in the history supports the
    item, and None for the other items. Errors as in `explain_recommendations`.
    """
    rows = np.flatnonzero(prediction["rank"].to_numpy() <= max_rank)
    items, weights = (np.full(len(prediction), None, dtype=object) for _ in range(2))
    for row, explanation in zip(
        rows, explain_recommendations(model, frame, prediction.iloc[rows]), strict=True
    ):
        items[row], weights[row] = [item for item, _ in explanation], [weight for _, weight in explanation]
    return prediction.assign(explanation_items=items, explanation_weights=weights)


def event_contributions(model: ItemScorer | ExplainableModel, history: Histories, code: int) -> np.ndarray:
    """Return what each event of one user contributes to the score of the item `code`, shape (events,).

    The model's own contributions if it has any, else those of `occlusion_contributions`.
    """
    if isinstance(model, ExplainableModel):
        return np.asarray(model.contributions(history, code), dtype=np.float64)
    return occlusion_contributions(model, history, code)


def occlusion_contributions(model: ItemScorer, history: Histories, code: int) -> np.ndarray:
    """Return the decrease of the score of the item `code` without each event of one user, shape (events,).

    Only the last `MAX_OCCLUDED_EVENTS` events are tried, the others are 0. Scores by popularity count as 0, because
    numbers of users are on another scale; a history that is scored so has no contributions.
    """
    n_events = len(history.items)
    removed = np.arange(max(0, n_events - MAX_OCCLUDED_EVENTS), n_events)
    remaining = [np.delete(np.arange(n_events), position) for position in removed]
    # The first user has the whole history, each other one lacks one event.
    events = np.concatenate([np.arange(n_events), *remaining]).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum([n_events, *map(len, remaining)])])
    users = np.arange(len(offsets) - 1)
    histories = replace(
        history,
        offsets=offsets,
        items=history.items[events],
        times=history.times[events],
        event_weights=history.weights[events],
        user_segments=None if history.user_segments is None else history.user_segments.repeat(len(users)),
    )
    scores = model.scores(histories)
    popularity = model.catalogue.popularity_scores(histories, users)
    by_popularity = (scores == popularity).all(axis=1) | (np.diff(offsets) == 0)
    score = np.where(by_popularity, 0.0, scores[:, code])
    contributions = np.zeros(n_events)
    if not by_popularity[0]:
        contributions[removed] = score[0] - score[1:]
    return contributions


def _explanation(catalogue: Catalogue, history: Histories, contributions: np.ndarray) -> Explanation:
    """Sum contributions by item and normalise the positive sums."""
    items, item_of_event = np.unique(history.items, return_inverse=True)
    total = np.bincount(item_of_event, contributions, minlength=len(items))
    order = np.argsort(-total, kind="stable")
    positive = order[total[order] > 0]
    norm = total[positive].sum()
    return [(catalogue.items[items[index]], float(total[index] / norm)) for index in positive]

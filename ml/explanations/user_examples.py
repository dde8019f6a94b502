"""Example users of a data set: their history, their recommendations with explanations, and what they chose next.

Users are called A, B and C. No user id is included, and only the last items of a history, because a whole history could
identify a person. For the same reason, items of few users have no name.
"""

from collections import Counter
from collections.abc import Set
from typing import TypedDict

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.rare_values import MIN_PEOPLE
from ml.estimator import Model
from ml.explanations.history_attribution import (
    ExplainableModel,
    Explanation,
    ItemScorer,
    explain_recommendations,
)

# Bounds of what is shown of a user.
HISTORY_ITEMS, LIST_ITEMS, EXPLANATION_ITEMS = 8, 5, 3
# Quantiles of history length at which users are selected.
LENGTH_QUANTILES = (0.25, 0.5, 0.75)
MIN_EVENTS = 2
NAMES = "ABC"


class ItemWeight(TypedDict):
    """An item of the history and its weight in an explanation."""

    item: str
    weight: float


class ExplainedItem(TypedDict):
    """A recommended item, whether the user chose it, and its explanation by items of the shown history.

    The weights of further items of the shown history, and of all earlier items, are summed. `explanation` is None for
    models that cannot be explained.
    """

    item: str
    chosen: bool
    explanation: list[ItemWeight] | None
    other_items_weight: float
    earlier_items_weight: float


class UserExample(TypedDict):
    """A pseudonymous user.

    `events` counts the whole history; `history` and `chosen` (what came next) are the last and the first items of it,
    and `more_chosen` the number of further chosen items.
    """

    user: str
    events: int
    history: list[str]
    recommended: list[ExplainedItem]
    chosen: list[str]
    more_chosen: int


def user_examples(dataset: Dataset, prediction: pd.DataFrame, model: Model) -> list[UserExample]:
    """Show users at the quartiles of history length, of those with at least `MIN_EVENTS` events.

    The result does not depend on the order of the rows.
    """
    rows = _selected_rows(dataset)
    shown = _common_items(dataset)
    return [
        _without_rare_items(_example(name, dataset.take(rows[n : n + 1]), prediction, model), shown)
        for n, name in enumerate(NAMES[: len(rows)])
    ]


def _common_items(dataset: Dataset) -> set[str]:
    """Return the items that `MIN_PEOPLE` users or more have in their history or choose next."""
    pairs = zip(dataset.frame["items"], dataset.truth, strict=True)
    users = Counter(item for history, chosen in pairs for item in {*history, *chosen})
    return {item for item, count in users.items() if count >= MIN_PEOPLE}


def _without_rare_items(example: UserExample, shown: Set[str]) -> UserExample:
    """Replace the names of all items but `shown`: "rare item 1" is the same item wherever the example has it."""
    rare: dict[str, str] = {}

    def name(item: str) -> str:
        return item if item in shown else rare.setdefault(item, f"rare item {len(rare) + 1}")

    for recommended in example["recommended"]:
        recommended["item"] = name(recommended["item"])
        for reason in recommended["explanation"] or []:
            reason["item"] = name(reason["item"])
    example["history"] = [name(item) for item in example["history"]]
    example["chosen"] = [name(item) for item in example["chosen"]]
    return example


def _selected_rows(dataset: Dataset) -> np.ndarray:
    lengths = dataset.frame["items"].map(len).to_numpy()
    eligible = np.flatnonzero(lengths >= MIN_EVENTS)
    ordered = eligible[np.lexsort((dataset.units[eligible], lengths[eligible]))]
    if not len(ordered):
        return ordered
    return ordered[sorted({int(quantile * (len(ordered) - 1)) for quantile in LENGTH_QUANTILES})]


def _example(name: str, user: Dataset, prediction: pd.DataFrame, model: Model) -> UserExample:
    """Describe the one user of a data set of one row."""
    history, chosen = list(user.frame["items"].iloc[0]), list(user.truth.iloc[0])
    rows = prediction["user"] == user.frame["user"].iloc[0]
    listed = prediction[rows].sort_values("rank").head(LIST_ITEMS)
    explanations: list[Explanation] | list[None] = [None] * len(listed)
    if isinstance(model, ItemScorer | ExplainableModel):
        explanations = explain_recommendations(model, user.frame, listed)
    shown = history[-HISTORY_ITEMS:]
    return {
        "user": name,
        "events": len(history),
        "history": shown,
        "recommended": [
            _explained_item(str(item), item in chosen, explanation, shown)
            for item, explanation in zip(listed["item"], explanations, strict=True)
        ],
        "chosen": chosen[:HISTORY_ITEMS],
        "more_chosen": max(len(chosen) - HISTORY_ITEMS, 0),
    }


def _explained_item(
    item: str, chosen: bool, explanation: Explanation | None, shown: list[str]
) -> ExplainedItem:
    in_shown = [(name, weight) for name, weight in explanation or [] if name in shown]
    top = in_shown[:EXPLANATION_ITEMS]
    return {
        "item": item,
        "chosen": chosen,
        "explanation": None
        if explanation is None
        else [{"item": name, "weight": weight} for name, weight in top],
        "other_items_weight": sum((weight for _, weight in in_shown[EXPLANATION_ITEMS:]), 0.0),
        "earlier_items_weight": sum((weight for name, weight in explanation or [] if name not in shown), 0.0),
    }

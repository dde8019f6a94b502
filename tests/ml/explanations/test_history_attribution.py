"""Explanations are faithful: contributions sum to the score, and the score falls without them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.explanations.history_attribution import (
    MAX_OCCLUDED_EVENTS,
    ExplainableModel,
    ItemScorer,
    add_explanations,
    event_contributions,
    explain_recommendations,
    occlusion_contributions,
)
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.recommenders.als import ALS
from ml.recommenders.item_knn import ItemKNN, ItemKNNModel
from ml.recommenders.popularity import Popularity

Recommender = Popularity | ItemKNN | ALS


def frame_of(lists: dict[str, list[str]]) -> pd.DataFrame:
    items = pd.Series(list(lists.values()), dtype=object)
    return pd.DataFrame({"user": pd.Series(list(lists), dtype="str"), "items": items}).assign(
        times=[[float(t) for t in range(len(items))] for items in lists.values()]
    )


def two_tastes() -> pd.DataFrame:
    """Return fifty users of two tastes, some with an item several times, and one user of neither."""
    rng = np.random.default_rng(4)
    lists = {f"u{n}": [f"{'ab'[n % 2]}{i:02}" for i in rng.choice(15, 7)] for n in range(50)}
    return frame_of(lists | {"odd": ["a00", "b00", "b01", "c00"]})


def fitted(candidate: Recommender, allow_repeats: bool = False) -> ItemScorer:
    frame = two_tastes()
    truth = pd.Series([[]] * len(frame), dtype=object)
    train = Dataset(frame, truth, np.zeros(len(frame)), allow_repeats=allow_repeats)
    model = candidate.fit(train, train, FitResources(seed=3))
    assert isinstance(model, ItemScorer)
    return model


def history_of(model: ItemScorer, *items: str) -> Histories:
    return model.catalogue.encode(frame_of({"v": list(items)}))


@dataclass(frozen=True)
class WithoutContributions:
    """A model that scores items and cannot attribute its scores."""

    catalogue: Catalogue
    model: ItemScorer

    def scores(self, histories: Histories) -> np.ndarray:
        return self.model.scores(histories)


def without_contributions(model: ItemScorer) -> WithoutContributions:
    return WithoutContributions(model.catalogue, model)


@pytest.mark.parametrize("allow_repeats", [False, True], ids=["no repeats", "repeats"])
@pytest.mark.parametrize(
    "candidate",
    [ItemKNN(neighbours=8), ItemKNN(decay=0.7), ALS(factors=6), ALS(factors=6, decay=0.7)],
    ids=str,
)
def test_contributions_sum_to_the_score_of_every_item(candidate: Recommender, allow_repeats: bool) -> None:
    model = fitted(candidate, allow_repeats)
    assert isinstance(model, ExplainableModel)
    for items in (["a01", "a03", "b02"], ["a01", "a01", "a04", "a01"], ["b05"]):
        history = history_of(model, *items)
        score = model.scores(history)[0]
        for code in range(len(model.catalogue.items)):
            contributions = model.contributions(history, code)
            assert contributions.shape == (len(items),)
            assert contributions.sum() == pytest.approx(score[code], rel=1e-5, abs=1e-9)


def test_removing_an_event_lowers_the_item_knn_score_by_its_contribution() -> None:
    """A score is a sum of similarities, so removing the top contributor lowers it most."""
    model = fitted(ItemKNN())
    assert isinstance(model, ExplainableModel)
    items = ["a01", "a03", "a07", "b02", "a09"]
    history = history_of(model, *items)
    for code in range(len(model.catalogue.items)):
        contributions, score = model.contributions(history, code), model.scores(history)[0, code]
        reduced = [
            model.scores(history_of(model, *items[:n], *items[n + 1 :]))[0, code] for n in range(len(items))
        ]
        np.testing.assert_allclose(score - reduced, contributions, atol=1e-6)
        assert score - reduced[int(contributions.argmax())] == pytest.approx(max(score - reduced))


def test_removing_the_top_contributor_lowers_the_als_score() -> None:
    model = fitted(ALS(factors=4))
    assert isinstance(model, ExplainableModel)
    items = ["a01", "a03", "a07", "b02"]
    history = history_of(model, *items)
    for code in [code for code, item in enumerate(model.catalogue.items) if item.startswith("a")]:
        top = int(model.contributions(history, code).argmax())
        reduced = model.scores(history_of(model, *items[:top], *items[top + 1 :]))[0, code]
        assert reduced < model.scores(history)[0, code]


def test_popularity_has_an_empty_explanation() -> None:
    model, prediction = fitted(Popularity()), pd.DataFrame({"user": ["v"], "item": ["a00"]})
    assert explain_recommendations(model, frame_of({"v": ["a01", "b01"]}), prediction) == [[]]


@pytest.mark.parametrize("occluded", [False, True], ids=["contributions", "occlusion"])
def test_explanations_by_hand(occluded: bool) -> None:
    model = fitted(ItemKNN(shrinkage=0.0))
    assert isinstance(model, ItemKNNModel)
    code_of = {item: code for code, item in enumerate(model.catalogue.items)}
    histories = {"v": ["a01", "?", "a03", "a01", "b02"], "new": [], "w": ["c00"]}
    rows = [("w", "b01"), ("v", "a05"), ("new", "a05"), ("w", "a05")]
    prediction = pd.DataFrame(rows, columns=["user", "item"])
    explained = without_contributions(model) if occluded else model
    found = explain_recommendations(explained, frame_of(histories), prediction)
    # One user had both c00 and b01, none had c00 and a05.
    assert found[0] == [("c00", 1.0)]
    assert found[2:] == [[], []]
    similarity = {
        item: float(model.similarity[code_of[item], code_of["a05"]]) for item in ("a01", "a03", "b02")
    }
    assert similarity["b02"] == 0
    if occluded:  # Without one of the two events with a01, the other still counts.
        similarity["a01"] = 0.0
    positive = {item: value for item, value in similarity.items() if value > 0}
    expected = {item: value / sum(positive.values()) for item, value in positive.items()}
    assert dict(found[1]) == pytest.approx(expected, rel=1e-5)
    weights = [weight for _, weight in found[1]]
    assert weights == sorted(weights, reverse=True)


def test_occlusion_is_exact_for_sums_and_tries_the_last_events_only() -> None:
    model = fitted(ItemKNN())
    assert isinstance(model, ExplainableModel)
    items = [item for item in model.catalogue.items if item != "a05"]
    history, code = history_of(model, *items), model.catalogue.items.index("a05")
    assert len(items) > MAX_OCCLUDED_EVENTS
    occlusion, exact = occlusion_contributions(model, history, code), model.contributions(history, code)
    np.testing.assert_allclose(occlusion[-MAX_OCCLUDED_EVENTS:], exact[-MAX_OCCLUDED_EVENTS:], atol=1e-6)
    assert not occlusion[:-MAX_OCCLUDED_EVENTS].any()


def test_scores_by_popularity_have_no_contributions() -> None:
    model = without_contributions(fitted(ItemKNN(neighbours=1)))
    assert event_contributions(model, history_of(model), 0).shape == (0,)
    popularity = without_contributions(fitted(Popularity()))
    assert not event_contributions(popularity, history_of(popularity, "a01", "a02"), 0).any()


def test_only_items_up_to_the_maximum_rank_are_explained() -> None:
    model = fitted(ItemKNN())
    prediction = pd.DataFrame({"user": ["v", "v"], "rank": [1, 2], "item": ["a03", "a05"]})
    explained = add_explanations(model, frame_of({"v": ["a01"]}), prediction, max_rank=1)
    assert list(explained.columns) == [*prediction.columns, "explanation_items", "explanation_weights"]
    assert explained["explanation_items"].tolist() == [["a01"], None]
    assert explained["explanation_weights"].tolist() == [[1.0], None]


def test_items_of_another_catalogue_are_rejected() -> None:
    prediction = pd.DataFrame({"user": ["v"], "item": ["?"]})
    with pytest.raises(ValueError, match="got 1 others"):
        explain_recommendations(fitted(ItemKNN()), frame_of({"v": []}), prediction)

"""Reasons are true: they sum to the score, and the score falls without them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.explanations.history_attribution import OCCLUDED, Explained, Scorer, contributions, occlusion, reasons
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.recommenders.als import ALS
from ml.recommenders.item_knn import ItemKNN, ItemKNNModel
from ml.recommenders.popularity import Popularity

Recommender = Popularity | ItemKNN | ALS


def frame_of(lists: dict[str, list[str]]) -> pd.DataFrame:
    items = pd.Series(list(lists.values()), dtype=object)
    return pd.DataFrame({"user": pd.Series(list(lists), dtype="str"), "items": items}).assign(
        times=[[float(t) for t in range(len(of))] for of in lists.values()]
    )


def shoppers() -> pd.DataFrame:
    """Fifty users of two tastes; some have an item several times."""
    rng = np.random.default_rng(4)
    lists = {f"u{n}": [f"{'ab'[n % 2]}{i:02}" for i in rng.choice(15, 7)] for n in range(50)}
    return frame_of(lists | {"odd": ["a00", "b00", "b01", "c00"]})


def fitted(candidate: Recommender, repeat: bool = False) -> Scorer:
    frame = shoppers()
    part = Dataset(
        frame, pd.Series([[]] * len(frame), dtype=object), np.zeros(len(frame)), allow_repeats=repeat
    )
    model = candidate.fit(part, part, FitResources(seed=3))
    assert isinstance(model, Scorer)
    return model


def one(model: Scorer, *items: str) -> Histories:
    return model.catalogue.sequences(frame_of({"v": list(items)}))


@dataclass(frozen=True)
class Silent:
    """A model that cannot say what its scores come from."""

    catalogue: Catalogue
    model: Scorer

    def scores(self, histories: Histories) -> np.ndarray:
        return self.model.scores(histories)


def silenced(model: Scorer) -> Silent:
    return Silent(model.catalogue, model)


@pytest.mark.parametrize("repeat", [False, True], ids=["no repeats", "repeats"])
@pytest.mark.parametrize(
    "candidate",
    [ItemKNN(neighbours=8), ItemKNN(decay=0.7), ALS(factors=6), ALS(factors=6, decay=0.7)],
    ids=str,
)
def test_contributions_sum_to_the_score_of_every_item(candidate: Recommender, repeat: bool) -> None:
    model = fitted(candidate, repeat)
    assert isinstance(model, Explained)
    for history in (["a01", "a03", "b02"], ["a01", "a01", "a04", "a01"], ["b05"]):
        events = one(model, *history)
        score = model.scores(events)[0]
        for code in range(len(model.catalogue.items)):
            told = model.contributions(events, code)
            assert told.shape == (len(history),)
            assert told.sum() == pytest.approx(score[code], rel=1e-5, abs=1e-9)


def test_without_the_top_contributor_the_neighbours_score_falls_most() -> None:
    """Exactly by its contribution: a score is a sum of similarities."""
    model = fitted(ItemKNN())
    assert isinstance(model, Explained)
    history = ["a01", "a03", "a07", "b02", "a09"]
    for code in range(len(model.catalogue.items)):
        told, full = model.contributions(one(model, *history), code), model.scores(one(model, *history))
        less = [model.scores(one(model, *(history[:at] + history[at + 1 :])))[0, code] for at in range(5)]
        np.testing.assert_allclose(full[0, code] - less, told, atol=1e-6)
        assert full[0, code] - less[int(told.argmax())] == pytest.approx(max(full[0, code] - less))


def test_without_the_top_contributor_the_factorised_score_falls() -> None:
    model = fitted(ALS(factors=4))
    assert isinstance(model, Explained)
    history = ["a01", "a03", "a07", "b02"]
    listed = [code for code, item in enumerate(model.catalogue.items) if item.startswith("a")]
    for code in listed:
        at = int(model.contributions(one(model, *history), code).argmax())
        less = model.scores(one(model, *(history[:at] + history[at + 1 :])))[0, code]
        assert less < model.scores(one(model, *history))[0, code]


def test_popularity_has_no_reason() -> None:
    model, prediction = fitted(Popularity()), pd.DataFrame({"user": ["v"], "item": ["a00"]})
    assert reasons(model, frame_of({"v": ["a01", "b01"]}), prediction) == [[]]


@pytest.mark.parametrize("silent", [False, True], ids=["told", "occluded"])
def test_reasons_by_hand(silent: bool) -> None:
    model = fitted(ItemKNN(shrink=0.0))
    assert isinstance(model, ItemKNNModel)
    index = {item: code for code, item in enumerate(model.catalogue.items)}
    histories = {"v": ["a01", "?", "a03", "a01", "b02"], "new": [], "w": ["c00"]}
    rows = [("w", "b01"), ("v", "a05"), ("new", "a05"), ("w", "a05")]
    prediction = pd.DataFrame(rows, columns=["user", "item"])
    found = reasons(silenced(model) if silent else model, frame_of(histories), prediction)
    # c00 was had with b01 by one user, and never with a05.
    assert found[0] == [("c00", 1.0)]
    assert found[2:] == [[], []]
    similar = {item: float(model.similarity[index[item], index["a05"]]) for item in ("a01", "a03", "b02")}
    assert similar["b02"] == 0
    if silent:  # without one of two events with a01, the other still counts
        similar["a01"] = 0.0
    speaks = {item: value for item, value in similar.items() if value > 0}
    assert dict(found[1]) == pytest.approx({i: v / sum(speaks.values()) for i, v in speaks.items()}, rel=1e-5)
    assert [share for _, share in found[1]] == sorted((share for _, share in found[1]), reverse=True)


def test_occlusion_is_exact_for_sums_and_looks_at_the_last_events_only() -> None:
    model = fitted(ItemKNN())
    assert isinstance(model, Explained)
    items = [item for item in model.catalogue.items if item != "a05"]
    history, code = one(model, *items), model.catalogue.items.index("a05")
    assert len(items) > OCCLUDED
    found, told = occlusion(model, history, code), model.contributions(history, code)
    np.testing.assert_allclose(found[-OCCLUDED:], told[-OCCLUDED:], atol=1e-6)
    assert not found[:-OCCLUDED].any()


def test_a_history_scored_by_popularity_gives_no_reason() -> None:
    model = silenced(fitted(ItemKNN(neighbours=1)))
    history = one(model)
    assert contributions(model, history, 0).shape == (0,)
    popular = silenced(fitted(Popularity()))
    assert not contributions(popular, one(popular, "a01", "a02"), 0).any()


def test_an_item_of_another_catalogue_is_refused() -> None:
    with pytest.raises(ValueError, match="got 1 others"):
        reasons(fitted(ItemKNN()), frame_of({"v": []}), pd.DataFrame({"user": ["v"], "item": ["?"]}))

"""The decay of a history is the one that foretells what came last in the log."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.interactions.holdout import held_out
from ml.recommenders.als import ALS
from ml.recommenders.ease import EASE
from ml.recommenders.item_knn import ItemKNN
from ml.recommenders.popularity import Popularity
from ml.recommenders.time_decay import DECAYS, USERS, chosen, fitted, settled

OPEN: list[Any] = [ItemKNN(decay=None), EASE(), ALS(factors=8, decay=None)]
each = pytest.mark.parametrize("candidate", OPEN, ids=lambda one: type(one).__name__)


def part_of(histories: list[list[str]]) -> Dataset:
    frame = pd.DataFrame(
        {
            "user": pd.Series([f"u{n:04}" for n in range(len(histories))], dtype="str"),
            "items": pd.Series(histories, dtype=object),
            "times": pd.Series([[np.nan] * len(one) for one in histories], dtype=object),
        }
    )
    truth = pd.Series([[]] * len(frame), dtype=object)
    return Dataset(frame, truth, np.arange(len(frame), dtype=np.uint64))


def moods(turns: int, users: int = 400) -> Dataset:
    """Everyone has twelve items; after every `turns` of them comes another of ten tastes of thirty items each."""
    rng = np.random.default_rng(3)
    histories = []
    for _ in range(users):
        tastes = rng.integers(10, size=12 // turns).repeat(turns)
        items = [rng.choice(30, 12, replace=False)[n] for n in range(12)]
        histories.append(
            list(dict.fromkeys(f"{taste}-{item:02}" for taste, item in zip(tastes, items, strict=True)))
        )
    return part_of(histories)


@each
def test_passing_moods_are_forgotten_and_lasting_tastes_are_not(candidate: Any) -> None:
    passing, lasting = (settled(candidate, moods(turns), FitResources()).decay for turns in (4, 12))
    assert passing <= 0.7
    assert lasting >= 0.8


@each
def test_a_fit_is_that_with_the_decay_it_would_choose(candidate: Any) -> None:
    part = moods(4)
    own = settled(candidate, part, FitResources())
    found, expected = candidate.fit(part, part, FitResources()), own.fit(part, part, FitResources())
    assert found.decay == own.decay
    pd.testing.assert_frame_equal(found.predict(part.frame), expected.predict(part.frame))


def test_what_is_chosen_does_best_of_all() -> None:
    from ml.evaluation import ranking_metrics

    before, after = held_out(moods(4), "last", 0.15, 0)
    candidate, model = fitted(ItemKNN(decay=None), before, after, FitResources())
    worth = {}
    for decay in DECAYS:
        prediction = ItemKNN(decay=decay).fit(before, before, FitResources()).predict(before.frame)
        asked = after.map(len) > 0
        found = ranking_metrics.per_user(after[asked], before.frame["user"][asked], prediction, 10)
        worth[decay] = found["ndcg"].mean()
    assert candidate.decay == model.decay  # type: ignore[attr-defined]
    assert worth[model.decay] == pytest.approx(max(worth.values()), abs=1e-9)  # type: ignore[attr-defined]
    assert min(worth.values()) < 0.9 * max(worth.values())


@each
def test_what_the_contract_says_goes_before_what_the_log_tells(candidate: Any) -> None:
    part = moods(4)
    said = replace(part, decay=0.97)
    assert settled(candidate, part, FitResources()).decay <= 0.7
    assert settled(candidate, said, FitResources()).decay == 0.97
    assert candidate.fit(said, said, FitResources()).decay == 0.97
    before, after = held_out(said, "last", 0.2, 0)
    own, model = fitted(candidate, before, after, FitResources())
    assert (own.decay, model.decay) == (0.97, 0.97)
    # What a candidate says of itself is no open question.
    assert replace(candidate, decay=0.5).fit(said, said, FitResources()).decay == 0.5


def test_what_leaves_nothing_open_is_fitted_as_it_is() -> None:
    part = moods(12, 30)
    for candidate in (ItemKNN(), Popularity()):
        told, model = fitted(candidate, part, part.frame["items"], FitResources())
        assert told is candidate
        assert model.files() == candidate.fit(part, part, FitResources()).files()


@pytest.mark.parametrize("histories", [[["x"]], [["x"], ["y"]]], ids=["one event", "an event each"])
def test_who_has_no_end_to_learn_from_forgets_nothing(histories: list[list[str]]) -> None:
    assert settled(ItemKNN(decay=None), part_of(histories), FitResources()).decay == 1.0


def test_of_more_users_than_needed_every_second_one_is_asked() -> None:
    """Those in between want what only a short memory gives."""
    calm, moody = moods(12, 100).frame["items"].tolist(), moods(3, 100).frame["items"].tolist()
    pairs = [one for pair in zip(calm, moody, strict=True) for one in pair]
    before, after = held_out(part_of(pairs * (USERS // len(pairs) + 1)), "last", 0.15, 0)
    model = ItemKNN().fit(before, before, FitResources())
    every = np.arange(0, len(after), 2)
    assert len(after) > USERS
    assert chosen(model, before, after) == chosen(model, before.take(every), after.iloc[every])

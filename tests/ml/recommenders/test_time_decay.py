"""The decay of histories is tuned on the end of the training log."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.interactions.holdout import hold_out
from ml.recommenders.als import ALS
from ml.recommenders.ease import EASE
from ml.recommenders.item_knn import ItemKNN
from ml.recommenders.popularity import Popularity
from ml.recommenders.time_decay import DECAYS, MAX_USERS, fit_with_tuned_decay, tune_decay, with_tuned_decay

WITHOUT_DECAY: list[Any] = [ItemKNN(decay=None), EASE(), ALS(factors=8, decay=None)]
each_candidate = pytest.mark.parametrize("candidate", WITHOUT_DECAY, ids=lambda c: type(c).__name__)


def dataset_of(histories: list[list[str]]) -> Dataset:
    frame = pd.DataFrame(
        {
            "user": pd.Series([f"u{n:04}" for n in range(len(histories))], dtype="str"),
            "items": pd.Series(histories, dtype=object),
            "times": pd.Series([[np.nan] * len(items) for items in histories], dtype=object),
        }
    )
    truth = pd.Series([[]] * len(frame), dtype=object)
    return Dataset(frame, truth, np.arange(len(frame), dtype=np.uint64))


def changing_tastes(run_length: int, users: int = 400) -> Dataset:
    """Each user has twelve items: every `run_length` items, a new taste of ten is drawn, each of thirty items."""
    rng = np.random.default_rng(3)
    histories = []
    for _ in range(users):
        tastes = rng.integers(10, size=12 // run_length).repeat(run_length)
        items = [rng.choice(30, 12, replace=False)[n] for n in range(12)]
        histories.append(
            list(dict.fromkeys(f"{taste}-{item:02}" for taste, item in zip(tastes, items, strict=True)))
        )
    return dataset_of(histories)


@each_candidate
def test_changing_tastes_get_a_stronger_decay_than_constant_ones(candidate: Any) -> None:
    changing, constant = (
        with_tuned_decay(candidate, changing_tastes(run_length), FitResources()).decay
        for run_length in (4, 12)
    )
    assert changing <= 0.7
    assert constant >= 0.8


@each_candidate
def test_a_fit_without_decay_equals_one_with_the_tuned_decay(candidate: Any) -> None:
    train = changing_tastes(4)
    tuned = with_tuned_decay(candidate, train, FitResources())
    found, expected = candidate.fit(train, train, FitResources()), tuned.fit(train, train, FitResources())
    assert found.decay == tuned.decay
    pd.testing.assert_frame_equal(found.predict(train.frame), expected.predict(train.frame))


def test_the_tuned_decay_has_the_highest_ndcg() -> None:
    from ml.evaluation import ranking_metrics

    before, after = hold_out(changing_tastes(4), "last", 0.15, 0)
    candidate, model = fit_with_tuned_decay(ItemKNN(decay=None), before, after, FitResources())
    ndcg = {}
    for decay in DECAYS:
        prediction = ItemKNN(decay=decay).fit(before, before, FitResources()).predict(before.frame)
        has_targets = after.map(len) > 0
        found = ranking_metrics.per_user_metrics(
            after[has_targets], before.frame["user"][has_targets], prediction, 10
        )
        ndcg[decay] = found["ndcg"].mean()
    assert candidate.decay == model.decay  # type: ignore[attr-defined]
    assert ndcg[model.decay] == pytest.approx(max(ndcg.values()), abs=1e-9)  # type: ignore[attr-defined]
    assert min(ndcg.values()) < 0.9 * max(ndcg.values())


@each_candidate
def test_the_decay_of_the_dataset_has_priority_over_tuning(candidate: Any) -> None:
    train = changing_tastes(4)
    with_decay = replace(train, decay=0.97)
    assert with_tuned_decay(candidate, train, FitResources()).decay <= 0.7
    assert with_tuned_decay(candidate, with_decay, FitResources()).decay == 0.97
    assert candidate.fit(with_decay, with_decay, FitResources()).decay == 0.97
    before, after = hold_out(with_decay, "last", 0.2, 0)
    tuned, model = fit_with_tuned_decay(candidate, before, after, FitResources())
    assert (tuned.decay, model.decay) == (0.97, 0.97)
    # The decay of a candidate has priority over both.
    assert replace(candidate, decay=0.5).fit(with_decay, with_decay, FitResources()).decay == 0.5


def test_candidates_with_a_decay_or_without_any_are_fitted_unchanged() -> None:
    train = changing_tastes(12, 30)
    for candidate in (ItemKNN(), Popularity()):
        returned, model = fit_with_tuned_decay(candidate, train, train.frame["items"], FitResources())
        assert returned is candidate
        assert model.files() == candidate.fit(train, train, FitResources()).files()


@pytest.mark.parametrize("histories", [[["x"]], [["x"], ["y"]]], ids=["one event", "an event each"])
def test_without_events_to_hold_out_the_decay_is_1(histories: list[list[str]]) -> None:
    assert with_tuned_decay(ItemKNN(decay=None), dataset_of(histories), FitResources()).decay == 1.0


def test_twice_max_users_are_tuned_on_every_second_one() -> None:
    """The users in between have changing tastes, which need a strong decay."""
    constant, changing = (changing_tastes(run_length, 100).frame["items"].tolist() for run_length in (12, 3))
    pairs = [items for pair in zip(constant, changing, strict=True) for items in pair]
    before, after = hold_out(dataset_of(pairs * (MAX_USERS // len(pairs) + 1)), "last", 0.15, 0)
    model = ItemKNN().fit(before, before, FitResources())
    rows = np.arange(0, len(after), 2)
    assert len(after) > MAX_USERS
    assert tune_decay(model, before, after) == tune_decay(model, before.take(rows), after.iloc[rows])

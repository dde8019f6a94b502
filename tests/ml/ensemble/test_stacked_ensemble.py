"""Bags and ensembles: what is out of fold is, time is kept to, the mixture is sound on bad input."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import special

from ml.data.dataset import Dataset
from ml.data.folds import assign_folds
from ml.data.target import Target
from ml.ensemble.bagging import Bagged, GrowingBag
from ml.ensemble.presets import MEDIUM, PRESETS, Preset
from ml.ensemble.stacked_ensemble import Ensemble, EnsembleModel
from ml.estimator import Candidate, FitResources
from ml.evaluation.binary_metrics import roc_auc
from ml.tabular.additive import Additive
from ml.tabular.constant import Prior, PriorModel
from ml.tabular.extra_trees import Forest
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear, LinearModel


def made(rows: int, seed: int, rate: float = 0.5) -> Dataset:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=rows),
            "town": pd.Series(rng.choice(["N", "S", "E"], rows), dtype="str"),
        }
    )
    signal = special.logit(rate) + 1.5 * frame["x"] + (frame["town"] == "N")
    truth = pd.Series((rng.random(rows) < special.expit(signal)).astype(float))
    return Dataset(frame, truth, np.arange(rows, dtype=np.uint64))


def quick(**members: Candidate) -> Ensemble:
    few: Mapping[str, Candidate] = members or {
        "linear": Linear(strengths=(0.1,)),
        "trees": GradientBoosting(num_leaves=4, max_rounds=50, statistics_from=3),
        "forest": Forest(trees=25),
    }
    return Ensemble(presets=(Preset(np.inf, 3, 1, few),))


class TestBag:
    def test_is_the_mean_of_models_on_the_log_odds(self) -> None:
        model = Bagged(Linear(strengths=(1.0,)), folds=3, repeats=2).fit(
            made(200, 0), made(5, 1), FitResources()
        )
        frame = made(20, 2).frame
        each = [one.predict(frame)["probability"] for one in model.models]
        assert len(each) == 6
        expected = special.expit(np.mean([special.logit(p) for p in each], axis=0))
        np.testing.assert_allclose(model.predict(frame)["probability"], expected)

    def test_rows_are_scored_by_models_that_did_not_learn_from_them(self) -> None:
        train = made(60, 0)
        bag = GrowingBag(Prior(), "binary", 60)
        for seed in (0, 1):
            assert bag.grow(
                train, assign_folds(train.units, np.zeros(60), 3, seed), FitResources(), obliged=True
            )
        truth, expected = train.truth.to_numpy(), np.zeros(60)
        for seed in (0, 1):
            fold = assign_folds(train.units, np.zeros(60), 3, seed)
            expected += [special.logit(truth[fold != k].mean()) / 2 for k in fold]
        np.testing.assert_allclose(bag.out_of_fold, expected)

    def test_the_order_of_rows_is_nothing(self) -> None:
        train = made(200, 0)
        shuffled = train.take(np.random.default_rng(0).permutation(200))
        one, other = (quick().fit(part, train, FitResources()).files() for part in (train, shuffled))
        assert one == other


class Clock:
    """A time that passes only where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@dataclass(frozen=True)
class Costly:
    """Knows the rate, and takes `cost` seconds a fit, or all that it is given when that is less."""

    clock: Any
    cost: float
    target: Target = "binary"

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> PriorModel:
        self.clock.now += min(self.cost, max(resources.seconds, 0.0))
        return Prior().fit(train, valid, resources)


class TestTime:
    """Three folds a member; a twentieth of the time is kept for selection."""

    def fitted(self, clock: Clock, seconds: float, repeats: int = 1, **costs: float) -> EnsembleModel:
        members = {name: Costly(clock, cost) for name, cost in costs.items()}
        candidate = Ensemble(presets=(Preset(np.inf, 3, repeats, members),))
        return candidate.fit(made(60, 0), made(5, 1), FitResources(seconds=seconds))

    def models(self, model: EnsembleModel) -> dict[str, int]:
        return {member.name: member.models for member in model.members}

    def test_a_member_that_does_not_fit_is_left_out_after_its_first_fold(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock(monkeypatch)
        model = self.fitted(clock, 100.0, one=10.0, large=25.0, small=10.0)
        assert self.models(model) == {"one": 3, "large": 0, "small": 3}
        assert (model.stopped_by, clock.now) == ("budget", 85.0)

    def test_a_member_cannot_take_more_than_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        model = self.fitted(clock, 100.0, one=10.0, endless=1e9)
        assert self.models(model) == {"one": 3, "endless": 0}
        assert clock.now <= 100.0

    def test_the_first_member_shares_the_time_among_its_folds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        model = self.fitted(clock, 1.0, endless=1e9, other=0.1)
        assert self.models(model) == {"endless": 3, "other": 0}
        assert clock.now == pytest.approx(0.95)
        assert model.predict(made(5, 2).frame)["probability"].between(0, 1).all()

    def test_repeats_that_do_not_fit_are_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        model = self.fitted(clock, 100.0, repeats=9, one=10.0)
        assert self.models(model) == {"one": 9}
        assert model.stopped_by == "budget"

    def test_with_time_enough_all_is_fitted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = self.fitted(Clock(monkeypatch), 1000.0, repeats=2, one=10.0)
        assert (self.models(model), model.stopped_by) == ({"one": 6}, "members")
        assert model.described()["members"][0]["seconds"] == 60.0


def test_no_time_at_all_gives_a_sound_model() -> None:
    model = Ensemble().fit(made(300, 0), made(5, 1), FitResources(seconds=0.0))
    assert model.stopped_by == "budget"
    probability = model.predict(made(50, 2).frame)["probability"]
    assert probability.between(0, 1).all()


def test_is_the_calibrated_mixture_of_its_bags() -> None:
    model = quick().fit(made(600, 0), made(5, 1), FitResources())
    frame = made(50, 2).frame
    each = [
        special.logit(by(special.expit(bag.score(frame))))
        for bag, by in zip(model.bags, model.calibrators, strict=True)
    ]
    score = model.mixture(each)
    expected = model.calibrator(special.expit(score))
    np.testing.assert_allclose(model.predict(frame)["probability"], expected)
    told = model.described()
    assert told["calibrator"] == model.calibrator.method
    assert [one["name"] for one in told["members"]] == ["linear", "trees", "forest"]
    assert [one["weight"] for one in told["members"] if one["weight"]] == list(model.mixture.weights)
    assert all(one["roc_auc"] > 0.7 and one["loss"] < 0.6 and one["seconds"] > 0 for one in told["members"])


@dataclass(frozen=True)
class Contrary:
    """Learns, and says the reverse."""

    target: Target = "binary"

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> LinearModel:
        reverse = replace(train, truth=1 - train.truth)
        return Linear(strengths=(1.0,)).fit(reverse, reverse, resources)


def test_members_that_are_worth_nothing_leave_the_rate() -> None:
    train = made(1500, 0)
    model = quick(contrary=Contrary()).fit(train, train, FitResources())
    np.testing.assert_allclose(model.predict(train.frame)["probability"], train.truth.mean())
    assert model.importance().max() == 0
    with pytest.raises(ValueError, match="got a frame without"):
        model.predict(train.frame[["x"]])


def test_timid_members_are_calibrated() -> None:
    # A few rounds of a slow rate stay near the mean.
    timid = quick(trees=GradientBoosting(learning_rate=0.01, max_rounds=30))
    train, held_out = made(3000, 0), made(3000, 1)
    model = timid.fit(train, train, FitResources())
    assert model.calibrators[0].method != "none"
    probability = model.predict(held_out.frame)["probability"]
    lowest = probability <= probability.quantile(0.2)
    assert probability[lowest].mean() == pytest.approx(held_out.truth[lowest].mean(), abs=0.03)


def relatives(rows: int, seed: int, away: float) -> Dataset:
    """Strangers whose truth is a coin, each with a relative `away`, in two halves: those and then their relatives."""
    rng = np.random.default_rng(seed)
    strangers = rng.normal(size=(rows, 5))
    both = np.vstack([strangers, strangers + rng.normal(scale=away, size=strangers.shape)])
    truth = pd.Series(np.tile((rng.random(rows) < 0.3).astype(float), 2))
    return Dataset(pd.DataFrame(both).add_prefix("x"), truth, np.arange(2 * rows, dtype=np.uint64))


def test_a_forest_knows_near_relatives_and_is_heard() -> None:
    part = relatives(1500, 0, away=0.02)
    # Of half the strangers both are known, so that the folds tell what a relative is worth.
    learned = np.r_[0:1500, 1500:2250]
    asked = part.take(np.arange(2250, 3000))
    forest = MEDIUM.members["forest"]
    model = quick(linear=Linear(strengths=(0.1,)), forest=forest).fit(
        part.take(learned), asked, FitResources()
    )
    truth = asked.truth.to_numpy()
    mixed = roc_auc(truth, model.predict(asked.frame)["probability"].to_numpy())
    alone = roc_auc(truth, model.bags[-1].predict(asked.frame)["probability"].to_numpy())
    assert mixed > alone - 0.005
    assert alone > 0.95
    greedy = quick(forest=replace(forest, max_features=0.6, min_samples_leaf=5))  # type: ignore[type-var]
    other = greedy.fit(part.take(learned), asked, FitResources())
    assert roc_auc(truth, other.predict(asked.frame)["probability"].to_numpy()) < alone - 0.05


def test_looks_at_no_valid_rows() -> None:
    train = made(200, 0)
    broken = replace(made(5, 1), truth=pd.Series(np.nan, range(5)))
    one, other = (quick().fit(train, valid, FitResources()).files() for valid in (train, broken))
    assert one == other


def test_every_size_has_a_preset() -> None:
    assert [preset.rows for preset in PRESETS] == sorted(preset.rows for preset in PRESETS)
    assert PRESETS[-1].rows == np.inf


class TestBadInput:
    def auc(self, train: Dataset, candidate: Ensemble | None = None) -> float:
        """Of the training rows, whose probabilities are sound."""
        model = (candidate or quick()).fit(train, train, FitResources())
        probability = model.predict(train.frame)["probability"].to_numpy()
        assert ((probability > 0) & (probability < 1)).all()
        assert probability.mean() == pytest.approx(train.truth.mean(), rel=0.5)
        return roc_auc(train.truth.to_numpy(), probability)

    def test_a_rate_of_a_thousandth(self) -> None:
        train = made(10_000, 0, rate=0.0003)
        assert 5 <= train.truth.sum() <= 20
        assert self.auc(train) > 0.6

    def test_forty_rows(self) -> None:
        assert self.auc(made(40, 0), Ensemble()) > 0.6

    def test_a_unit_that_fills_half(self) -> None:
        train = made(300, 0)
        assert self.auc(replace(train, units=np.where(np.arange(300) < 150, 0, train.units))) > 0.6

    def test_a_column_that_is_all_missing_in_one_fold(self) -> None:
        train = made(300, 0)
        fold = assign_folds(train.units, train.truth.to_numpy(), 3, 0)
        frame = train.frame.assign(
            outside=np.where(fold == 0, np.nan, 1.0 * train.frame["x"]),
            inside=np.where(fold == 0, train.frame["x"], np.nan),
            town=train.frame["town"].mask(fold == 1),
        )
        assert self.auc(replace(train, frame=frame)) > 0.6

    def test_constant_and_duplicated_columns(self) -> None:
        train = made(300, 0)
        frame = train.frame.assign(one=1.0, again=train.frame["x"], name="same")
        assert self.auc(replace(train, frame=frame.assign(name=frame["name"].astype("str")))) > 0.6

    def test_as_many_categories_as_rows(self) -> None:
        """None is frequent enough to be learned or kept, so a model of them is as small as one without them."""
        train = made(2000, 0)
        names = pd.Series([f"customer-{n:07}" for n in range(2000)], dtype="str")
        crowded = replace(train, frame=train.frame.assign(name=names))
        model = quick().fit(crowded, crowded, FitResources())
        assert not any(b"customer-" in data for data in model.files().values())
        probability = model.predict(crowded.frame.assign(name="somebody else"))["probability"]
        assert roc_auc(train.truth.to_numpy(), probability.to_numpy()) > 0.7

    def test_many_columns_of_few_rows(self) -> None:
        train = made(60, 0)
        noise = np.random.default_rng(0).normal(size=(60, 2000))
        wide = pd.concat([train.frame, pd.DataFrame(noise).add_prefix("n")], axis=1)
        few = quick(linear=Linear(strengths=(0.1,)), additive=Additive(max_rounds=5))
        assert self.auc(replace(train, frame=wide), few) > 0.6

    @pytest.mark.parametrize(
        ("positives", "message"), [(0, "both classes in the training"), (1, "for 1; use fewer")]
    )
    def test_too_few_positives_are_refused(self, positives: int, message: str) -> None:
        train = replace(made(60, 0), truth=pd.Series((np.arange(60) < positives).astype(float)))
        with pytest.raises(ValueError, match=message):
            quick().fit(train, train, FitResources())

    def test_two_positives_are_two_folds(self) -> None:
        train = replace(made(60, 0), truth=pd.Series((np.arange(60) < 2).astype(float)))
        model = quick().fit(train, train, FitResources())
        assert {member.models for member in model.members} == {2}

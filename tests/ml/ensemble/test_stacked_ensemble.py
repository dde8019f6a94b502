"""Ensembles: the time limit holds, predictions are those of the calibrated stack, bad input gives sound models."""

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
from ml.ensemble.ensemble_model import EnsembleModel
from ml.ensemble.presets import MEDIUM, PRESETS, Preset
from ml.ensemble.stacked_ensemble import Ensemble
from ml.estimator import Candidate, FitResources
from ml.evaluation.binary_metrics import roc_auc
from ml.tabular.additive import Additive
from ml.tabular.constant import Constant, ConstantModel
from ml.tabular.extra_trees import ExtraTrees
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear, LinearModel
from ml.time_budget import FitCost


def sample(rows: int, seed: int, rate: float = 0.5) -> Dataset:
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


def small_ensemble(**members: Candidate) -> Ensemble:
    defaults: Mapping[str, Candidate] = {
        "linear": Linear(inverse_penalties=(0.1,)),
        "boosting": GradientBoosting(num_leaves=4, max_rounds=50, target_encode_from=3),
        "extra trees": ExtraTrees(trees=25),
    }
    return Ensemble(presets=(Preset(np.inf, 3, 1, members or defaults),))


def test_the_order_of_rows_does_not_matter() -> None:
    train = sample(200, 0)
    shuffled = train.take(np.random.default_rng(0).permutation(200))
    first, second = (
        small_ensemble().fit(dataset, train, FitResources()).files() for dataset in (train, shuffled)
    )
    assert first == second


class Clock:
    """A replacement for processor time that only advances when a test sets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        for name in ("thread_time", "process_time"):
            monkeypatch.setattr(time, name, lambda: self.now)


@dataclass(frozen=True)
class Slow:
    """Fit a constant in `seconds` on the test clock, or in the time limit if that is shorter."""

    clock: Any
    seconds: float
    target: Target = "binary"

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> ConstantModel:
        self.clock.now += min(self.seconds, max(resources.seconds, 0.0))
        return Constant().fit(train, valid, resources)


@dataclass(frozen=True)
class Stated(Slow):
    """A slow candidate that states what it costs."""

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        return FitCost(self.seconds, self.seconds)


class TestTime:
    """Three folds per member; a twentieth of the time is reserved for stacking."""

    def fit(self, clock: Clock, seconds: float, members: dict[str, float], repeats: int = 1) -> EnsembleModel:
        candidates = {name: Slow(clock, fit_seconds) for name, fit_seconds in members.items()}
        ensemble = Ensemble(presets=(Preset(np.inf, 3, repeats, candidates),))
        return ensemble.fit(sample(60, 0), sample(5, 1), FitResources(seconds=seconds))

    def models_by_member(self, model: EnsembleModel) -> dict[str, int]:
        return {member.name: member.models for member in model.members}

    def test_a_member_that_would_exceed_the_time_is_skipped_after_its_first_fold(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock(monkeypatch)
        model = self.fit(clock, 100.0, {"first": 10.0, "slow": 25.0, "fast": 10.0})
        assert self.models_by_member(model) == {"first": 3, "slow": 0, "fast": 3}
        assert (model.stopped_by, clock.now) == ("budget", 85.0)

    def test_a_member_that_states_a_longer_minimum_is_not_started(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock(monkeypatch)
        candidates = {"first": Slow(clock, 10.0), "stated": Stated(clock, 30.0), "fast": Slow(clock, 10.0)}
        ensemble = Ensemble(presets=(Preset(np.inf, 3, 1, candidates),))
        model = ensemble.fit(sample(60, 0), sample(5, 1), FitResources(seconds=80.0))
        assert self.models_by_member(model) == {"first": 3, "stated": 0, "fast": 3}
        assert (model.stopped_by, clock.now) == ("budget", 60.0)

    def test_a_member_cannot_exceed_the_remaining_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        model = self.fit(clock, 100.0, {"first": 10.0, "endless": 1e9})
        assert self.models_by_member(model) == {"first": 3, "endless": 0}
        assert clock.now <= 100.0

    def test_the_first_member_divides_the_time_among_its_folds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        model = self.fit(clock, 1.0, {"endless": 1e9, "second": 0.1})
        assert self.models_by_member(model) == {"endless": 3, "second": 0}
        assert clock.now == pytest.approx(0.95)
        assert model.predict(sample(5, 2).frame)["probability"].between(0, 1).all()

    def test_repeats_that_would_exceed_the_time_are_skipped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        model = self.fit(clock, 100.0, {"first": 10.0}, repeats=9)
        assert self.models_by_member(model) == {"first": 9}
        assert model.stopped_by == "budget"

    def test_with_enough_time_everything_is_fitted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = self.fit(Clock(monkeypatch), 1000.0, {"first": 10.0}, repeats=2)
        assert (self.models_by_member(model), model.stopped_by) == ({"first": 6}, "members")
        assert model.composition()["members"][0]["seconds"] == 60.0


def test_a_time_limit_of_zero_gives_a_sound_model() -> None:
    model = Ensemble().fit(sample(300, 0), sample(5, 1), FitResources(seconds=0.0))
    assert model.stopped_by == "budget"
    probability = model.predict(sample(50, 2).frame)["probability"]
    assert probability.between(0, 1).all()


def test_predictions_are_those_of_the_calibrated_stack() -> None:
    model = small_ensemble().fit(sample(600, 0), sample(5, 1), FitResources())
    frame = sample(50, 2).frame
    scores = [
        special.logit(calibrator(special.expit(bag.score(frame))))
        for bag, calibrator in zip(model.bags, model.calibrators, strict=True)
    ]
    expected = model.calibrator(special.expit(model.stacking(scores)))
    np.testing.assert_allclose(model.predict(frame)["probability"], expected)
    composition = model.composition()
    members = composition["members"]
    assert composition["calibrator"] == model.calibrator.method
    assert [member["name"] for member in members] == ["linear", "boosting", "extra trees"]
    assert [member["weight"] for member in members if member["weight"]] == list(model.stacking.weights)
    assert all(member["roc_auc"] > 0.7 and member["loss"] < 0.6 for member in members)
    assert all(member["seconds"] > 0 for member in members)


@dataclass(frozen=True)
class Inverted:
    """Fit a linear model to the inverted truth."""

    target: Target = "binary"

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> LinearModel:
        inverted = replace(train, truth=1 - train.truth)
        return Linear(inverse_penalties=(1.0,)).fit(inverted, inverted, resources)


def test_without_useful_members_the_mean_is_predicted() -> None:
    train = sample(1500, 0)
    model = small_ensemble(inverted=Inverted()).fit(train, train, FitResources())
    np.testing.assert_allclose(model.predict(train.frame)["probability"], train.truth.mean())
    assert model.importance().max() == 0
    with pytest.raises(ValueError, match="got a frame without"):
        model.predict(train.frame[["x"]])


def test_a_member_that_predicts_a_constant_changes_nothing() -> None:
    train = sample(300, 0)
    linear, boosting = Linear(inverse_penalties=(0.1,)), GradientBoosting(num_leaves=4, max_rounds=50)
    # A tree with one leaf: each fold predicts the rate of its own rows.
    without_splits = GradientBoosting(num_leaves=2, max_rounds=1, bagging_fraction=0.01, min_child_samples=50)
    alone = small_ensemble(linear=linear, boosting=boosting).fit(train, train, FitResources())
    model = small_ensemble(stump=without_splits, linear=linear, boosting=boosting).fit(
        train, train, FitResources()
    )
    notes = {member.name: (member.models, member.weight, member.note) for member in model.members}
    assert notes["stump"] == (3, 0.0, "left out: the same prediction for every row")
    assert {notes[name][2] for name in ("linear", "boosting")} == {""}
    assert model.stacking == alone.stacking
    frame = sample(50, 2).frame
    np.testing.assert_array_equal(model.predict(frame), alone.predict(frame))


def test_members_too_close_to_the_mean_are_calibrated() -> None:
    # A few rounds at a low learning rate stay near the mean.
    ensemble = small_ensemble(boosting=GradientBoosting(learning_rate=0.01, max_rounds=30))
    train, held_out = sample(3000, 0), sample(3000, 1)
    model = ensemble.fit(train, train, FitResources())
    assert model.calibrators[0].method != "none"
    probability = model.predict(held_out.frame)["probability"]
    lowest = probability <= probability.quantile(0.2)
    assert probability[lowest].mean() == pytest.approx(held_out.truth[lowest].mean(), abs=0.03)


def sample_near_duplicates(rows: int, seed: int, distance: float) -> Dataset:
    """Sample rows with random truths, followed by a near-duplicate of each at `distance` with the same truth."""
    rng = np.random.default_rng(seed)
    originals = rng.normal(size=(rows, 5))
    both = np.vstack([originals, originals + rng.normal(scale=distance, size=originals.shape)])
    truth = pd.Series(np.tile((rng.random(rows) < 0.3).astype(float), 2))
    return Dataset(pd.DataFrame(both).add_prefix("x"), truth, np.arange(2 * rows, dtype=np.uint64))


def test_extra_trees_find_near_duplicates_and_get_weight_in_the_stack() -> None:
    dataset = sample_near_duplicates(1500, 0, distance=0.02)
    # Of half the pairs both rows are in training, so that out-of-fold scores show the value of near-duplicates.
    train = dataset.take(np.r_[0:1500, 1500:2250])
    test = dataset.take(np.arange(2250, 3000))
    truth = test.truth.to_numpy()

    def auc(probability: pd.Series) -> float:
        return roc_auc(truth, probability.to_numpy())

    extra_trees = MEDIUM.members["extra trees"]
    ensemble = small_ensemble(linear=Linear(inverse_penalties=(0.1,)), extra_trees=extra_trees)
    model = ensemble.fit(train, test, FitResources())
    auc_of_ensemble = auc(model.predict(test.frame)["probability"])
    auc_of_extra_trees = auc(model.bags[-1].predict(test.frame)["probability"])
    assert auc_of_ensemble > auc_of_extra_trees - 0.005
    assert auc_of_extra_trees > 0.95
    other_settings = replace(extra_trees, max_features=0.6, min_samples_leaf=5)  # type: ignore[type-var]
    other_model = small_ensemble(extra_trees=other_settings).fit(train, test, FitResources())
    assert auc(other_model.predict(test.frame)["probability"]) < auc_of_extra_trees - 0.05


def test_validation_rows_are_ignored() -> None:
    train = sample(200, 0)
    broken = replace(sample(5, 1), truth=pd.Series(np.nan, range(5)))
    first, second = (small_ensemble().fit(train, valid, FitResources()).files() for valid in (train, broken))
    assert first == second


def test_every_table_size_has_a_preset() -> None:
    assert [preset.max_rows for preset in PRESETS] == sorted(preset.max_rows for preset in PRESETS)
    assert PRESETS[-1].max_rows == np.inf


class TestBadInput:
    def auc(self, train: Dataset, candidate: Ensemble | None = None) -> float:
        """Compute the AUC on the training rows, whose probabilities must be sound."""
        model = (candidate or small_ensemble()).fit(train, train, FitResources())
        probability = model.predict(train.frame)["probability"].to_numpy()
        assert ((probability > 0) & (probability < 1)).all()
        assert probability.mean() == pytest.approx(train.truth.mean(), rel=0.5)
        return roc_auc(train.truth.to_numpy(), probability)

    def test_a_positive_rate_of_a_thousandth(self) -> None:
        train = sample(10_000, 0, rate=0.0003)
        assert 5 <= train.truth.sum() <= 20
        assert self.auc(train) > 0.6

    def test_forty_rows_with_the_default_presets(self) -> None:
        assert self.auc(sample(40, 0), Ensemble()) > 0.6

    def test_a_unit_with_half_of_the_rows(self) -> None:
        train = sample(300, 0)
        assert self.auc(replace(train, units=np.where(np.arange(300) < 150, 0, train.units))) > 0.6

    def test_a_column_that_is_missing_in_one_fold(self) -> None:
        train = sample(300, 0)
        fold = assign_folds(train.units, train.truth.to_numpy(), 3, 0)
        frame = train.frame.assign(
            outside=np.where(fold == 0, np.nan, 1.0 * train.frame["x"]),
            inside=np.where(fold == 0, train.frame["x"], np.nan),
            town=train.frame["town"].mask(fold == 1),
        )
        assert self.auc(replace(train, frame=frame)) > 0.6

    def test_constant_and_duplicated_columns(self) -> None:
        train = sample(300, 0)
        frame = train.frame.assign(constant=1.0, duplicate=train.frame["x"], name="same")
        assert self.auc(replace(train, frame=frame.assign(name=frame["name"].astype("str")))) > 0.6

    def test_as_many_categories_as_rows(self) -> None:
        """No category is frequent enough to be encoded, so the model does not hold their names."""
        train = sample(2000, 0)
        names = pd.Series([f"customer-{n:07}" for n in range(2000)], dtype="str")
        dataset = replace(train, frame=train.frame.assign(name=names))
        model = small_ensemble().fit(dataset, dataset, FitResources())
        assert not any(b"customer-" in data for data in model.files().values())
        probability = model.predict(dataset.frame.assign(name="unknown"))["probability"]
        assert roc_auc(train.truth.to_numpy(), probability.to_numpy()) > 0.7

    def test_many_columns_of_few_rows(self) -> None:
        train = sample(60, 0)
        noise = np.random.default_rng(0).normal(size=(60, 150))
        wide = pd.concat([train.frame, pd.DataFrame(noise).add_prefix("n")], axis=1)
        ensemble = small_ensemble(linear=Linear(inverse_penalties=(0.1,)), additive=Additive(max_rounds=5))
        assert self.auc(replace(train, frame=wide), ensemble) > 0.6

    @pytest.mark.parametrize(
        ("positives", "message"), [(0, "both classes in the training"), (1, "for 1; use fewer")]
    )
    def test_too_few_positives_are_rejected(self, positives: int, message: str) -> None:
        train = replace(sample(60, 0), truth=pd.Series((np.arange(60) < positives).astype(float)))
        with pytest.raises(ValueError, match=message):
            small_ensemble().fit(train, train, FitResources())

    def test_two_positives_allow_two_folds(self) -> None:
        train = replace(sample(60, 0), truth=pd.Series((np.arange(60) < 2).astype(float)))
        model = small_ensemble().fit(train, train, FitResources())
        assert {member.models for member in model.members} == {2}

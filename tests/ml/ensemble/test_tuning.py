"""Refining: trials learn from one another, hopeless ones end early, time is kept to, nothing is tried twice."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.data.folds import assign_folds
from ml.ensemble.bagging import GrowingBag
from ml.ensemble.presets import Preset
from ml.ensemble.stacked_ensemble import Ensemble, EnsembleModel
from ml.ensemble.tuning import OutOfTimeError, Trial, refine, scaled_loss, search
from ml.estimator import FitResources
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear

BASE = GradientBoosting(learning_rate=0.02, num_leaves=80, lambda_l2=0.0)
FOLDS = 5


def distance(candidate: GradientBoosting) -> float:
    """A loss whose best point is known: a rate of .05 and 8 leaves."""
    return abs(math.log(candidate.learning_rate / 0.05)) + abs(math.log(candidate.num_leaves / 8))


def fold_loss(candidate: GradientBoosting, k: int) -> float:
    return 1.0 + distance(candidate) + 0.01 * k


KNOWN = [fold_loss(BASE, k) for k in range(FOLDS)]


def tried(trials: int, **resources: Any) -> list[Trial]:
    return search(BASE, KNOWN, fold_loss, math.inf, FitResources(trials=trials, **resources))


def test_trials_come_near_the_best_point() -> None:
    found = [trial for trial in tried(40) if not trial.pruned]
    best = min(found, key=lambda trial: trial.loss)
    assert distance(best.refined(BASE)) < 0.2 * distance(BASE)
    assert best.loss == pytest.approx(np.mean([fold_loss(best.refined(BASE), k) for k in range(FOLDS)]))


def test_the_seed_decides_which() -> None:
    def parameters(seed: int) -> list[Any]:
        return [trial.parameters for trial in tried(8, seed=seed)]

    assert parameters(1) == parameters(1)
    assert parameters(1) != parameters(2)


def test_fewer_trials_are_the_first_of_more() -> None:
    """So a run is made again from the number of trials that time allowed."""
    assert [t.parameters for t in tried(5)] == [t.parameters for t in tried(12)][:5]


def test_hopeless_trials_end_after_their_first_fold() -> None:
    found = tried(40)
    pruned = [trial for trial in found if trial.pruned]
    assert pruned
    assert all(len(trial.losses) < FOLDS for trial in pruned)
    assert all(len(trial.losses) == FOLDS for trial in found if not trial.pruned)
    # The first are the measure of those that follow.
    assert not any(trial.pruned for trial in found[:3])
    assert min(trial.loss for trial in found if not trial.pruned) < min(trial.loss for trial in pruned)


@pytest.mark.parametrize(("seconds", "folds"), [(0.0, 0), (1.0, 1), (10.5, 2), (49.0, 5), (51.0, 6)])
def test_no_fold_begins_after_the_time(seconds: float, folds: int) -> None:
    """Each fold is remembered as ten seconds of work."""
    asked: list[str] = []

    def remember(step: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        asked.append(step)
        return {"loss": 1.0, "seconds": 10.0}

    found = search(BASE, KNOWN, fold_loss, seconds, FitResources(trials=10, cached_step=remember))
    assert len(asked) == folds
    # What was cut short is not told.
    assert len(found) == folds // FOLDS


def test_a_fold_that_the_clock_stopped_is_no_trial() -> None:
    """Else its loss would say of the hyperparameters what is only true of the time."""
    calls = 0

    def slow(candidate: GradientBoosting, k: int) -> float:
        nonlocal calls
        calls += 1
        if calls > 7:
            raise OutOfTimeError
        return fold_loss(candidate, k)

    remembered: list[str] = []

    def remember(step: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        told = make()
        remembered.append(step)
        return told

    found = search(BASE, KNOWN, slow, math.inf, FitResources(trials=6, cached_step=remember))
    assert [len(trial.losses) for trial in found] == [FOLDS]
    assert len(remembered) == 7


def test_goes_on_where_it_was_killed() -> None:
    memory: dict[str, dict[str, Any]] = {}
    calls = 0

    def dying(candidate: GradientBoosting, k: int) -> float:
        nonlocal calls
        calls += 1
        if calls == 13:
            raise KeyboardInterrupt
        return fold_loss(candidate, k)

    def remember(step: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if step not in memory:
            memory[step] = make()
        return memory[step]

    resources = FitResources(trials=6, cached_step=remember)
    with pytest.raises(KeyboardInterrupt):
        search(BASE, KNOWN, dying, math.inf, resources)
    found = search(BASE, KNOWN, dying, math.inf, resources)
    assert [(t.parameters, t.losses) for t in found] == [(t.parameters, t.losses) for t in tried(6)]
    # Twelve before the kill, the one that was killed, and no fold twice.
    assert calls == 1 + sum(len(trial.losses) for trial in found)


def made(rows: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 4)), columns=list("abcd"))
    truth = (frame["a"] * frame["b"] + frame["c"] + rng.normal(size=rows) > 0).astype("float64")
    return Dataset(frame, truth, np.arange(rows, dtype=np.uint64))


# Two leaves cannot see that a and b work together.
STUMPS = GradientBoosting(num_leaves=2, learning_rate=0.01, min_child_samples=300, max_rounds=60)


def bag_of(member: GradientBoosting, train: Dataset, fold: np.ndarray) -> GrowingBag:
    bag = GrowingBag(member, "binary", len(train.frame))
    assert bag.grow(train, fold, FitResources(), obliged=True)
    return bag


def test_a_better_trial_becomes_a_bag() -> None:
    train = made(1500, 0)
    folds = [assign_folds(train.units, train.truth.to_numpy(), 3, seed) for seed in (0, 1)]
    base = bag_of(STUMPS, train, folds[0])
    trials, bag = refine(base, train, folds, math.inf, FitResources(trials=8))
    best = min((trial for trial in trials if not trial.pruned), key=lambda trial: trial.loss)
    assert bag is not None
    assert bag.member == best.refined(STUMPS)
    assert len(bag.models) == 6
    # The trial's losses are those of the bag that its trees make: same folds, same seeds.
    again = bag_of(best.refined(STUMPS), train, folds[0])
    truth = train.truth.to_numpy()
    inside = [folds[0] == k for k in range(3)]
    losses = [scaled_loss(again.out_of_fold[one], truth[one], "binary") for one in inside]
    np.testing.assert_allclose(best.losses, losses, rtol=1e-9)


def test_where_nothing_is_better_there_is_no_bag() -> None:
    train = made(300, 0)
    train = replace(train, truth=pd.Series(np.random.default_rng(1).permutation(train.truth.to_numpy())))
    fold = assign_folds(train.units, train.truth.to_numpy(), 3, 0)
    # A single round at a small rate is as good as knowing nothing, and nothing is all that can be known.
    base = bag_of(GradientBoosting(num_leaves=3, learning_rate=1e-9, max_rounds=1), train, fold)
    trials, bag = refine(base, train, [fold], math.inf, FitResources(trials=6))
    assert all(trial.loss >= base_loss(base, train, fold) for trial in trials if not trial.pruned) == (
        bag is None
    )


def base_loss(bag: GrowingBag, train: Dataset, fold: np.ndarray) -> float:
    truth = train.truth.to_numpy()
    inside = [fold == k for k in range(3)]
    return float(np.mean([scaled_loss(bag.out_of_fold[one], truth[one], "binary") for one in inside]))


def test_a_loss_is_that_of_the_best_scale() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(size=4000)
    truth = (rng.random(4000) < 1 / (1 + np.exp(-score))).astype(float)
    right = scaled_loss(score, truth, "binary")
    assert right <= (np.logaddexp(0.0, score) - truth * score).mean() + 1e-9
    assert scaled_loss(3.0 * score, truth, "binary") == pytest.approx(right, abs=1e-6)
    assert scaled_loss(score, truth, "numeric") == pytest.approx(((score - truth) ** 2).mean())


class TestEnsemble:
    few = Ensemble(presets=(Preset(np.inf, 3, 1, {"linear": Linear(strengths=(1.0,)), "trees": STUMPS}),))

    def fitted(self, **resources: Any) -> EnsembleModel:
        return self.few.fit(made(1500, 0), made(5, 1), FitResources(**resources))

    def test_gains_a_refined_member(self) -> None:
        plain, refined = self.fitted(), self.fitted(trials=8)
        assert [member.name for member in plain.members] == ["linear", "trees"]
        assert [member.name for member in refined.members] == ["linear", "trees", "trees, refined"]
        losses = {member.name: member.loss or math.inf for member in refined.members}
        assert losses["trees, refined"] < losses["trees"]
        told = refined.described()["trials"]
        assert len(told) == 8
        assert all({"parameters", "loss", "seconds", "pruned"} <= set(trial) for trial in told)
        assert plain.described()["trials"] == []

    def test_no_trial_begins_when_time_is_over(self) -> None:
        model = self.fitted(trials=8, seconds=1e-3)
        assert model.stopped_by == "budget"
        assert model.trials == ()

    def test_survives_its_files(self) -> None:
        model, frame = self.fitted(trials=4), made(100, 2).frame
        again = EnsembleModel.from_files(model.files())
        pd.testing.assert_frame_equal(again.predict(frame), model.predict(frame), check_exact=True)
        assert again.files() == model.files()

    def test_says_how_far_it_is(self) -> None:
        said: list[str] = []
        self.fitted(trials=2, tell=said.append)
        assert [line.split(":")[0] for line in said] == ["linear", "trees", "trial 1", "trial 2"]

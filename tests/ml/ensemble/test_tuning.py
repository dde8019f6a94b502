"""Tuning: trials improve, bad ones are pruned, the time limit holds, and a killed search resumes."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.data.folds import assign_folds
from ml.deadline import Deadline
from ml.ensemble.bagging import BagBuilder
from ml.ensemble.ensemble_model import EnsembleModel
from ml.ensemble.presets import Preset
from ml.ensemble.stacked_ensemble import Ensemble
from ml.ensemble.tuning import (
    Trial,
    TuningTimeoutError,
    rescaled_loss,
    search_hyperparameters,
    tune_gradient_boosting,
)
from ml.estimator import FitResources
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear

BASE = GradientBoosting(learning_rate=0.02, num_leaves=80, lambda_l2=0.0)
FOLDS = 5


def distance(candidate: GradientBoosting) -> float:
    """Compute a loss whose minimum is known: a learning rate of .05 and 8 leaves."""
    return abs(math.log(candidate.learning_rate / 0.05)) + abs(math.log(candidate.num_leaves / 8))


def fold_loss(candidate: GradientBoosting, k: int) -> float:
    return 1.0 + distance(candidate) + 0.01 * k


BASE_LOSSES = [fold_loss(BASE, k) for k in range(FOLDS)]


def run_search(trials: int, **resources: Any) -> list[Trial]:
    return search_hyperparameters(
        BASE, BASE_LOSSES, fold_loss, math.inf, FitResources(trials=trials, **resources)
    )


def test_trials_approach_the_minimum() -> None:
    completed = [trial for trial in run_search(40) if not trial.pruned]
    best = min(completed, key=lambda trial: trial.loss)
    assert distance(best.apply_to(BASE)) < 0.2 * distance(BASE)
    losses = [fold_loss(best.apply_to(BASE), k) for k in range(FOLDS)]
    assert best.loss == pytest.approx(np.mean(losses))


def test_seed_determines_the_trials() -> None:
    def parameters(seed: int) -> list[Any]:
        return [trial.parameters for trial in run_search(8, seed=seed)]

    assert parameters(1) == parameters(1)
    assert parameters(1) != parameters(2)


def test_fewer_trials_are_the_first_of_more() -> None:
    """A run is reproduced from the number of trials that time allowed."""
    few, more = run_search(5), run_search(12)
    assert [trial.parameters for trial in few] == [trial.parameters for trial in more][:5]


def test_bad_trials_are_pruned() -> None:
    trials = run_search(40)
    pruned = [trial for trial in trials if trial.pruned]
    assert pruned
    assert all(len(trial.losses) < FOLDS for trial in pruned)
    assert all(len(trial.losses) == FOLDS for trial in trials if not trial.pruned)
    # Later trials are compared with the first ones, which are not pruned.
    assert not any(trial.pruned for trial in trials[:3])
    assert min(trial.loss for trial in trials if not trial.pruned) < min(trial.loss for trial in pruned)


@pytest.mark.parametrize(("seconds", "folds"), [(0.0, 0), (1.0, 1), (10.5, 2), (49.0, 5), (51.0, 6)])
def test_no_fold_starts_after_the_time_limit(seconds: float, folds: int) -> None:
    """Each fold is recorded with ten seconds."""
    steps: list[str] = []

    def cached_step(step: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        steps.append(step)
        return {"loss": 1.0, "seconds": 10.0}

    resources = FitResources(trials=10, cached_step=cached_step)
    trials = search_hyperparameters(BASE, BASE_LOSSES, fold_loss, seconds, resources)
    assert len(steps) == folds
    # A trial that was cut short is not returned.
    assert len(trials) == folds // FOLDS


def test_a_trial_stopped_by_the_time_limit_is_not_returned() -> None:
    """Its loss would depend on the time limit, not on the hyperparameters."""
    calls = 0

    def slow(candidate: GradientBoosting, k: int) -> float:
        nonlocal calls
        calls += 1
        if calls > 7:
            raise TuningTimeoutError
        return fold_loss(candidate, k)

    stored_steps: list[str] = []

    def cached_step(step: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        result = compute()
        stored_steps.append(step)
        return result

    resources = FitResources(trials=6, cached_step=cached_step)
    trials = search_hyperparameters(BASE, BASE_LOSSES, slow, math.inf, resources)
    assert [len(trial.losses) for trial in trials] == [FOLDS]
    assert len(stored_steps) == 7


def test_a_killed_search_resumes_after_its_last_fold() -> None:
    stored: dict[str, dict[str, Any]] = {}
    calls = 0

    def killed_at_fold_13(candidate: GradientBoosting, k: int) -> float:
        nonlocal calls
        calls += 1
        if calls == 13:
            raise KeyboardInterrupt
        return fold_loss(candidate, k)

    def cached_step(step: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if step not in stored:
            stored[step] = compute()
        return stored[step]

    resources = FitResources(trials=6, cached_step=cached_step)
    with pytest.raises(KeyboardInterrupt):
        search_hyperparameters(BASE, BASE_LOSSES, killed_at_fold_13, math.inf, resources)
    resumed = search_hyperparameters(BASE, BASE_LOSSES, killed_at_fold_13, math.inf, resources)
    uninterrupted = run_search(6)
    assert [(trial.parameters, trial.losses) for trial in resumed] == [
        (trial.parameters, trial.losses) for trial in uninterrupted
    ]
    # Twelve folds before the kill, the killed one, and no fold twice.
    assert calls == 1 + sum(len(trial.losses) for trial in resumed)


def sample(rows: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 4)), columns=list("abcd"))
    truth = (frame["a"] * frame["b"] + frame["c"] + rng.normal(size=rows) > 0).astype("float64")
    return Dataset(frame, truth, np.arange(rows, dtype=np.uint64))


# Two leaves cannot model the interaction of a and b.
STUMPS = GradientBoosting(num_leaves=2, learning_rate=0.01, min_child_samples=300, max_rounds=60)


def fit_bag(candidate: GradientBoosting, train: Dataset, fold: np.ndarray) -> BagBuilder:
    bag = BagBuilder(candidate, "binary", len(train.frame))
    assert bag.fit_next_repeat(train, fold, FitResources(), required=True)
    return bag


def test_a_better_trial_becomes_a_bag() -> None:
    train = sample(1500, 0)
    folds = [assign_folds(train.units, train.truth.to_numpy(), 3, seed) for seed in (0, 1)]
    untuned = fit_bag(STUMPS, train, folds[0])
    trials, tuned = tune_gradient_boosting(untuned, train, folds, Deadline(math.inf), FitResources(trials=8))
    best = min((trial for trial in trials if not trial.pruned), key=lambda trial: trial.loss)
    assert tuned is not None
    assert tuned.base_candidate == best.apply_to(STUMPS)
    assert len(tuned.models) == 6
    # The losses of a trial are those of a bag of its candidate: same folds, same seeds.
    refitted = fit_bag(best.apply_to(STUMPS), train, folds[0])
    truth = train.truth.to_numpy()
    losses = [
        rescaled_loss(refitted.out_of_fold_scores[rows], truth[rows], "binary")
        for rows in (folds[0] == k for k in range(3))
    ]
    np.testing.assert_allclose(best.losses, losses, rtol=1e-9)


def test_without_a_better_trial_there_is_no_tuned_bag() -> None:
    train = sample(300, 0)
    train = replace(train, truth=pd.Series(np.random.default_rng(1).permutation(train.truth.to_numpy())))
    fold = assign_folds(train.units, train.truth.to_numpy(), 3, 0)
    # One round at a tiny learning rate predicts the mean, and for a permuted truth nothing is better.
    untuned = fit_bag(GradientBoosting(num_leaves=3, learning_rate=1e-9, max_rounds=1), train, fold)
    trials, tuned = tune_gradient_boosting(untuned, train, [fold], Deadline(math.inf), FitResources(trials=6))
    untuned_loss = mean_fold_loss(untuned, train, fold)
    no_better_trial = all(trial.loss >= untuned_loss for trial in trials if not trial.pruned)
    assert no_better_trial == (tuned is None)


def mean_fold_loss(bag: BagBuilder, train: Dataset, fold: np.ndarray) -> float:
    truth, scores = train.truth.to_numpy(), bag.out_of_fold_scores
    folds = [fold == k for k in range(3)]
    return float(np.mean([rescaled_loss(scores[rows], truth[rows], "binary") for rows in folds]))


def test_rescaled_loss_does_not_depend_on_scale() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(size=4000)
    truth = (rng.random(4000) < 1 / (1 + np.exp(-score))).astype(float)
    expected = rescaled_loss(score, truth, "binary")
    assert expected <= (np.logaddexp(0.0, score) - truth * score).mean() + 1e-9
    assert rescaled_loss(3.0 * score, truth, "binary") == pytest.approx(expected, abs=1e-6)
    assert rescaled_loss(score, truth, "numeric") == pytest.approx(((score - truth) ** 2).mean())


class TestEnsemble:
    ensemble = Ensemble(
        presets=(Preset(np.inf, 3, 1, {"linear": Linear(inverse_penalties=(1.0,)), "boosting": STUMPS}),)
    )

    def fit(self, **resources: Any) -> EnsembleModel:
        return self.ensemble.fit(sample(1500, 0), sample(5, 1), FitResources(**resources))

    def test_tuning_adds_a_member(self) -> None:
        untuned, tuned = self.fit(), self.fit(trials=8)
        assert [member.name for member in untuned.members] == ["linear", "boosting"]
        assert [member.name for member in tuned.members] == ["linear", "boosting", "boosting (tuned)"]
        losses = {member.name: member.loss or math.inf for member in tuned.members}
        assert losses["boosting (tuned)"] < losses["boosting"]
        trials = tuned.composition()["trials"]
        assert len(trials) == 8
        assert all({"parameters", "loss", "seconds", "pruned"} <= set(trial) for trial in trials)
        assert untuned.composition()["trials"] == []

    def test_no_trial_starts_after_the_time_limit(self) -> None:
        model = self.fit(trials=8, seconds=1e-3)
        assert model.stopped_by == "budget"
        assert model.trials == ()

    def test_model_survives_its_files(self) -> None:
        model, frame = self.fit(trials=4), sample(100, 2).frame
        restored = EnsembleModel.from_files(model.files())
        pd.testing.assert_frame_equal(restored.predict(frame), model.predict(frame), check_exact=True)
        assert restored.files() == model.files()

    def test_progress_is_logged_per_member_and_trial(self) -> None:
        messages: list[str] = []
        self.fit(trials=2, log_progress=messages.append)
        steps = [message.split(":")[0] for message in messages]
        assert steps == ["linear", "boosting", "trial 1", "trial 2"]

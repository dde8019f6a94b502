"""Refining boosted trees: Optuna (Akiba et al., 2019) proposes hyperparameters, inner folds answer."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import optimize

from ml.data.dataset import Dataset
from ml.data.target import PREDICTION, Target, losses, to_link
from ml.ensemble.bagging import GrowingBag
from ml.estimator import FitResources, TabularModel
from ml.tabular.gradient_boosting import GradientBoosting

if TYPE_CHECKING:
    import optuna

# Trials by chance before the sampler learns from them, and before any is pruned.
BY_CHANCE = 4
# Lowest and highest; all but the shares on a logarithmic scale.
LEARNING_RATE, LEAVES, ROWS_OF_A_LEAF, RIDGE = (0.01, 0.1), (3, 96), (2, 300), (1e-3, 100.0)
COLUMNS, ROWS = (0.2, 1.0), (0.5, 1.0)
# Of the seconds of a bag, what is kept for another one whose trees may be larger.
SPARE = 2.0
# What log odds may be multiplied by before they are judged.
SCALES = (0.05, 4.0)

# The loss of these trees, learned outside of a fold, on it; raises OutOfTimeError where the clock stopped them.
FoldLoss = Callable[[GradientBoosting, int], float]


class OutOfTimeError(Exception):
    """The clock, not what was tried, ended a trial: it says nothing of its hyperparameters."""


@dataclass(frozen=True)
class Trial:
    """Hyperparameters, the mean loss of each fold that was learned, and the seconds of them all.

    A trial that was `pruned` has losses of fewer folds.
    """

    parameters: Mapping[str, Any]
    losses: tuple[float, ...]
    seconds: float
    pruned: bool

    @property
    def loss(self) -> float:
        """The mean over the folds that were learned."""
        return float(np.mean(self.losses))

    def refined(self, base: GradientBoosting) -> GradientBoosting:
        """The trees that were tried."""
        return replace(base, **self.parameters)


def refine(
    base: GrowingBag, train: Dataset, folds: Sequence[np.ndarray], until: float, resources: FitResources
) -> tuple[list[Trial], GrowingBag | None]:
    """Trials of the trees of `base`, and the bag of the best; None where no trial is better than `base`.

    `train` is in the order of the bag; `folds` has the fold of each row, (rows,), for each repeat, of which trials see
    the first. `until` is an instant of `time.monotonic`.
    """
    member, fold = base.member, folds[0]
    assert isinstance(member, GradientBoosting)
    truth = train.truth.to_numpy(np.float64)

    def loss_of(model: TabularModel, k: int) -> float:
        answer = model.predict(train.frame[fold == k])[PREDICTION[member.target]].to_numpy()
        return scaled_loss(to_link(answer, member.target), truth[fold == k], member.target)

    def fold_loss(candidate: GradientBoosting, k: int) -> float:
        teach, judge = (train.take(np.flatnonzero(rows)) for rows in (fold != k, fold == k))
        left = replace(resources, seed=base.seed(resources, k), seconds=until - time.monotonic())
        model = candidate.fit(teach, judge, left)
        if model.stopped_by == "budget":
            raise OutOfTimeError
        return loss_of(model, k)

    known = [loss_of(base.models[k], k) for k in range(int(fold.max()) + 1)]
    # The best has to be fitted as a bag as well.
    seconds = until - time.monotonic() - SPARE * base.seconds
    found = search(member, known, fold_loss, seconds, resources)
    best = min((one for one in found if not one.pruned), key=lambda one: one.loss, default=None)
    if best is None or best.loss >= np.mean(known):
        return found, None
    bag = GrowingBag(best.refined(member), member.target, len(truth))
    for one in folds:
        left = replace(resources, seconds=until - time.monotonic())
        bag.cut_short |= not bag.grow(train, one, left, obliged=False)
    return found, bag


def scaled_loss(score: np.ndarray, truth: np.ndarray, target: Target) -> float:
    """The mean loss of `score` (rows,), of log odds after the best scaling: mixing would find that anyway."""
    if target == "numeric":
        return float(losses(score, truth, target).mean())
    found = optimize.minimize_scalar(
        lambda scale: losses(scale * score, truth, target).mean(), bounds=SCALES, method="bounded"
    )
    return float(found.fun)


def search(
    base: GradientBoosting,
    base_losses: Sequence[float],
    fold_loss: FoldLoss,
    seconds: float,
    resources: FitResources,
) -> list[Trial]:
    """At most `resources.trials` trials beside `base`, whose losses by fold are known; no fold begins after `seconds`.

    Proposals come from a tree-structured Parzen estimator (Bergstra et al., 2011) with the seed: the same losses lead
    to the same trials. After each fold a trial ends that is so far worse than the median of those before it. A fold
    that `resources.remember` knows costs the seconds that it took when it was made, so that a run that goes on after a
    kill comes to the same end. A trial that time cuts short is not told.
    """
    study = _study(base, base_losses, resources.seed)
    found: list[Trial] = []
    for number in range(1, resources.trials + 1):
        left = seconds - sum(trial.seconds for trial in found)
        try:
            trial = _tried(study, base, fold_loss, len(base_losses), left, resources)
        except OutOfTimeError:
            break
        found.append(trial)
        resources.log_progress(f"trial {number}: loss {trial.loss:.5f}{' (pruned)' if trial.pruned else ''}")
    return found


def _study(base: GradientBoosting, base_losses: Sequence[float], seed: int) -> "optuna.Study":
    """What has learned the losses of `base`, or of the point of its space that is next to it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=BY_CHANCE),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=BY_CHANCE),
    )
    study.enqueue_trial(_point(base))
    known = study.ask()
    _parameters(known)
    for k in range(len(base_losses)):
        known.report(float(np.mean(base_losses[: k + 1])), k)
    study.tell(known, float(np.mean(base_losses)))
    return study


def _tried(
    study: "optuna.Study",
    base: GradientBoosting,
    fold_loss: FoldLoss,
    folds: int,
    seconds: float,
    resources: FitResources,
) -> Trial:
    """The next trial. Raises OutOfTimeError where time cuts it short."""
    from optuna.trial import TrialState

    asked = study.ask()
    parameters = _parameters(asked)
    losses: list[float] = []
    spent, pruned = 0.0, False
    for k in range(folds):
        if spent >= seconds:
            raise OutOfTimeError
        name = json.dumps({"trial": asked.number, "fold": k, **parameters})
        told = resources.cached_step(name, partial(_timed, fold_loss, replace(base, **parameters), k))
        losses.append(told["loss"])
        spent += told["seconds"]
        asked.report(float(np.mean(losses)), k)
        pruned = k + 1 < folds and asked.should_prune()
        if pruned:
            break
    trial = Trial(parameters, tuple(losses), spent, pruned)
    study.tell(asked, None if pruned else trial.loss, TrialState.PRUNED if pruned else TrialState.COMPLETE)
    return trial


def _timed(fold_loss: FoldLoss, candidate: GradientBoosting, k: int) -> dict[str, Any]:
    begun = time.monotonic()
    loss = fold_loss(candidate, k)
    return {"loss": loss, "seconds": time.monotonic() - begun}


def _parameters(trial: "optuna.Trial") -> dict[str, Any]:
    """What Optuna proposes."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", *LEARNING_RATE, log=True),
        "num_leaves": trial.suggest_int("num_leaves", *LEAVES, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", *ROWS_OF_A_LEAF, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", *COLUMNS),
        "bagging_fraction": trial.suggest_float("bagging_fraction", *ROWS),
        "lambda_l2": trial.suggest_float("lambda_l2", *RIDGE, log=True),
        "extra_trees": trial.suggest_categorical("extra_trees", [False, True]),
    }


def _point(base: GradientBoosting) -> dict[str, Any]:
    """Where the base stands in the space of proposals, or as near to it as that goes."""
    bounds = {
        "learning_rate": LEARNING_RATE,
        "num_leaves": LEAVES,
        "min_child_samples": ROWS_OF_A_LEAF,
        "feature_fraction": COLUMNS,
        "bagging_fraction": ROWS,
        "lambda_l2": RIDGE,
    }
    near = {name: min(max(getattr(base, name), low), high) for name, (low, high) in bounds.items()}
    return {**near, "extra_trees": base.extra_trees}

"""Tune gradient boosting with Optuna (Akiba et al., 2019) on cross-validation folds of the training rows."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.data.dataset import Dataset
from ml.data.target import PREDICTION_COLUMN, Target, row_losses, to_log_odds_scale
from ml.deadline import Deadline
from ml.ensemble.bagging import BagBuilder
from ml.estimator import FitResources, TabularModel
from ml.tabular.gradient_boosting import GradientBoosting

if TYPE_CHECKING:
    import optuna

# Random trials before the sampler starts to model the losses, and before any trial is pruned.
STARTUP_TRIALS = 4
# The search space, as (low, high). These four are searched on a logarithmic scale, the fractions on a linear one.
LEARNING_RATE_RANGE, NUM_LEAVES_RANGE = (0.01, 0.1), (3, 96)
MIN_LEAF_ROWS_RANGE, L2_RANGE = (2, 300), (1e-3, 100.0)
FEATURE_FRACTION_RANGE, BAGGING_FRACTION_RANGE = (0.2, 1.0), (0.5, 1.0)
# The bag of the best trial may take this many times the seconds of the untuned bag, as its trees may be larger.
FINAL_BAG_TIME_FACTOR = 2.0
# The factors by which `rescaled_loss` may multiply log odds.
SCALE_RANGE = (0.05, 4.0)

# The loss on one fold of a candidate trained on the others; raises TuningTimeoutError if the time limit cut it short.
FoldLoss = Callable[[GradientBoosting, int], float]


class TuningTimeoutError(Exception):
    """The time limit ended a trial, so its loss says nothing about its hyperparameters."""


@dataclass(frozen=True)
class Trial:
    """Hyperparameters, the mean loss on each evaluated fold, and the seconds of all of these folds.

    A trial that was `pruned` has losses of fewer folds.
    """

    parameters: Mapping[str, Any]
    losses: tuple[float, ...]
    seconds: float
    pruned: bool

    @property
    def loss(self) -> float:
        """Average the loss over the evaluated folds."""
        return float(np.mean(self.losses))

    def apply_to(self, base: GradientBoosting) -> GradientBoosting:
        """Return `base` with the hyperparameters of this trial."""
        return replace(base, **self.parameters)


def tune_gradient_boosting(
    bag: BagBuilder, train: Dataset, folds: Sequence[np.ndarray], deadline: Deadline, resources: FitResources
) -> tuple[list[Trial], BagBuilder | None]:
    """Tune the candidate of `bag`; return the trials, and the bag of the best if it is better than `bag`, else None.

    `train` is in the row order of `bag`. `folds` holds the fold of each row, (rows,), for each repeat; trials use the
    first repeat only.
    """
    base, fold = bag.base_candidate, folds[0]
    assert isinstance(base, GradientBoosting)
    truth = train.truth.to_numpy(np.float64)

    def model_loss(model: TabularModel, k: int) -> float:
        prediction = model.predict(train.frame[fold == k])[PREDICTION_COLUMN[base.target]].to_numpy()
        return rescaled_loss(to_log_odds_scale(prediction, base.target), truth[fold == k], base.target)

    def fold_loss(candidate: GradientBoosting, k: int) -> float:
        fit_rows = train.take(np.flatnonzero(fold != k))
        remaining = replace(resources, seed=bag.model_seed(resources, k), seconds=deadline.remaining)
        model = candidate.fit(fit_rows, fit_rows.take(np.arange(0)), remaining)
        if model.stopped_by == "budget":
            raise TuningTimeoutError
        return model_loss(model, k)

    base_losses = [model_loss(bag.models[k], k) for k in range(int(fold.max()) + 1)]
    # Leave time to fit the bag of the best trial.
    seconds = deadline.remaining - FINAL_BAG_TIME_FACTOR * bag.seconds
    trials = search_hyperparameters(base, base_losses, fold_loss, seconds, resources)
    best = min((trial for trial in trials if not trial.pruned), key=lambda trial: trial.loss, default=None)
    if best is None or best.loss >= np.mean(base_losses):
        return trials, None
    tuned = BagBuilder(best.apply_to(base), base.target, len(truth))
    for repeat_fold in folds:
        remaining = replace(resources, seconds=deadline.remaining)
        tuned.timed_out |= not tuned.fit_next_repeat(train, repeat_fold, remaining, required=False)
    return trials, tuned


def rescaled_loss(score: np.ndarray, truth: np.ndarray, target: Target) -> float:
    """Compute the mean loss of `score` (rows,) after optimal rescaling of log odds, since stacking absorbs scale."""
    if target == "numeric":
        return float(row_losses(score, truth, target).mean())
    # Imported where a model is fitted: a model that predicts must not wait for it.
    from scipy import optimize

    optimum = optimize.minimize_scalar(
        lambda scale: row_losses(scale * score, truth, target).mean(), bounds=SCALE_RANGE, method="bounded"
    )
    return float(optimum.fun)


def search_hyperparameters(
    base: GradientBoosting,
    base_losses: Sequence[float],
    fold_loss: FoldLoss,
    seconds: float,
    resources: FitResources,
) -> list[Trial]:
    """Run up to `resources.trials` trials; no fold starts after `seconds`. `base_losses` are those of `base` by fold.

    Proposals come from a seeded tree-structured Parzen estimator (Bergstra et al., 2011): equal losses lead to equal
    trials. A trial is pruned after a fold when its mean loss so far is above the median of the earlier trials. A fold
    that `resources.cached_step` has stored counts with the seconds of its computation, so that a resumed run stops at
    the same trial as an uninterrupted one. A trial that the time limit cuts short is not returned.
    """
    study = _create_study(base, base_losses, resources.seed)
    trials: list[Trial] = []
    for number in range(1, resources.trials + 1):
        remaining = seconds - sum(trial.seconds for trial in trials)
        try:
            trial = _run_trial(study, base, fold_loss, len(base_losses), remaining, resources)
        except TuningTimeoutError:
            break
        trials.append(trial)
        resources.log_progress(f"trial {number}: loss {trial.loss:.5f}{' (pruned)' if trial.pruned else ''}")
    return trials


def _create_study(base: GradientBoosting, base_losses: Sequence[float], seed: int) -> "optuna.Study":
    """Create a study whose first trial has the losses of `base`, at the nearest point of the search space."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
    )
    study.enqueue_trial(_nearest_point(base))
    first = study.ask()
    _suggest_parameters(first)
    for k in range(len(base_losses)):
        first.report(float(np.mean(base_losses[: k + 1])), k)
    study.tell(first, float(np.mean(base_losses)))
    return study


def _run_trial(
    study: "optuna.Study",
    base: GradientBoosting,
    fold_loss: FoldLoss,
    folds: int,
    seconds: float,
    resources: FitResources,
) -> Trial:
    """Run the next trial. Raises TuningTimeoutError if `seconds` cut it short."""
    from optuna.trial import TrialState

    optuna_trial = study.ask()
    parameters = _suggest_parameters(optuna_trial)
    losses: list[float] = []
    elapsed, pruned = 0.0, False
    for k in range(folds):
        if elapsed >= seconds:
            raise TuningTimeoutError
        step = json.dumps({"trial": optuna_trial.number, "fold": k, **parameters})
        result = resources.cached_step(
            step, partial(_timed_loss, fold_loss, replace(base, **parameters), k, resources)
        )
        losses.append(result["loss"])
        elapsed += result["seconds"]
        optuna_trial.report(float(np.mean(losses)), k)
        # Optuna answers with a boolean of NumPy, which facts cannot have.
        pruned = k + 1 < folds and bool(optuna_trial.should_prune())
        if pruned:
            break
    trial = Trial(parameters, tuple(losses), elapsed, pruned)
    if pruned:
        study.tell(optuna_trial, None, TrialState.PRUNED)
    else:
        study.tell(optuna_trial, trial.loss, TrialState.COMPLETE)
    return trial


def _timed_loss(
    fold_loss: FoldLoss, candidate: GradientBoosting, k: int, resources: FitResources
) -> dict[str, Any]:
    deadline = resources.deadline()
    loss = fold_loss(candidate, k)
    return {"loss": loss, "seconds": deadline.elapsed}


def _suggest_parameters(trial: "optuna.Trial") -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", *LEARNING_RATE_RANGE, log=True),
        "num_leaves": trial.suggest_int("num_leaves", *NUM_LEAVES_RANGE, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", *MIN_LEAF_ROWS_RANGE, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", *FEATURE_FRACTION_RANGE),
        "bagging_fraction": trial.suggest_float("bagging_fraction", *BAGGING_FRACTION_RANGE),
        "lambda_l2": trial.suggest_float("lambda_l2", *L2_RANGE, log=True),
        "extra_trees": trial.suggest_categorical("extra_trees", [False, True]),
    }


def _nearest_point(base: GradientBoosting) -> dict[str, Any]:
    """Return the point of the search space that is nearest to the hyperparameters of `base`."""
    ranges = {
        "learning_rate": LEARNING_RATE_RANGE,
        "num_leaves": NUM_LEAVES_RANGE,
        "min_child_samples": MIN_LEAF_ROWS_RANGE,
        "feature_fraction": FEATURE_FRACTION_RANGE,
        "bagging_fraction": BAGGING_FRACTION_RANGE,
        "lambda_l2": L2_RANGE,
    }
    clipped = {name: min(max(getattr(base, name), low), high) for name, (low, high) in ranges.items()}
    return {**clipped, "extra_trees": base.extra_trees}

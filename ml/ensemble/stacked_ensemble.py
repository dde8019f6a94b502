"""Fit an ensemble: bag several candidates over the same folds, calibrate each bag, stack them, calibrate the result."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ml.data.dataset import Dataset
from ml.data.folds import assign_folds, max_folds
from ml.data.target import Target, from_log_odds_scale, row_losses, validate_training_truth
from ml.deadline import Deadline
from ml.ensemble.bagging import BagBuilder, sort_by_unit, stratification_labels
from ml.ensemble.calibration import CalibrationMethod, Calibrator, select_calibrator
from ml.ensemble.ensemble_model import EnsembleModel, MemberSummary, calibrate_score
from ml.ensemble.presets import PRESETS, Preset
from ml.ensemble.stacking import StackingWeights, fit_stacking_weights
from ml.ensemble.tuning import Trial, tune_gradient_boosting
from ml.estimator import Candidate, CostedCandidate, FitResources
from ml.evaluation.binary_metrics import roc_auc
from ml.tabular.costs import table_cost
from ml.tabular.gradient_boosting import GradientBoosting
from ml.time_budget import FitCost

# Isotonic regression ties rows, and the other members would then decide the order within a tie.
SMOOTH_METHODS: tuple[CalibrationMethod, ...] = ("none", "platt", "beta")
# What the leaderboard says of a member without a part in the weights.
ONE_PREDICTION = "left out: the same prediction for every row"
# The share of the time that is reserved for stacking and calibration.
STACKING_TIME_SHARE = 0.05


@dataclass(frozen=True)
class _Stack:
    """The calibrator of each bag, the calibrated out-of-fold scores (bags, rows), and the stacking weights.

    Bags that predict a constant have no part in the weights: theirs are 0, unless all bags are such.
    """

    calibrators: list[Calibrator]
    scores: np.ndarray
    weights: StackingWeights


@dataclass(frozen=True)
class Ensemble:
    """The members of the first of `presets` whose `max_rows` the training rows do not exceed, fitted for `target`.

    Members are fitted in the order of the preset, all of them once per repeat, as time allows: the first in any case,
    a later one only if the time of its first fold shows that all its folds fit into the remaining time. Repeats after
    the first are for members with weight only. The remaining time is for the tuning trials of `FitResources.trials`
    (`ml/ensemble/tuning.py`), on the gradient boosting member with the highest weight; if the best trial is better
    than that member, it becomes one more member. The validation dataset is ignored, so that it stays free to choose
    among candidates.
    """

    # It uses `FitResources.trials`.
    is_tuned: ClassVar[bool] = True
    target: Target = "binary"
    presets: tuple[Preset, ...] = PRESETS

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> EnsembleModel:
        """Fit as many members as `resources.seconds` allow, and stack them.

        Raises ValueError as in `validate_training_truth`, `FeatureColumns.from_frame`, and `assign_folds` (if units do
        not allow two folds with both classes).
        """
        deadline = resources.deadline(1.0 - STACKING_TIME_SHARE)
        truth = validate_training_truth(train.truth, self.target)
        preset = next(preset for preset in self.presets if len(truth) <= preset.max_rows)
        train = sort_by_unit(train)
        truth = train.truth.to_numpy(np.float64)
        classes = stratification_labels(truth, self.target)
        n_folds = min(preset.folds, max_folds(train.units, classes))
        folds = [
            assign_folds(train.units, classes, n_folds, resources.seed + repeat)
            for repeat in range(preset.repeats)
        ]
        bags, members_complete = self._fit_bags(preset, train, folds, deadline, resources)
        trials, tuning_complete = self._tune(bags, train, folds, deadline, resources)
        # If the first member lacks out-of-fold scores for some rows, it is used alone and uncalibrated.
        calibrators, weights, calibrator = (
            [Calibrator("none")],
            StackingWeights((1.0,), 0.0),
            Calibrator("none"),
        )
        if stack := self._stack(bags, train, folds[0]):
            calibrators, weights = stack.calibrators, stack.weights
            if self.target == "binary":
                combined = from_log_odds_scale(weights(stack.scores), self.target)
                calibrator, _ = select_calibrator(combined, truth, folds[0], train.units)
        # If all weights are 0, one member is kept with weight 0: it checks the columns of what is predicted.
        kept = np.flatnonzero(weights.weights) if any(weights.weights) else np.zeros(1, np.int64)
        builders = list(bags.values())
        return EnsembleModel(
            self.target,
            tuple(builders[i].build() for i in kept),
            tuple(calibrators[i] for i in kept),
            StackingWeights(tuple(weights.weights[i] for i in kept), weights.base_score),
            calibrator,
            self._member_summaries(preset, bags, weights, truth),
            "members" if members_complete and tuning_complete else "budget",
            tuple(trials),
        )

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Return the minimum of one fit; members, repeats and trials use whatever time there is."""
        one_fit = table_cost(train, fixed_seconds=1.0, cell_seconds=4e-6, threads=resources.threads)
        return FitCost(one_fit.minimum, float("inf"))

    def _fit_bags(
        self,
        preset: Preset,
        train: Dataset,
        folds: list[np.ndarray],
        deadline: Deadline,
        resources: FitResources,
    ) -> tuple[dict[str, BagBuilder], bool]:
        """Fit the bags that time allows, by member; return also whether that is all of the preset.

        `folds` holds the fold of each row for each repeat.
        """
        bags: dict[str, BagBuilder] = {}
        complete = True
        names = list(preset.members)
        for repeat, fold in enumerate(folds):
            for name in names:
                member = replace(preset.members[name], target=self.target)  # type: ignore[type-var]
                bag = bags.get(name) or BagBuilder(member, self.target, len(train.truth))
                remaining = replace(resources, seconds=deadline.remaining)
                is_useless = bags and _minimum_seconds(member, train, fold, resources) > remaining.seconds
                if not is_useless and bag.fit_next_repeat(train, fold, remaining, required=not bags):
                    bags[name] = bag
                    complete &= not bag.timed_out
                    resources.log_progress(f"{name}: {len(bag.models)} models in {bag.seconds:.1f} s")
                else:
                    complete = False
                    resources.log_progress(f"{name}: skipped, it would exceed the remaining time")
            names = list(self._positive_weights(bags, train, folds[0])) if repeat + 1 < preset.repeats else []
        return bags, complete

    def _tune(
        self,
        bags: dict[str, BagBuilder],
        train: Dataset,
        folds: list[np.ndarray],
        deadline: Deadline,
        resources: FitResources,
    ) -> tuple[list[Trial], bool]:
        """Tune the gradient boosting member with the highest weight; a better bag is added to `bags`.

        Return the trials, and whether time allowed to fit that bag in full.
        """
        weights = self._positive_weights(bags, train, folds[0]) if resources.trials else {}
        tunable = [name for name in weights if isinstance(bags[name].base_candidate, GradientBoosting)]
        if not tunable:
            return [], True
        name = max(tunable, key=lambda name: weights[name])
        trials, tuned = tune_gradient_boosting(bags[name], train, folds, deadline, resources)
        if tuned and tuned.models:
            bags[f"{name} (tuned)"] = tuned
        return trials, not (tuned and tuned.timed_out)

    def _stack(self, bags: Mapping[str, BagBuilder], train: Dataset, fold: np.ndarray) -> _Stack | None:
        """Calibrate the bags and fit their weights; None if a bag has rows without out-of-fold scores.

        Calibration comes first, because a member that ranks best may have probabilities too close to the base rate,
        like those of a forest, and its weight would be too low.
        """
        scores = np.stack([bag.out_of_fold_scores for bag in bags.values()])
        # The constants of folds differ a little, and equal weights are for members that say something.
        varying = np.flatnonzero([not bag.is_constant for bag in bags.values()])
        used = varying if len(varying) else np.arange(len(bags))
        if not np.isfinite(scores).all():
            return None
        truth = train.truth.to_numpy(np.float64)
        calibrators = [Calibrator("none")] * len(bags)
        if self.target == "binary":
            probabilities = [from_log_odds_scale(score, self.target) for score in scores]
            calibrators = [
                select_calibrator(probability, truth, fold, train.units, SMOOTH_METHODS)[0]
                for probability in probabilities
            ]
        pairs = zip(scores, calibrators, strict=True)
        scores = np.stack([calibrate_score(score, calibrator, self.target) for score, calibrator in pairs])
        fitted = fit_stacking_weights(scores[used], truth, self.target)
        weights = np.zeros(len(bags))
        weights[used] = fitted.weights
        return _Stack(calibrators, scores, StackingWeights(tuple(weights.tolist()), fitted.base_score))

    def _positive_weights(
        self, bags: Mapping[str, BagBuilder], train: Dataset, fold: np.ndarray
    ) -> dict[str, float]:
        """Fit the weights of the members so far; return those above 0 by name."""
        stack = self._stack(bags, train, fold)
        weights = stack.weights.weights if stack else ()
        return {name: weight for name, weight in zip(bags, weights, strict=False) if weight}

    def _member_summaries(
        self, preset: Preset, bags: Mapping[str, BagBuilder], stacking: StackingWeights, truth: np.ndarray
    ) -> tuple[MemberSummary, ...]:
        weights = dict(zip(bags, stacking.weights, strict=True))
        summaries: list[MemberSummary] = []
        for name in dict.fromkeys([*preset.members, *bags]):
            bag = bags.get(name)
            if bag is None:
                summaries.append(MemberSummary(name))
                continue
            scored = np.isfinite(bag.out_of_fold_scores)
            score, y_true = bag.out_of_fold_scores[scored], truth[scored]
            auc = roc_auc(y_true, from_log_odds_scale(score, "binary")) if self.target == "binary" else None
            loss = float(row_losses(score, y_true, self.target).mean())
            note = ONE_PREDICTION if bag.is_constant else ""
            summaries.append(
                MemberSummary(name, weights[name], len(bag.models), loss, auc, bag.seconds, note)
            )
        return tuple(summaries)


def _minimum_seconds(member: Candidate, train: Dataset, fold: np.ndarray, resources: FitResources) -> float:
    """Return the seconds without which a member states that its fits on all folds are useless; 0 by default."""
    if not isinstance(member, CostedCandidate):
        return 0.0
    folds = int(fold.max()) + 1
    # Each fit is to the rows of all folds but one.
    return member.cost(train, resources).minimum * (folds - 1)

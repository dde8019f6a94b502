"""An ensemble: bags of several candidates over the same folds, each calibrated, mixed by stacking, calibrated again."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.folds import assign_folds, most_folds
from ml.data.target import PREDICTION, Target, from_link, from_link_one, losses, to_link, training_truth
from ml.encoding.columns import Row
from ml.ensemble import calibration
from ml.ensemble.bagging import BaggedModel, GrowingBag, fold_classes, in_order, mean_importance
from ml.ensemble.calibration import Calibrator, Method
from ml.ensemble.presets import PRESETS, Preset
from ml.ensemble.stacking import Mixture, stack
from ml.ensemble.tuning import Trial, refine
from ml.estimator import FitResources, requirements_of
from ml.evaluation.binary_metrics import roc_auc
from ml.serialization import class_name, numbered, read_numbered
from ml.tabular.gradient_boosting import GradientBoosting

# A member's calibration ties no rows: the others would decide among them.
SMOOTH: tuple[Method, ...] = ("none", "platt", "beta")
# What is kept of the time for stacking and calibration.
RESERVE = 0.05


@dataclass(frozen=True)
class Member:
    """What became of a member: its weight, models, out-of-fold loss and (binary) AUC, and what it cost.

    `seconds` are told by a model that was just fitted: they are no part of it, so a reloaded one has None.
    """

    name: str
    weight: float = 0.0
    models: int = 0
    loss: float | None = None
    roc_auc: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class EnsembleModel:
    """`bags`, each put right by its one of `calibrators`; their `mixture` on the scale of the link; then `calibrator`.

    `members` tells of all that were tried, `trials` of what refined one of them (told by a model that was just fitted);
    `stopped_by` is "budget" where not all members could be fitted in full.
    """

    target: Target
    bags: tuple[BaggedModel, ...] = field(repr=False)
    calibrators: tuple[Calibrator, ...]
    mixture: Mixture
    calibrator: Calibrator
    members: tuple[Member, ...]
    stopped_by: str
    trials: tuple[Trial, ...] = field(default=(), compare=False, repr=False)

    @property
    def requirements(self) -> tuple[str, ...]:
        """List the distributions that its members need to predict."""
        return requirements_of(self.bags)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Errors as in the members' `predict`."""
        answer = from_link(self.mixture(self._scores([bag.score(frame) for bag in self.bags])), self.target)
        if self.target == "binary":
            answer = self.calibrator(answer)
        return pd.DataFrame({PREDICTION[self.target]: answer}, index=frame.index)

    def predict_row(self, values: Row) -> float:
        """The prediction of one row; errors as in `Columns.row`."""
        scores = self._scores([np.array([bag.score_row(values)]) for bag in self.bags])
        answer = from_link_one(float(self.mixture(scores)[0]), self.target)
        return float(self.calibrator(np.array([answer]))[0]) if self.target == "binary" else answer

    def _scores(self, raw: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [calibrated(one, by, self.target) for one, by in zip(raw, self.calibrators, strict=True)]

    def importance(self) -> pd.Series:
        """The weighted mean importance of the bags by column, summing to 1."""
        return mean_importance(self.bags, np.array(self.mixture.weights))

    def described(self) -> dict[str, Any]:
        """For a leaderboard: the calibrator, what became of each member, and the trials."""
        return {
            "calibrator": self.calibrator.method,
            "members": [asdict(member) for member in self.members],
            "trials": [asdict(trial) | {"loss": trial.loss} for trial in self.trials],
        }

    def files(self) -> dict[str, bytes]:
        """The files of each bag, numbered, and `ensemble.json`."""
        own = {
            "target": self.target,
            "bags": [class_name(bag) for bag in self.bags],
            "calibrators": [asdict(calibrator) for calibrator in self.calibrators],
            "mixture": asdict(self.mixture),
            "calibrator": asdict(self.calibrator),
            "members": [asdict(replace(member, seconds=None)) for member in self.members],
            "stopped_by": self.stopped_by,
        }
        return {"ensemble.json": json.dumps(own).encode(), **numbered(self.bags)}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        own = json.loads(files["ensemble.json"])
        bags = [bag for bag in read_numbered(own["bags"], files) if isinstance(bag, BaggedModel)]
        return cls(
            own["target"],
            tuple(bags),
            tuple(Calibrator.from_json(one) for one in own["calibrators"]),
            Mixture(tuple(own["mixture"]["weights"]), own["mixture"]["base"]),
            Calibrator.from_json(own["calibrator"]),
            tuple(Member(**member) for member in own["members"]),
            own["stopped_by"],
        )


def calibrated(score: np.ndarray, by: Calibrator, target: Target) -> np.ndarray:
    """The score (rows,) on the scale of the link, as the calibrator says; numbers have none."""
    return score if by.method == "none" else to_link(by(from_link(score, target)), target)


@dataclass(frozen=True)
class _Mix:
    """How members are mixed: the calibrator of each, their scores after it (members, rows), and the mixture."""

    calibrators: list[Calibrator]
    scores: np.ndarray
    mixture: Mixture


@dataclass(frozen=True)
class Ensemble:
    """The members of the first of `presets` that is meant for so many rows, each asked for `target`.

    Members are fitted in their order, the whole order once in each repeat, while the time lasts: the first in any
    case, a later one only if its first fold says that all its folds fit into what is left. Repeats after the first
    are for members that were given weight. What is left then goes into the trials that are
    asked for (`ml/ensemble/tuning.py`), of the boosted trees with most weight; the best, if it is better, is
    one more member.
    `valid` is not looked at: it stays free to choose the candidate.
    """

    target: Target = "binary"
    presets: tuple[Preset, ...] = PRESETS

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> EnsembleModel:
        """The best mixture that the time allows.

        Raises ValueError as in `training_truth`, `Columns.of`, and `assign_folds`
        where units do not allow two folds of both classes.
        """
        begun = time.monotonic()
        until = begun + (1.0 - RESERVE) * resources.seconds
        truth = training_truth(train.truth, self.target)
        preset = next(one for one in self.presets if len(truth) <= one.rows)
        train = in_order(train)
        truth = train.truth.to_numpy(np.float64)
        classes = fold_classes(truth, self.target)
        number = min(preset.folds, most_folds(train.units, classes))
        folds = [
            assign_folds(train.units, classes, number, resources.seed + repeat)
            for repeat in range(preset.repeats)
        ]
        bags, complete = self._bags(preset, train, folds, until, resources)
        trials, refined = self._refine(bags, train, folds, until, resources)
        complete &= refined
        # Where a member is not known of all rows, the one that has to be there stands alone.
        calibrators, mixture, calibrator = [Calibrator("none")], Mixture((1.0,), 0.0), Calibrator("none")
        if mix := self._mix(bags, train, folds[0]):
            calibrators, mixture = mix.calibrators, mix.mixture
            if self.target == "binary":
                mixed = from_link(mixture(mix.scores), self.target)
                calibrator, _ = calibration.choose(mixed, truth, folds[0], train.units)
        # Where no member is worth anything, one stays with weight 0: it knows the columns.
        chosen = np.flatnonzero(mixture.weights) if any(mixture.weights) else np.zeros(1, np.int64)
        every = list(bags.values())
        return EnsembleModel(
            self.target,
            tuple(every[i].model() for i in chosen),
            tuple(calibrators[i] for i in chosen),
            Mixture(tuple(mixture.weights[i] for i in chosen), mixture.base),
            calibrator,
            self._told(preset, bags, mixture, truth),
            "members" if complete else "budget",
            tuple(trials),
        )

    def _bags(
        self,
        preset: Preset,
        train: Dataset,
        folds: list[np.ndarray],
        until: float,
        resources: FitResources,
    ) -> tuple[dict[str, GrowingBag], bool]:
        """The bags that could be fitted, and whether that is all of the preset; `folds` has those of each repeat."""
        bags: dict[str, GrowingBag] = {}
        complete = True
        wanted = list(preset.members)
        for repeat, fold in enumerate(folds):
            for name in wanted:
                member = replace(preset.members[name], target=self.target)  # type: ignore[type-var]
                bag = bags.get(name) or GrowingBag(member, self.target, len(train.truth))
                left = replace(resources, seconds=until - time.monotonic())
                if bag.grow(train, fold, left, obliged=not bags):
                    bags[name] = bag
                    complete &= not bag.cut_short
                    resources.log_progress(f"{name}: {len(bag.models)} models in {bag.seconds:.1f} s")
                else:
                    complete = False
                    resources.log_progress(f"{name}: left out, it would take longer than what is left")
            wanted = list(self._weights(bags, train, folds[0])) if repeat + 1 < preset.repeats else []
        return bags, complete

    def _refine(
        self,
        bags: dict[str, GrowingBag],
        train: Dataset,
        folds: list[np.ndarray],
        until: float,
        resources: FitResources,
    ) -> tuple[list[Trial], bool]:
        """The trials that time allows, and whether it allows the bag of a better one, which `bags` gains."""
        weights = self._weights(bags, train, folds[0]) if resources.trials else {}
        trees = [name for name in weights if isinstance(bags[name].member, GradientBoosting)]
        if not trees:
            return [], True
        name = max(trees, key=lambda one: weights[one])
        trials, bag = refine(bags[name], train, folds, until, resources)
        if bag and bag.models:
            bags[f"{name}, refined"] = bag
        return trials, not (bag and bag.cut_short)

    def _mix(self, bags: Mapping[str, GrowingBag], train: Dataset, fold: np.ndarray) -> _Mix | None:
        """How the bags are mixed so far; None where not even the first could be fitted in full.

        A member that ranks best may be the one whose probabilities are most timid, as those of a forest: it is put
        right before it is weighed against others.
        """
        scores = np.stack([bag.out_of_fold for bag in bags.values()])
        if not np.isfinite(scores).all():
            return None
        truth = train.truth.to_numpy(np.float64)
        calibrators = [Calibrator("none")] * len(bags)
        if self.target == "binary":
            calibrators = [
                calibration.choose(from_link(score, self.target), truth, fold, train.units, SMOOTH)[0]
                for score in scores
            ]
        scores = np.stack(
            [calibrated(one, by, self.target) for one, by in zip(scores, calibrators, strict=True)]
        )
        return _Mix(calibrators, scores, stack(scores, truth, self.target))

    def _weights(self, bags: Mapping[str, GrowingBag], train: Dataset, fold: np.ndarray) -> dict[str, float]:
        """The members that have weight so far."""
        mix = self._mix(bags, train, fold)
        weights = mix.mixture.weights if mix else ()
        return {name: weight for name, weight in zip(bags, weights, strict=False) if weight}

    def _told(
        self, preset: Preset, bags: Mapping[str, GrowingBag], mixture: Mixture, truth: np.ndarray
    ) -> tuple[Member, ...]:
        weight_of = dict(zip(bags, mixture.weights, strict=True))
        told: list[Member] = []
        for name in dict.fromkeys([*preset.members, *bags]):
            bag = bags.get(name)
            if bag is None:
                told.append(Member(name))
                continue
            known = np.isfinite(bag.out_of_fold)
            score, answers = bag.out_of_fold[known], truth[known]
            auc = roc_auc(answers, from_link(score, "binary")) if self.target == "binary" else None
            loss = float(losses(score, answers, self.target).mean())
            told.append(Member(name, weight_of[name], len(bag.models), loss, auc, bag.seconds))
        return tuple(told)

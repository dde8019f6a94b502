"""Bags (Breiman, 1996) over folds: each model learns outside one fold and is stopped by it; the bag is their mean."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self, cast

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.folds import assign_folds
from ml.data.target import PREDICTION, Target, from_link, from_link_one, to_link, to_link_one, training_truth
from ml.encoding.columns import Row
from ml.estimator import Candidate, FitResources, TabularModel, requirements_of
from ml.serialization import class_name, numbered, read_numbered

MOST_SEEDS = 1000  # a bag holds fewer models


@dataclass(frozen=True)
class BaggedModel:
    """The mean of `models`: of log odds (binary) or numbers."""

    target: Target
    models: tuple[TabularModel, ...] = field(repr=False)
    stopped_by: str

    @property
    def requirements(self) -> tuple[str, ...]:
        """List the distributions that its models need to predict."""
        return requirements_of(self.models)

    def score(self, frame: pd.DataFrame) -> np.ndarray:
        """On the scale of the link, shape (rows,); errors as in the models' `predict`."""
        total = np.zeros(len(frame))
        for model in self.models:
            total += to_link(model.predict(frame)[PREDICTION[self.target]].to_numpy(), self.target)
        return np.asarray(total / len(self.models))

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Errors as in the models' `predict`."""
        answer = from_link(self.score(frame), self.target)
        return pd.DataFrame({PREDICTION[self.target]: answer}, index=frame.index)

    def score_row(self, values: Row) -> float:
        """One row's score on the scale of the link; errors as in `Columns.row`."""
        scores = [to_link_one(model.predict_row(values), self.target) for model in self.models]
        return sum(scores) / len(scores)

    def predict_row(self, values: Row) -> float:
        """The prediction of one row; errors as in `Columns.row`."""
        return from_link_one(self.score_row(values), self.target)

    def importance(self) -> pd.Series:
        """The mean importance over the models."""
        return mean_importance(self.models, np.ones(len(self.models)))

    def files(self) -> dict[str, bytes]:
        """The files of each model, numbered, and `bag.json`."""
        own = {
            "target": self.target,
            "models": [class_name(m) for m in self.models],
            "stopped_by": self.stopped_by,
        }
        return {"bag.json": json.dumps(own).encode(), **numbered(self.models)}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        own = json.loads(files["bag.json"])
        return cls(own["target"], read_numbered(own["models"], files), own["stopped_by"])


def mean_importance(models: Sequence[TabularModel], weights: np.ndarray) -> pd.Series:
    """The weighted mean of the models' importances by column, summing to 1 (all 0 where no column matters)."""
    shares = [model.importance() * weight for model, weight in zip(models, weights, strict=True)]
    total: pd.Series = pd.concat(shares, axis=1).sum(axis=1)
    return total / (total.sum() or 1.0)


def fold_classes(truth: np.ndarray, target: Target) -> np.ndarray:
    """What folds are stratified by: the classes, or nothing."""
    return truth if target == "binary" else np.zeros(len(truth))


def in_order(train: Dataset) -> Dataset:
    """The rows in an order that does not depend on the one they came in, but among rows of one unit."""
    return train.take(np.argsort(train.units, kind="stable"))


class GrowingBag:
    """The models so far, and what each said of the rows that it was not fitted on."""

    def __init__(self, member: Candidate, target: Target, rows: int) -> None:
        self.member, self.target = member, target
        self.models: list[TabularModel] = []
        self.seconds = 0.0
        self.cut_short = False
        self._total, self._count = np.zeros(rows), np.zeros(rows)

    @property
    def out_of_fold(self) -> np.ndarray:
        """The mean score, on the scale of the link, by models that did not learn from the row; NaN where none is."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self._total / self._count)

    def grow(self, train: Dataset, fold: np.ndarray, resources: FitResources, obliged: bool) -> bool:
        """Fit once outside each fold, if that fits into `resources.seconds`; else nothing is kept, and it says False.

        The first fold tells what all will cost. With `obliged` each fit gets its share of the time instead, and what
        could be fitted, at least one model, is kept.
        """
        begun = time.monotonic()
        folds = int(fold.max()) + 1
        found: list[tuple[TabularModel, np.ndarray, np.ndarray]] = []
        for k in range(folds):
            spent = time.monotonic() - begun
            left = resources.seconds - spent
            if obliged and found and left <= 0:
                break
            if not obliged and (left <= 0 or spent / max(k, 1) * (folds - k) > left):
                return False
            seed = self.seed(resources, len(self.models) + k)
            seconds = left / (folds - k) if obliged else left
            found.append(self._fit(train, fold == k, replace(resources, seed=seed, seconds=seconds)))
            cut_short = getattr(found[-1][0], "stopped_by", None) == "budget"
            if cut_short and not obliged:
                return False
            self.cut_short |= cut_short
        for model, inside, score in found:
            self.models.append(model)
            self._total[inside] += score
            self._count[inside] += 1
        self.cut_short |= len(found) < folds
        self.seconds += time.monotonic() - begun
        return True

    @staticmethod
    def seed(resources: FitResources, model: int) -> int:
        """The seed of the bag's model of that number."""
        return resources.seed * MOST_SEEDS + model

    def _fit(
        self, train: Dataset, inside: np.ndarray, resources: FitResources
    ) -> tuple[TabularModel, np.ndarray, np.ndarray]:
        """The rows inside the fold are the member's `valid`."""
        valid = train.take(np.flatnonzero(inside))
        learning = train.take(np.flatnonzero(~inside))
        model = cast(TabularModel, self.member.fit(learning, valid, resources))
        answer = model.predict(valid.frame)[PREDICTION[self.target]].to_numpy()
        return model, inside, to_link(answer, self.target)

    def model(self) -> BaggedModel:
        """The bag of all models so far."""
        return BaggedModel(self.target, tuple(self.models), "budget" if self.cut_short else "folds")


@dataclass(frozen=True)
class Bagged:
    """`member` fitted outside each of `folds` folds of `train`, `repeats` times over; `valid` is not looked at."""

    member: Candidate
    folds: int = 5
    repeats: int = 1
    target: Target = "binary"

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> BaggedModel:
        """Fit until all are fitted or a further repeat would take longer than what is left of the time.

        Raises ValueError as in `training_truth`, `assign_folds` and the member.
        """
        deadline = time.monotonic() + resources.seconds
        truth = training_truth(train.truth, self.target)
        train = in_order(train)
        classes = fold_classes(train.truth.to_numpy(), self.target)
        bag = GrowingBag(self.member, self.target, len(truth))
        for repeat in range(self.repeats):
            fold = assign_folds(train.units, classes, self.folds, resources.seed + repeat)
            left = replace(resources, seconds=deadline - time.monotonic())
            if not bag.grow(train, fold, left, obliged=repeat == 0):
                bag.cut_short = True
                break
        return bag.model()

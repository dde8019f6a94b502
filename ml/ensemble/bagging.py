"""Bagging (Breiman, 1996) over cross-validation folds: one model per fold, scored on it; predictions average."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self, cast

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.folds import assign_folds
from ml.data.target import (
    PREDICTION_COLUMN,
    Target,
    from_log_odds_scale,
    is_constant,
    to_log_odds_scale,
    validate_training_truth,
    value_from_log_odds_scale,
    value_to_log_odds_scale,
)
from ml.encoding.columns import RowValues
from ml.estimator import Candidate, FitResources, TabularModel, requirements_of
from ml.serialization import class_name, models_from_files, models_to_files

# Seeds reserved for the models of one bag, so that bags with consecutive seeds share none.
SEED_STRIDE = 1000


@dataclass(frozen=True)
class CrossValidatedBagModel:
    """The average of `models`, on the log-odds scale (binary) or of their values (numeric)."""

    target: Target
    models: tuple[TabularModel, ...] = field(repr=False)
    stopped_by: str

    @property
    def requirements(self) -> tuple[str, ...]:
        """List the distributions that its models need to predict."""
        return requirements_of(self.models)

    def score(self, frame: pd.DataFrame) -> np.ndarray:
        """Average the models' scores on the log-odds scale, shape (rows,); errors as in the models' `predict`."""
        total = np.zeros(len(frame))
        for model in self.models:
            prediction = model.predict(frame)[PREDICTION_COLUMN[self.target]].to_numpy()
            total += to_log_odds_scale(prediction, self.target)
        return np.asarray(total / len(self.models))

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict the rows of `frame`; errors as in the models' `predict`."""
        prediction = from_log_odds_scale(self.score(frame), self.target)
        return pd.DataFrame({PREDICTION_COLUMN[self.target]: prediction}, index=frame.index)

    def score_row(self, values: RowValues) -> float:
        """Compute `score` for one row; errors as in `FeatureColumns.parse_row`."""
        scores = [value_to_log_odds_scale(model.predict_row(values), self.target) for model in self.models]
        return sum(scores) / len(scores)

    def predict_row(self, values: RowValues) -> float:
        """Predict one row; errors as in `FeatureColumns.parse_row`."""
        return value_from_log_odds_scale(self.score_row(values), self.target)

    def importance(self) -> pd.Series:
        """Average the importance over the models, by column."""
        return mean_importance(self.models, np.ones(len(self.models)))

    def files(self) -> dict[str, bytes]:
        """Serialise the models to numbered files, and the rest to `bag.json`."""
        state = {
            "target": self.target,
            "models": [class_name(m) for m in self.models],
            "stopped_by": self.stopped_by,
        }
        return {"bag.json": json.dumps(state).encode(), **models_to_files(self.models)}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load a bag that `files` serialised."""
        state = json.loads(files["bag.json"])
        return cls(state["target"], models_from_files(state["models"], files), state["stopped_by"])


def mean_importance(models: Sequence[TabularModel], weights: np.ndarray) -> pd.Series:
    """Average the models' importances by column, weighted, summing to 1 (all 0 if no column matters)."""
    shares = [model.importance() * weight for model, weight in zip(models, weights, strict=True)]
    total: pd.Series = pd.concat(shares, axis=1).sum(axis=1)
    return total / (total.sum() or 1.0)


def stratification_labels(truth: np.ndarray, target: Target) -> np.ndarray:
    """Return the labels that folds are stratified by, shape (rows,): the classes, or one constant (numeric)."""
    return truth if target == "binary" else np.zeros(len(truth))


def sort_by_unit(train: Dataset) -> Dataset:
    """Sort the rows by unit, so that a fit does not depend on the order of units; rows of a unit keep theirs."""
    return train.take(np.argsort(train.units, kind="stable"))


class BagBuilder:
    """A bag under construction: the models fitted so far and their out-of-fold scores.

    `rows` is the number of training rows, `timed_out` whether a fit was skipped or cut short by the time limit,
    `is_constant` whether each model predicts the same for every row of its fold.
    """

    def __init__(self, base_candidate: Candidate, target: Target, rows: int) -> None:
        self.base_candidate, self.target = base_candidate, target
        self.models: list[TabularModel] = []
        self.seconds = 0.0
        self.timed_out, self.is_constant = False, True
        self._score_sums, self._score_counts = np.zeros(rows), np.zeros(rows)

    @property
    def out_of_fold_scores(self) -> np.ndarray:
        """Average, per row, the scores of the models not trained on it, on the log-odds scale; NaN without any."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self._score_sums / self._score_counts)

    def fit_next_repeat(
        self, train: Dataset, fold: np.ndarray, resources: FitResources, required: bool
    ) -> bool:
        """Fit one model per fold if that fits into `resources.seconds`; return whether the models were kept.

        The seconds of the finished folds extrapolate to all folds; a repeat that would exceed the limit is discarded.
        If `required`, each fit gets an equal share of the remaining time instead, and all models that could be fitted
        are kept, at least one.
        """
        deadline = resources.deadline()
        folds = int(fold.max()) + 1
        fits: list[tuple[TabularModel, np.ndarray, np.ndarray]] = []
        for k in range(folds):
            elapsed, remaining = deadline.elapsed, deadline.remaining
            if required and fits and remaining <= 0:
                break
            if not required and (remaining <= 0 or elapsed / max(k, 1) * (folds - k) > remaining):
                return False
            seed = self.model_seed(resources, len(self.models) + k)
            seconds = remaining / (folds - k) if required else remaining
            fits.append(self._fit(train, fold == k, replace(resources, seed=seed, seconds=seconds)))
            timed_out = getattr(fits[-1][0], "stopped_by", None) == "budget"
            if timed_out and not required:
                return False
            self.timed_out |= timed_out
        for model, in_fold, score in fits:
            self.models.append(model)
            self.is_constant &= is_constant(pd.DataFrame(score))
            self._score_sums[in_fold] += score
            self._score_counts[in_fold] += 1
        self.timed_out |= len(fits) < folds
        self.seconds += deadline.elapsed
        return True

    @staticmethod
    def model_seed(resources: FitResources, index: int) -> int:
        """Return the seed of the model at position `index` of the bag."""
        return resources.seed * SEED_STRIDE + index

    def _fit(
        self, train: Dataset, in_fold: np.ndarray, resources: FitResources
    ) -> tuple[TabularModel, np.ndarray, np.ndarray]:
        scored = train.take(np.flatnonzero(in_fold))
        fit_rows = train.take(np.flatnonzero(~in_fold))
        # The candidate takes the rows that stop it out of those that it is fitted to.
        model = cast(TabularModel, self.base_candidate.fit(fit_rows, fit_rows.take(np.arange(0)), resources))
        prediction = model.predict(scored.frame)[PREDICTION_COLUMN[self.target]].to_numpy()
        return model, in_fold, to_log_odds_scale(prediction, self.target)

    def build(self) -> CrossValidatedBagModel:
        """Return the bag of all models fitted so far."""
        stopped_by = "budget" if self.timed_out else "folds"
        return CrossValidatedBagModel(self.target, tuple(self.models), stopped_by)


@dataclass(frozen=True)
class CrossValidatedBag:
    """Fit `base_candidate` once per fold of `train`, for `repeats` different assignments to `folds` folds.

    The validation dataset is ignored. A fold scores its own model and has no part in the fit, not even in when it
    stops.
    """

    base_candidate: Candidate
    folds: int = 5
    repeats: int = 1
    target: Target = "binary"

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> CrossValidatedBagModel:
        """Fit repeats until all are done or the next would exceed the remaining time.

        Raises ValueError as in `validate_training_truth`, `assign_folds` and `base_candidate`.
        """
        deadline = resources.deadline()
        truth = validate_training_truth(train.truth, self.target)
        train = sort_by_unit(train)
        classes = stratification_labels(train.truth.to_numpy(), self.target)
        bag = BagBuilder(self.base_candidate, self.target, len(truth))
        for repeat in range(self.repeats):
            fold = assign_folds(train.units, classes, self.folds, resources.seed + repeat)
            remaining = replace(resources, seconds=deadline.remaining)
            if not bag.fit_next_repeat(train, fold, remaining, required=repeat == 0):
                bag.timed_out = True
                break
        return bag.build()

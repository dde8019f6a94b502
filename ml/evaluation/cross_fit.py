"""Compare candidates on small tables: predict each row by a model that was fitted to the rows of other folds."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from ml.data.dataset import Dataset
from ml.data.folds import assign_folds, max_folds
from ml.data.target import PREDICTION_COLUMN, is_constant, to_log_odds_scale
from ml.estimator import Candidate, FitResources

FOLDS = 5
# With more rows, a fifth of them says enough about each candidate, and five more fits cost too much.
MAX_ROWS = 5000
# Each class must be in every fold of a fold, as an ensemble makes folds too.
MIN_FOLDS = 2 * FOLDS
# Keeps these folds apart from those that candidates make with the same seed.
SEED_OFFSET = 1_000_000


@dataclass(frozen=True)
class OutOfFold:
    """The predictions of all rows, in their order, and whether the time limit cut a fit short.

    `is_constant` says that each fit predicts the same for every row of its fold.
    """

    predictions: pd.DataFrame
    timed_out: bool
    is_constant: bool = False


def can_cross_fit(rows: Dataset) -> bool:
    """Tell whether a table is small, has a number or two classes to predict, and units enough, of both classes."""
    if not 0 < len(rows.truth) <= MAX_ROWS or rows.classes or rows.truth.dtype == object:
        return False
    truth = rows.truth.to_numpy(np.float64)
    return max_folds(rows.units, _strata(truth)) >= MIN_FOLDS


def predict_out_of_fold(candidate: Candidate, rows: Dataset, resources: FitResources) -> OutOfFold:
    """Fit the candidate to the rows of all folds but one, for each of `FOLDS` folds; predict the rows of that one.

    Units are not divided, folds are stratified by classes, and the same for all candidates of a seed. Each fit may take
    `resources.seconds`. Log odds are shifted by the difference of the base rates of all rows and of those fitted to:
    otherwise rows of a fold with many positives, whose model has seen few, would rank below others.
    """
    truth = rows.truth.to_numpy(np.float64)
    fold = assign_folds(rows.units, _strata(truth), FOLDS, resources.seed + SEED_OFFSET)
    predictions, timed_out, constant = np.empty(len(truth)), False, True
    column = PREDICTION_COLUMN["binary" if _is_binary(truth) else "numeric"]
    for k in range(FOLDS):
        part = rows.take(np.flatnonzero(fold != k))
        model = candidate.fit(part, part.take(np.arange(0)), resources)
        timed_out |= getattr(model, "stopped_by", None) == "budget"
        found = model.predict(rows.frame[fold == k])[[column]]
        constant &= is_constant(found)
        predicted = found[column].to_numpy()
        if _is_binary(truth):
            shift = special.logit(truth.mean()) - special.logit(part.truth.mean())
            predicted = special.expit(to_log_odds_scale(predicted, "binary") + shift)
        predictions[fold == k] = predicted
    return OutOfFold(pd.DataFrame({column: predictions}, index=rows.frame.index), timed_out, constant)


def _is_binary(truth: np.ndarray) -> bool:
    return bool(np.isin(truth, (0.0, 1.0)).all())


def _strata(truth: np.ndarray) -> np.ndarray:
    """Return the classes within which rows are divided; numbers are all of one."""
    return truth if _is_binary(truth) else np.zeros(len(truth))

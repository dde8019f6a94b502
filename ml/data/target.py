"""Targets, and the scale on which predictions are averaged: log odds of probabilities, numbers as they are."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray
from scipy import special

from ml.contract.roles import TargetKind

if TYPE_CHECKING:
    from ml.data.dataset import Dataset

Target = TargetKind
ArrayLike = np.ndarray | ExtensionArray


# Column of a tabular model's predictions, where there is one.
PREDICTION_COLUMN: Mapping[Target, str] = {"binary": "probability", "numeric": "prediction"}
# Begin of the name of a column with the probabilities of one of several classes; the label follows.
CLASS_PROBABILITY = "probability of "

# Probabilities are clipped to this distance from 0 and 1, where log odds are infinite.
MIN_PROBABILITY = 1e-6


def class_columns(classes: Sequence[str]) -> list[str]:
    """Return the columns of predictions of several classes, in the order of the classes."""
    return [f"{CLASS_PROBABILITY}{label}" for label in classes]


def to_log_odds_scale(prediction: np.ndarray, target: Target) -> np.ndarray:
    """Convert probabilities to log odds (binary); return numbers unchanged."""
    if target == "numeric":
        return prediction
    return np.asarray(special.logit(np.clip(prediction, MIN_PROBABILITY, 1.0 - MIN_PROBABILITY)))


def from_log_odds_scale(score: np.ndarray, target: Target) -> np.ndarray:
    """Convert log odds to probabilities (binary); return numbers unchanged."""
    return score if target == "numeric" else np.asarray(special.expit(score))


def value_to_log_odds_scale(prediction: float, target: Target) -> float:
    """Convert one prediction as `to_log_odds_scale` does."""
    if target == "numeric":
        return prediction
    clipped = min(max(prediction, MIN_PROBABILITY), 1.0 - MIN_PROBABILITY)
    return math.log(clipped / (1.0 - clipped))


def value_from_log_odds_scale(score: float, target: Target) -> float:
    """Convert one score as `from_log_odds_scale` does."""
    return score if target == "numeric" else float(special.expit(score))


def is_constant(predictions: pd.DataFrame) -> bool:
    """Tell whether a model predicts the same for every one of several rows: whatever the row, it knows one answer.

    Predictions other than numbers, such as lists of items, are not compared.
    """
    if len(predictions) < 2 or not all(map(pd.api.types.is_numeric_dtype, predictions.dtypes)):
        return False
    values = predictions.to_numpy(np.float64)
    # Rounding may depend on the position of a row.
    return bool(np.allclose(values, values[0], rtol=1e-12, atol=0.0))


def row_losses(score: np.ndarray, truth: np.ndarray, target: Target) -> np.ndarray:
    """Compute the log loss in nats of log odds (binary) or the squared error (numeric); shapes broadcast."""
    if target == "numeric":
        return np.asarray((score - truth) ** 2)
    return np.asarray(np.logaddexp(0.0, score) - truth * score)


def class_truth(dataset: "Dataset") -> np.ndarray:
    """Return the positions of the classes of a dataset's rows as int64, shape (rows,).

    Raises ValueError if there are no rows, or other values than positions of `dataset.classes`.
    """
    values = dataset.truth.to_numpy(np.float64, na_value=np.nan)
    if not len(values) or not np.isin(values, np.arange(len(dataset.classes))).all():
        raise ValueError(
            f"expected rows with truth from 0 to {len(dataset.classes) - 1}, got {len(values)} rows, some with other "
            "values or none at all; check the labels of the contract"
        )
    return values.astype(np.int64)


def mean_class_loss(probability: np.ndarray, truth: np.ndarray) -> float:
    """Compute the mean log loss in nats of class probabilities (rows, classes) for class positions (rows,)."""
    of_truth = probability[np.arange(len(truth)), truth]
    return float(-np.log(np.clip(of_truth, MIN_PROBABILITY, 1.0)).mean())


def validate_truth(truth: pd.Series, target: Target) -> np.ndarray:
    """Return the truth of a dataset as float64, shape (rows,).

    Raises ValueError if it is empty, has missing or infinite values, or (binary) values other than 0 and 1.
    """
    values = truth.to_numpy(np.float64, na_value=np.nan)
    if not len(values):
        raise ValueError("expected at least one row of truth, got none; check the split")
    if not np.isfinite(values).all():
        invalid = int((~np.isfinite(values)).sum())
        raise ValueError(
            f"expected finite truth, got {invalid} missing or infinite values; drop these rows first"
        )
    if target == "binary" and not np.isin(values, (0.0, 1.0)).all():
        raise ValueError(
            f"expected truth of 0 and 1 for a binary target, got values from {values.min():g} to "
            f"{values.max():g}; map the classes to 0 and 1, or use target='numeric'"
        )
    return values


def validate_training_truth(truth: pd.Series, target: Target) -> np.ndarray:
    """Return the truth as `validate_truth` does; raises ValueError also for a binary truth with one class only."""
    values = validate_truth(truth, target)
    if target == "binary" and values.min() == values.max():
        raise ValueError(
            f"expected both classes in the training set, got {len(values)} rows that are all {values[0]:g}; "
            "use more data or a stratified split (only Constant can be fitted to a single class)"
        )
    return values

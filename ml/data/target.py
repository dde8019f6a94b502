"""The scale on which answers are averaged: log odds of probabilities, numbers as they are."""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray
from scipy import special

Target = Literal["binary", "numeric"]


ArrayLike = np.ndarray | ExtensionArray


# The column that a tabular model's predictions stand in.
PREDICTION: Mapping[Target, str] = {"binary": "probability", "numeric": "value"}

# Probabilities are kept this far from 0 and 1, where the log odds are infinite.
EDGE = 1e-6


def to_link(answer: np.ndarray, target: Target) -> np.ndarray:
    """Log odds (binary) or the numbers themselves."""
    if target == "numeric":
        return answer
    return np.asarray(special.logit(np.clip(answer, EDGE, 1.0 - EDGE)))


def from_link(score: np.ndarray, target: Target) -> np.ndarray:
    """The way back."""
    return score if target == "numeric" else np.asarray(special.expit(score))


def to_link_one(answer: float, target: Target) -> float:
    """As `to_link`, of one answer."""
    if target == "numeric":
        return answer
    kept = min(max(answer, EDGE), 1.0 - EDGE)
    return math.log(kept / (1.0 - kept))


def from_link_one(score: float, target: Target) -> float:
    """As `from_link`, of one score."""
    return score if target == "numeric" else float(special.expit(score))


def losses(score: np.ndarray, truth: np.ndarray, target: Target) -> np.ndarray:
    """Log loss in nats (binary) or squared error of each score on the scale of the link; shapes broadcast."""
    if target == "numeric":
        return np.asarray((score - truth) ** 2)
    return np.asarray(np.logaddexp(0.0, score) - truth * score)


def checked_truth(truth: pd.Series, target: Target) -> np.ndarray:
    """The truth of a part as float64, shape (rows,).

    Raises ValueError where it is empty, has missing or infinite values, or (binary) values besides 0 and 1.
    """
    values = truth.to_numpy(np.float64, na_value=np.nan)
    if not len(values):
        raise ValueError("expected at least one row of truth, got none; check the split")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise ValueError(
            f"expected finite truth, got {bad} missing or infinite values; drop these rows first"
        )
    if target == "binary" and not np.isin(values, (0.0, 1.0)).all():
        raise ValueError(
            f"expected truth of 0 and 1 for a binary target, got values from {values.min():g} to "
            f"{values.max():g}; map the classes to 0 and 1, or use target='numeric'"
        )
    return values


def training_truth(truth: pd.Series, target: Target) -> np.ndarray:
    """As `checked_truth`, of rows to learn from: raises ValueError also where a binary truth has one class only."""
    values = checked_truth(truth, target)
    if target == "binary" and values.min() == values.max():
        raise ValueError(
            f"expected both classes in the training part, got {len(values)} rows that are all {values[0]:g}; "
            "use more data or a stratified split (only Prior can be fitted to a single class)"
        )
    return values

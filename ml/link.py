"""The scale on which answers are averaged: log odds of probabilities, numbers as they are."""

import math

import numpy as np
from scipy import special

from ml.encode import Target

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

"""Softmax with a temperature, chosen on rows that were not trained on (Guo et al., 2017)."""

import numpy as np
from scipy import special

# Bounds of the inverse of the temperature.
MIN_SCALE, MAX_SCALE = 0.01, 100.0


def softmax(scores: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Turn scores (rows, classes) times `scale`, the inverse temperature, into probabilities, float64."""
    return np.asarray(special.softmax(scale * scores.astype(np.float64), axis=1))


def log_loss(scores: np.ndarray, codes: np.ndarray, scale: float = 1.0) -> float:
    """Compute the mean log loss in nats of the softmax of scores times `scale`."""
    logs = special.log_softmax(scale * scores.astype(np.float64), axis=1)
    return float(-logs[np.arange(len(codes)), codes].mean())


def fit_scale(scores: np.ndarray, codes: np.ndarray) -> float:
    """Return the scale with the lowest log loss; 1 without rows."""
    if not len(codes):
        return 1.0
    # Imported where a model is fitted: a model that predicts must not wait for it.
    from scipy import optimize

    found = optimize.minimize_scalar(
        lambda log_scale: log_loss(scores, codes, float(np.exp(log_scale))),
        bounds=(np.log(MIN_SCALE), np.log(MAX_SCALE)),
        method="bounded",
    )
    return float(np.exp(found.x))

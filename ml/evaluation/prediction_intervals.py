"""Intervals of single predictions of a number, by split conformal prediction (Vovk, Gammerman and Shafer, 2005).

The half width is a quantile of the absolute errors of rows that the model was not fitted to. A new row of the same
process is then inside of its interval with at least the wanted probability, whatever the model and the distribution.
"""

import math

import numpy as np


def half_width(errors: np.ndarray, coverage: float) -> float:
    """Return half the width of intervals that cover a new row with the probability `coverage`.

    It is the ceil((n + 1) coverage)-th smallest of the n absolute `errors` (rows,); the largest where rows are too few
    for that.
    """
    ordered = np.sort(np.abs(errors))
    # Products such as 20 x 0.95 must not be rounded up to the next row.
    rank = math.ceil((len(ordered) + 1) * coverage - 1e-9)
    return float(ordered[min(rank, len(ordered)) - 1])


def covered(truth: np.ndarray, prediction: np.ndarray, half: float) -> np.ndarray:
    """Return 1.0 for the rows whose truth is inside of the interval around the prediction, else 0.0."""
    return np.asarray((np.abs(truth - prediction) <= half).astype(np.float64))

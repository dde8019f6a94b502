"""Weights of an average of probabilities, chosen on rows that no member was fitted to."""

from collections.abc import Sequence

import numpy as np

# The rows that equal weights count as, so that weights from few rows stay near them.
EQUAL_WEIGHT_ROWS = 100.0
# Steps of expectation maximisation; the loss is convex, and the steps converge fast.
STEPS = 200


def fit_weights(parts: Sequence[np.ndarray], codes: np.ndarray) -> tuple[float, ...]:
    """Return weights of members, summing to 1, with the lowest log loss of the average, shrunk towards equal weights.

    `parts` are their probabilities, each (rows, classes); `codes` the positions of the true classes. Computed by
    expectation maximisation (Dempster, Laird and Rubin, 1977) of a mixture with a Dirichlet prior.
    """
    equal = np.full(len(parts), 1.0 / len(parts))
    likelihoods = np.column_stack([part[np.arange(len(codes)), codes] for part in parts])
    weights = equal
    for _ in range(STEPS):
        shares = np.maximum(weights * likelihoods, 1e-300)
        shares /= shares.sum(axis=1, keepdims=True)
        weights = (shares.sum(axis=0) + EQUAL_WEIGHT_ROWS * equal) / (len(codes) + EQUAL_WEIGHT_ROWS)
    return tuple(weights.tolist())

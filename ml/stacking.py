"""Weights of the members of an ensemble: stacked regressions (Breiman, 1996) drawn to equal weights."""

import numpy as np
from scipy import optimize, special

from ml.encode import Target
from ml.link import losses

# The pull to equal weights is as strong as the evidence of about so many rows. Of 10 to 1000, 30 was best on heart,
# pima and german credit in log loss and calibration, and the greedy selection of Caruana et al. (2004) was worse.
PULL = 30.0
# Members of less than this share of all weight are not worth their cost.
LEAST = 0.01


def stacked_weights(scores: np.ndarray, truth: np.ndarray, target: Target) -> np.ndarray:
    """Weights of the members, shape (members,), none below 0; they need not sum to 1.

    `scores` (members, rows) are out-of-fold and on the scale of the link, on which they are mixed; `truth` is (rows,).
    The weights minimise the mean log loss (binary) or squared error in variances of the truth (numeric), plus
    `PULL` / rows times their squared distance from equal weights, a convex function. A sum that is not 1 puts right
    members that are all too timid or too extreme.
    """
    from threadpoolctl import threadpool_limits

    members, rows = scores.shape
    equal = np.full(members, 1.0 / members)
    scale = 1.0 if target == "binary" else float(truth.var()) or 1.0

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        score, away = weights @ scores, weights - equal
        slope = special.expit(score) - truth if target == "binary" else 2.0 * (score - truth)
        loss = float(losses(score, truth, target).mean()) / scale
        return loss + PULL / rows * float(away @ away), scores @ slope / (
            rows * scale
        ) + 2 * PULL / rows * away

    # Sums of many rows hang on how many threads share them.
    with threadpool_limits(1):
        found = optimize.minimize(
            objective, equal, jac=True, bounds=[(0.0, None)] * members, method="L-BFGS-B"
        ).x
    return np.where(found < LEAST * found.sum(), 0.0, found)

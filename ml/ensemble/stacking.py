"""Weights of the members of an ensemble: stacked regressions (Breiman, 1996) drawn to equal weights."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from ml.data.target import Target, losses, to_link

# The pull to equal weights, in rows. On heart, pima and german credit 30 to 100 were the best of 10 to 1000 in log
# loss, and all of these better than the greedy selection of Caruana et al. (2004).
PULL = 50.0
# Members of less than this share of all weight are not worth their cost.
LEAST = 0.01


@dataclass(frozen=True)
class Mixture:
    """`base` plus the weighted sum of what each score is above it. Weights need not sum to 1: so members that are
    all too timid or too extreme are put right, around the score that is right for all rows together.
    """

    weights: tuple[float, ...]
    base: float

    def __call__(self, scores: Iterable[np.ndarray]) -> np.ndarray:
        """The mixed score, of one array (rows,) for each member."""
        total = np.array(self.base)
        for score, weight in zip(scores, self.weights, strict=True):
            total = total + weight * (score - self.base)
        return np.asarray(total)


def stack(scores: np.ndarray, truth: np.ndarray, target: Target) -> Mixture:
    """The best mixture of members, no weight below 0.

    `scores` (members, rows) are out-of-fold and on the scale of the link, on which they are mixed; `truth` is (rows,).
    The weights minimise the mean log loss (binary) or squared error in variances of the truth (numeric), plus
    `PULL` / rows times their squared distance from equal weights, a convex function.
    """
    from threadpoolctl import threadpool_limits

    members, rows = scores.shape
    equal = np.full(members, 1.0 / members)
    scale = 1.0 if target == "binary" else float(truth.var()) or 1.0
    base = float(to_link(np.array([truth.mean()]), target)[0])
    above = scores - base

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        score, away = base + weights @ above, weights - equal
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
    kept = np.where(found < LEAST * found.sum(), 0.0, found)
    return Mixture(tuple(kept.tolist()), base)

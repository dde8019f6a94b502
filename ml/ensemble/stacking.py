"""Stacking weights of ensemble members: stacked regressions (Breiman, 1996), shrunk to equal weights."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import special

from ml.data.target import Target, row_losses, to_log_odds_scale

# Shrinkage to equal weights, as strong as this number of rows. On heart, pima and german credit 30 to 100 had the best
# log loss of 10 to 1000, all of them better than the greedy selection of Caruana et al. (2004).
SHRINKAGE_ROWS = 50.0
# Members with less than this share of the total weight are dropped: they cost more time than they gain.
MIN_WEIGHT_SHARE = 0.01


@dataclass(frozen=True)
class StackingWeights:
    """A linear combination of scores around `base_score`, the constant score that fits all rows together.

    Weights need not sum to 1, so that they also correct members whose scores are all too close to `base_score` or too
    far from it.
    """

    weights: tuple[float, ...]
    base_score: float

    def __call__(self, scores: Iterable[np.ndarray]) -> np.ndarray:
        """Combine the members' scores, one array (rows,) each: base + sum of weight * (score - base)."""
        total = np.array(self.base_score)
        for score, weight in zip(scores, self.weights, strict=True):
            total = total + weight * (score - self.base_score)
        return np.asarray(total)


def fit_stacking_weights(scores: np.ndarray, truth: np.ndarray, target: Target) -> StackingWeights:
    """Fit the non-negative weights with the lowest penalised loss.

    `scores` (members, rows) are out-of-fold and on the log-odds scale; `truth` is (rows,). The loss is the mean log
    loss (binary) or the mean squared error divided by the variance of `truth` (numeric). The penalty is
    `SHRINKAGE_ROWS` / rows times the squared distance from equal weights; the sum is a convex function.
    """
    from threadpoolctl import threadpool_limits

    members, rows = scores.shape
    equal = np.full(members, 1.0 / members)
    scale = 1.0 if target == "binary" else float(truth.var()) or 1.0
    base = float(to_log_odds_scale(np.array([truth.mean()]), target)[0])
    centred = scores - base

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        score, deviation = base + weights @ centred, weights - equal
        slope = special.expit(score) - truth if target == "binary" else 2.0 * (score - truth)
        loss = float(row_losses(score, truth, target).mean()) / scale
        return loss + SHRINKAGE_ROWS / rows * float(deviation @ deviation), scores @ slope / (
            rows * scale
        ) + 2 * SHRINKAGE_ROWS / rows * deviation

    # Imported where a model is fitted: a model that predicts must not wait for it.
    from scipy import optimize

    # With several threads, the rounding of sums would depend on their number.
    with threadpool_limits(1):
        weights = optimize.minimize(
            objective, equal, jac=True, bounds=[(0.0, None)] * members, method="L-BFGS-B"
        ).x
    kept = np.where(weights < MIN_WEIGHT_SHARE * weights.sum(), 0.0, weights)
    return StackingWeights(tuple(kept.tolist()), base)

"""Weights of the members of an ensemble, by greedy selection on out-of-fold scores (Caruana et al., 2004)."""

import numpy as np

from ml.encode import Target
from ml.link import losses


def greedy_weights(
    scores: np.ndarray, truth: np.ndarray, fold: np.ndarray, target: Target, steps: int = 25
) -> np.ndarray:
    """Weights of the members, shape (members,), none below 0, summing to 1.

    `scores` (members, rows) are out-of-fold and on the scale of the link, on which they are mixed; `truth` and `fold`
    are (rows,). The selection is made once without each of the folds, and the mean of its weights is taken, so that
    no few rows decide: an own form of the bagged selection of the same paper.
    """
    weights = [_selected(scores[:, fold != k], truth[fold != k], target, steps) for k in np.unique(fold)]
    return np.asarray(np.mean(weights, axis=0))


def _selected(scores: np.ndarray, truth: np.ndarray, target: Target, steps: int) -> np.ndarray:
    """Members are added with replacement, each time the one that lowers the mean loss of the mixture most.

    The weights are those of the best mixture on the way, which begins with the best single member.
    """
    counts, total = np.zeros(len(scores)), np.zeros(scores.shape[1])
    best, best_counts = np.inf, counts
    for step in range(1, steps + 1):
        means = [float(losses((total + score) / step, truth, target).mean()) for score in scores]
        added = int(np.argmin(means))
        counts = counts + np.eye(len(scores))[added]
        total = total + scores[added]
        if means[added] < best:
            best, best_counts = means[added], counts
    return np.asarray(best_counts / best_counts.sum())

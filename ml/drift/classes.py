"""The shares of several classes, and how far those of another sample are from them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import chi2

from ml.contract.schema import Contract
from ml.drift.limits import Noise

Floats = Sequence[float] | np.ndarray
# Simulated pairs of samples.
DRAWS = 400
MIN_ROWS_OF_CLASS = 5.0


def class_shares(truth: np.ndarray, classes: int) -> tuple[float, ...]:
    """Return the share of each class by its position, and last that of rows without one (NaN); float64."""
    positions = np.where(np.isnan(truth), classes, truth).astype(np.int64)
    counts = np.bincount(positions, minlength=classes + 1)
    return tuple(map(float, counts / max(len(truth), 1)))


def label_columns(
    features: pd.DataFrame, truth: pd.Series, contract: Contract
) -> tuple[pd.DataFrame, pd.Series]:
    """Return the features and the target whose relation is compared: of several classes, whether the position is odd.

    Labels that were moved by one position, or exchanged at random, have another relation to the features. Rows without
    a class are left out.
    """
    if not contract.roles.labels:
        return features, truth
    known = truth.notna().to_numpy()
    return features[known], truth[known] % 2


def pool_rare(before: Sequence[float], after: Sequence[float], noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """Return both vectors of shares with the classes as one that have fewer than 5 rows in the smaller sample."""
    first, second = np.array(before), np.array(after)
    sizes = max(noise.reference_units, 1), max(noise.batch_units, 1)
    rare = (first * sizes[0] + second * sizes[1]) / sum(sizes) * min(sizes) < MIN_ROWS_OF_CLASS
    pooled = (np.append(shares[~rare], shares[rare].sum()) for shares in (first, second))
    return next(pooled), next(pooled)


def share_angle(before: Floats, after: Floats) -> float:
    """Return twice the angle between the square roots of two vectors of shares: of two classes, Cohen's h.

    A. Bhattacharyya (1946), Sankhya 7. Like Cohen's h, it has a variance that does not depend on the shares.
    """
    return float(2.0 * np.arccos(np.clip(np.sqrt(np.array(before) * np.array(after)).sum(), 0.0, 1.0)))


def share_angle_noise(before: Floats, after: Floats, noise: Noise) -> float:
    """Return the angle that two samples of the same shares exceed with the level.

    Its square is about a multiple of a chi-squared variable; both parameters are those of the mean and the variance of
    simulated pairs of samples, as classes with few rows vary more than the asymptotic variance says.
    """
    sizes = max(noise.reference_units, 1), max(noise.batch_units, 1)
    shares = (np.array(before) * sizes[0] + np.array(after) * sizes[1]) / sum(sizes)
    shares = shares[shares > 0.0]
    if len(shares) < 2:
        return 0.0
    rng = np.random.default_rng(0)
    first, second = (np.sqrt(rng.multinomial(size, shares / shares.sum(), DRAWS) / size) for size in sizes)
    squares = (2.0 * np.arccos(np.clip((first * second).sum(axis=1), 0.0, 1.0))) ** 2
    scale = squares.var() / (2.0 * squares.mean())
    return float(np.sqrt(scale * chi2.isf(noise.level, squares.mean() / scale)))

"""Relations between numeric columns: rank correlations of a sample, and where another sample has others."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ml.drift.limits import Noise, correlation_noise

MAX_COLUMNS = 40
MAX_ROWS = 20_000
# Fisher's z is infinite at correlations of 1.
MAX_CORRELATION = 0.999


@dataclass(frozen=True)
class RelationSummary:
    """Spearman's correlations of the columns, by row above the diagonal: (0, 1), (0, 2), ..., (1, 2), ..."""

    columns: tuple[str, ...]
    correlations: tuple[float, ...]
    rows: int

    def matrix(self) -> np.ndarray:
        """Return the symmetric matrix, with zeros on the diagonal."""
        matrix = np.zeros((len(self.columns), len(self.columns)))
        matrix[np.triu_indices(len(self.columns), 1)] = self.correlations
        return matrix + matrix.T


def summarize_relations(frame: pd.DataFrame) -> RelationSummary:
    """Summarise the numeric columns of a frame; a missing value has the mean rank of its column."""
    numbers = frame.iloc[:MAX_ROWS, :MAX_COLUMNS]
    names = tuple(map(str, numbers.columns))
    if len(names) < 2 or len(numbers) < 4:
        return RelationSummary((), (), len(numbers))
    ranks = rankdata(numbers.to_numpy(np.float64), axis=0, nan_policy="omit")
    ranks = ranks - np.nanmean(ranks, axis=0) if len(ranks) else ranks
    ranks = np.nan_to_num(ranks)
    norms = np.sqrt((ranks**2).sum(axis=0))
    matrix = ranks.T @ ranks / np.maximum(np.outer(norms, norms), 1e-12)
    correlations = matrix[np.triu_indices(len(names), 1)]
    return RelationSummary(names, tuple(float(value) for value in correlations.round(4)), len(numbers))


@dataclass(frozen=True)
class ChangedRelations:
    """The largest change of a correlation of each column, and its lower limit, in the order of `columns`.

    `swaps` are pairs of columns whose exchange explains the changes.
    """

    columns: tuple[str, ...]
    effects: np.ndarray
    lows: np.ndarray
    swaps: tuple[tuple[str, str], ...]


def changed_relations(
    reference: RelationSummary, batch: RelationSummary, noise: Noise, bound: float
) -> ChangedRelations:
    """Compare the correlations of the columns that both samples have."""
    shared = [name for name in reference.columns if name in batch.columns]
    before = _submatrix(reference, shared)
    after = _submatrix(batch, shared)
    limit = correlation_noise(noise)
    effects, lows = np.abs(after - before), _difference_lows(before, after, limit)
    if not shared:
        return ChangedRelations((), np.empty(0), np.empty(0), ())
    swaps = _find_swaps(before, after, lows > bound, limit)
    largest = lows.argmax(axis=1), np.arange(len(shared))
    return ChangedRelations(
        tuple(shared),
        effects[largest[1], largest[0]],
        lows.max(axis=1),
        tuple((shared[a], shared[b]) for a, b in swaps),
    )


def _submatrix(summary: RelationSummary, columns: list[str]) -> np.ndarray:
    positions = [summary.columns.index(name) for name in columns]
    return summary.matrix()[np.ix_(positions, positions)]


def _difference_lows(before: np.ndarray, after: np.ndarray, limit: float) -> np.ndarray:
    """Return the lower limits of the differences: Fisher's z of one correlation, moved by chance towards the other."""
    z_before, z_after = (np.arctanh(np.clip(m, -MAX_CORRELATION, MAX_CORRELATION)) for m in (before, after))
    moved = np.clip(z_after - z_before, -limit, limit)
    return np.asarray(np.abs(after - np.tanh(z_before + moved)))


def _find_swaps(
    before: np.ndarray, after: np.ndarray, is_changed: np.ndarray, limit: float
) -> list[tuple[int, int]]:
    """Return pairs of changed columns whose exchange leaves no change beyond chance in both."""
    swaps = []
    candidates = np.flatnonzero(is_changed.any(axis=1))
    for i, a in enumerate(candidates):
        for b in candidates[i + 1 :]:
            order = np.arange(len(before))
            order[[a, b]] = b, a
            restored = after[np.ix_(order, order)]
            differences = np.arctanh(np.clip(restored, -MAX_CORRELATION, MAX_CORRELATION)) - np.arctanh(
                np.clip(before, -MAX_CORRELATION, MAX_CORRELATION)
            )
            if (np.abs(differences[[a, b]]) <= limit).all():
                swaps.append((int(a), int(b)))
    return swaps

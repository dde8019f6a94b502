"""Pairs of columns that may determine a target together: by the cells of their codes, or by a weighted sum."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.data.column_codes import column_codes

# A mask of the rows that a division counts as positive.
Division = np.ndarray
# Cells of a pair should have this many rows, so that chance does not divide them well.
ROWS_OF_CELL = 10
MAX_PAIR_CODES = 16
# Candidates that are examined further, of each kind.
MAX_CANDIDATES = 20


@dataclass(frozen=True)
class CandidatePair:
    """Two columns, and what each division of them needs: the cell of each row, or its two numbers, (rows, 2)."""

    columns: tuple[str, str]
    kind: str
    values: np.ndarray


def candidate_pairs(frame: pd.DataFrame, truth: np.ndarray, bound: float) -> Iterator[CandidatePair]:
    """Yield the pairs whose cells, or whose weighted sum, divide the rows at least as well as `bound` in sample.

    A division of the rows that it is measured on is too good, never too bad: no pair is missed.
    """
    names = [str(c) for c in frame.columns]
    size = int(np.clip(np.sqrt(len(truth) / ROWS_OF_CELL), 2, MAX_PAIR_CODES // 2)) * 2
    codes = [column_codes(frame[c], size + 1) for c in frame.columns]
    for i, j in _best(_cell_accuracies(codes, truth, size + 1), bound):
        yield CandidatePair((names[i], names[j]), "cells", codes[i] * (size + 1) + codes[j])
    numeric = [c for c in frame.columns if pd.api.types.is_numeric_dtype(frame[c])]
    if len(numeric) > 1:
        numbers = standardised(frame[numeric])
        # Two normal distributions at this distance overlap as much as a division at the bound; others overlap less.
        for i, j in _best(_distances(numbers, truth), 2.0):
            yield CandidatePair((str(numeric[i]), str(numeric[j])), "sum", numbers[:, [i, j]])


def cell_division(pair: CandidatePair, truth: np.ndarray, folds: np.ndarray) -> Division:
    """Count cells as positive where the truth of the rows in other folds is above average."""
    positive = np.zeros(len(truth), dtype=bool)
    size = int(pair.values.max()) + 1
    for fold in np.unique(folds):
        rows, others = folds == fold, folds != fold
        counts = np.bincount(pair.values[others], minlength=size)
        sums = np.bincount(pair.values[others], truth[others], minlength=size)
        positive[rows] = (sums > truth[others].mean() * counts)[pair.values[rows]]
    return positive


def linear_division(pair: CandidatePair, truth: np.ndarray, folds: np.ndarray) -> Division:
    """Divide by Fisher's discriminant and the best threshold, both from the rows in other folds."""
    positive = np.zeros(len(truth), dtype=bool)
    for fold in np.unique(folds):
        rows, others = folds == fold, folds != fold
        x, y = pair.values[others], truth[others] == 1
        means = x[y].mean(axis=0), x[~y].mean(axis=0)
        within = np.cov(np.where(y[:, None], x - means[0], x - means[1]).T) + 1e-9 * np.eye(2)
        weights = np.linalg.solve(within, means[0] - means[1])
        score = x @ weights
        order = np.argsort(score, kind="stable")
        gain = np.cumsum(np.where(y[order], -1.0 / y.sum(), 1.0 / (~y).sum()))
        best = int(gain.argmax())
        above = order[min(best + 1, len(order) - 1)]
        positive[rows] = pair.values[rows] @ weights > (score[order[best]] + score[above]) / 2.0
    return positive


def pair_correlations(
    frame: pd.DataFrame, truth: np.ndarray, bound: float
) -> Iterator[tuple[str, str, str, float, int]]:
    """Yield pairs whose weighted sum, or product of powers, has a multiple correlation above `bound` with the truth.

    Each is two columns, "sum" or "product", the correlation, and the number of rows without missing values.
    """
    numeric = [c for c in frame.columns if pd.api.types.is_numeric_dtype(frame[c])]
    if len(numeric) < 2:
        return
    numbers = frame[numeric].to_numpy(np.float64, na_value=np.nan)
    for kind in ("sum", "product"):
        x, y = numbers, np.asarray(truth, dtype=np.float64)
        if kind == "product":
            if y.min() <= 0.0:
                return
            with np.errstate(all="ignore"):
                x, y = np.where(x > 0.0, np.log(np.where(x > 0.0, x, 1.0)), np.nan), np.log(y)
        # The correlation matrix, with means where values are missing, finds the few pairs worth a fit of their own.
        for i, j in _best(_approximate_correlations(x, y), bound - 0.05):
            rows = ~np.isnan(x[:, i]) & ~np.isnan(x[:, j])
            if rows.sum() >= max(30, len(y) // 2):
                r = _multiple_correlation(x[rows][:, [i, j]], y[rows])
                if r > bound:
                    yield str(numeric[i]), str(numeric[j]), kind, r, int(rows.sum())


def standardised(frame: pd.DataFrame) -> np.ndarray:
    """Return numbers with mean 0 and deviation 1, without outliers beyond the outer 0.5 %; the median where missing."""
    x = frame.to_numpy(np.float64, na_value=np.nan)
    result = np.zeros_like(x)
    for k in range(x.shape[1]):
        present = np.isfinite(x[:, k])
        if present.any():
            low, median, high = np.quantile(x[present, k], [0.005, 0.5, 0.995])
            column = np.clip(np.where(present, x[:, k], median), low, high)
            result[:, k] = (column - column.mean()) / (column.std() or 1.0)
    return result


def _cell_accuracies(codes: list[np.ndarray], truth: np.ndarray, size: int) -> np.ndarray:
    """Compute for each pair of columns the balanced accuracy of its best division by cells, in sample."""
    columns = len(codes)
    shares = []
    for value in (1, 0):
        rows = np.flatnonzero(truth == value)
        one_hot = np.zeros((len(rows), columns * size), dtype=np.float32)
        for k, code in enumerate(codes):
            one_hot[np.arange(len(rows)), k * size + code[rows]] = 1.0
        shares.append(one_hot.T @ one_hot / len(rows))
    distance = np.abs(shares[0] - shares[1]).reshape(columns, size, columns, size).sum(axis=(1, 3))
    return np.asarray(0.5 + distance / 4.0)


def _distances(numbers: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute for each pair of numeric columns the Mahalanobis distance of the means of both classes."""
    y = truth == 1
    delta = numbers[y].mean(axis=0) - numbers[~y].mean(axis=0)
    centred = np.where(y[:, None], numbers - numbers[y].mean(axis=0), numbers - numbers[~y].mean(axis=0))
    covariance = centred.T @ centred / len(y) + 1e-9 * np.eye(numbers.shape[1])
    a, b, c = np.diag(covariance)[:, None], covariance, np.diag(covariance)[None, :]
    di, dj = delta[:, None], delta[None, :]
    determinant = np.maximum(a * c - b * b, 1e-12)
    return np.asarray(np.sqrt(np.maximum((c * di**2 - 2 * b * di * dj + a * dj**2) / determinant, 0.0)))


def _best(scores: np.ndarray, bound: float) -> Iterator[tuple[int, int]]:
    """Yield the pairs with scores above the bound, best first, at most `MAX_CANDIDATES`."""
    i, j = np.triu_indices(len(scores), 1)
    order = np.argsort(-scores[i, j], kind="stable")[:MAX_CANDIDATES]
    yield from ((int(i[k]), int(j[k])) for k in order if scores[i[k], j[k]] > bound)


def _approximate_correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Compute the multiple correlation of each pair of columns with the truth, from the matrix of correlations."""
    present = np.isfinite(x)
    counts = np.maximum(present.sum(axis=0), 1)
    filled = np.where(present, x, np.where(present, x, 0.0).sum(axis=0) / counts)
    centred = filled - filled.mean(axis=0)
    norms = np.linalg.norm(centred, axis=0)
    unit = centred / np.where(norms > 0.0, norms, 1.0)
    target = (y - y.mean()) / (np.linalg.norm(y - y.mean()) or 1.0)
    r, between = unit.T @ target, unit.T @ unit
    a, b = r[:, None], r[None, :]
    explained = (a**2 + b**2 - 2 * a * b * between) / np.maximum(1.0 - between**2, 1e-9)
    return np.asarray(np.sqrt(np.clip(explained, 0.0, 1.0)))


def _multiple_correlation(x: np.ndarray, y: np.ndarray) -> float:
    design = np.column_stack([x - x.mean(axis=0), np.ones(len(x))])
    centred = y - y.mean()
    total = float(centred @ centred)
    if total == 0.0:
        return 0.0
    residual = centred - design @ np.linalg.lstsq(design, centred, rcond=None)[0]
    return float(np.sqrt(max(1.0 - float(residual @ residual) / total, 0.0)))

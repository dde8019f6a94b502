"""Search for the target in disguise: one or two columns that nearly determine it.

A binary target is searched with divisions into two classes: each code of a column, or each cell of two columns, counts
as positive where the target is more frequent among *other* rows than on average. Such a division has a balanced
accuracy of 1 for a copy of the target, 0.98 for a copy with 2 % errors, also for the exclusive-or of two columns or
for their sum above a threshold. A numeric target is searched with correlations.

Only what is certain counts: the lower confidence limit, corrected for the number of columns or pairs, must exceed the
bound.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ml.data.column_codes import column_codes, last_digits
from ml.data.column_pairs import (
    Division,
    candidate_pairs,
    cell_division,
    linear_division,
    pair_correlations,
)
from ml.data.limits import auc_limits, balanced_accuracy_limits, correlation_lower_limit

# Balanced accuracy of a division that is assumed to be derived from the target. Two normal distributions that a
# threshold divides so well have an AUC of 0.99.
DIVISION_BOUND = 0.95
AUC_BOUND = 0.99
# Rank correlation with a numeric target, for one column, and multiple correlation, for two.
CORRELATION_BOUND, PAIR_CORRELATION_BOUND = 0.98, 0.99
# Probability that a clean table has any column (or any pair) whose limit exceeds its true value.
ERROR_RATE = 0.05
MAX_ROWS_OF_CLASS = 10_000
MAX_BINS = 64
FOLDS = 5


@dataclass(frozen=True)
class ColumnAuc:
    """How well one column alone predicts the target of rows that it was not measured on.

    `auc` is the ROC AUC, for a numeric target (1 + |Spearman's rho|) / 2; `low` and `high` are its 95 % limits.
    `is_leak` says whether the column is certain to nearly determine the target, `measure` and `limit` by what.
    """

    column: str
    auc: float
    low: float
    high: float
    is_leak: bool
    measure: float
    limit: float


@dataclass(frozen=True)
class PairLeak:
    """Two columns that together nearly determine the target, though neither does so alone."""

    columns: tuple[str, str]
    kind: str
    measure: float
    limit: float


def correlation(auc: float) -> float:
    """Return the rank correlation with a numeric target that is given as an AUC."""
    return 2.0 * auc - 1.0


def sample_rows(truth: np.ndarray, is_binary: bool, seed: int) -> np.ndarray:
    """Return the positions to measure on: all rows, or a random part of each class of a large table."""
    rng = np.random.default_rng(seed)
    groups = (
        [np.flatnonzero(truth == value) for value in (0.0, 1.0)] if is_binary else [np.arange(len(truth))]
    )
    limit = MAX_ROWS_OF_CLASS if is_binary else 2 * MAX_ROWS_OF_CLASS
    kept = [rng.permutation(group)[:limit] if len(group) > limit else group for group in groups]
    return np.sort(np.concatenate(kept))


def measure_columns(
    frame: pd.DataFrame, truth: np.ndarray, is_binary: bool, seed: int = 0
) -> list[ColumnAuc]:
    """Measure each column alone, in the order of the columns. A truth of one value only gives an AUC of 0.5."""
    folds = np.random.default_rng(seed).permutation(len(truth)) % FOLDS
    alpha = ERROR_RATE / max(len(frame.columns), 1)
    measure = measure_binary if is_binary else _measure_numeric
    return [measure(str(c), frame[c], truth, folds, alpha) for c in frame.columns]


def find_pair_leaks(
    frame: pd.DataFrame, truth: np.ndarray, is_binary: bool, columns: list[str], seed: int = 0
) -> list[PairLeak]:
    """Search the pairs of `columns` for those that nearly determine the target together.

    All pairs of at most 60 columns are searched; of more, those of 60: the first, which should be those that predict
    best, and random ones. The surest pair comes first.
    """
    chosen = _choose_columns(columns, seed)
    pairs = len(chosen) * (len(chosen) - 1) // 2
    if not pairs or len(np.unique(truth)) < 2:
        return []
    alpha = ERROR_RATE / pairs
    if not is_binary:
        found = [
            PairLeak((a, b), kind, r, correlation_lower_limit(r, rows, alpha))
            for a, b, kind, r, rows in pair_correlations(frame[chosen], truth, PAIR_CORRELATION_BOUND)
        ]
        leaks = [leak for leak in found if leak.limit > PAIR_CORRELATION_BOUND]
    else:
        folds = np.random.default_rng(seed).permutation(len(truth)) % FOLDS
        leaks = []
        for pair in candidate_pairs(frame[chosen], truth, DIVISION_BOUND):
            division = cell_division if pair.kind == "cells" else linear_division
            value, low = _division_limits(division(pair, truth, folds), truth, alpha)
            if low > DIVISION_BOUND:
                leaks.append(PairLeak(pair.columns, pair.kind, value, low))
    surest: dict[tuple[str, str], PairLeak] = {}
    for leak in sorted(leaks, key=lambda leak: -leak.limit):
        surest.setdefault(tuple(sorted(leak.columns)), leak)  # type: ignore[arg-type]
    return list(surest.values())


def _choose_columns(columns: list[str], seed: int, most: int = 60) -> list[str]:
    if len(columns) <= most:
        return columns
    others = np.random.default_rng(seed).permutation(np.array(columns[most // 2 :], dtype=object))
    return [*columns[: most // 2], *others[: most // 2]]


def measure_binary(
    name: str, values: pd.Series, truth: np.ndarray, folds: np.ndarray, alpha: float
) -> ColumnAuc:
    """Measure a column by a truth of 0 and 1; its limits are exceeded with the probability `alpha`."""
    positives, negatives = int(truth.sum()), int(len(truth) - truth.sum())
    if not positives or not negatives:
        return ColumnAuc(name, 0.5, 0.0, 1.0, False, 0.5, 0.0)
    codings = [column_codes(values, MAX_BINS)]
    digits = last_digits(values)
    if digits is not None:
        codings.append(digits)
    best = ColumnAuc(name, 0.5, 0.0, 1.0, False, 0.5, 0.0)
    for position, codes in enumerate(codings):
        score = out_of_fold_means(codes, truth, folds)
        auc = roc_auc(score, truth)
        if pd.api.types.is_numeric_dtype(values) and not position:
            raw = roc_auc(values.to_numpy(np.float64, na_value=-np.inf), truth)
            auc = max(auc, raw, 1.0 - raw)
        value, limit = _division_limits(score > truth.mean(), truth, alpha)
        certain = auc_limits(auc, positives, negatives, alpha)[0] if auc > AUC_BOUND else 0.0
        leak = limit > DIVISION_BOUND or certain > AUC_BOUND
        if position == 0 or (leak and not best.is_leak):
            low, high = auc_limits(max(auc, 0.5), positives, negatives, 0.025)
            best = ColumnAuc(name, max(auc, 0.5), low, high, leak, value, limit)
    return best


def _measure_numeric(
    name: str, values: pd.Series, truth: np.ndarray, folds: np.ndarray, alpha: float
) -> ColumnAuc:
    means = out_of_fold_means(column_codes(values, MAX_BINS), truth, folds)
    rho = rank_correlation(means, truth)
    if pd.api.types.is_numeric_dtype(values):
        raw = abs(rank_correlation(values.to_numpy(np.float64, na_value=-np.inf), truth))
        rho = max(rho, raw)
    limit = correlation_lower_limit(rho, len(truth), alpha)
    low = max(correlation_lower_limit(rho, len(truth), 0.025), 0.0)
    # Beyond the estimate the interval is symmetric on Fisher's scale.
    high = float(np.tanh(min(2.0 * np.arctanh(min(rho, 1 - 1e-12)) - np.arctanh(min(low, 1 - 1e-12)), 18.0)))
    return ColumnAuc(
        name, (1 + max(rho, 0.0)) / 2, (1 + low) / 2, (1 + high) / 2, limit > CORRELATION_BOUND, rho, limit
    )


def out_of_fold_means(codes: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return for each row the mean truth of the rows with its code in the other folds; the overall mean without any.

    `codes`, `truth` and `folds` (0 to below `FOLDS`) have the shape (rows,).
    """
    size = int(codes.max()) + 1
    cells = folds * size + codes
    counts = np.bincount(cells, minlength=FOLDS * size).reshape(FOLDS, size)
    sums = np.bincount(cells, truth, minlength=FOLDS * size).reshape(FOLDS, size)
    others, other_sums = counts.sum(axis=0) - counts, sums.sum(axis=0) - sums
    means = np.where(others > 0, other_sums / np.maximum(others, 1), truth.mean())
    result: np.ndarray = means[folds, codes]
    return result


def roc_auc(score: np.ndarray, truth: np.ndarray) -> float:
    """Compute the ROC AUC of a score for a truth of 0 and 1, both present; ties count one half."""
    positive = truth == 1
    n, m = int(positive.sum()), int((~positive).sum())
    return float((rankdata(score)[positive].sum() - n * (n + 1) / 2) / (n * m))


def _division_limits(division: Division, truth: np.ndarray, alpha: float) -> tuple[float, float]:
    positive = truth == 1
    hits, rejections = int(division[positive].sum()), int((~division[~positive]).sum())
    return balanced_accuracy_limits(hits, int(positive.sum()), rejections, int((~positive).sum()), alpha)


def rank_correlation(values: np.ndarray, truth: np.ndarray) -> float:
    if len(np.unique(values)) < 2 or len(np.unique(truth)) < 2:
        return 0.0
    return float(np.corrcoef(rankdata(values), rankdata(truth))[0, 1])

"""Search for a target of several classes in disguise: one or two columns that nearly determine the class.

What determines the class determines each class against the rest, and each division of the classes into two halves. So
single columns are measured by each class against the rest, and pairs of columns, of which there are many, and models of
all columns by a few random halves. All limits hold together: they are corrected for the number of columns and classes.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from ml.data.signal_share import SignalShare, measure_signal_share
from ml.data.target_leaks import (
    DIVISION_BOUND,
    ERROR_RATE,
    FOLDS,
    ColumnAuc,
    PairLeak,
    find_pair_leaks,
    measure_binary,
    measure_columns,
)

# Measurements of a column and a class, which bound the time; the most frequent classes are measured.
MEASUREMENTS = 400
MIN_CLASSES, MAX_CLASSES = 5, 50
HALVES = 3
# Share of the rows whose class, against the rest, a column must be certain to reveal.
REVEALED_SHARE = 0.9


def measure_class_columns(frame: pd.DataFrame, truth: np.ndarray, seed: int = 0) -> list[ColumnAuc]:
    """Measure each column alone, in the order of the columns, as the mean over the classes, weighted by frequency.

    `truth` has the position of the class. A column that reveals one class of many is no leak; one that reveals the
    classes of nearly all rows is one. The mean of lower limits that hold together is a lower limit of the mean.
    """
    folds = np.random.default_rng(seed).permutation(len(truth)) % FOLDS
    number = int(np.clip(MEASUREMENTS // max(len(frame.columns), 1), MIN_CLASSES, MAX_CLASSES))
    classes, counts = np.unique(truth, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:number]
    if len(classes) < 2:
        return [ColumnAuc(str(c), 0.5, 0.0, 1.0, False, 0.5, 0.0) for c in frame.columns]
    alpha = ERROR_RATE / max(len(frame.columns), 1) / len(order)
    return [
        _mean(
            [
                measure_binary(str(c), frame[c], (truth == classes[k]).astype(np.float64), folds, alpha)
                for k in order
            ],
            counts[order] / counts[order].sum(),
        )
        for c in frame.columns
    ]


def _mean(measured: Sequence[ColumnAuc], weights: np.ndarray) -> ColumnAuc:
    def mean(name: str) -> float:
        return float(weights @ np.array([getattr(m, name) for m in measured]))

    limit = mean("limit")
    is_leak = limit > DIVISION_BOUND or mean("is_leak") > REVEALED_SHARE
    return ColumnAuc(
        measured[0].column, mean("auc"), mean("low"), mean("high"), is_leak, mean("measure"), limit
    )


def find_class_pair_leaks(
    frame: pd.DataFrame, truth: np.ndarray, columns: list[str], seed: int = 0
) -> list[PairLeak]:
    """Search the pairs of `columns` for those that reveal each of several halves of the classes; the surest first."""
    leaks: dict[tuple[str, str], PairLeak] = {}
    for number, half in enumerate(_halves(truth, seed)):
        found = {leak.columns: leak for leak in find_pair_leaks(frame, half, True, columns, seed)}
        if number:
            found = {pair: _weaker(leaks[pair], leak) for pair, leak in found.items() if pair in leaks}
        leaks = found
        if not leaks:
            break
    return sorted(leaks.values(), key=lambda leak: -leak.limit)


def _weaker(first: PairLeak, second: PairLeak) -> PairLeak:
    return first if first.limit < second.limit else second


def measure_class_signal(frame: pd.DataFrame, truth: np.ndarray, seed: int = 0) -> SignalShare | None:
    """Compare the best column with a model of all, by halves of the classes; the half in which it has least."""
    least = None
    for half in _halves(truth, seed):
        share = measure_signal_share(frame, half, True, measure_columns(frame, half, True, seed), seed)
        if share is None:
            return None
        if least is None or share.share < least.share:
            least = share
        if not (share.is_leak or share.is_notable or share.all_nearly_perfect):
            break
    return least


def first_half(truth: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return 1.0 for the rows of about half of the classes, else 0.0; copies of rows that reveal classes reveal it."""
    return next(_halves(truth, seed))


def _halves(truth: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield up to `HALVES` different random divisions of the classes, each with about half of the rows in a part."""
    rng = np.random.default_rng(seed)
    classes, position, counts = np.unique(truth, return_inverse=True, return_counts=True)
    seen: set[bytes] = set()
    for _ in range(8 * HALVES):
        in_half = np.zeros(len(classes), dtype=bool)
        sizes = np.zeros(2)
        # The largest classes first, in random order among those of similar size, each to the smaller part.
        for k in np.argsort(-counts * rng.uniform(0.5, 1.5, len(classes))):
            part = int(sizes[1] < sizes[0])
            in_half[k] = bool(part)
            sizes[part] += counts[k]
        in_half ^= in_half[0]
        if in_half.tobytes() not in seen:
            seen.add(in_half.tobytes())
            yield in_half[position].astype(np.float64)
        if len(seen) == HALVES:
            return

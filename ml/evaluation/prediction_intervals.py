"""Intervals of single predictions of a number, by split conformal prediction (Vovk, Gammerman and Shafer, 2005).

The half width is a quantile of the absolute errors of rows that the model was not fitted to. A new row of the same
process is then inside of its interval with at least the wanted probability, whatever the model and the distribution.

With rows enough, that is done within each third of the predictions by size (Mondrian conformal prediction), since
errors often grow with the number that is predicted: the probability then holds in each third, and so for all.
"""

import math

import numpy as np

from ml.data.decisions import ENDS, HALF_WIDTH, THIRDS, third_of

# With fewer rows, the quantile of a third is too uncertain to be better than that of all.
MIN_ROWS_OF_A_THIRD = 100


def half_width(errors: np.ndarray, coverage: float) -> float:
    """Return half the width of intervals that cover a new row with the probability `coverage`.

    It is the ceil((n + 1) coverage)-th smallest of the n absolute `errors` (rows,); the largest where rows are too few
    for that.
    """
    ordered = np.sort(np.abs(errors))
    # Products such as 20 x 0.95 must not be rounded up to the next row.
    rank = math.ceil((len(ordered) + 1) * coverage - 1e-9)
    return float(ordered[min(rank, len(ordered)) - 1])


def choose_half_widths(errors: np.ndarray, prediction: np.ndarray, coverage: float) -> dict[str, float]:
    """Return the half width of all rows, and where each third has rows enough, its own and where it ends.

    Where the thirds end depends on the predictions, never on the errors. Each has at least `MIN_ROWS_OF_A_THIRD` rows;
    many equal predictions may allow no thirds.
    """
    chosen = {HALF_WIDTH: half_width(errors, coverage)}
    ends = np.quantile(prediction, (1 / 3, 2 / 3))
    thirds = dict(zip(ENDS, ends.tolist(), strict=True))
    third = third_of(prediction, thirds)
    if np.bincount(np.asarray(third), minlength=len(THIRDS)).min() < MIN_ROWS_OF_A_THIRD:
        return chosen
    own = {
        f"{HALF_WIDTH}_{name}": half_width(errors[third == number], coverage)
        for number, name in enumerate(THIRDS)
    }
    return {**chosen, **thirds, **own}


def covered(truth: np.ndarray, prediction: np.ndarray, half: float | np.ndarray) -> np.ndarray:
    """Return 1.0 for the rows whose truth is inside of the interval around the prediction, else 0.0."""
    return np.asarray((np.abs(truth - prediction) <= half).astype(np.float64))

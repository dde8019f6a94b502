"""Measures of rows that count several times each, or not at all, as the rows of a bootstrap resample do.

What does not depend on the counts is done once, so that each resample costs a few passes over the rows. A measure that
the counted rows do not have (no positives, a constant truth) is NaN.
"""

import numpy as np

from ml.evaluation.binary_metrics import scored


class CountedBinary:
    """The measures of `classification.binary_metrics` that are no matter of ranks or bins: all but two.

    `truth` and `probability` are (rows,); decisions are `probability >= threshold`.
    """

    def __init__(self, truth: np.ndarray, probability: np.ndarray, threshold: float) -> None:
        truth, probability = scored(truth, probability)
        self._order = np.argsort(-probability, kind="stable")
        truth, probability = truth[self._order], probability[self._order]
        self._truth, decided = truth, (probability >= threshold).astype(np.float64)
        edge = np.finfo(np.float64).eps
        likelihood = np.where(truth == 1.0, probability, 1.0 - probability)
        surprise = -np.log(np.clip(likelihood, edge, 1.0 - edge))
        self._sums = np.stack([truth, decided, truth * decided, surprise, (probability - truth) ** 2])
        # Rows of one probability stand and fall together: where each run of equals ends.
        self._ends = np.append(np.flatnonzero(np.diff(probability)), len(truth) - 1)

    def __call__(self, counts: np.ndarray) -> dict[str, float]:
        """Every measure by name, row i counting `counts[i]` times."""
        times = counts[self._order].astype(np.float64)
        rows = times.sum()
        positives, chosen, found, surprise, squared = self._sums @ times
        return {
            "accuracy": float((rows - chosen - positives + 2.0 * found) / rows),
            "recall": float(found / positives) if positives else np.nan,
            "precision": float(found / chosen) if chosen else 0.0,
            "f1": float(2.0 * found / (chosen + positives)) if positives else np.nan,
            "average_precision": self._average_precision(times) if positives else np.nan,
            "log_loss": float(surprise / rows),
            "brier": float(squared / rows),
        }

    def _average_precision(self, times: np.ndarray) -> float:
        listed, found = np.cumsum(times)[self._ends], np.cumsum(times * self._truth)[self._ends]
        precision = np.divide(found, listed, out=np.zeros_like(found), where=listed > 0.0)
        return float(np.diff(found, prepend=0.0) @ precision / found[-1])


class CountedNumeric:
    """The measures of `regression.regression_metrics`. `truth` and `value` are (rows,), finite."""

    def __init__(self, truth: np.ndarray, value: np.ndarray) -> None:
        error, centred = value - truth, truth - truth.mean()
        self._sums = np.stack([error**2, np.abs(error), centred, centred**2])

    def __call__(self, counts: np.ndarray) -> dict[str, float]:
        """Every measure by name, row i counting `counts[i]` times."""
        rows = counts.sum()
        squared, absolute, centred, spread = self._sums @ counts.astype(np.float64)
        spread -= centred**2 / rows
        r2 = float(1.0 - squared / spread) if spread > 0.0 else np.nan
        return {"mse": float(squared / rows), "mae": float(absolute / rows), "r2": r2}

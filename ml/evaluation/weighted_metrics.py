"""Metrics of rows with integer weights, such as the number of times that a bootstrap resample draws each row.

All that does not depend on the weights is computed once, so that each resample costs a few passes over the rows.
Metrics that are undefined for the weighted rows (no positives, a constant truth) are NaN.
"""

import numpy as np

from ml.evaluation.binary_metrics import validate_probabilities


class WeightedBinaryMetrics:
    """The metrics of `compute_binary_metrics` that are sums over rows, and the average precision.

    `truth` and `probability` are (rows,); decisions are `probability >= threshold`.
    """

    def __init__(self, truth: np.ndarray, probability: np.ndarray, threshold: float) -> None:
        truth, probability = validate_probabilities(truth, probability)
        self._order = np.argsort(-probability, kind="stable")
        truth, probability = truth[self._order], probability[self._order]
        self._truth, decision = truth, (probability >= threshold).astype(np.float64)
        epsilon = np.finfo(np.float64).eps
        likelihood = np.where(truth == 1.0, probability, 1.0 - probability)
        log_losses = -np.log(np.clip(likelihood, epsilon, 1.0 - epsilon))
        self._sums = np.stack([truth, decision, truth * decision, log_losses, (probability - truth) ** 2])
        # The last row of each run of equal probabilities, which one threshold cannot separate.
        self._run_ends = np.append(np.flatnonzero(np.diff(probability)), len(truth) - 1)

    def __call__(self, weights: np.ndarray) -> dict[str, float]:
        """Compute the metrics by name; row i counts `weights[i]` times, shape (rows,)."""
        sorted_weights = weights[self._order].astype(np.float64)
        rows = sorted_weights.sum()
        positives, decided, found, log_losses, squared_errors = self._sums @ sorted_weights
        return {
            "accuracy": float((rows - decided - positives + 2.0 * found) / rows),
            "recall": float(found / positives) if positives else np.nan,
            "precision": float(found / decided) if decided else 0.0,
            "f1": float(2.0 * found / (decided + positives)) if positives else np.nan,
            "average_precision": self._average_precision(sorted_weights) if positives else np.nan,
            "log_loss": float(log_losses / rows),
            "brier": float(squared_errors / rows),
        }

    def _average_precision(self, weights: np.ndarray) -> float:
        above = np.cumsum(weights)[self._run_ends]
        found = np.cumsum(weights * self._truth)[self._run_ends]
        precision = np.divide(found, above, out=np.zeros_like(found), where=above > 0.0)
        return float(np.diff(found, prepend=0.0) @ precision / found[-1])


class WeightedRegressionMetrics:
    """The metrics of `compute_regression_metrics` that are sums over rows, and their root.

    `truth` and `prediction` are (rows,), finite.
    """

    def __init__(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        error, centred = prediction - truth, truth - truth.mean()
        self._sums = np.stack([error**2, np.abs(error), centred, centred**2])

    def __call__(self, weights: np.ndarray) -> dict[str, float]:
        """Compute the metrics by name; row i counts `weights[i]` times, shape (rows,)."""
        rows = weights.sum()
        squared, absolute, centred, variation = self._sums @ weights.astype(np.float64)
        variation -= centred**2 / rows
        r2 = float(1.0 - squared / variation) if variation > 0.0 else np.nan
        return {"rmse": float(np.sqrt(squared / rows)), "mae": float(absolute / rows), "r2": r2}

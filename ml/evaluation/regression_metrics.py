"""Metrics of numeric predictions.

`truth` and `prediction` are finite, of shape (rows,) with at least one row; anything else raises ValueError.
"""

import numpy as np
from sklearn import metrics

from ml.evaluation.binary_metrics import UndefinedMetricError


def rmse(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Compute the root mean squared error, in units of the target."""
    return float(metrics.root_mean_squared_error(*_validate(truth, prediction)))


def mae(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Compute the mean absolute error, in units of the target."""
    return float(metrics.mean_absolute_error(*_validate(truth, prediction)))


def median_error(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Compute the median absolute error: half of the predictions are within it."""
    return float(metrics.median_absolute_error(*_validate(truth, prediction)))


def r2(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Compute the coefficient of determination: 1 is perfect, 0 is as good as the mean of `truth`, no lower bound.

    Raises `UndefinedMetricError` for a constant `truth`.
    """
    truth, prediction = _validate(truth, prediction)
    if truth.min() == truth.max():
        raise UndefinedMetricError(
            f"expected truth that varies for R2, got {len(truth)} rows that are all alike; use more rows"
        )
    return float(metrics.r2_score(truth, prediction))


def compute_regression_metrics(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """Compute all metrics by name; errors as in `r2`."""
    measures = (rmse, mae, median_error, r2)
    return {measure.__name__: measure(truth, prediction) for measure in measures}


def _validate(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, prediction = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    if truth.ndim != 1 or not len(truth) or truth.shape != prediction.shape:
        raise ValueError(
            f"expected truth and prediction of shape (rows,), got {truth.shape} and {prediction.shape}; "
            "align the rows"
        )
    missing = int((~np.isfinite(truth)).sum() + (~np.isfinite(prediction)).sum())
    if missing:
        raise ValueError(
            f"expected finite truth and prediction, got {missing} missing or infinite; drop these rows first"
        )
    return truth, prediction

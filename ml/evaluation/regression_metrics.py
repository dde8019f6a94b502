"""Measures of a numeric prediction.

`truth` and `value` are finite, of shape (rows,) and at least one row; ValueError otherwise.
"""

import numpy as np
from sklearn import metrics

from ml.evaluation.binary_metrics import UndefinedMeasureError


def mse(truth: np.ndarray, value: np.ndarray) -> float:
    """Mean squared error, in squared units of the target."""
    return float(metrics.mean_squared_error(*_checked(truth, value)))


def mae(truth: np.ndarray, value: np.ndarray) -> float:
    """Mean absolute error, in units of the target."""
    return float(metrics.mean_absolute_error(*_checked(truth, value)))


def r2(truth: np.ndarray, value: np.ndarray) -> float:
    """Coefficient of determination: 1 is perfect, 0 as good as the mean of `truth`, with no lower bound.

    Raises `UndefinedMeasureError` where `truth` is constant.
    """
    truth, value = _checked(truth, value)
    if truth.min() == truth.max():
        raise UndefinedMeasureError(
            f"expected truth that varies for R2, got {len(truth)} rows that are all alike; use more rows"
        )
    return float(metrics.r2_score(truth, value))


def regression_metrics(truth: np.ndarray, value: np.ndarray) -> dict[str, float]:
    """Every measure by name; errors as in `r2`."""
    return {"mse": mse(truth, value), "mae": mae(truth, value), "r2": r2(truth, value)}


def _checked(truth: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, value = np.asarray(truth, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if truth.ndim != 1 or not len(truth) or truth.shape != value.shape:
        raise ValueError(
            f"expected truth and value of shape (rows,), got {truth.shape} and {value.shape}; align the rows"
        )
    missing = int((~np.isfinite(truth)).sum() + (~np.isfinite(value)).sum())
    if missing:
        raise ValueError(
            f"expected finite truth and value, got {missing} missing or infinite; drop these rows first"
        )
    return truth, value

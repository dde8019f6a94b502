"""Confidence intervals of means and of mean differences, over rows or over cross-validation splits, by Student's t.

Intervals are two-sided at `level`; `units` as in `ml.evaluation.confidence_intervals`. Fewer than two units raise
`UndefinedMetricError`.
"""

import numpy as np
from scipy import stats

from ml.evaluation.binary_metrics import UndefinedMetricError
from ml.evaluation.confidence_intervals import (
    Difference,
    Interval,
    sum_by_unit,
    unbiased_factor,
    unit_codes,
)


def mean_interval(values: np.ndarray, units: np.ndarray | None = None, level: float = 0.95) -> Interval:
    """Compute the mean over rows with Student's t.

    With `units` the variance is that of the sums of a unit's deviations (Liang and Zeger, 1986), with one degree of
    freedom fewer than units. t rather than the bootstrap: no seed, and better coverage for few units.
    """
    value, error, n_units = _mean_and_error(values, units)
    half = error * float(stats.t.ppf(0.5 + level / 2.0, n_units - 1))
    return Interval(value, value - half, value + half)


def share_interval(values: np.ndarray, units: np.ndarray | None = None, level: float = 0.95) -> Interval:
    """Compute the share of ones among zeros and ones: the interval of Wilson (1927), which stays within 0 and 1.

    The number of rows is the effective one: that of independent rows whose mean has the variance of `mean_interval`
    (for survey data Korn and Graubard, 1998), and the quantile is that of Student's t.
    """
    value, error, n_units = _mean_and_error(values, units)
    t = float(stats.t.ppf(0.5 + level / 2.0, n_units - 1))
    rows = value * (1.0 - value) / error**2 if error else float(n_units)
    centre = (value + t**2 / (2.0 * rows)) / (1.0 + t**2 / rows)
    half = t * np.sqrt(value * (1.0 - value) / rows + (t / (2.0 * rows)) ** 2) / (1.0 + t**2 / rows)
    # Rounding must not exclude the value itself.
    return Interval(value, min(float(centre - half), value), max(float(centre + half), value))


def mean_difference(
    a: np.ndarray, b: np.ndarray, units: np.ndarray | None = None, level: float = 0.95
) -> Difference:
    """Compute the mean of a - b over rows: the interval of `mean_interval`, and the paired t test that matches it.

    The test is exact for normal differences and nearly so for many units. Interval and p-value always agree on whether
    there is a difference, except if all units differ by the same amount: t has no value there, and the p-value is that
    of the exact sign-flip test, 2^(1 - units) (Fisher, 1935).
    """
    paired = _paired(a, b, "rows")
    value, error, n_units = _mean_and_error(paired, units)
    half = error * float(stats.t.ppf(0.5 + level / 2.0, n_units - 1))
    if error:
        p_value = float(2.0 * stats.t.sf(abs(value) / error, n_units - 1))
    else:
        p_value = 2.0 ** (1 - n_units) if value else 1.0
    return Difference(value, value - half, value + half, p_value)


def cross_validation_interval(values: np.ndarray, test_per_train: float, level: float = 0.95) -> Interval:
    """Compute the mean of a metric over the splits of repeated cross-validation, shape (splits,).

    The splits train on overlapping rows, so their mean varies more than that of independent values: by
    (1/splits + `test_per_train`) of their variance, with Student's t of splits - 1 degrees of freedom (Nadeau and
    Bengio, 2003; for repeated folds Bouckaert and Frank, 2004). `test_per_train` is the number of test rows per
    training row, 1 / (folds - 1) for folds; ValueError unless it is above 0.
    """
    value, error, splits = _mean_and_error(values, None)
    half = error * _overlap_factor(splits, test_per_train) * float(stats.t.ppf(0.5 + level / 2.0, splits - 1))
    return Interval(value, value - half, value + half)


def cross_validation_difference(
    a: np.ndarray, b: np.ndarray, test_per_train: float, level: float = 0.95
) -> Difference:
    """Compute the mean of a - b over splits: `cross_validation_interval`, and the t test that matches it.

    If all splits differ by the same amount, t has no value; the p-value is then 1 for an amount of 0, else 0.
    """
    paired = _paired(a, b, "splits")
    interval = cross_validation_interval(paired, test_per_train, level)
    value, error, splits = _mean_and_error(paired, None)
    error *= _overlap_factor(splits, test_per_train)
    p_value = float(2.0 * stats.t.sf(abs(value) / error, splits - 1)) if error else float(value == 0.0)
    return Difference(value, interval.low, interval.high, p_value)


def _paired(a: np.ndarray, b: np.ndarray, pairs: str) -> np.ndarray:
    if np.shape(a) != np.shape(b):
        raise ValueError(
            f"expected pairs, got shapes {np.shape(a)} and {np.shape(b)}; score both on the same {pairs}"
        )
    return np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)


def _mean_and_error(values: np.ndarray, units: np.ndarray | None) -> tuple[float, float, int]:
    """Compute the mean, its standard error (exactly 0 if values differ by rounding only), and the number of units."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(
            f"expected finite values of shape (rows,), got shape {values.shape}; drop missing rows"
        )
    codes = unit_codes(units, len(values))
    n_units = int(codes.max(initial=-1)) + 1
    if n_units < 2:
        raise UndefinedMetricError(f"expected at least two units, got {n_units}; use more rows")
    value = float(values.mean())
    deviations = values - value
    if np.abs(deviations).max() <= 1e-12 * np.abs(values).max():
        return value, 0.0, n_units
    sums = sum_by_unit(deviations[None, :], codes)[0] / len(values)
    return value, float(np.sqrt(unbiased_factor(n_units) * (sums @ sums))), n_units


def _overlap_factor(splits: int, test_per_train: float) -> float:
    """Compute what the standard error of independent values is multiplied by for overlapping training rows."""
    if not test_per_train > 0.0:
        raise ValueError(
            f"expected test rows for each training row above 0, got {test_per_train}; give 1 / (folds - 1)"
        )
    return float(np.sqrt(1.0 + splits * test_per_train))

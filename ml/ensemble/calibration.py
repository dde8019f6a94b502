"""Calibrate probabilities, by the method with the lowest cross-validated log loss."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from scipy import special

CalibrationMethod = Literal["none", "platt", "isotonic", "beta"]
METHODS: tuple[CalibrationMethod, ...] = ("none", "platt", "beta", "isotonic")

# Probabilities are clipped to this distance from 0 and 1, where the log odds are infinite.
PROBABILITY_MARGIN = 1e-7
# Isotonic regression ties rows; mixing in this share of the uncalibrated probability keeps their order.
TIE_BREAKING_SHARE = 1e-6
# The inverse strength of a penalty so weak that it matters only where the classes are separated, where the
# unpenalised slope is infinite.
INVERSE_PENALTY = 10.0


@dataclass(frozen=True)
class Calibrator:
    """An increasing map from probabilities to calibrated probabilities.

    platt (Platt, 1999) and beta (Kull, Silva Filho and Flach, 2017): the calibrated log odds are
    a log(p) - b log(1 - p) + c with `coefficients` (a, b, c), where a = b for platt and neither is below 0. isotonic
    (Zadrozny and Elkan, 2002): linear interpolation between `knots` (probability, calibrated probability).
    """

    method: CalibrationMethod
    coefficients: tuple[float, float, float] = (1.0, 1.0, 0.0)
    knots: tuple[tuple[float, float], ...] = ()

    @classmethod
    def fit(cls, method: CalibrationMethod, probability: np.ndarray, truth: np.ndarray) -> Self:
        """Fit a calibrator on out-of-fold probabilities and truths of 0 and 1, both shape (rows,).

        The result has the method `none` where no slope above 0 fits: such probabilities do not rank the truth.
        """
        p = np.clip(probability, PROBABILITY_MARGIN, 1.0 - PROBABILITY_MARGIN)
        if method == "isotonic":
            return cls(method, knots=_isotonic_knots(p, truth))
        if method == "none":
            return cls(method)
        log_p, log_q = np.log(p), -np.log1p(-p)
        if method == "platt":
            slopes, c = _fit_logistic(log_p + log_q, truth=truth)
            slope = slopes[0]
            return cls(method, (slope, slope, c)) if slope > 0 else cls("none")
        (a, b), c = _fit_logistic(log_p, log_q, truth=truth)
        if a < 0:
            (b,), c = _fit_logistic(log_q, truth=truth)
        elif b < 0:
            (a,), c = _fit_logistic(log_p, truth=truth)
        a, b = max(a, 0.0), max(b, 0.0)
        return cls(method, (a, b, c)) if a + b > 0 else cls("none")

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Load a calibrator from the JSON of its `dataclasses.asdict`."""
        a, b, c = state["coefficients"]
        return cls(state["method"], (a, b, c), tuple((x, y) for x, y in state["knots"]))

    @cached_property
    def _knots(self) -> np.ndarray:
        return np.array(self.knots).T

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        """Calibrate probabilities, shape (rows,); their order is kept."""
        if self.method == "none":
            return probability
        p = np.clip(probability, PROBABILITY_MARGIN, 1.0 - PROBABILITY_MARGIN)
        if self.method == "isotonic":
            interpolated = np.interp(p, *self._knots)
            return np.asarray((1.0 - TIE_BREAKING_SHARE) * interpolated + TIE_BREAKING_SHARE * p)
        a, b, c = self.coefficients
        return np.asarray(special.expit(a * np.log(p) - b * np.log1p(-p) + c))


def select_calibrator(
    probability: np.ndarray,
    truth: np.ndarray,
    fold: np.ndarray,
    units: np.ndarray,
    methods: tuple[CalibrationMethod, ...] = METHODS,
) -> tuple[Calibrator, dict[str, float]]:
    """Select the method of lowest cross-validated log loss; return it fitted on all rows, and the loss by method.

    Arrays have shape (rows,); probabilities must be out-of-fold. `methods` must include `none`, which wins unless
    another method is better by more than one standard error of the difference, with `units` as independent.
    """
    losses: dict[CalibrationMethod, np.ndarray] = {}
    for method in methods:
        calibrated = np.empty(len(truth))
        for k in np.unique(fold):
            rows = fold == k
            calibrated[rows] = Calibrator.fit(method, probability[~rows], truth[~rows])(probability[rows])
        losses[method] = _log_losses(calibrated, truth)
    unit_codes = np.unique(units, return_inverse=True)[1]
    best: CalibrationMethod = "none"
    for method, loss in losses.items():
        gains = np.bincount(unit_codes, weights=losses["none"] - loss)
        standard_error = np.sqrt(len(gains)) * gains.std()
        if gains.sum() > standard_error and loss.mean() < losses[best].mean():
            best = method
    mean_losses: dict[str, float] = {name: float(loss.mean()) for name, loss in losses.items()}
    return Calibrator.fit(best, probability, truth), mean_losses


def _log_losses(probability: np.ndarray, truth: np.ndarray) -> np.ndarray:
    p = np.clip(probability, PROBABILITY_MARGIN, 1.0 - PROBABILITY_MARGIN)
    return np.asarray(-np.log(np.where(truth == 1, p, 1.0 - p)))


def _isotonic_knots(probability: np.ndarray, truth: np.ndarray) -> tuple[tuple[float, float], ...]:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression().fit(probability, truth)
    # A step of only negatives or only positives is no evidence for a probability of exactly 0 or 1.
    margin = 0.5 / len(truth)
    levels = np.clip(fitted.y_thresholds_, margin, 1.0 - margin)
    return tuple(zip(fitted.X_thresholds_.tolist(), levels.tolist(), strict=True))


def _fit_logistic(*features: np.ndarray, truth: np.ndarray) -> tuple[list[float], float]:
    """Fit a logistic regression; return its slopes and intercept."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    X = np.column_stack(features)
    # With several threads, the rounding of sums would depend on their number.
    with threadpool_limits(1), warnings.catch_warnings():
        # scikit-learn falls back to another solver by itself after this warning.
        warnings.filterwarnings("ignore", "Line search of Newton solver")
        fitted = LogisticRegression(C=INVERSE_PENALTY, solver="newton-cholesky", tol=1e-8).fit(X, truth)
    return fitted.coef_[0].tolist(), float(fitted.intercept_[0])

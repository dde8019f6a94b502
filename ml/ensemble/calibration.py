"""Maps from a probability to a calibrated one, and the choice among them by cross-validated log loss."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from scipy import special

Method = Literal["none", "platt", "isotonic", "beta"]
METHODS: tuple[Method, ...] = ("none", "platt", "beta", "isotonic")

# Probabilities are kept this far from 0 and 1, where the log odds are infinite.
EDGE = 1e-7
# Isotonic regression ties rows; so much of the probability itself keeps them in their order.
UNTIE = 1e-6
# The inverse strength of a penalty that is felt only where the classes are separated and no finite slope is best.
C = 10.0


@dataclass(frozen=True)
class Calibrator:
    """An increasing map of probabilities.

    platt (Platt, 1999) and beta (Kull, Silva Filho and Flach, 2017) are the log odds
    a log(p) - b log(1 - p) + c of `coefficients` (a, b, c), with a = b for platt and neither below 0. isotonic
    (Zadrozny and Elkan, 2002) is linear between `knots` (probability, calibrated probability).
    """

    method: Method
    coefficients: tuple[float, float, float] = (1.0, 1.0, 0.0)
    knots: tuple[tuple[float, float], ...] = ()

    @classmethod
    def fit(cls, method: Method, probability: np.ndarray, truth: np.ndarray) -> Self:
        """Fitted on rows that the probabilities were not learned from; both shape (rows,), truth 0 and 1.

        Where Platt's slope would fall below 0, probabilities say nothing, and the map is `none`.
        """
        kept = np.clip(probability, EDGE, 1.0 - EDGE)
        if method == "isotonic":
            return cls(method, knots=_steps(kept, truth))
        if method == "none":
            return cls(method)
        log_p, log_q = np.log(kept), -np.log1p(-kept)
        if method == "platt":
            slopes, c = _logistic(log_p + log_q, truth=truth)
            slope = slopes[0]
            return cls(method, (slope, slope, c)) if slope > 0 else cls("none")
        (a, b), c = _logistic(log_p, log_q, truth=truth)
        if a < 0:
            (b,), c = _logistic(log_q, truth=truth)
        elif b < 0:
            (a,), c = _logistic(log_p, truth=truth)
        a, b = max(a, 0.0), max(b, 0.0)
        return cls(method, (a, b, c)) if a + b > 0 else cls("none")

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave, after a trip through JSON."""
        a, b, c = state["coefficients"]
        return cls(state["method"], (a, b, c), tuple((x, y) for x, y in state["knots"]))

    @cached_property
    def _knots(self) -> np.ndarray:
        return np.array(self.knots).T

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, shape (rows,), in the same order."""
        if self.method == "none":
            return probability
        kept = np.clip(probability, EDGE, 1.0 - EDGE)
        if self.method == "isotonic":
            return np.asarray((1.0 - UNTIE) * np.interp(kept, *self._knots) + UNTIE * kept)
        a, b, c = self.coefficients
        return np.asarray(special.expit(a * np.log(kept) - b * np.log1p(-kept) + c))


def choose(
    probability: np.ndarray,
    truth: np.ndarray,
    fold: np.ndarray,
    units: np.ndarray,
    methods: tuple[Method, ...] = METHODS,
) -> tuple[Calibrator, dict[str, float]]:
    """The calibrator of lowest cross-validated log loss of `methods`, fitted on all rows, and that loss by method.

    Arrays are shape (rows,); probabilities must not have been learned from their own rows. `methods` hold
    `none`; another has to be better by more than one standard error of its advantage, `units` taken as independent.
    """
    losses: dict[Method, np.ndarray] = {}
    for method in methods:
        calibrated = np.empty(len(truth))
        for k in np.unique(fold):
            rows = fold == k
            calibrated[rows] = Calibrator.fit(method, probability[~rows], truth[~rows])(probability[rows])
        losses[method] = _losses(calibrated, truth)
    unit_of = np.unique(units, return_inverse=True)[1]
    best: Method = "none"
    for method, loss in losses.items():
        gains = np.bincount(unit_of, weights=losses["none"] - loss)
        noise = np.sqrt(len(gains)) * gains.std()
        if gains.sum() > noise and loss.mean() < losses[best].mean():
            best = method
    return Calibrator.fit(best, probability, truth), {name: float(v.mean()) for name, v in losses.items()}


def _losses(probability: np.ndarray, truth: np.ndarray) -> np.ndarray:
    kept = np.clip(probability, EDGE, 1.0 - EDGE)
    return np.asarray(-np.log(np.where(truth == 1, kept, 1.0 - kept)))


def _steps(probability: np.ndarray, truth: np.ndarray) -> tuple[tuple[float, float], ...]:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression().fit(probability, truth)
    # Nobody's chance is 0 or 1 because none or all of a few were positive.
    least = 0.5 / len(truth)
    levels = np.clip(fitted.y_thresholds_, least, 1.0 - least)
    return tuple(zip(fitted.X_thresholds_.tolist(), levels.tolist(), strict=True))


def _logistic(*columns: np.ndarray, truth: np.ndarray) -> tuple[list[float], float]:
    """Slopes and intercept of a logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    X = np.column_stack(columns)
    # Sums of many rows hang on how many threads share them.
    with threadpool_limits(1), warnings.catch_warnings():
        # It then goes on with another solver by itself.
        warnings.filterwarnings("ignore", "Line search of Newton solver")
        fitted = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-8).fit(X, truth)
    return fitted.coef_[0].tolist(), float(fitted.intercept_[0])

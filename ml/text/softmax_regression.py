"""Multinomial logistic regression with an L2 penalty and a temperature, both chosen on rows not trained on."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np

from ml.deadline import Deadline
from ml.text.temperature import fit_scale, log_loss, softmax

# An array or a `scipy.sparse.csr_array`; scipy has no types.
Matrix = Any

# With fewer rows of validation, or fewer a class, penalty and temperature are chosen out of fold on training rows.
MIN_VALID_ROWS, MIN_VALID_ROWS_PER_CLASS = 50, 2
FOLDS = 5
MAX_ITERATIONS = 300


@dataclass(frozen=True)
class SoftmaxRegression:
    """`coefficients` (features, classes) and `intercepts` (classes,), float32; `C` is the inverse penalty.

    Probabilities are the softmax of the scores times `scale`. `stopped_by` is "budget" if not every `C` was tried.
    """

    coefficients: np.ndarray = field(repr=False)
    intercepts: np.ndarray
    C: float = 1.0
    scale: float = 1.0
    stopped_by: Literal["grid", "budget"] = "grid"

    def scores(self, X: Matrix) -> np.ndarray:
        """Compute the scores of rows, shape (rows, classes)."""
        if isinstance(X, np.ndarray):
            # In float64, so that the number of threads, which orders sums, changes only the sixteenth digit.
            return np.asarray(X.astype(np.float64) @ self.coefficients.astype(np.float64) + self.intercepts)
        return np.asarray(X @ self.coefficients + self.intercepts)

    def probabilities(self, X: Matrix) -> np.ndarray:
        """Compute calibrated probabilities, float64, shape (rows, classes)."""
        return softmax(self.scores(X), self.scale)

    def contributions(self, X: Matrix, widths: Sequence[int]) -> tuple[float, ...]:
        """Compute the mean absolute deviation of the part of the scores of each group of columns, given its width."""
        ends = np.cumsum(widths)
        values = []
        for start, end in zip(ends - widths, ends, strict=True):
            part = np.asarray(X[:, start:end] @ self.coefficients[start:end])
            # Subtracting a row keeps deviations unchanged, and makes those of a constant group exactly 0.
            part = part - part[0]
            values.append(float(np.abs(part - part.mean(axis=0)).mean()))
        return tuple(values)

    def to_json(self) -> dict[str, Any]:
        """Return all but the arrays as JSON values."""
        return {"C": self.C, "scale": self.scale, "stopped_by": self.stopped_by}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return {"coefficients": self.coefficients, "intercepts": self.intercepts}

    @classmethod
    def from_json(cls, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Restore from `to_json` and `arrays`; other entries are ignored."""
        return cls(
            arrays["coefficients"], arrays["intercepts"], state["C"], state["scale"], state["stopped_by"]
        )

    @classmethod
    def fit(
        cls,
        train: tuple[Matrix, np.ndarray],
        valid: tuple[Matrix, np.ndarray],
        inverse_penalties: Sequence[float],
        deadline: Deadline,
    ) -> Self:
        """Fit to rows and their codes from 0 on without gaps; `valid` chooses, or folds where it has too few rows.

        Values of C are tried in order until the loss rises or time is up, at least one.
        """
        from threadpoolctl import threadpool_limits

        X, codes = train
        valid_X, valid_codes = valid[0][valid[1] >= 0], valid[1][valid[1] >= 0]
        classes = int(codes.max()) + 1
        # With several threads, the rounding of sums would depend on their number.
        with threadpool_limits(1):
            is_enough = len(valid_codes) >= max(MIN_VALID_ROWS, MIN_VALID_ROWS_PER_CLASS * classes)
            if not is_enough:
                return cls._fit_out_of_fold(X, codes, inverse_penalties, deadline)
            best, best_loss = None, np.inf
            for number, C in enumerate(inverse_penalties, 1):
                fitted = cls._solve(X, codes, C, classes)
                scores = fitted.scores(valid_X)
                fitted = replace(fitted, scale=fit_scale(scores, valid_codes))
                loss = log_loss(scores, valid_codes, fitted.scale)
                is_last = deadline.passed and number < len(inverse_penalties)
                if best is None or loss < best_loss:
                    best, best_loss = fitted, loss
                else:
                    break
                if is_last:
                    return replace(best, stopped_by="budget")
            assert best is not None
            return best

    @classmethod
    def _fit_out_of_fold(
        cls, X: Matrix, codes: np.ndarray, inverse_penalties: Sequence[float], deadline: Deadline
    ) -> Self:
        classes = int(codes.max()) + 1
        fold = _folds(codes)
        choices: list[tuple[float, float, float]] = []
        for C in inverse_penalties:
            scores = np.zeros((len(codes), classes))
            for number in range(FOLDS):
                if (fold == number).any() and (fold != number).any():
                    part = cls._solve(X[fold != number], codes[fold != number], C, classes)
                    scores[fold == number] = part.scores(X[fold == number])
            scale = fit_scale(scores, codes)
            choices.append((log_loss(scores, codes, scale), C, scale))
            if deadline.passed:
                break
        _, C, scale = min(choices)
        stopped_by: Literal["grid", "budget"] = "grid" if len(choices) == len(inverse_penalties) else "budget"
        return replace(cls._solve(X, codes, C, classes), scale=scale, stopped_by=stopped_by)

    @classmethod
    def _solve(cls, X: Matrix, codes: np.ndarray, C: float, classes: int) -> Self:
        """Solve for one C; a class without rows gets the lowest intercept of the others less their spread."""
        from sklearn.linear_model import LogisticRegression

        present = np.unique(codes)
        coefficients = np.zeros((X.shape[1], classes), np.float32)
        intercepts = np.zeros(classes, np.float32)
        if len(present) > 1:
            with warnings.catch_warnings():
                # Scores of some more iterations differ by less than the noise of the choice of C.
                warnings.filterwarnings("ignore", "lbfgs failed to converge")
                fitted = LogisticRegression(C=C, max_iter=MAX_ITERATIONS).fit(X.astype(np.float64), codes)
            slopes, constants = fitted.coef_, fitted.intercept_
            if len(present) == 2:
                slopes, constants = np.vstack([-slopes, slopes]) / 2, np.append(-constants, constants) / 2
            coefficients[:, present] = slopes.T
            intercepts[present] = constants
            intercepts[np.setdiff1d(np.arange(classes), present)] = constants.min() - np.ptp(constants) - 1.0
        return cls(coefficients, intercepts, C)


def _folds(codes: np.ndarray) -> np.ndarray:
    """Deal the rows of each class to folds in turn; int64, shape (rows,)."""
    fold = np.empty(len(codes), np.int64)
    order = np.argsort(codes, kind="stable")
    fold[order] = np.arange(len(codes)) % FOLDS
    return fold

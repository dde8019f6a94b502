"""Multinomial logistic regression with an L2 penalty and a temperature, both chosen on rows not trained on."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
from scipy import sparse

from ml.deadline import Deadline
from ml.text.temperature import fit_scale, log_loss, softmax

# An array or a `scipy.sparse.csr_array`; scipy has no types.
Matrix = Any

# Factors of the columns of a matrix, from its rows and their codes.
Weigh = Callable[[Matrix, np.ndarray], np.ndarray]

# With fewer rows set aside, or fewer a class, penalty and temperature are chosen out of fold.
MIN_CHOICE_ROWS, MIN_CHOICE_ROWS_PER_CLASS = 50, 2
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
        X: Matrix,
        codes: np.ndarray,
        is_choice: np.ndarray,
        inverse_penalties: Sequence[float],
        deadline: Deadline,
        weigh: Weigh | None = None,
    ) -> tuple[Self, Self]:
        """Fit to rows and their codes from 0 on without gaps: to those that are not `is_choice`, and to all.

        Both have the same penalty and temperature, which the choice rows choose or, where these are too few, folds of
        all rows. Values of C are tried in order until the loss rises or time is up, at least one. `weigh` returns
        factors of the columns of X from the rows that a solution is fitted to.
        """
        from threadpoolctl import threadpool_limits

        rows = _Rows(X, codes, int(codes.max()) + 1, weigh)
        # With several threads, the rounding of sums would depend on their number.
        with threadpool_limits(1):
            is_enough = is_choice.sum() >= max(MIN_CHOICE_ROWS, MIN_CHOICE_ROWS_PER_CLASS * rows.classes)
            if is_enough:
                part = cls._choose(rows, is_choice, inverse_penalties, deadline)
            else:
                C, scale, stopped_by = cls._choose_out_of_fold(rows, inverse_penalties, deadline)
                part = replace(cls._solve(rows.take(~is_choice), C), scale=scale, stopped_by=stopped_by)
            of_all = cls._solve(rows, part.C) if is_choice.any() else part
            return part, replace(of_all, scale=part.scale, stopped_by=part.stopped_by)

    @classmethod
    def _choose(
        cls, rows: "_Rows", is_choice: np.ndarray, inverse_penalties: Sequence[float], deadline: Deadline
    ) -> Self:
        """Fit to all but the choice rows, with the C and the temperature that have the lowest loss on these."""
        fitted_to, choice = rows.take(~is_choice), rows.take(is_choice)
        best, best_loss = None, np.inf
        for number, C in enumerate(inverse_penalties, 1):
            fitted = cls._solve(fitted_to, C)
            scores = fitted.scores(choice.X)
            fitted = replace(fitted, scale=fit_scale(scores, choice.codes))
            loss = log_loss(scores, choice.codes, fitted.scale)
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
    def _choose_out_of_fold(
        cls, rows: "_Rows", inverse_penalties: Sequence[float], deadline: Deadline
    ) -> tuple[float, float, Literal["grid", "budget"]]:
        """Return C and the temperature with the lowest loss out of fold, and what ended the search."""
        fold = _folds(rows.codes)
        choices: list[tuple[float, float, float]] = []
        for C in inverse_penalties:
            scores = np.zeros((len(rows.codes), rows.classes))
            for number in range(FOLDS):
                if (fold == number).any() and (fold != number).any():
                    part = cls._solve(rows.take(fold != number), C)
                    scores[fold == number] = part.scores(rows.X[fold == number])
            scale = fit_scale(scores, rows.codes)
            choices.append((log_loss(scores, rows.codes, scale), C, scale))
            if deadline.passed:
                break
        _, C, scale = min(choices)
        return C, scale, "grid" if len(choices) == len(inverse_penalties) else "budget"

    @classmethod
    def _solve(cls, rows: "_Rows", C: float) -> Self:
        """Solve for one C; a class without rows gets the lowest intercept of the others less their spread."""
        from sklearn.linear_model import LogisticRegression

        X, codes, classes = rows.X, rows.codes, rows.classes
        present = np.unique(codes)
        coefficients = np.zeros((X.shape[1], classes), np.float32)
        intercepts = np.zeros(classes, np.float32)
        if len(present) > 1:
            factors = rows.weigh(X, codes) if rows.weigh else None
            weighed = X if factors is None else X @ sparse.diags_array(factors)
            with warnings.catch_warnings():
                # Scores of some more iterations differ by less than the noise of the choice of C.
                warnings.filterwarnings("ignore", "lbfgs failed to converge")
                fitted = LogisticRegression(C=C, max_iter=MAX_ITERATIONS).fit(
                    weighed.astype(np.float64), codes
                )
            slopes, constants = fitted.coef_, fitted.intercept_
            if len(present) == 2:
                slopes, constants = np.vstack([-slopes, slopes]) / 2, np.append(-constants, constants) / 2
            coefficients[:, present] = slopes.T
            if factors is not None:
                # Coefficients of the columns as they are, so that a prediction need not know the factors.
                coefficients *= factors[:, None]
            intercepts[present] = constants
            intercepts[np.setdiff1d(np.arange(classes), present)] = constants.min() - np.ptp(constants) - 1.0
        return cls(coefficients, intercepts, C)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows to fit to, the number of classes, and the weights of columns."""

    X: Matrix
    codes: np.ndarray
    classes: int
    weigh: Weigh | None

    def take(self, rows: np.ndarray) -> "_Rows":
        return replace(self, X=self.X[rows], codes=self.codes[rows])


def _folds(codes: np.ndarray) -> np.ndarray:
    """Deal the rows of each class to folds in turn; int64, shape (rows,)."""
    fold = np.empty(len(codes), np.int64)
    order = np.argsort(codes, kind="stable")
    fold[order] = np.arange(len(codes)) % FOLDS
    return fold

"""Logistic and ridge regression on bins, straight lines or splines of the numbers, and on one-hot categories."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Literal, Self

import numpy as np
import pandas as pd
from scipy import sparse

from ml.data.dataset import Dataset
from ml.data.stopping_rows import stopping_split
from ml.data.target import (
    PREDICTION_COLUMN,
    Target,
    from_log_odds_scale,
    row_losses,
    validate_training_truth,
    value_from_log_odds_scale,
)
from ml.encoding.columns import RowValues
from ml.encoding.one_hot import OneHotEncoding
from ml.encoding.splines import SplineEncoding
from ml.estimator import FitResources
from ml.tabular.costs import table_cost
from ml.time_budget import FitCost

Encoding = OneHotEncoding | SplineEncoding


@dataclass(frozen=True)
class LinearModel:
    """Coefficients of the columns of the matrix of `encoding`; `C` is the selected inverse L2 penalty.

    `contributions` is, for each feature column, the mean absolute deviation of its term of the linear predictor over
    the training rows. `stopped_by` is "budget" if not every value of `C` was tried.
    """

    target: Target
    encoding: Encoding
    intercept: float
    coefficients: tuple[float, ...] = field(repr=False)
    contributions: tuple[float, ...]
    C: float
    stopped_by: Literal["grid", "budget"]

    @cached_property
    def _coefficients(self) -> np.ndarray:
        return np.array(self.coefficients)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict the rows of `frame`; errors as in `encode` of the encoding."""
        score = self.encoding.encode(frame) @ self._coefficients + self.intercept
        prediction = from_log_odds_scale(score, self.target)
        return pd.DataFrame({PREDICTION_COLUMN[self.target]: prediction}, index=frame.index)

    def predict_row(self, values: RowValues) -> float:
        """Predict one row; errors as in `FeatureColumns.parse_row`."""
        score = self.intercept
        for position, value in self.encoding.encode_row(values):
            score += self.coefficients[position] * value
        return value_from_log_odds_scale(score, self.target)

    def importance(self) -> pd.Series:
        """Return `contributions` as shares by column name."""
        return self.encoding.columns.shares(self.contributions)

    def files(self) -> dict[str, bytes]:
        """Serialise to `model.json`."""
        return {"model.json": json.dumps(asdict(self)).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load a model that `files` serialised."""
        state = json.loads(files["model.json"])
        kind = SplineEncoding if "knots" in state["encoding"] else OneHotEncoding
        state["encoding"] = kind.from_json(state["encoding"])
        state["coefficients"] = tuple(state["coefficients"])
        state["contributions"] = tuple(state["contributions"])
        return cls(**state)


@dataclass(frozen=True)
class _Solution:
    C: float
    intercept: float
    coefficients: np.ndarray

    def loss(self, X: sparse.csr_array, truth: np.ndarray, target: Target) -> float:
        """Compute the mean log loss (binary) or mean squared error (numeric)."""
        return float(np.mean(row_losses(X @ self.coefficients + self.intercept, truth, target)))


@dataclass(frozen=True)
class Linear:
    """L2-penalised logistic (binary) or ridge (numeric) regression, with the penalty selected on a slice of the rows.

    Numeric columns have at most `max_bins` bins and a straight line; with one bin, the line alone. With `max_knots`,
    they have a cubic spline of so many knots in place of bins (`ml.encoding.splines`). Values are clipped to the 1st
    and 99th percentiles, and missing and sentinel values have indicators. Categories of fewer than `min_count` training
    rows, and those beyond the `max_categories` most frequent, share one indicator. `inverse_penalties` are the values
    of C, tried in order.
    """

    target: Target = "binary"
    max_bins: int = 32
    min_count: int = 10
    max_categories: int = 255
    inverse_penalties: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)
    max_knots: int = 0

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> LinearModel:
        """Fit each of `inverse_penalties` until time is up (at least one), and the best again to all rows.

        The best has the lowest loss on the rows that `stopping_split` sets aside; `valid` is not used. Uses one thread
        whatever `resources` allow. Raises ValueError as in `validate_training_truth` and `FeatureColumns.from_frame`.
        """
        deadline = resources.deadline()
        truth = validate_training_truth(train.truth, self.target)
        encoding = self._encoding(train)
        X = encoding.encode(train.frame)
        fit_rows, choice_rows = stopping_split(train, self.target, resources.seed)
        losses: list[tuple[float, float]] = []
        for solution in self._path(X[fit_rows], truth[fit_rows], self.inverse_penalties):
            losses.append((solution.loss(X[choice_rows], truth[choice_rows], self.target), solution.C))
            if deadline.passed:
                break
        (best,) = self._path(X, truth, (min(losses)[1],))
        return LinearModel(
            target=self.target,
            encoding=encoding,
            intercept=best.intercept,
            coefficients=tuple(best.coefficients.tolist()),
            contributions=_contributions(encoding, X, best.coefficients),
            C=best.C,
            stopped_by="grid" if len(losses) == len(self.inverse_penalties) else "budget",
        )

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of the whole grid."""
        return table_cost(train, fixed_seconds=0.1, cell_seconds=1.5e-6)

    def _encoding(self, train: Dataset) -> Encoding:
        kind = SplineEncoding if self.max_knots else OneHotEncoding
        resolution = self.max_knots or self.max_bins
        return kind.fit(train.frame, resolution, self.min_count, self.max_categories, train.sentinel_values)

    def _path(
        self, X: sparse.csr_array, truth: np.ndarray, inverse_penalties: tuple[float, ...]
    ) -> Iterator[_Solution]:
        """Solve for each of `inverse_penalties`, each logistic fit starting from the previous one."""
        from sklearn.linear_model import LogisticRegression, Ridge

        logistic = LogisticRegression(solver="lbfgs", max_iter=5000, warm_start=True)
        for C in inverse_penalties:
            if self.target == "binary":
                fitted = logistic.set_params(C=C).fit(X, truth)
                yield _Solution(C, float(fitted.intercept_[0]), fitted.coef_[0].copy())
            else:
                fitted = Ridge(alpha=1.0 / C, solver="sparse_cg", tol=1e-6).fit(X, truth)
                yield _Solution(C, float(fitted.intercept_), fitted.coef_)


def _contributions(encoding: Encoding, X: sparse.csr_array, coefficients: np.ndarray) -> tuple[float, ...]:
    positions = np.arange(len(coefficients))
    shape = (len(coefficients), len(encoding.columns.names))
    by_column = sparse.csr_array((coefficients, (positions, encoding.source_columns)), shape=shape)
    terms = (X @ by_column).toarray()
    # Subtracting a row keeps deviations unchanged, and makes those of a constant column exactly 0.
    terms -= terms[0]
    return tuple(np.abs(terms - terms.mean(axis=0)).mean(axis=0).tolist())

"""Logistic and ridge regression on a one-hot matrix of bins and categories."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Literal, Self

import numpy as np
import pandas as pd
from scipy import sparse, special

from ml.data.dataset import Dataset
from ml.data.target import PREDICTION, Target, checked_truth, training_truth
from ml.encoding.columns import Row
from ml.encoding.one_hot import OneHot
from ml.estimator import FitResources


@dataclass(frozen=True)
class LinearModel:
    """Coefficients of the columns of `encoding`; `C` is the inverse L2 strength that was chosen.

    `contributions` holds, for each source column, the mean absolute deviation of its share of the linear
    predictor over the training rows. `stopped_by` is "budget" where not every `C` was tried.
    """

    target: Target
    encoding: OneHot
    intercept: float
    coefficients: tuple[float, ...] = field(repr=False)
    contributions: tuple[float, ...]
    C: float
    stopped_by: Literal["grid", "budget"]

    @cached_property
    def _weights(self) -> np.ndarray:
        return np.array(self.coefficients)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Errors as in `OneHot.encode`."""
        score = self.encoding.encode(frame) @ self._weights + self.intercept
        answer = special.expit(score) if self.target == "binary" else score
        return pd.DataFrame({PREDICTION[self.target]: answer}, index=frame.index)

    def predict_row(self, values: Row) -> float:
        """The prediction of one row; errors as in `Columns.row`."""
        score = self.intercept
        for at, weight in self.encoding.encode_row(values):
            score += self.coefficients[at] * weight
        return float(special.expit(score)) if self.target == "binary" else score

    def importance(self) -> pd.Series:
        """`contributions` by column name, summing to 1 (all 0 where no column matters)."""
        raw = pd.Series(self.contributions, index=list(self.encoding.columns.names), dtype="float64")
        return raw / (raw.sum() or 1.0)

    def files(self) -> dict[str, bytes]:
        """`model.json`."""
        return {"model.json": json.dumps(asdict(self)).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        state = json.loads(files["model.json"])
        state["encoding"] = OneHot.from_json(state["encoding"])
        state["coefficients"] = tuple(state["coefficients"])
        state["contributions"] = tuple(state["contributions"])
        return cls(**state)


@dataclass(frozen=True)
class _Solution:
    C: float
    intercept: float
    coefficients: np.ndarray

    def loss(self, X: sparse.csr_array, truth: np.ndarray, target: Target) -> float:
        """Mean log loss (binary) or mean squared error (numeric)."""
        score = X @ self.coefficients + self.intercept
        if target == "binary":
            return float(np.mean(np.logaddexp(0.0, score) - truth * score))
        return float(np.mean((score - truth) ** 2))


@dataclass(frozen=True)
class Linear:
    """L2-penalised logistic (binary) or ridge (numeric) regression, the penalty chosen on `valid`.

    Numeric columns have at most `bins` bins. Categories of fewer than `min_count` training rows, and those
    beyond the `max_categories` most frequent, share one indicator.
    """

    target: Target = "binary"
    bins: int = 32
    min_count: int = 10
    max_categories: int = 255
    strengths: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)  # values of C, tried in turn

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> LinearModel:
        """Fit once for each of `strengths` until time is up (at least once) and keep the best on `valid`.

        One thread is used whatever `resources` allows. Raises ValueError as in `training_truth`
        and `Columns.of`.
        """
        deadline = time.monotonic() + resources.seconds
        truth = training_truth(train.truth, self.target)
        valid_truth = checked_truth(valid.truth, self.target)
        encoding = OneHot.learn(
            train.frame, self.bins, self.min_count, self.max_categories, train.sentinel_values
        )
        X, valid_X = encoding.encode(train.frame), encoding.encode(valid.frame)

        tried: list[tuple[float, _Solution]] = []
        for solution in self._path(X, truth):
            tried.append((solution.loss(valid_X, valid_truth, self.target), solution))
            if time.monotonic() > deadline:
                break
        best = min(tried, key=lambda entry: entry[0])[1]
        return LinearModel(
            target=self.target,
            encoding=encoding,
            intercept=best.intercept,
            coefficients=tuple(best.coefficients.tolist()),
            contributions=_contributions(encoding, X, best.coefficients),
            C=best.C,
            stopped_by="grid" if len(tried) == len(self.strengths) else "budget",
        )

    def _path(self, X: sparse.csr_array, truth: np.ndarray) -> Iterator[_Solution]:
        """Solve for each of `strengths`, each logistic fit starting from the one before."""
        from sklearn.linear_model import LogisticRegression, Ridge

        logistic = LogisticRegression(solver="lbfgs", max_iter=5000, warm_start=True)
        for C in self.strengths:
            if self.target == "binary":
                fitted = logistic.set_params(C=C).fit(X, truth)
                yield _Solution(C, float(fitted.intercept_[0]), fitted.coef_[0].copy())
            else:
                fitted = Ridge(alpha=1.0 / C, solver="sparse_cg", tol=1e-6).fit(X, truth)
                yield _Solution(C, float(fitted.intercept_), fitted.coef_)


def _contributions(encoding: OneHot, X: sparse.csr_array, coefficients: np.ndarray) -> tuple[float, ...]:
    owner = np.repeat(np.arange(len(encoding.widths)), encoding.widths)
    by_column = sparse.csr_array((coefficients, (np.arange(len(owner)), owner)))
    shares = (X @ by_column).toarray()
    # Deviations stay the same, and those of a constant column become exactly 0.
    shares -= shares[0]
    return tuple(np.abs(shares - shares.mean(axis=0)).mean(axis=0).tolist())

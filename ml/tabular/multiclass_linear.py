"""Multinomial logistic regression on one-hot bins and categories, for targets with several classes."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd
from scipy import special

from ml.data.dataset import Dataset
from ml.data.stopping_rows import stopping_split
from ml.data.target import class_columns, class_truth, mean_class_loss
from ml.encoding.one_hot import OneHotEncoding
from ml.estimator import FitResources
from ml.serialization import from_safetensors, to_safetensors
from ml.tabular.costs import table_cost
from ml.time_budget import FitCost


@dataclass(frozen=True)
class MulticlassLinearModel:
    """Coefficients (matrix columns, classes) and intercepts (classes,); `C` is the selected inverse L2 penalty.

    `contributions` is, for each feature column, the mean absolute deviation of its terms over the training rows and
    classes. `stopped_by` is "budget" if not every value of `C` was tried.
    """

    requirements: ClassVar[tuple[str, ...]] = ("safetensors",)
    classes: tuple[str, ...]
    encoding: OneHotEncoding
    coefficients: np.ndarray = field(repr=False)
    intercepts: np.ndarray = field(repr=False)
    contributions: tuple[float, ...]
    C: float
    stopped_by: Literal["grid", "budget"]

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict the rows of `frame`; errors as in `OneHotEncoding.encode`."""
        scores = self.encoding.encode(frame) @ self.coefficients + self.intercepts
        probability = special.softmax(scores, axis=1)
        return pd.DataFrame(probability, index=frame.index, columns=class_columns(self.classes))

    def importance(self) -> pd.Series:
        """Return `contributions` as shares by column name."""
        return self.encoding.columns.shares(self.contributions)

    def files(self) -> dict[str, bytes]:
        """Serialise to `model.json` and `weights.safetensors`."""
        state = {
            "classes": self.classes,
            "encoding": asdict(self.encoding),
            "contributions": self.contributions,
            "C": self.C,
            "stopped_by": self.stopped_by,
        }
        weights = {"coefficients": self.coefficients, "intercepts": self.intercepts}
        return {"model.json": json.dumps(state).encode(), "weights.safetensors": to_safetensors(weights)}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load a model that `files` serialised."""
        state = json.loads(files["model.json"])
        return cls(
            tuple(state["classes"]),
            OneHotEncoding.from_json(state["encoding"]),
            **from_safetensors(files["weights.safetensors"]),
            contributions=tuple(state["contributions"]),
            C=state["C"],
            stopped_by=state["stopped_by"],
        )


@dataclass(frozen=True)
class MulticlassLinear:
    """L2-penalised multinomial logistic regression, with the penalty selected on a slice of the rows.

    The fields are those of `ml.tabular.linear.Linear`.
    """

    max_bins: int = 32
    min_count: int = 10
    max_categories: int = 255
    inverse_penalties: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> MulticlassLinearModel:
        """Fit each of `inverse_penalties` until time is up (at least one), and the best again to all rows.

        The best has the lowest loss on the rows that `stopping_split` sets aside; `valid` is not used. A class without
        training rows has probability 0. Raises ValueError as in `class_truth` and `FeatureColumns.from_frame`.
        """
        from sklearn.linear_model import LogisticRegression

        deadline = resources.deadline()
        truth = class_truth(train)
        encoding = OneHotEncoding.fit(
            train.frame, self.max_bins, self.min_count, self.max_categories, train.sentinel_values
        )
        X = encoding.encode(train.frame)
        fit_rows, choice_rows = stopping_split(train, "multiclass", resources.seed)
        logistic = LogisticRegression(solver="lbfgs", max_iter=2000, warm_start=True)
        losses: list[tuple[float, float]] = []
        for C in self.inverse_penalties:
            fitted = logistic.set_params(C=C).fit(X[fit_rows], truth[fit_rows])
            coefficients, intercepts = _of_all_classes(fitted, X.shape[1], len(train.classes))
            scores = X[choice_rows] @ coefficients + intercepts
            losses.append((mean_class_loss(special.softmax(scores, axis=1), truth[choice_rows]), C))
            if deadline.passed:
                break
        selected = min(losses)[1]
        # A class with one row may have been set aside, so this fit starts from nothing.
        of_all = LogisticRegression(solver="lbfgs", max_iter=2000, C=selected).fit(X, truth)
        coefficients, intercepts = _of_all_classes(of_all, X.shape[1], len(train.classes))
        return MulticlassLinearModel(
            classes=train.classes,
            encoding=encoding,
            coefficients=coefficients,
            intercepts=intercepts,
            contributions=_contributions(encoding, X, coefficients),
            C=selected,
            stopped_by="grid" if len(losses) == len(self.inverse_penalties) else "budget",
        )

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of the whole grid."""
        return table_cost(train, fixed_seconds=0.1, cell_seconds=1.5e-6 * max(len(train.classes), 2))


def _of_all_classes(fitted: object, columns: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients and intercepts of all classes; a class without training rows has an intercept of -inf."""
    coefficients, intercepts = np.zeros((columns, classes)), np.full(classes, -np.inf)
    known, weights, biases = (getattr(fitted, name) for name in ("classes_", "coef_", "intercept_"))
    if len(known) == 2:
        # scikit-learn keeps only the scores of the second class.
        weights, biases = np.vstack([np.zeros_like(weights), weights]), np.append(0.0, biases)
    coefficients[:, known], intercepts[known] = weights.T, biases
    return coefficients, intercepts


def _contributions(encoding: OneHotEncoding, X: object, coefficients: np.ndarray) -> tuple[float, ...]:
    matrix = X.tocsc()  # type: ignore[attr-defined]
    ends = np.cumsum(encoding.one_hot_widths)
    found = []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        terms = matrix[:, start:end] @ coefficients[start:end]
        found.append(float(np.abs(terms - terms.mean(axis=0)).mean()))
    return tuple(found)

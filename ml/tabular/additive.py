"""An additive model: each column's own effect on the log odds (or the number), read off a table.

Boosted trees that each split one column only (Lou, Caruana and Gehrke, 2012) sum up to one function of each column.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import special

from ml.boosting import StoppedBy, base_params, grow
from ml.data.dataset import Dataset
from ml.data.folds import assign_folds
from ml.data.target import PREDICTION, Target, checked_truth, training_truth
from ml.encoding.columns import Row
from ml.encoding.one_hot import OneHot
from ml.estimator import FitResources


@dataclass(frozen=True)
class AdditiveModel:
    """`effects` holds, for each of `encoding.columns.names`, the effect of each bin or code.

    Effects of a column have mean 0 over the training rows; `contributions` are their mean absolute values.
    """

    target: Target
    encoding: OneHot
    intercept: float
    effects: tuple[tuple[float, ...], ...] = field(repr=False)
    contributions: tuple[float, ...]
    stopped_by: StoppedBy

    @cached_property
    def _tables(self) -> list[np.ndarray]:
        return [np.array(effects) for effects in self.effects]

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Errors as in `OneHot.positions`."""
        score = np.full(len(frame), self.intercept)
        for table, at in zip(self._tables, self.encoding.positions(frame).T, strict=True):
            score += table[at]
        answer = special.expit(score) if self.target == "binary" else score
        return pd.DataFrame({PREDICTION[self.target]: answer}, index=frame.index)

    def predict_row(self, values: Row) -> float:
        """The prediction of one row; errors as in `Columns.row`."""
        score = self.intercept
        for effects, at in zip(self.effects, self.encoding.row_positions(values), strict=True):
            score += effects[at]
        return float(special.expit(score)) if self.target == "binary" else score

    def importance(self) -> pd.Series:
        """`contributions` by column name, summing to 1 (all 0 where no column matters)."""
        raw = pd.Series(self.contributions, index=list(self.encoding.columns.names), dtype="float64")
        return raw / (raw.sum() or 1.0)

    def shapes(self) -> pd.DataFrame:
        """What the model is: one row for each bin or code of each column.

        Columns: `column`, `label` (missing, other, a code, a category, or empty), `low` and `high` (values above
        `low` up to `high`; NaN where there is a label), `effect` (log odds, or the unit of the target).
        """
        rows: list[dict[str, Any]] = []
        names, numeric = self.encoding.columns.names, len(self.encoding.bins)
        for name, bins, effects in zip(names, self.encoding.bins, self.effects, strict=False):
            labels = ["missing", *(f"{code:g}" for code in bins.special)]
            ends = [-np.inf, *bins.edges, np.inf]
            spans = [("", low, high) for low, high in pairwise(ends)]
            rows += _rows(name, [(label, np.nan, np.nan) for label in labels] + spans, effects)
        for name, codes, effects in zip(
            names[numeric:], self.encoding.codes, self.effects[numeric:], strict=True
        ):
            labels = ["missing", "other", *codes.categories]
            rows += _rows(name, [(label, np.nan, np.nan) for label in labels], effects)
        return pd.DataFrame(rows, columns=["column", "label", "low", "high", "effect"])

    def files(self) -> dict[str, bytes]:
        """`model.json`."""
        return {"model.json": json.dumps(asdict(self)).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        state = json.loads(files["model.json"])
        state["encoding"] = OneHot.from_json(state["encoding"])
        state["effects"] = tuple(map(tuple, state["effects"]))
        state["contributions"] = tuple(state["contributions"])
        return cls(**state)


def _rows(
    name: str, parts: list[tuple[str, float, float]], effects: tuple[float, ...]
) -> Iterator[dict[str, Any]]:
    for (label, low, high), effect in zip(parts, effects, strict=True):
        yield {"column": name, "label": label, "low": low, "high": high, "effect": effect}


@dataclass(frozen=True)
class Additive:
    """Each tree splits one column, over its missing value, special codes, at most `bins` quantile bins or categories.

    With `bags` of 2 and more, so many models are grown on the rows outside one of as many folds of `train`, each
    stopped early on its fold, and their effects averaged: `valid` is then not looked at. With one it stops the
    training. Categories are pooled as in `Linear`; the other fields are as in `GradientBoosting`.
    """

    target: Target = "binary"
    bags: int = 1
    learning_rate: float = 0.03
    num_leaves: int = 3
    min_child_samples: int = 5
    feature_fraction: float = 0.3
    bagging_fraction: float = 0.8
    lambda_l2: float = 0.0
    extra_trees: bool = True
    max_rounds: int = 5000
    patience: int = 100
    bins: int = 64
    min_count: int = 10
    max_categories: int = 255

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> AdditiveModel:
        """Grow until the rows that stop the training no longer gain, or the rounds or the time are over.

        Raises ValueError as in `training_truth`, `Columns.of` and, with bags,
        `assign_folds`.
        """
        deadline = time.monotonic() + resources.seconds
        truth = training_truth(train.truth, self.target)
        valid_truth = checked_truth(valid.truth, self.target)
        encoding = OneHot.learn(
            train.frame, self.bins, self.min_count, self.max_categories, train.sentinel_values
        )
        X = encoding.positions(train.frame)
        if self.bags == 1:
            halves = [((X, truth), (encoding.positions(valid.frame), valid_truth))]
        else:
            classes = truth if self.target == "binary" else np.zeros(len(truth))
            fold = assign_folds(train.units, classes, self.bags, resources.seed)
            halves = [
                ((X[fold != k], truth[fold != k]), (X[fold == k], truth[fold == k])) for k in range(self.bags)
            ]
        bags, stopped_by = [], []
        for number, (learning, stopping) in enumerate(halves):
            left = (deadline - time.monotonic()) / (len(halves) - number)
            text, stopped = grow(
                learning,
                stopping,
                categorical=list(range(len(encoding.bins), X.shape[1])),
                params=self._params(encoding, resources),
                rounds=self.max_rounds,
                patience=self.patience,
                deadline=time.monotonic() + left,
            )
            bags.append(_effects(text, encoding))
            stopped_by.append(stopped)
        return _centred(self.target, encoding, X, bags, "budget" if "budget" in stopped_by else stopped_by[0])

    def _params(self, encoding: OneHot, resources: FitResources) -> dict[str, Any]:
        sizes = encoding.sizes
        return {
            **base_params(self.target, resources),
            "interaction_constraints": [[column] for column in range(len(sizes))],
            # Each position is a bin of its own.
            "max_bin": max(sizes) + 1,
            "min_data_in_bin": 1,
            # One category against all others: groups of them, as LightGBM would make, overfit little data.
            "max_cat_to_onehot": max(sizes) + 1,
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_child_samples": self.min_child_samples,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1,
            "lambda_l2": self.lambda_l2,
            "extra_trees": self.extra_trees,
        }


def _effects(text: str, encoding: OneHot) -> tuple[float, list[np.ndarray]]:
    """The score of positions 0, and how much each position of each column changes it."""
    import lightgbm

    booster = lightgbm.Booster(model_str=text)
    sizes = encoding.sizes
    first = float(booster.predict(np.zeros((1, len(sizes))), raw_score=True, num_threads=1)[0])
    effects: list[np.ndarray] = []
    used = booster.feature_importance("split")
    for column, size in enumerate(sizes):
        if not used[column]:
            effects.append(np.zeros(size))
            continue
        X = np.zeros((size, len(sizes)))
        X[:, column] = np.arange(size)
        effects.append(np.asarray(booster.predict(X, raw_score=True, num_threads=1)) - first)
    return first, effects


def _centred(
    target: Target,
    encoding: OneHot,
    X: np.ndarray,
    bags: list[tuple[float, list[np.ndarray]]],
    stopped_by: StoppedBy,
) -> AdditiveModel:
    """The mean of the bags, each effect less its mean over the training rows."""
    intercept = float(np.mean([first for first, _ in bags]))
    effects, contributions = [], []
    for column in range(X.shape[1]):
        table = np.mean([tables[column] for _, tables in bags], axis=0)
        weights = np.bincount(X[:, column], minlength=len(table)) / len(X)
        mean = float(weights @ table)
        # An effect that is the same for all is exactly none.
        centred = table - mean if np.ptp(table[weights > 0]) else table - table[weights > 0][0]
        intercept += mean
        effects.append(tuple(centred.tolist()))
        contributions.append(float(weights @ np.abs(centred)))
    return AdditiveModel(target, encoding, intercept, tuple(effects), tuple(contributions), stopped_by)

"""A generalised additive model: the sum of one effect per column, each a lookup table, in log odds or target units.

It is fitted as boosted trees that each split one column only (Lou, Caruana and Gehrke, 2012), whose sum is one
function of each column.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pandas as pd

from ml.boosting import StoppedBy, StoppingRule, base_params, train_until_early_stop
from ml.data.dataset import Dataset
from ml.data.folds import assign_folds
from ml.data.stopping_rows import stopping_split
from ml.data.target import (
    PREDICTION_COLUMN,
    Target,
    from_log_odds_scale,
    validate_training_truth,
    value_from_log_odds_scale,
)
from ml.encoding.columns import RowValues
from ml.encoding.one_hot import OneHotEncoding
from ml.estimator import FitResources
from ml.tabular.costs import table_cost
from ml.time_budget import FitCost


@dataclass(frozen=True)
class AdditiveModel:
    """`effects` has, for each of `encoding.columns.names`, the effect of each bin or code.

    Effects of a column have the mean 0 over the training rows; `contributions` are their mean absolute values.
    """

    target: Target
    encoding: OneHotEncoding
    intercept: float
    effects: tuple[tuple[float, ...], ...] = field(repr=False)
    contributions: tuple[float, ...]
    stopped_by: StoppedBy

    @cached_property
    def _tables(self) -> list[np.ndarray]:
        return [np.array(effects) for effects in self.effects]

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict the rows of `frame`; errors as in `OneHotEncoding.ordinal_matrix`."""
        score = np.full(len(frame), self.intercept)
        for table, ordinals in zip(self._tables, self.encoding.ordinal_matrix(frame).T, strict=True):
            score += table[ordinals]
        prediction = from_log_odds_scale(score, self.target)
        return pd.DataFrame({PREDICTION_COLUMN[self.target]: prediction}, index=frame.index)

    def predict_row(self, values: RowValues) -> float:
        """Predict one row; errors as in `FeatureColumns.parse_row`."""
        score = self.intercept
        for effects, ordinal in zip(self.effects, self.encoding.ordinal_row(values), strict=True):
            score += effects[ordinal]
        return value_from_log_odds_scale(score, self.target)

    def importance(self) -> pd.Series:
        """Return `contributions` as shares by column name."""
        return self.encoding.columns.shares(self.contributions)

    def shape_functions(self) -> pd.DataFrame:
        """Return the whole model but the intercept as a table, with one row for each bin or code of each column.

        Columns: `column`, `label` (missing, other, a sentinel value, a category, or empty), `low` and `high` (values
        above `low` up to `high`; NaN where there is a label), `effect` (in log odds or units of the target).
        """
        rows: list[dict[str, Any]] = []
        names, n_numeric = self.encoding.columns.names, len(self.encoding.bins)
        for name, bins, effects in zip(names, self.encoding.bins, self.effects, strict=False):
            labels = ["missing", *(f"{sentinel:g}" for sentinel in bins.sentinel_values)]
            intervals = [("", low, high) for low, high in pairwise([-np.inf, *bins.edges, np.inf])]
            rows += _shape_rows(name, [(label, np.nan, np.nan) for label in labels] + intervals, effects)
        for name, codes, effects in zip(
            names[n_numeric:], self.encoding.codes, self.effects[n_numeric:], strict=True
        ):
            labels = ["missing", "other", *codes.categories]
            rows += _shape_rows(name, [(label, np.nan, np.nan) for label in labels], effects)
        return pd.DataFrame(rows, columns=["column", "label", "low", "high", "effect"])

    def files(self) -> dict[str, bytes]:
        """Serialise to `model.json`."""
        return {"model.json": json.dumps(asdict(self)).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load a model that `files` serialised."""
        state = json.loads(files["model.json"])
        state["encoding"] = OneHotEncoding.from_json(state["encoding"])
        state["effects"] = tuple(map(tuple, state["effects"]))
        state["contributions"] = tuple(state["contributions"])
        return cls(**state)


def _shape_rows(
    name: str, intervals: list[tuple[str, float, float]], effects: tuple[float, ...]
) -> Iterator[dict[str, Any]]:
    for (label, low, high), effect in zip(intervals, effects, strict=True):
        yield {"column": name, "label": label, "low": low, "high": high, "effect": effect}


@dataclass(frozen=True)
class Additive:
    """Boosted trees of one column each, over missing and sentinel values, at most `max_bins` bins, or categories.

    With `bags` of at least 2, one model is trained on the rows outside each of as many folds of `train`, with early
    stopping on its fold, and their effects are averaged. With one bag, training stops early on the rows that
    `stopping_split` sets aside. `valid` is not used. Categories are pooled as in `Linear`; the other fields are as in
    `GradientBoosting`.
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
    max_bins: int = 64
    min_count: int = 10
    max_categories: int = 255

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> AdditiveModel:
        """Train until the early-stopping rows stop improving, or the rounds or the time are over.

        Raises ValueError as in `validate_training_truth`, `FeatureColumns.from_frame` and, with bags, `assign_folds`.
        """
        deadline = resources.deadline()
        truth = validate_training_truth(train.truth, self.target)
        encoding = OneHotEncoding.fit(
            train.frame, self.max_bins, self.min_count, self.max_categories, train.sentinel_values
        )
        X = encoding.ordinal_matrix(train.frame)
        if self.bags == 1:
            fit_rows, stopping_rows = stopping_split(train, self.target, resources.seed)
            splits = [((X[fit_rows], truth[fit_rows]), (X[stopping_rows], truth[stopping_rows]))]
        else:
            classes = truth if self.target == "binary" else np.zeros(len(truth))
            fold = assign_folds(train.units, classes, self.bags, resources.seed)
            splits = [
                ((X[fold != k], truth[fold != k]), (X[fold == k], truth[fold == k])) for k in range(self.bags)
            ]
        bags, stopped_by = [], []
        for number, (fitted, stopping) in enumerate(splits):
            share = replace(resources, seconds=deadline.remaining / (len(splits) - number))
            text, stopped = train_until_early_stop(
                fitted,
                stopping,
                categorical=list(range(len(encoding.bins), X.shape[1])),
                params=self._params(encoding, resources),
                stopping=StoppingRule(self.max_rounds, self.patience, share.deadline()),
            )
            bags.append(_effects(text, encoding))
            stopped_by.append(stopped)
        return _average(self.target, encoding, X, bags, "budget" if "budget" in stopped_by else stopped_by[0])

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of all bags."""
        return table_cost(train, fixed_seconds=1.0, cell_seconds=2e-5, threads=resources.threads)

    def _params(self, encoding: OneHotEncoding, resources: FitResources) -> dict[str, Any]:
        sizes = encoding.ordinal_sizes
        return {
            **base_params(self.target, resources),
            "interaction_constraints": [[column] for column in range(len(sizes))],
            # Each ordinal value gets a bin of LightGBM.
            "max_bin": max(sizes) + 1,
            "min_data_in_bin": 1,
            # Split one category from all others: LightGBM's groups of categories overfit small tables.
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


def _effects(text: str, encoding: OneHotEncoding) -> tuple[float, list[np.ndarray]]:
    """Return the score of a row of ordinals 0, and by column the change of score of each other ordinal."""
    import lightgbm

    booster = lightgbm.Booster(model_str=text)
    sizes = encoding.ordinal_sizes
    base_score = float(booster.predict(np.zeros((1, len(sizes))), raw_score=True, num_threads=1)[0])
    effects: list[np.ndarray] = []
    split_counts = booster.feature_importance("split")
    for column, size in enumerate(sizes):
        if not split_counts[column]:
            effects.append(np.zeros(size))
            continue
        X = np.zeros((size, len(sizes)))
        X[:, column] = np.arange(size)
        effects.append(np.asarray(booster.predict(X, raw_score=True, num_threads=1)) - base_score)
    return base_score, effects


def _average(
    target: Target,
    encoding: OneHotEncoding,
    X: np.ndarray,
    bags: list[tuple[float, list[np.ndarray]]],
    stopped_by: StoppedBy,
) -> AdditiveModel:
    """Average the bags, and centre each effect by its mean over the training rows."""
    intercept = float(np.mean([base_score for base_score, _ in bags]))
    effects, contributions = [], []
    for column in range(X.shape[1]):
        table = np.mean([tables[column] for _, tables in bags], axis=0)
        weights = np.bincount(X[:, column], minlength=len(table)) / len(X)
        mean = float(weights @ table)
        # An effect that is equal for all rows becomes exactly 0.
        centred = table - mean if np.ptp(table[weights > 0]) else table - table[weights > 0][0]
        intercept += mean
        effects.append(tuple(centred.tolist()))
        contributions.append(float(weights @ np.abs(centred)))
    return AdditiveModel(target, encoding, intercept, tuple(effects), tuple(contributions), stopped_by)

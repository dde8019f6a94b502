"""Gradient-boosted trees with LightGBM for targets with several classes: one tree per class and round."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import pandas as pd

from ml.boosting import StoppedBy, StoppingRule, base_params, predict_booster, train_until_early_stop
from ml.data.dataset import Dataset
from ml.data.stopping_rows import stopping_split
from ml.data.target import class_columns, class_truth
from ml.encoding.tree_matrix import TreeEncoding, TreeEncodingSettings
from ml.errors import CandidateSkipped
from ml.estimator import FitResources
from ml.tabular.costs import table_cost
from ml.tabular.tree_settings import TreeSettings
from ml.time_budget import FitCost

if TYPE_CHECKING:
    import lightgbm

# Each round trains a tree for every class; with more classes a round takes too long to be useful.
MAX_CLASSES = 200


@dataclass(frozen=True)
class MulticlassBoostingModel:
    """Trees in LightGBM's text format and the encoding of their inputs; `stopped_by` is what ended the training."""

    requirements: ClassVar[tuple[str, ...]] = ("lightgbm",)
    classes: tuple[str, ...]
    encoding: TreeEncoding
    trees: str = field(repr=False)
    stopped_by: StoppedBy

    @cached_property
    def _booster(self) -> "lightgbm.Booster":
        import lightgbm

        return lightgbm.Booster(model_str=self.trees)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict the rows of `frame`; errors as in `TreeEncoding.encode`."""
        probability = predict_booster(self._booster, self.encoding.encode(frame))
        shaped = probability.reshape(len(frame), len(self.classes))
        return pd.DataFrame(shaped, index=frame.index, columns=class_columns(self.classes))

    def importance(self) -> pd.Series:
        """Return the total gain of each column's splits as shares by column name (all 0 if there are no splits)."""
        gains = self.encoding.sum_by_column(self._booster.feature_importance("gain"))
        return self.encoding.columns.shares(gains)

    def files(self) -> dict[str, bytes]:
        """Serialise to `model.txt`, which LightGBM reads, and `model.json`."""
        state = {
            "classes": self.classes,
            "encoding": asdict(self.encoding),
            "stopped_by": self.stopped_by,
        }
        return {"model.txt": self.trees.encode(), "model.json": json.dumps(state).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load a model that `files` serialised."""
        state = json.loads(files["model.json"])
        encoding = TreeEncoding.from_json(state["encoding"])
        return cls(tuple(state["classes"]), encoding, files["model.txt"].decode(), state["stopped_by"])


@dataclass(frozen=True)
class MulticlassBoosting(TreeSettings):
    """LightGBM with early stopping on the log loss of a slice of the training rows."""

    min_child_samples: int = 20
    patience: int = 30

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> MulticlassBoostingModel:
        """Train until the stopping rows stop improving, or the rounds or the time are over (at least one round).

        The stopping rows are those of `stopping_split`; `valid` is not used. Raises CandidateSkipped for more than
        `MAX_CLASSES` classes, ValueError as in `class_truth`.
        """
        if len(train.classes) > MAX_CLASSES:
            raise CandidateSkipped(
                f"at most {MAX_CLASSES} classes", f"{len(train.classes):,}", "use the linear model"
            )
        deadline = resources.deadline()
        truth = class_truth(train)
        settings = TreeEncodingSettings(
            min_count=self.min_count,
            max_categories=self.max_categories,
            target_encode_from=None,
            smoothing=0.0,
        )
        fit_rows, stopping_rows = stopping_split(train, "multiclass", resources.seed)
        part, stopping = train.take(fit_rows), train.take(stopping_rows)
        encoding, X = TreeEncoding.fit(part, truth[fit_rows].astype(np.float64), settings, resources.seed)
        params = {
            **base_params("multiclass", resources),
            "num_class": len(train.classes),
            **self.tree_params(len(fit_rows)),
        }
        trees, stopped_by = train_until_early_stop(
            (X, truth[fit_rows]),
            (encoding.encode(stopping.frame), truth[stopping_rows]),
            categorical=encoding.categorical_positions,
            params=params,
            stopping=StoppingRule(self.max_rounds, self.patience, deadline),
        )
        return MulticlassBoostingModel(train.classes, encoding, trees, stopped_by)

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of a fit until it stops early."""
        classes = max(len(train.classes), 2)
        return table_cost(train, 0.5 * classes, cell_seconds=4e-6 * classes, threads=resources.threads)

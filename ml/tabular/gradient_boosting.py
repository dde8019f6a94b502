"""Gradient-boosted trees: LightGBM (Ke et al., 2017)."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import pandas as pd

from ml.boosting import StoppedBy, answers, base_params, grow
from ml.data.dataset import Dataset
from ml.data.target import PREDICTION, Target, checked_truth, training_truth
from ml.encoding.columns import Row
from ml.encoding.tree_matrix import TreeEncoding
from ml.estimator import FitResources

if TYPE_CHECKING:
    import lightgbm


@dataclass(frozen=True)
class GradientBoostingModel:
    """Trees in LightGBM's text format and the encoding of what they split on.

    `stopped_by` says what ended the training: `valid` no longer improving, the number of rounds, or the time.
    """

    requirements: ClassVar[tuple[str, ...]] = ("lightgbm",)
    target: Target
    encoding: TreeEncoding
    trees: str = field(repr=False)
    stopped_by: StoppedBy

    @cached_property
    def _booster(self) -> "lightgbm.Booster":
        import lightgbm

        return lightgbm.Booster(model_str=self.trees)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Errors as in `TreeEncoding.encode`."""
        answer = answers(self._booster, self.encoding.encode(frame))
        return pd.DataFrame({PREDICTION[self.target]: answer}, index=frame.index)

    def predict_row(self, values: Row) -> float:
        """The prediction of one row; errors as in `Columns.row`."""
        return float(answers(self._booster, self.encoding.encode_row(values))[0])

    def importance(self) -> pd.Series:
        """Total gain of each column's splits, summing to 1 (all 0 where there are no splits)."""
        gain = self.encoding.by_column(self._booster.feature_importance("gain"))
        return gain / (gain.sum() or 1.0)

    def files(self) -> dict[str, bytes]:
        """`model.txt`, which LightGBM reads, and `model.json`."""
        rest = {"target": self.target, "encoding": asdict(self.encoding), "stopped_by": self.stopped_by}
        return {"model.txt": self.trees.encode(), "model.json": json.dumps(rest).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        rest = json.loads(files["model.json"])
        rest["encoding"] = TreeEncoding.from_json(rest["encoding"])
        return cls(trees=files["model.txt"].decode(), **rest)


@dataclass(frozen=True)
class GradientBoosting:
    """LightGBM, stopped early on the log loss (binary) or squared error (numeric) of `valid`.

    Training ends after `patience` rounds without improvement. With `stop_on` ranking it goes on while the AUC (binary)
    improves, which it does when probabilities have long become too extreme: whoever mixes them puts that right. A
    category of fewer than `min_count` training rows shares one code with those never seen. Columns of
    `statistics_from` and more categories become target statistics, smoothed by so many rows of the mean (None: no
    column does); other columns have LightGBM's own categorical splits, over the `max_categories` most frequent. At most
    `crosses` pairs of columns are target statistics besides, as `ml.encoding.category_crosses` chooses them. The other
    fields are LightGBM's own parameters.
    """

    target: Target = "binary"
    learning_rate: float = 0.05
    num_leaves: int = 31
    min_child_samples: int = 50
    feature_fraction: float = 0.8
    bagging_fraction: float = 0.8
    lambda_l2: float = 0.0
    extra_trees: bool = False
    max_rounds: int = 1000
    patience: int = 50
    min_count: int = 10
    max_categories: int = 255
    statistics_from: int | None = None
    smoothing: float = 20.0
    crosses: int = 0
    stop_on: Literal["loss", "ranking"] = "loss"

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> GradientBoostingModel:
        """Grow trees until `valid` stops improving, or the rounds or the time are over (at least one tree).

        The trees are the same for any number of threads, unless time stops them. Raises ValueError as in
        `training_truth` and `Columns.of`.
        """
        deadline = time.monotonic() + resources.seconds
        truth = training_truth(train.truth, self.target)
        valid_truth = checked_truth(valid.truth, self.target)
        encoding, X = TreeEncoding.learn(
            train,
            truth,
            self.min_count,
            self.max_categories,
            self.statistics_from,
            self.smoothing,
            resources.seed,
            self.crosses,
        )
        trees, stopped_by = grow(
            (X, truth),
            (encoding.encode(valid.frame), valid_truth),
            categorical=encoding.native,
            params=self._params(resources),
            rounds=self.max_rounds,
            patience=self.patience,
            deadline=deadline,
        )
        return GradientBoostingModel(self.target, encoding, trees, stopped_by)

    def _params(self, resources: FitResources) -> dict[str, Any]:
        return {
            **base_params(self.target, resources),
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_child_samples": self.min_child_samples,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1,
            "lambda_l2": self.lambda_l2,
            "extra_trees": self.extra_trees,
            **self._metrics(),
        }

    def _metrics(self) -> dict[str, list[str]]:
        """What is measured on `valid`, where that is not the loss alone."""
        ranks = self.stop_on == "ranking" and self.target == "binary"
        return {"metric": ["binary_logloss", "auc"]} if ranks else {}

"""Gradient-boosted trees with LightGBM (Ke et al., 2017)."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import pandas as pd

from ml.boosting import StoppedBy, StoppingRule, base_params, predict_booster, train_until_early_stop
from ml.data.dataset import Dataset
from ml.data.stopping_rows import stopping_split
from ml.data.target import PREDICTION_COLUMN, Target, validate_training_truth
from ml.encoding.columns import RowValues
from ml.encoding.tree_matrix import TreeEncoding, TreeEncodingSettings
from ml.estimator import FitResources
from ml.tabular.costs import table_cost
from ml.tabular.tree_settings import TreeSettings
from ml.time_budget import FitCost

if TYPE_CHECKING:
    import lightgbm


@dataclass(frozen=True)
class GradientBoostingModel:
    """Trees in LightGBM's text format and the encoding of their inputs.

    `stopped_by` is what ended the training: no improvement on the stopping rows (`valid`), the number of rounds, or the
    time.
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
        """Predict the rows of `frame`; errors as in `TreeEncoding.encode`."""
        prediction = predict_booster(self._booster, self.encoding.encode(frame))
        return pd.DataFrame({PREDICTION_COLUMN[self.target]: prediction}, index=frame.index)

    def predict_row(self, values: RowValues) -> float:
        """Predict one row; errors as in `FeatureColumns.parse_row`."""
        return float(predict_booster(self._booster, self.encoding.encode_row(values))[0])

    def importance(self) -> pd.Series:
        """Return the total gain of each column's splits as shares by column name (all 0 if there are no splits)."""
        gains = self.encoding.sum_by_column(self._booster.feature_importance("gain"))
        return self.encoding.columns.shares(gains)

    def files(self) -> dict[str, bytes]:
        """Serialise to `model.txt`, which LightGBM reads, and `model.json`."""
        state = {"target": self.target, "encoding": asdict(self.encoding), "stopped_by": self.stopped_by}
        return {"model.txt": self.trees.encode(), "model.json": json.dumps(state).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load a model that `files` serialised."""
        state = json.loads(files["model.json"])
        state["encoding"] = TreeEncoding.from_json(state["encoding"])
        return cls(trees=files["model.txt"].decode(), **state)


@dataclass(frozen=True)
class GradientBoosting(TreeSettings):
    """LightGBM with early stopping on the log loss (binary) or squared error (numeric) of a slice of the training rows.

    With `stop_on` "ranking" it continues while the AUC
    (binary) improves; the probabilities may then be too extreme, and need the calibration of an ensemble.
    `target_encode_from`, `smoothing` and `max_crosses` are as in `TreeEncodingSettings`; columns that are not
    target-encoded have LightGBM's categorical splits. `lambda_l2` and `extra_trees` are parameters of LightGBM, the
    other fields those of `TreeSettings`.
    """

    target: Target = "binary"
    lambda_l2: float = 0.0
    extra_trees: bool = False
    target_encode_from: int | None = None
    smoothing: float = 20.0
    max_crosses: int = 0
    stop_on: Literal["loss", "ranking"] = "loss"

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> GradientBoostingModel:
        """Train until the stopping rows stop improving, or the rounds or the time are over (at least one tree).

        The stopping rows are those of `stopping_split`; `valid` is not used. The trees are the same for any number of
        threads, unless time ends the training. Raises ValueError as in `validate_training_truth` and
        `FeatureColumns.from_frame`.
        """
        deadline = resources.deadline()
        truth = validate_training_truth(train.truth, self.target)
        settings = TreeEncodingSettings(
            min_count=self.min_count,
            max_categories=self.max_categories,
            target_encode_from=self.target_encode_from,
            smoothing=self.smoothing,
            max_crosses=self.max_crosses,
        )
        fit_rows, stopping_rows = stopping_split(train, self.target, resources.seed)
        part, stopping = train.take(fit_rows), train.take(stopping_rows)
        encoding, X = TreeEncoding.fit(part, truth[fit_rows], settings, resources.seed)
        trees, stopped_by = train_until_early_stop(
            (X, truth[fit_rows]),
            (encoding.encode(stopping.frame), truth[stopping_rows]),
            categorical=encoding.categorical_positions,
            params=self._params(len(fit_rows), resources),
            stopping=StoppingRule(self.max_rounds, self.patience, deadline),
        )
        return GradientBoostingModel(self.target, encoding, trees, stopped_by)

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of a fit until it stops early."""
        return table_cost(train, fixed_seconds=0.5, cell_seconds=4e-6, threads=resources.threads)

    def _params(self, rows: int, resources: FitResources) -> dict[str, Any]:
        return {
            **base_params(self.target, resources),
            **self.tree_params(rows),
            "lambda_l2": self.lambda_l2,
            "extra_trees": self.extra_trees,
            **self._metrics(),
        }

    def _metrics(self) -> dict[str, list[str]]:
        """Return the metrics on the stopping rows if they include the AUC."""
        uses_auc = self.stop_on == "ranking" and self.target == "binary"
        return {"metric": ["binary_logloss", "auc"]} if uses_auc else {}

"""Extremely randomised trees (Geurts, Ernst and Wehenkel, 2006), trained by scikit-learn, predicted by LightGBM."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ml.boosting import predict_booster
from ml.data.dataset import Dataset
from ml.data.target import PREDICTION_COLUMN, Target, validate_training_truth
from ml.encoding.columns import RowValues
from ml.encoding.tree_matrix import TreeEncoding, TreeEncodingSettings
from ml.estimator import FitResources

if TYPE_CHECKING:
    import lightgbm

# Bits of LightGBM's `decision_type`: NaN is a missing value, and missing values go to the left child.
MISSING_IS_NAN, MISSING_GOES_LEFT = 8, 2
# Maximum number of leaves of all trees together, which limits the number of trees: a leaf takes 70 bytes of text, and
# a bag has several models.
MAX_LEAVES = 130_000
# Trees that are trained between two checks of the time.
TREES_PER_STEP = 5


@dataclass(frozen=True)
class ExtraTreesModel:
    """Trees in LightGBM's text format, averaged in prediction, and the encoding of their inputs."""

    requirements: ClassVar[tuple[str, ...]] = ("lightgbm",)
    target: Target
    encoding: TreeEncoding
    trees: str = field(repr=False)
    importances: tuple[float, ...]
    stopped_by: Literal["trees", "budget"]

    @cached_property
    def _booster(self) -> "lightgbm.Booster":
        import lightgbm

        return lightgbm.Booster(model_str=self.trees)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Average the predictions of the trees; errors as in `TreeEncoding.encode`."""
        prediction = predict_booster(self._booster, _to_float32(self.encoding.encode(frame)))
        return pd.DataFrame({PREDICTION_COLUMN[self.target]: prediction}, index=frame.index)

    def predict_row(self, values: RowValues) -> float:
        """Predict one row; errors as in `FeatureColumns.parse_row`."""
        return float(predict_booster(self._booster, _to_float32(self.encoding.encode_row(values)))[0])

    def importance(self) -> pd.Series:
        """Return the total decrease of impurity as shares by column name (all 0 if there are no splits)."""
        return self.encoding.columns.shares(self.importances)

    def files(self) -> dict[str, bytes]:
        """Serialise to `model.txt`, which LightGBM reads, and `model.json`."""
        state = {
            "target": self.target,
            "encoding": asdict(self.encoding),
            "importances": self.importances,
            "stopped_by": self.stopped_by,
        }
        return {"model.txt": self.trees.encode(), "model.json": json.dumps(state).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load a model that `files` serialised."""
        state = json.loads(files["model.json"])
        state["encoding"] = TreeEncoding.from_json(state["encoding"])
        state["importances"] = tuple(state["importances"])
        return cls(trees=files["model.txt"].decode(), **state)


@dataclass(frozen=True)
class ExtraTrees:
    """`trees` extremely randomised trees, with every categorical column target-encoded.

    A leaf has at least `min_samples_leaf` rows, and more on large tables, so that a tree has at most `max_leaves`
    leaves. `max_features` is the share of columns that are considered for a split, at least one.
    """

    target: Target = "binary"
    trees: int = 300
    min_samples_leaf: int = 3
    max_leaves: int = 1000
    max_features: float = 0.4
    min_count: int = 10
    smoothing: float = 20.0

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> ExtraTreesModel:
        """Train the trees until time is up (at least a few trees); `valid` is not used.

        Raises ValueError as in `validate_training_truth` and `FeatureColumns.from_frame`.
        """
        deadline = resources.deadline()
        truth = validate_training_truth(train.truth, self.target)
        settings = TreeEncodingSettings(
            self.min_count, max_categories=0, target_encode_from=0, smoothing=self.smoothing
        )
        encoding, X = TreeEncoding.fit(train, truth, settings, resources.seed)
        forest = self._forest(resources, len(X))
        X = _to_float32(X)
        trained, wanted = 0, self.trees
        while trained < wanted and (not trained or not deadline.passed):
            trained = min(trained + TREES_PER_STEP, wanted)
            forest.set_params(n_estimators=trained).fit(X, truth)
            if trained == TREES_PER_STEP:
                # All trees have about as many leaves as the first ones.
                leaves = sum(tree.get_n_leaves() for tree in forest.estimators_) / TREES_PER_STEP
                wanted = min(self.trees, max(TREES_PER_STEP, int(MAX_LEAVES / leaves)))
        return ExtraTreesModel(
            self.target,
            encoding,
            _to_lightgbm_text(forest, encoding),
            tuple(forest.feature_importances_.tolist()),
            "trees" if trained == wanted else "budget",
        )

    def _forest(self, resources: FitResources, rows: int) -> Any:
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

        forest_class = ExtraTreesClassifier if self.target == "binary" else ExtraTreesRegressor
        return forest_class(
            min_samples_leaf=max(self.min_samples_leaf, -(-rows // self.max_leaves)),
            max_features=self.max_features,
            random_state=resources.seed,
            n_jobs=resources.threads,
            warm_start=True,
        )


def _to_float32(X: np.ndarray) -> np.ndarray:
    """Convert to the precision that scikit-learn trains trees in, infinite values to the largest finite ones."""
    largest = float(np.finfo(np.float32).max)
    clipped: np.ndarray = np.clip(X, -largest, largest)
    return clipped.astype(np.float32)


def _to_lightgbm_text(forest: Any, encoding: TreeEncoding) -> str:
    """Write the trees in LightGBM's format, their outputs averaged and not transformed."""
    names = [f"Column_{position}" for position in range(len(encoding.columns.names))]
    header = {
        "version": "v4",
        "num_class": 1,
        "num_tree_per_iteration": 1,
        "label_index": 0,
        "max_feature_idx": len(names) - 1,
        "objective": "regression",
    }
    lines = ["tree", *(f"{key}={value}" for key, value in header.items()), "average_output"]
    lines += [f"feature_names={' '.join(names)}", f"feature_infos={' '.join(['none'] * len(names))}", ""]
    for number, estimator in enumerate(forest.estimators_):
        lines += [f"Tree={number}", *_tree_lines(estimator.tree_), ""]
    return "\n".join([*lines, "end of trees", ""])


def _tree_lines(tree: Any) -> list[str]:
    """Write one tree; LightGBM numbers splits and leaves separately, and refers to leaf n as child ~n."""
    nodes = tree.__getstate__()["nodes"]
    is_leaf = nodes["left_child"] == -1
    number = np.where(is_leaf, ~(np.cumsum(is_leaf) - 1), np.cumsum(~is_leaf) - 1)
    splits = nodes[~is_leaf]
    missing_direction = np.where(splits["missing_go_to_left"], MISSING_GOES_LEFT, 0)
    arrays: dict[str, Any] = {
        "split_feature": splits["feature"],
        "threshold": splits["threshold"],
        "decision_type": MISSING_IS_NAN + missing_direction,
        "left_child": number[splits["left_child"]],
        "right_child": number[splits["right_child"]],
        # The last class is the positive one; a regression has one value.
        "leaf_value": tree.value[is_leaf, 0, -1],
    }
    values = [f"{key}={' '.join(map(repr, array.tolist()))}" for key, array in arrays.items() if len(array)]
    return [f"num_leaves={is_leaf.sum()}", "num_cat=0", *values, "is_linear=0", "shrinkage=1"]

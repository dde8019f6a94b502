"""Extremely randomised trees (Geurts, Ernst and Wehenkel, 2006), grown by scikit-learn, kept and asked by LightGBM."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from ml.boosting import answers
from ml.data.dataset import Dataset
from ml.data.target import PREDICTION, Target, training_truth
from ml.encoding.columns import Row
from ml.encoding.tree_matrix import TreeEncoding
from ml.estimator import FitResources

if TYPE_CHECKING:
    import lightgbm

# LightGBM's flags of a split on a number for which NaN means missing; then of one that sends missing values left.
MISSING_IS_NAN, LOST_GO_LEFT = 8, 2
# Leaves of all trees together: beyond, fewer trees are grown. In text a leaf takes 70 bytes, and a bag holds several
# forests.
MOST_LEAVES = 130_000
# Trees grown between two looks at the clock.
STEP = 5


@dataclass(frozen=True)
class ForestModel:
    """Trees in LightGBM's text format, whose answer is their mean, and the encoding of what they split on."""

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
        """Mean over trees; errors as in `TreeEncoding.encode`."""
        answer = answers(self._booster, _single(self.encoding.encode(frame)))
        return pd.DataFrame({PREDICTION[self.target]: answer}, index=frame.index)

    def predict_row(self, values: Row) -> float:
        """The prediction of one row; errors as in `Columns.row`."""
        return float(answers(self._booster, _single(self.encoding.encode_row(values)))[0])

    def importance(self) -> pd.Series:
        """Total decrease of impurity by column, summing to 1 (all 0 where there are no splits)."""
        raw = pd.Series(self.importances, index=list(self.encoding.columns.names), dtype="float64")
        return raw / (raw.sum() or 1.0)

    def files(self) -> dict[str, bytes]:
        """`model.txt`, which LightGBM reads, and `model.json`."""
        rest = {
            "target": self.target,
            "encoding": asdict(self.encoding),
            "importances": self.importances,
            "stopped_by": self.stopped_by,
        }
        return {"model.txt": self.trees.encode(), "model.json": json.dumps(rest).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        rest = json.loads(files["model.json"])
        rest["encoding"] = TreeEncoding.from_json(rest["encoding"])
        rest["importances"] = tuple(rest["importances"])
        return cls(trees=files["model.txt"].decode(), **rest)


@dataclass(frozen=True)
class Forest:
    """`trees` of random thresholds, every category column as target statistics.

    A leaf holds at least `min_samples_leaf` rows, and more on large tables, so that a tree has at most `max_leaves`.
    `max_features` is the share of columns that a split may choose from, one at least.
    """

    target: Target = "binary"
    trees: int = 300
    min_samples_leaf: int = 3
    max_leaves: int = 1000
    max_features: float = 0.4
    min_count: int = 10
    smoothing: float = 20.0

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> ForestModel:
        """Grow the trees until time is up (at least a few); `valid` is not looked at.

        Raises ValueError as in `training_truth` and `Columns.of`.
        """
        deadline = time.monotonic() + resources.seconds
        truth = training_truth(train.truth, self.target)
        encoding, X = TreeEncoding.learn(train, truth, self.min_count, 0, 0, self.smoothing, resources.seed)
        forest = self._forest(resources, len(X))
        X = _single(X)
        grown, wanted = 0, self.trees
        while grown < wanted and (not grown or time.monotonic() < deadline):
            grown = min(grown + STEP, wanted)
            forest.set_params(n_estimators=grown).fit(X, truth)
            if grown == STEP:
                # All trees have about as many leaves as the first ones.
                leaves = sum(tree.get_n_leaves() for tree in forest.estimators_) / STEP
                wanted = min(self.trees, max(STEP, int(MOST_LEAVES / leaves)))
        return ForestModel(
            self.target,
            encoding,
            _exported(forest, encoding),
            tuple(forest.feature_importances_.tolist()),
            "trees" if grown == wanted else "budget",
        )

    def _forest(self, resources: FitResources, rows: int) -> Any:
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

        kind = ExtraTreesClassifier if self.target == "binary" else ExtraTreesRegressor
        return kind(
            min_samples_leaf=max(self.min_samples_leaf, -(-rows // self.max_leaves)),
            max_features=self.max_features,
            random_state=resources.seed,
            n_jobs=resources.threads,
            warm_start=True,
        )


def _single(X: np.ndarray) -> np.ndarray:
    """In the precision that scikit-learn grows trees in, infinities as its largest numbers."""
    most = float(np.finfo(np.float32).max)
    clipped: np.ndarray = np.clip(X, -most, most)
    return clipped.astype(np.float32)


def _exported(forest: Any, encoding: TreeEncoding) -> str:
    """The trees as LightGBM writes them, their answers to be averaged and not to be transformed."""
    names = [f"Column_{at}" for at in range(len(encoding.columns.names))]
    head = {
        "version": "v4",
        "num_class": 1,
        "num_tree_per_iteration": 1,
        "label_index": 0,
        "max_feature_idx": len(names) - 1,
        "objective": "regression",
    }
    lines = ["tree", *(f"{key}={value}" for key, value in head.items()), "average_output"]
    lines += [f"feature_names={' '.join(names)}", f"feature_infos={' '.join(['none'] * len(names))}", ""]
    for number, tree in enumerate(one.tree_ for one in forest.estimators_):
        lines += [f"Tree={number}", *_lines(tree), ""]
    return "\n".join([*lines, "end of trees", ""])


def _lines(tree: Any) -> list[str]:
    """One tree: splits are numbered apart from leaves, and a leaf as a child has the complement of its number."""
    nodes = tree.__getstate__()["nodes"]
    leaf = nodes["left_child"] == -1
    number = np.where(leaf, ~(np.cumsum(leaf) - 1), np.cumsum(~leaf) - 1)
    splits = nodes[~leaf]
    lost = np.where(splits["missing_go_to_left"], LOST_GO_LEFT, 0)
    values: dict[str, Any] = {
        "split_feature": splits["feature"],
        "threshold": splits["threshold"],
        "decision_type": MISSING_IS_NAN + lost,
        "left_child": number[splits["left_child"]],
        "right_child": number[splits["right_child"]],
        # The last class is the positive one; a regression has the one value.
        "leaf_value": tree.value[leaf, 0, -1],
    }
    told = [f"{key}={' '.join(map(repr, one.tolist()))}" for key, one in values.items() if len(one)]
    return [f"num_leaves={leaf.sum()}", "num_cat=0", *told, "is_linear=0", "shrinkage=1"]

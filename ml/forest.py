"""Extremely randomised trees (Geurts, Ernst and Wehenkel, 2006), grown by scikit-learn, predicted by numpy."""

import io
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from ml.encode import PREDICTION, Row, Target, checked_truth, require_both_classes
from ml.model import Part, Resources
from ml.tree_encoding import TreeEncoding

# One node: rows with `value` of column `feature` up to `threshold` go to `left`, missing ones where `lost` says, others
# to `right`. A leaf is its own child, and its `threshold` is what it predicts.
NODE = np.dtype(
    [("feature", "<i4"), ("threshold", "<f8"), ("left", "<i4"), ("right", "<i4"), ("lost", "<i4")]
)
# Rows that are walked at once: as much as stays near the processor.
CHUNK = 512
# Trees grown between two looks at the clock.
STEP = 5


@dataclass(frozen=True, eq=False)
class ForestModel:
    """All trees in one array of `NODE`; `roots` says where each begins, `depth` how deep the deepest is."""

    target: Target
    encoding: TreeEncoding
    nodes: np.ndarray = field(repr=False)
    roots: tuple[int, ...] = field(repr=False)
    depth: int
    importances: tuple[float, ...]
    stopped_by: Literal["trees", "budget"]

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Mean over trees; errors as in `TreeEncoding.encode`."""
        X = self.encoding.encode(frame)
        answers = [self._walk(X[start : start + CHUNK]) for start in range(0, len(X), CHUNK)]
        answer = np.concatenate(answers) if answers else np.empty(0)
        return pd.DataFrame({PREDICTION[self.target]: answer}, index=frame.index)

    def predict_row(self, values: Row) -> float:
        """The prediction of one row; errors as in `Columns.row`."""
        return float(self._walk(self.encoding.encode_row(values))[0])

    def _walk(self, X: np.ndarray) -> np.ndarray:
        values = _single(X)
        rows = np.arange(len(values))[:, None]
        at = np.tile(np.array(self.roots), (len(values), 1))
        for _ in range(self.depth):
            nodes = self.nodes[at]
            value = values[rows, nodes["feature"]]
            beyond = np.where(value <= nodes["threshold"], nodes["left"], nodes["right"])
            at = np.where(np.isnan(value), nodes["lost"], beyond)
        # One tree after the other, as the reference does, so that sums agree to the last bit.
        return np.asarray(self.nodes["threshold"][at].cumsum(axis=1)[:, -1] / len(self.roots))

    def importance(self) -> pd.Series:
        """Total decrease of impurity by column, summing to 1 (all 0 where there are no splits)."""
        raw = pd.Series(self.importances, index=list(self.encoding.columns.names), dtype="float64")
        return raw / (raw.sum() or 1.0)

    def files(self) -> dict[str, bytes]:
        """`nodes.npy` and `model.json`."""
        nodes = io.BytesIO()
        np.lib.format.write_array(nodes, self.nodes, allow_pickle=False)
        rest = {
            "target": self.target,
            "encoding": asdict(self.encoding),
            "roots": self.roots,
            "depth": self.depth,
            "importances": self.importances,
            "stopped_by": self.stopped_by,
        }
        return {"nodes.npy": nodes.getvalue(), "model.json": json.dumps(rest).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        state = json.loads(files["model.json"])
        state["encoding"] = TreeEncoding.from_json(state["encoding"])
        state["roots"], state["importances"] = tuple(state["roots"]), tuple(state["importances"])
        nodes = np.lib.format.read_array(io.BytesIO(files["nodes.npy"]), allow_pickle=False)
        return cls(nodes=nodes, **state)


@dataclass(frozen=True)
class Forest:
    """`trees` of random thresholds, every category column as target statistics.

    A leaf holds at least `min_samples_leaf` rows, and more on large tables, so that a tree has at most `max_leaves`.
    `max_features` is the share of columns that a split may choose from.
    """

    target: Target = "binary"
    trees: int = 300
    min_samples_leaf: int = 3
    max_leaves: int = 1000
    max_features: float = 0.4
    min_count: int = 10
    smoothing: float = 20.0

    def fit(self, train: Part, valid: Part, resources: Resources) -> ForestModel:
        """Grow the trees until time is up (at least a few); `valid` is not looked at.

        Raises ValueError as in `checked_truth`, `require_both_classes` (binary) and `Columns.of`.
        """
        deadline = time.monotonic() + resources.seconds
        truth = checked_truth(train.truth, self.target)
        if self.target == "binary":
            require_both_classes(truth)
        encoding, X = TreeEncoding.learn(train, truth, self.min_count, 0, 0, self.smoothing, resources.seed)
        forest = self._forest(resources, len(X))
        X = _single(X)
        grown = 0
        while grown < self.trees and (not grown or time.monotonic() < deadline):
            grown = min(grown + STEP, self.trees)
            forest.set_params(n_estimators=grown).fit(X, truth)
        nodes, roots, depth = _exported(forest, truth)
        return ForestModel(
            self.target,
            encoding,
            nodes,
            roots,
            depth,
            tuple(forest.feature_importances_.tolist()),
            "trees" if grown == self.trees else "budget",
        )

    def _forest(self, resources: Resources, rows: int) -> Any:
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


def _exported(forest: Any, truth: np.ndarray) -> tuple[np.ndarray, tuple[int, ...], int]:
    """The trees as `NODE`, their roots, and the greatest depth."""
    tables, roots, start = [], [], 0
    for tree in (one.tree_ for one in forest.estimators_):
        state = tree.__getstate__()["nodes"]
        own = np.arange(len(state)) + start
        leaf = state["left_child"] == -1
        left, right = state["left_child"] + start, state["right_child"] + start
        # The last class is the positive one; a regression has the one value.
        value = tree.value[:, 0, -1]
        table = np.empty(len(state), NODE)
        table["feature"] = np.where(leaf, 0, state["feature"])
        table["threshold"] = np.where(leaf, value, state["threshold"])
        table["left"] = np.where(leaf, own, left)
        table["right"] = np.where(leaf, own, right)
        table["lost"] = np.where(leaf, own, np.where(state["missing_go_to_left"], left, right))
        tables.append(table)
        roots.append(start)
        start += len(state)
    return np.concatenate(tables), tuple(roots), max(one.tree_.max_depth for one in forest.estimators_)

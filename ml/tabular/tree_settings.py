"""Hyperparameters that gradient-boosted trees have for one output and for several."""

from dataclasses import dataclass
from typing import Any

# A leaf needs at most this share of the rows, or a small table could not be divided. Of 1/3 to 1/16, on other folds
# than those that are published, 1/5 had the best log loss on heart disease, and one near the best on hepatitis and
# heart failure.
MAX_LEAF_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class TreeSettings:
    """Parameters of LightGBM, rounds, and the encoding of columns.

    Training ends after `patience` rounds without improvement, or `max_rounds`. `min_count` and `max_categories` are as
    in `ml.encoding.tree_matrix.TreeEncodingSettings`. All other fields are parameters of LightGBM; on small tables
    `min_child_samples` is at most `MAX_LEAF_SHARE` of the rows.
    """

    learning_rate: float = 0.05
    num_leaves: int = 31
    min_child_samples: int = 50
    feature_fraction: float = 0.8
    bagging_fraction: float = 0.8
    max_rounds: int = 1000
    patience: int = 50
    min_count: int = 10
    max_categories: int = 255

    def tree_params(self, rows: int) -> dict[str, Any]:
        """Return the parameters of trees, and of rows and columns that each one sees, as LightGBM names them.

        `rows` are those that trees are fitted to.
        """
        return {
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_child_samples": max(min(self.min_child_samples, int(MAX_LEAF_SHARE * rows)), 1),
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1,
        }

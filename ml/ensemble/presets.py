"""Presets of ensemble members by table size, ordered by gain per second of training, highest first."""

from collections.abc import Mapping
from dataclasses import dataclass

from ml.estimator import Candidate
from ml.tabular.additive import Additive
from ml.tabular.extra_trees import ExtraTrees
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from ml.tabular.tabm import TabM


@dataclass(frozen=True)
class Preset:
    """Ensemble members for tables of at most `max_rows` rows: each is bagged over `folds` folds, `repeats` times."""

    max_rows: float
    folds: int
    repeats: int
    members: Mapping[str, Candidate]


# Few rows: few bins and leaves, strong regularisation, random thresholds, no native categorical splits.
SMALL = Preset(
    max_rows=2_000,
    folds=5,
    repeats=2,
    members={
        "linear": Linear(max_bins=4, inverse_penalties=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0)),
        "randomised boosting": GradientBoosting(
            learning_rate=0.03,
            num_leaves=4,
            min_child_samples=5,
            feature_fraction=0.4,
            bagging_fraction=0.7,
            extra_trees=True,
            target_encode_from=3,
            max_rounds=5000,
            patience=100,
        ),
        "additive": Additive(),
        "extra trees": ExtraTrees(trees=200),
    },
)

# Enough rows for interactions, not yet for many leaves of many rows each. Boosting continues while the ranking
# improves: on HMEQ that gains as much as TabM, on telco churn it costs nothing.
MEDIUM = Preset(
    max_rows=15_000,
    # Where rows have near-duplicates, each model should be trained on as many rows as possible.
    folds=8,
    repeats=1,
    members={
        "boosting": GradientBoosting(
            learning_rate=0.05,
            num_leaves=31,
            min_child_samples=3,
            feature_fraction=0.5,
            lambda_l2=1.0,
            target_encode_from=8,
            max_rounds=3000,
            patience=100,
            stop_on="ranking",
        ),
        "randomised boosting": GradientBoosting(
            learning_rate=0.05,
            num_leaves=64,
            min_child_samples=1,
            feature_fraction=0.5,
            extra_trees=True,
            target_encode_from=3,
            max_rounds=3000,
            patience=100,
            stop_on="ranking",
        ),
        "linear": Linear(max_bins=16),
        "additive": Additive(learning_rate=0.05),
        # One column per split and one row per leaf: rows that share a leaf in many trees are near-duplicates, of which
        # HMEQ has many. The largest model of all members, so no more trees than needed.
        "extra trees": ExtraTrees(trees=100, min_samples_leaf=1, max_leaves=5000, max_features=0.01),
        # The slowest, so the last. On HMEQ it lowers the log loss by .001 and leaves the ranking as it is; with fewer
        # rows its gain is within the noise, with more rows there was none.
        "TabM": TabM(),
    },
)

LARGE = Preset(
    max_rows=float("inf"),
    folds=5,
    repeats=1,
    members={
        "boosting": GradientBoosting(
            learning_rate=0.04,
            num_leaves=31,
            min_child_samples=100,
            feature_fraction=0.5,
            lambda_l2=5.0,
            target_encode_from=30,
            smoothing=50.0,
            max_crosses=10,
            max_rounds=3000,
        ),
        "randomised boosting": GradientBoosting(
            learning_rate=0.06,
            num_leaves=15,
            min_child_samples=50,
            feature_fraction=0.5,
            lambda_l2=1.0,
            extra_trees=True,
            target_encode_from=8,
            smoothing=50.0,
            max_crosses=10,
            max_rounds=3000,
        ),
        "shallow boosting": GradientBoosting(
            learning_rate=0.06,
            num_leaves=7,
            min_child_samples=50,
            feature_fraction=0.7,
            lambda_l2=5.0,
            target_encode_from=8,
            smoothing=50.0,
            max_crosses=10,
            max_rounds=3000,
        ),
        "extra trees": ExtraTrees(trees=60, min_samples_leaf=5, max_leaves=2000, max_features=0.2),
        "linear": Linear(),
    },
)

PRESETS = (SMALL, MEDIUM, LARGE)

"""The members of the ensemble by size of the table, those of most worth per second first."""

from collections.abc import Mapping
from dataclasses import dataclass

from ml.estimator import Candidate
from ml.tabular.additive import Additive
from ml.tabular.extra_trees import Forest
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from ml.tabular.tabm import Network


@dataclass(frozen=True)
class Preset:
    """For tables of at most `rows` rows: `members` as bags over `folds` folds, `repeats` times over."""

    rows: float
    folds: int
    repeats: int
    members: Mapping[str, Candidate]


# Little data: few bins and leaves, strong shrinkage, chance in the thresholds, no native categories.
SMALL = Preset(
    rows=2_000,
    folds=5,
    repeats=2,
    members={
        "logistic": Linear(bins=4, strengths=(0.003, 0.01, 0.03, 0.1, 0.3, 1.0)),
        "extra trees": GradientBoosting(
            learning_rate=0.03,
            num_leaves=4,
            min_child_samples=5,
            feature_fraction=0.4,
            bagging_fraction=0.7,
            extra_trees=True,
            statistics_from=3,
            max_rounds=5000,
            patience=100,
        ),
        "additive": Additive(),
        "forest": Forest(trees=200),
    },
)

# Enough data for interactions, not yet for many leaves of many rows. Trees go on while the ranking gains: on HMEQ that
# is worth as much as the network, on telco churn it costs nothing.
MEDIUM = Preset(
    rows=15_000,
    # Where rows have near relatives, each model should have seen as many rows as it may.
    folds=8,
    repeats=1,
    members={
        "trees": GradientBoosting(
            learning_rate=0.05,
            num_leaves=31,
            min_child_samples=3,
            feature_fraction=0.5,
            lambda_l2=1.0,
            statistics_from=8,
            max_rounds=3000,
            patience=100,
            stop_on="ranking",
        ),
        "extra trees": GradientBoosting(
            learning_rate=0.05,
            num_leaves=64,
            min_child_samples=1,
            feature_fraction=0.5,
            extra_trees=True,
            statistics_from=3,
            max_rounds=3000,
            patience=100,
            stop_on="ranking",
        ),
        "logistic": Linear(bins=16),
        "additive": Additive(learning_rate=0.05),
        # One column for each split and a row for each leaf: rows that share a leaf in many trees are near relatives, of
        # which HMEQ has many. The largest of all members, so no more trees than it needs.
        "forest": Forest(trees=100, min_samples_leaf=1, max_leaves=5000, max_features=0.01),
        # The dearest, so the last. On HMEQ it takes .001 off the log loss and nothing off the ranking; with fewer rows
        # what it brings is within the noise, with more it has brought nothing.
        "network": Network(),
    },
)

LARGE = Preset(
    rows=float("inf"),
    folds=5,
    repeats=1,
    members={
        "trees": GradientBoosting(
            learning_rate=0.04,
            num_leaves=31,
            min_child_samples=100,
            feature_fraction=0.5,
            lambda_l2=5.0,
            statistics_from=30,
            smoothing=50.0,
            crosses=10,
            max_rounds=3000,
        ),
        "extra trees": GradientBoosting(
            learning_rate=0.06,
            num_leaves=15,
            min_child_samples=50,
            feature_fraction=0.5,
            lambda_l2=1.0,
            extra_trees=True,
            statistics_from=8,
            smoothing=50.0,
            crosses=10,
            max_rounds=3000,
        ),
        "small trees": GradientBoosting(
            learning_rate=0.06,
            num_leaves=7,
            min_child_samples=50,
            feature_fraction=0.7,
            lambda_l2=5.0,
            statistics_from=8,
            smoothing=50.0,
            crosses=10,
            max_rounds=3000,
        ),
        "forest": Forest(trees=60, min_samples_leaf=5, max_leaves=2000, max_features=0.2),
        "logistic": Linear(),
    },
)

PRESETS = (SMALL, MEDIUM, LARGE)

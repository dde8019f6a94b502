"""Leaves of gradient-boosted trees on few rows: a table of any size can be divided, and large ones are as before."""

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.data.target import Target
from ml.estimator import FitResources
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.multiclass_boosting import MulticlassBoosting
from ml.tabular.tree_settings import TreeSettings


@pytest.mark.parametrize(("rows", "leaf"), [(2, 1), (84, 16), (249, 49), (250, 50), (1_000_000, 50)])
def test_a_leaf_needs_at_most_a_fifth_of_the_rows(rows: int, leaf: int) -> None:
    assert TreeSettings().tree_params(rows)["min_child_samples"] == leaf
    assert TreeSettings(min_child_samples=3).tree_params(rows)["min_child_samples"] == min(leaf, 3)


@pytest.mark.parametrize("target", ["binary", "numeric", "multiclass"])
def test_a_hundred_rows_are_divided(target: Target) -> None:
    """With leaves of 50 rows, 80 rows to fit to would be one leaf, and all predictions the same."""
    x = np.random.default_rng(0).normal(size=103)
    truth = {"binary": x > 0.5, "numeric": x, "multiclass": np.digitize(x, [-0.5, 0.5])}[target]
    classes = ("low", "middle", "high") if target == "multiclass" else ()
    units = np.arange(103, dtype=np.uint64)
    train = Dataset(pd.DataFrame({"x": x}), pd.Series(truth, dtype="float64"), units, classes=classes)
    candidate = MulticlassBoosting() if target == "multiclass" else GradientBoosting(target)
    predictions = candidate.fit(train, train, FitResources()).predict(train.frame)
    assert predictions.iloc[:, 0].corr(pd.Series(x), method="spearman") ** 2 > 0.5

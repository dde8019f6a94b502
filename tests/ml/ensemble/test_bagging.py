"""Bags: models average on the log odds, and out-of-fold scores are out of fold."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import special

from ml.data.dataset import Dataset
from ml.data.folds import assign_folds
from ml.ensemble.bagging import BagBuilder, CrossValidatedBag
from ml.estimator import Candidate, FitResources
from ml.tabular.additive import Additive
from ml.tabular.constant import Constant
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from ml.tabular.tabm import TabM


def sample(rows: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"x": rng.normal(size=rows), "town": pd.Series(rng.choice(["N", "S", "E"], rows), dtype="str")}
    )
    truth = pd.Series((rng.random(rows) < special.expit(1.5 * frame["x"])).astype(float))
    return Dataset(frame, truth, np.arange(rows, dtype=np.uint64))


def test_a_bag_averages_its_models_on_the_log_odds() -> None:
    candidate = CrossValidatedBag(Linear(inverse_penalties=(1.0,)), folds=3, repeats=2)
    bag = candidate.fit(sample(200, 0), sample(5, 1), FitResources())
    frame = sample(20, 2).frame
    probabilities = [model.predict(frame)["probability"] for model in bag.models]
    assert len(probabilities) == 6
    expected = special.expit(np.mean([special.logit(p) for p in probabilities], axis=0))
    np.testing.assert_allclose(bag.predict(frame)["probability"], expected)


def test_out_of_fold_scores_come_from_models_not_trained_on_the_row() -> None:
    train = sample(60, 0)
    bag = BagBuilder(Constant(), "binary", 60)
    truth, expected = train.truth.to_numpy(), np.zeros(60)
    for seed in (0, 1):
        fold = assign_folds(train.units, np.zeros(60), 3, seed)
        assert bag.fit_next_repeat(train, fold, FitResources(), required=True)
        expected += [special.logit(truth[fold != k].mean()) / 2 for k in fold]
    np.testing.assert_allclose(bag.out_of_fold_scores, expected)


@pytest.mark.parametrize(
    "candidate",
    [
        GradientBoosting(stop_on="ranking", learning_rate=0.3, patience=20),
        Additive(learning_rate=0.3, patience=20),
        Linear(),
        TabM(max_epochs=20, width=8, members=2),
    ],
    ids=["boosting", "additive", "linear", "TabM"],
)
def test_a_fold_that_scores_a_model_has_no_part_in_its_fit(candidate: Candidate) -> None:
    """With other answers in one fold, the model that this fold scores is the same."""
    train = sample(300, 3)
    fold = assign_folds(train.units, np.zeros(300), 3, 0)
    turned = replace(train, truth=train.truth.mask(fold == 0, 1.0 - train.truth))
    first, second = BagBuilder(candidate, "binary", 300), BagBuilder(candidate, "binary", 300)
    for bag, rows in ((first, train), (second, turned)):
        bag.fit_next_repeat(rows, fold, FitResources(), required=True)
    np.testing.assert_array_equal(first.out_of_fold_scores[fold == 0], second.out_of_fold_scores[fold == 0])

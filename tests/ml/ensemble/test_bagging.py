"""Bags: models average on the log odds, and out-of-fold scores are out of fold."""

import numpy as np
import pandas as pd
from scipy import special

from ml.data.dataset import Dataset
from ml.data.folds import assign_folds
from ml.ensemble.bagging import BagBuilder, CrossValidatedBag
from ml.estimator import FitResources
from ml.tabular.constant import Constant
from ml.tabular.linear import Linear


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

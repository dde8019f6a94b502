"""Out-of-fold predictions of small tables: units stay together, and base rates of folds do not matter."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.data.folds import assign_folds
from ml.estimator import Candidate, FitResources
from ml.evaluation.binary_metrics import roc_auc
from ml.evaluation.cross_fit import FOLDS, MAX_ROWS, SEED_OFFSET, can_cross_fit, predict_out_of_fold
from ml.tabular.constant import Constant
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear


def table(count: int, units: int | None = None, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    truth = pd.Series((rng.random(count) < 1 / (1 + np.exp(-2 * x))).astype(float))
    unit = rng.integers(0, units, count) if units else np.arange(count)
    return Dataset(pd.DataFrame({"x": x}), truth, unit.astype(np.uint64))


@pytest.mark.parametrize("count", [199, 301])
def test_a_constant_ranks_no_fold_before_another(count: int) -> None:
    """Without the shift, a fold with one positive more would get a lower probability, and the AUC be below .5."""
    rows = table(count)
    found = predict_out_of_fold(Constant(), rows, FitResources())
    np.testing.assert_allclose(found.predictions["probability"], rows.truth.mean())
    assert roc_auc(rows.truth.to_numpy(), np.round(found.predictions["probability"], 9)) == 0.5
    assert not found.timed_out
    assert found.is_constant


@pytest.mark.parametrize("candidate", [Linear(), GradientBoosting(max_rounds=20)])
def test_no_row_has_a_part_in_its_own_prediction(candidate: Candidate) -> None:
    rows = table(200, units=60)
    fold = assign_folds(rows.units, rows.truth.to_numpy(), FOLDS, SEED_OFFSET)
    assert all(len(np.unique(fold[rows.units == unit])) == 1 for unit in np.unique(rows.units))
    before = predict_out_of_fold(candidate, rows, FitResources()).predictions["probability"]
    k = int(fold[0])
    part = rows.take(np.flatnonzero(fold != k))
    model = candidate.fit(part, part.take(np.arange(0)), FitResources())
    alone = model.predict(rows.frame[fold == k])["probability"].to_numpy()
    odds = alone / (1 - alone) * rows.truth.mean() / (1 - rows.truth.mean())
    odds *= (1 - part.truth.mean()) / part.truth.mean()
    np.testing.assert_allclose(before[fold == k], odds / (1 + odds))


def test_trees_that_cannot_divide_the_rows_are_constant_in_each_fold() -> None:
    """The constants of folds differ, as the rows differ that early stopping leaves."""
    rows = table(200)
    names = pd.DataFrame({"name": pd.Series([f"n{row}" for row in range(200)], dtype="str")})
    found = predict_out_of_fold(GradientBoosting(), replace(rows, frame=names), FitResources())
    assert found.is_constant
    assert found.predictions["probability"].nunique() > 1
    assert not predict_out_of_fold(GradientBoosting(), rows, FitResources()).is_constant


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"truth": pd.Series([0.0] * 191 + [1.0] * 9)}, False),
        ({"truth": pd.Series(np.arange(200.0))}, True),
        ({"truth": pd.Series([["a"]] * 200)}, False),
        ({"classes": ("a", "b", "c")}, False),
        ({"units": np.repeat(np.arange(8, dtype=np.uint64), 25)}, False),
    ],
    ids=["binary", "few positives", "numbers", "histories", "classes", "few units"],
)
def test_small_tables_with_two_classes_or_numbers_can_be_cross_fitted(
    change: dict[str, object], expected: bool
) -> None:
    assert can_cross_fit(replace(table(200), **change)) is expected  # type: ignore[arg-type]


def test_numbers_are_predicted_by_models_of_the_other_folds() -> None:
    rows = table(200, units=60)
    rows = replace(rows, truth=rows.frame["x"] * 3 + np.random.default_rng(1).normal(size=200))
    fold = assign_folds(rows.units, np.zeros(200), FOLDS, SEED_OFFSET)
    found = predict_out_of_fold(Constant("numeric"), rows, FitResources()).predictions["prediction"]
    expected = [rows.truth[fold != fold[row]].mean() for row in range(200)]
    np.testing.assert_allclose(found, expected)


def test_large_and_empty_tables_cannot() -> None:
    assert can_cross_fit(table(MAX_ROWS))
    assert not can_cross_fit(table(MAX_ROWS + 1))
    assert not can_cross_fit(table(0))


def test_a_fit_that_time_cuts_short_is_reported() -> None:
    assert predict_out_of_fold(GradientBoosting(), table(200), FitResources(seconds=0.0)).timed_out

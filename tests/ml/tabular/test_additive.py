"""The additive model: its shape functions are its predictions."""

import numpy as np
import pandas as pd
import pytest
from scipy import special

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.tabular.additive import Additive, AdditiveModel


def make_dataset(rows: int, seed: int) -> Dataset:
    """Make rows whose log odds depend on a step in `x`, its code 99, missing `x` and a category, not on `noise`."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 10, rows)
    x[rng.random(rows) < 0.2] = np.nan
    x[rng.random(rows) < 0.2] = 99.0
    town = rng.choice(["N", "S"], rows)
    signal = 2.0 * (x < 5) - 3.0 * np.isnan(x) + 1.5 * (x == 99) + (town == "S") - 1.0
    frame = pd.DataFrame({"x": x, "town": pd.Series(town, dtype="str"), "noise": rng.normal(size=rows)})
    truth = pd.Series((rng.random(rows) < special.expit(signal)).astype(float))
    return Dataset(frame, truth, np.arange(rows, dtype=np.uint64), sentinel_values={"x": (99.0,)})


@pytest.fixture(scope="module")
def model() -> AdditiveModel:
    return Additive(bags=3, learning_rate=0.1).fit(make_dataset(4000, 0), make_dataset(10, 1), FitResources())


def shape_score(model: AdditiveModel, row: pd.Series) -> float:
    """Sum the effects of a row in the shape functions, in log odds."""
    total = model.intercept
    for column, value in row.items():
        shape = model.shape_functions().query("column == @column")
        if isinstance(value, str):
            matching = shape[shape["label"] == value]
        elif np.isnan(value):
            matching = shape[shape["label"] == "missing"]
        elif value == 99 and column == "x":
            matching = shape[shape["label"] == "99"]
        else:
            matching = shape[(shape["low"] < value) & (value <= shape["high"])]
        assert len(matching) == 1
        total += matching["effect"].iloc[0]
    return float(total)


def test_shape_functions_are_the_whole_model(model: AdditiveModel) -> None:
    frame = make_dataset(40, 2).frame
    expected = [special.expit(shape_score(model, row)) for _, row in frame.iterrows()]
    np.testing.assert_allclose(model.predict(frame)["probability"], expected, rtol=1e-12)


def test_shape_functions_recover_the_true_effects(model: AdditiveModel) -> None:
    labelled = model.shape_functions().query("label != ''")
    shapes = labelled.set_index(["column", "label"])["effect"]
    assert shapes["town", "S"] - shapes["town", "N"] == pytest.approx(1.0, abs=0.25)
    low = model.shape_functions().query("column == 'x' and high < 4.5")["effect"].mean()
    high = model.shape_functions().query("column == 'x' and low > 5.5")["effect"].mean()
    assert low - high == pytest.approx(2.0, abs=0.4)
    assert shapes["x", "99"] - high == pytest.approx(1.5, abs=0.4)
    assert shapes["x", "missing"] - high == pytest.approx(-3.0, abs=0.6)


def test_effects_have_mean_zero(model: AdditiveModel) -> None:
    ordinals = model.encoding.ordinal_matrix(make_dataset(4000, 0).frame)
    means = [np.array(table)[column].mean() for table, column in zip(model.effects, ordinals.T, strict=True)]
    np.testing.assert_allclose(means, 0.0, atol=1e-12)


def test_bags_do_not_use_valid_rows() -> None:
    quick = Additive(bags=2, max_rounds=20)
    first, second = (
        quick.fit(make_dataset(400, 0), make_dataset(50, seed), FitResources()).files() for seed in (1, 2)
    )
    assert first == second

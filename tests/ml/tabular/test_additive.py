"""The additive model: what it says of its shapes is what it predicts."""

import numpy as np
import pandas as pd
import pytest
from scipy import special

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.tabular.additive import Additive, AdditiveModel


def made(rows: int, seed: int) -> Dataset:
    """Log odds of a step in `x`, a code 99, missing `x` and a category; `noise` says nothing."""
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
    return Additive(bags=3, learning_rate=0.1).fit(made(4000, 0), made(10, 1), FitResources())


def shown(model: AdditiveModel, row: pd.Series) -> float:
    """The log odds that the shapes say."""
    total = model.intercept
    for column, value in row.items():
        shape = model.shapes().query("column == @column")
        if isinstance(value, str):
            mine = shape[shape["label"] == value]
        elif np.isnan(value):
            mine = shape[shape["label"] == "missing"]
        elif value == 99 and column == "x":
            mine = shape[shape["label"] == "99"]
        else:
            mine = shape[(shape["low"] < value) & (value <= shape["high"])]
        assert len(mine) == 1
        total += mine["effect"].iloc[0]
    return float(total)


def test_shapes_are_all_of_the_model(model: AdditiveModel) -> None:
    frame = made(40, 2).frame
    expected = [special.expit(shown(model, row)) for _, row in frame.iterrows()]
    np.testing.assert_allclose(model.predict(frame)["probability"], expected, rtol=1e-12)


def test_shapes_are_the_effects_that_made_the_truth(model: AdditiveModel) -> None:
    labelled = model.shapes().query("label != ''")
    shapes = labelled.set_index(["column", "label"])["effect"]
    assert shapes["town", "S"] - shapes["town", "N"] == pytest.approx(1.0, abs=0.25)
    low = model.shapes().query("column == 'x' and high < 4.5")["effect"].mean()
    high = model.shapes().query("column == 'x' and low > 5.5")["effect"].mean()
    assert low - high == pytest.approx(2.0, abs=0.4)
    assert shapes["x", "99"] - high == pytest.approx(1.5, abs=0.4)
    assert shapes["x", "missing"] - high == pytest.approx(-3.0, abs=0.6)


def test_effects_have_mean_nothing(model: AdditiveModel) -> None:
    at = model.encoding.positions(made(4000, 0).frame)
    means = [np.array(effects)[rows].mean() for effects, rows in zip(model.effects, at.T, strict=True)]
    np.testing.assert_allclose(means, 0.0, atol=1e-12)


def test_bags_look_at_no_valid_rows() -> None:
    quick = Additive(bags=2, max_rounds=20)
    one, other = (quick.fit(made(400, 0), made(50, seed), FitResources()).files() for seed in (1, 2))
    assert one == other

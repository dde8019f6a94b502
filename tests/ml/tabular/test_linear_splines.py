"""Logistic and ridge regression on straight lines and on splines: what each can follow, restored models."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.data.dataset import Dataset
from ml.data.target import PREDICTION_COLUMN, Target
from ml.estimator import FitResources
from ml.tabular.linear import Linear, LinearModel


def rows(count: int, seed: int, target: Target = "numeric") -> Dataset:
    """Draw rows whose signal is a wave of `x`, and high where `x` is missing; `noise` tells nothing."""
    rng = np.random.default_rng(seed)
    x, town = rng.uniform(0, 10, count), pd.Series(rng.choice(["N", "S"], count), dtype="str")
    missing = rng.random(count) < 0.1
    signal = 2 * np.sin(x * 0.7) * ~missing + 3.0 * missing + (town == "N")
    truth = signal + 0.3 * rng.normal(size=count)
    if target == "binary":
        truth = (rng.random(count) < 1 / (1 + np.exp(-2 * signal))).astype(float)
    frame = pd.DataFrame({"x": np.where(missing, np.nan, x), "noise": rng.normal(size=count), "town": town})
    return Dataset(frame, pd.Series(truth), np.arange(count, dtype=np.uint64))


def fit(target: Target, **settings: Any) -> LinearModel:
    train = rows(800, 0, target)
    return Linear(target, **settings).fit(train, train, FitResources())


def error(model: LinearModel, held_out: Dataset) -> float:
    predictions = model.predict(held_out.frame)[PREDICTION_COLUMN[model.target]]
    return float(((predictions - held_out.truth) ** 2).mean())


@pytest.mark.parametrize("target", ["binary", "numeric"])
def test_a_spline_follows_a_wave_that_a_straight_line_cannot(target: Target) -> None:
    held_out = rows(800, 1, target)
    line, spline = fit(target, max_bins=1), fit(target, max_knots=6)
    assert error(spline, held_out) < 0.9 * error(line, held_out)
    assert spline.importance().sum() == pytest.approx(1.0)
    assert spline.importance()["x"] > 0.5 > spline.importance()["noise"]


def test_a_spline_is_smooth_where_bins_have_steps() -> None:
    grid = pd.DataFrame({"x": np.linspace(0.5, 9.5, 400), "noise": 0.0, "town": "S"})
    steps = [
        model.predict(grid)["prediction"].diff().abs().max()
        for model in (fit("numeric", max_knots=6), fit("numeric"))
    ]
    assert steps[0] < 0.1 < steps[1]


def test_a_straight_line_is_a_line_within_the_percentiles() -> None:
    predictions = fit("numeric", max_bins=1).predict(
        pd.DataFrame({"x": [1.0, 2.0, 3.0, 8.0, 1e9, np.inf], "noise": 0.0, "town": "S"})
    )["prediction"]
    assert predictions.diff()[2] == pytest.approx(predictions.diff()[1])
    assert predictions[3] - predictions[0] == pytest.approx(7 * predictions.diff()[1])
    assert predictions[4] == predictions[5]


@pytest.mark.parametrize("settings", [{"max_knots": 6}, {"max_bins": 1}])
def test_missing_values_have_an_effect_and_the_model_is_restored(settings: dict[str, int]) -> None:
    model = fit("binary", **settings)
    frame = rows(50, 2, "binary").frame
    restored = LinearModel.from_files(model.files())
    pd.testing.assert_frame_equal(restored.predict(frame), model.predict(frame), check_exact=True)
    assert restored == model
    records: Any = frame.to_dict(orient="records")
    single = [model.predict_row(row) for row in records]
    np.testing.assert_allclose(single, model.predict(frame)["probability"], rtol=1e-12)
    known, unknown = model.predict(frame.iloc[:2].assign(x=[5.0, np.nan], noise=0.0, town="S"))["probability"]
    assert unknown > known + 0.3

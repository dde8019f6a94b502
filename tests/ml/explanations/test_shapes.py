"""Directions and curves of features: known answers, and nothing that only a few people have."""

import numpy as np
import pandas as pd
import pytest

from ml.explanations.item_titles import example_titles
from ml.explanations.shapes import rank_correlations, shape_curves

SHAPES = pd.DataFrame(
    [
        ("age", "missing", np.nan, np.nan, 0.3),
        ("age", "98", np.nan, np.nan, 9.0),
        ("age", "", -np.inf, 30.0, -1.0),
        ("age", "", 30.0, np.inf, 2.0),
        ("purpose", "missing", np.nan, np.nan, 0.0),
        ("purpose", "car", np.nan, np.nan, 1.0),
        ("unused", "missing", np.nan, np.nan, 0.0),
        ("unused", "", -np.inf, np.inf, 0.0),
    ],
    columns=["column", "label", "low", "high", "effect"],
)


def frame(missing: int) -> pd.DataFrame:
    ages = np.r_[np.arange(20.0, 60.0).repeat(10), [98.0] * 20, [np.nan] * missing, 1234.5678]
    rows = len(ages)
    return pd.DataFrame({"age": ages, "purpose": ["car"] * rows, "unused": np.arange(rows)})


def test_curves_are_those_of_the_model_without_codes_and_extremes() -> None:
    (curve,) = shape_curves(SHAPES, frame(missing=10), ["purpose", "unused", "age"])
    assert (curve["column"], curve["missing"]) == ("age", 0.3)
    assert 20 <= curve["x"][0] < curve["x"][-1] <= 60
    assert curve["effect"] == [-1.0 if age <= 30 else 2.0 for age in curve["x"]]
    (curve,) = shape_curves(SHAPES, frame(missing=9), ["age"])
    assert curve["missing"] is None


def test_few_rows_have_no_curve() -> None:
    assert shape_curves(SHAPES, frame(missing=0).head(40), ["age"]) == []


def test_rank_correlations_of_numeric_columns_with_the_prediction() -> None:
    columns = pd.DataFrame(
        {"up": [1.0, 2.0, 9.0], "down": [3.0, 2.0, 1.0], "same": [1.0] * 3, "word": list("abc")}
    )
    correlations = rank_correlations(columns, pd.Series([0.1, 0.2, 0.3]))
    assert correlations == pytest.approx({"up": 1.0, "down": -1.0})


def test_only_items_of_the_examples_have_titles() -> None:
    reason, weights = [{"item": "3", "weight": 1.0}], {"other_items_weight": 0.0, "earlier_items_weight": 0.0}
    recommended = [{"item": "2", "chosen": True, "explanation": reason, **weights}]
    example = {
        "user": "A",
        "events": 1,
        "history": ["1"],
        "recommended": recommended,
        "chosen": [],
        "more_chosen": 0,
    }
    titles = pd.DataFrame({"item": list("4321"), "title": ["four", "three", "two", "one"]})
    assert example_titles([example], titles) == {"1": "one", "2": "two", "3": "three"}  # type: ignore[list-item]

"""Rows whose total is not the sum of its parts are found."""

import numpy as np
import pandas as pd

from ml.data.sums import wrong_totals

FRAME = pd.DataFrame(
    {
        "a": [1.0, 1.0, np.nan, 0.1, 1e12, -9.0],
        "b": [2.0, 2.0, 2.0, 0.2, 0.1, 2.0],
        "c": [3.0, 4.0, 9.0, 0.3, 1e12, 2.0],
    }
)


def test_missing_values_and_codes_are_not_judged() -> None:
    wrong = wrong_totals(FRAME, "c", ["a", "b"], 1e-6, {"a": [-9.0]})
    assert wrong.tolist() == [False, True, False, False, False, False]
    assert wrong_totals(FRAME, "c", ["a", "b"], 1e-6, {})[5]


def test_a_tolerance_is_the_distance_that_is_allowed() -> None:
    assert not wrong_totals(FRAME, "c", ["a", "b"], 1.0, {})[1]
    assert wrong_totals(FRAME, "c", ["a", "b"], 0.99, {})[1]


def test_three_parts() -> None:
    assert wrong_totals(FRAME.assign(d=1.0), "c", ["a", "b", "d"], 0.0, {})[:2].tolist() == [True, False]


def test_what_is_subtracted() -> None:
    wrong = wrong_totals(FRAME, "b", ["c"], 1e-6, {"a": [-9.0]}, ["a"])
    assert wrong.tolist() == [False, True, False, False, False, False]
    assert wrong_totals(FRAME, "b", ["c"], 1e-6, {}, ["a"])[5]

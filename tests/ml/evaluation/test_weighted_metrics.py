"""Counting rows is repeating them: agreement with the plain measures of the repeated rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.evaluation.binary_metrics import UndefinedMeasureError, binary_metrics
from ml.evaluation.regression_metrics import regression_metrics
from ml.evaluation.weighted_metrics import CountedBinary, CountedNumeric

ROWS = st.integers(2, 40)


@st.composite
def counted_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Truths, probabilities (with ties, 0 and 1 among them), counts with something left, and a threshold."""
    rows = draw(ROWS)
    truth = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=rows, max_size=rows))
    some = st.one_of(st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.floats(0, 1))
    probability = draw(st.lists(some, min_size=rows, max_size=rows))
    counts = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows).filter(any))
    threshold = draw(st.one_of(st.floats(0, 1), st.sampled_from(probability)))
    return np.array(truth), np.array(probability), np.array(counts), threshold


@settings(max_examples=150, deadline=None)
@given(counted_rows())
def test_binary_measures_are_those_of_the_repeated_rows(
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray, float],
) -> None:
    truth, probability, counts, threshold = drawn
    found = CountedBinary(truth, probability, threshold)(counts)
    rows = np.repeat(np.arange(len(truth)), counts)
    try:
        expected = binary_metrics(truth[rows], probability[rows], threshold)
    except UndefinedMeasureError:
        if not truth[rows].any():
            assert {name for name, value in found.items() if np.isnan(value)} == {
                "recall",
                "f1",
                "average_precision",
            }
        return
    for name, value in found.items():
        assert value == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name
    assert set(expected) - set(found) == {"roc_auc", "calibration_error"}


@settings(max_examples=80, deadline=None)
@given(ROWS, st.integers(0, 2**32 - 1))
def test_numeric_measures_are_those_of_the_repeated_rows(number: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, value = generator.normal(100.0, 3.0, size=number), generator.normal(100.0, 3.0, size=number)
    counts = generator.multinomial(number, np.full(number, 1 / number))
    rows = np.repeat(np.arange(number), counts)
    found = CountedNumeric(truth, value)(counts)
    if np.ptp(truth[rows]) == 0:
        return
    assert found == pytest.approx(regression_metrics(truth[rows], value[rows]), rel=1e-6)


def test_a_constant_truth_has_no_r2() -> None:
    truth, value = np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 2.0])
    found = CountedNumeric(truth, value)(np.array([2, 1, 0]))
    assert np.isnan(found["r2"])
    assert found["mse"] == pytest.approx(1 / 3)

"""Numeric columns: distances agree with scipy and with formulas, and changes of unit are named."""

import json

import numpy as np
import pytest
from scipy.stats import ks_2samp

from ml.drift.numeric import (
    MIN_ROWS,
    ks_distance,
    population_stability_index,
    share_outside,
    summarize_numeric,
    unit_change,
)


def incomes(seed: int, rows: int = 2000) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(10.0, 0.6, rows)


@pytest.mark.parametrize("shift", [0, 1, 3])
def test_ks_distance_of_whole_numbers_is_that_of_scipy(shift: int) -> None:
    a, b = (np.random.default_rng(seed).poisson(4.0, 3000).astype(float) for seed in (0, 1))
    # Rare values are no cut points: compared without them.
    a, b = np.minimum(a, 8.0), np.minimum(b + shift, 8.0 + shift)
    assert ks_distance(summarize_numeric(a), b) == pytest.approx(ks_2samp(a, b).statistic, abs=1e-12)


@pytest.mark.parametrize("factor", [1.0, 1.2, 3.0, 1000.0])
def test_ks_distance_of_continuous_numbers_is_at_most_one_bin_below_that_of_scipy(factor: float) -> None:
    a, b = incomes(0), incomes(1) * factor
    exact = ks_2samp(a, b).statistic
    assert exact - 0.03 <= ks_distance(summarize_numeric(a), b) <= exact + 1e-12


def test_population_stability_index_is_the_formula() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
    direct = (0.4 - 0.5) * np.log(0.4 / 0.5) + (0.4 - 0.3) * np.log(0.4 / 0.3)
    assert population_stability_index(p, q) == pytest.approx(direct)
    assert population_stability_index(p, p) == 0.0
    assert np.isfinite(population_stability_index(p, np.array([1.0, 0.0, 0.0])))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda v: v * 100, "100 times the earlier values"),
        (lambda v: v / 1000, "the earlier values divided by 1000"),
        (lambda v: v * 12, "12 times the earlier values"),
        (lambda v: -v, "the earlier values with the other sign"),
        (lambda v: v, ""),
        (lambda v: v * 1.7, ""),
        (lambda v: v**2, ""),
    ],
)
def test_changes_of_unit_are_named(change, name: str) -> None:  # type: ignore[no-untyped-def]
    assert unit_change(summarize_numeric(incomes(0)), change(incomes(1)), 0.1) == name


def test_fahrenheit_is_named() -> None:
    celsius = np.random.default_rng(0).normal(37.0, 0.7, 1000)
    assert unit_change(summarize_numeric(celsius), celsius * 1.8 + 32, 0.1) == (
        "changed from Celsius to Fahrenheit"
    )


def test_a_summary_has_no_value_of_a_single_row() -> None:
    values = np.random.default_rng(0).normal(size=500)
    values[0] = 1e9
    summary = summarize_numeric(values)
    assert set(summary.cuts).isdisjoint(values)
    assert "000000000" not in json.dumps(summary.cuts)
    assert len(summary.cuts) == 50
    # Every interval between cut points has several rows.
    counts = np.histogram(values, [-np.inf, *summary.cuts, np.inf])[0]
    assert counts.min() >= MIN_ROWS // 2


@pytest.mark.parametrize("rows", [0, 1, MIN_ROWS - 1])
def test_few_values_have_no_cut_points(rows: int) -> None:
    summary = summarize_numeric(np.append(np.arange(rows, dtype=float), np.nan))
    assert (summary.cuts, summary.values, summary.missing) == ((), rows, 1 - rows / (rows + 1))
    assert ks_distance(summary, np.arange(100.0)) == 0.0


def test_values_far_out_are_outside() -> None:
    values = incomes(0)
    fences = summarize_numeric(values).fences
    assert share_outside(fences, values) < 0.003
    assert share_outside(fences, values * 100) > 0.99

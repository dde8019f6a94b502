"""Influence estimates: values and standard errors equal exact formulas, and those of the bootstrap over units."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import special, stats

from ml.evaluation import auc_intervals, influence, mean_intervals
from ml.evaluation.binary_metrics import UndefinedMetricError
from ml.evaluation.confidence_intervals import unit_codes
from ml.evaluation.influence import InfluenceEstimate

ROWS = 300
Statistic = Callable[[np.ndarray, np.ndarray], InfluenceEstimate]


def sample(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sample truth, two scores with ties, and units of two rows with a common effect."""
    generator = np.random.default_rng(seed)
    units = np.repeat(np.arange(ROWS // 2), 2)
    effect = generator.normal(size=ROWS // 2)[units]
    truth = (generator.random(ROWS) < special.expit(effect - 1)).astype(float)
    first = np.round(special.expit(effect + generator.normal(size=ROWS) - 1), 2)
    second = np.round(special.expit(0.5 * effect + generator.normal(size=ROWS) - 1), 2)
    return truth, first, second, units


def bootstrap_error(statistic: Statistic, units: np.ndarray, resamples: int = 300) -> float:
    """Estimate the standard error of a statistic of rows by the bootstrap over units."""
    generator, rows = np.random.default_rng(1), np.arange(len(units)).reshape(-1, 2)
    values = []
    for _ in range(resamples):
        drawn = generator.integers(len(rows), size=len(rows))
        values.append(statistic(rows[drawn].ravel(), np.repeat(np.arange(len(rows)), 2)).value)
    return float(np.std(values, ddof=1))


def test_auc_has_the_variance_of_delong() -> None:
    truth, first, second, _ = sample()
    codes = np.arange(ROWS)
    aucs, covariance = auc_intervals.delong_auc_covariance(truth, np.stack([first, second]))
    a, b = influence.auc(truth, first, codes), influence.auc(truth, second, codes)
    assert a.value == pytest.approx(aucs[0], abs=1e-14)
    assert a.standard_error(codes) ** 2 == pytest.approx(covariance[0, 0], rel=1e-12)
    paired = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert (a - b).standard_error(codes) ** 2 == pytest.approx(paired, rel=1e-10)


def test_auc_of_units_with_several_rows_agrees_with_obuchowski() -> None:
    truth, first, _, units = sample()
    _, covariance = auc_intervals.delong_auc_covariance(truth, first[None, :], units)
    error = influence.auc(truth, first, units).standard_error(units)
    assert error == pytest.approx(np.sqrt(covariance[0, 0]), rel=0.01)


def test_auc_of_probabilities_as_labels_is_the_expected_auc() -> None:
    _, probability, _, _ = sample()
    p = probability[:60]
    above = (p[:, None] > p) + 0.5 * (p[:, None] == p)
    pairs = p[:, None] * (1 - p)
    np.fill_diagonal(pairs, 0.0)
    expected = (pairs * above).sum() / pairs.sum()
    assert influence.auc(p, p, np.arange(60)).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["auc", "expected", "paired", "mean", "shift"])
def test_errors_agree_with_the_bootstrap_over_units(name: str) -> None:
    truth, first, second, units = sample()

    def statistic(rows: np.ndarray, codes: np.ndarray) -> InfluenceEstimate:
        y, p, q = truth[rows], first[rows], second[rows]
        if name == "paired":
            return influence.auc(y, p, codes) - influence.auc(y, q, codes)
        return {
            "auc": lambda: influence.auc(y, p, codes),
            "expected": lambda: influence.auc(p, p, codes),
            "mean": lambda: influence.mean(p, codes),
            "shift": lambda: influence.log_odds_shift(y, p, codes),
        }[name]()

    error = statistic(np.arange(ROWS), units).standard_error(units)
    assert error == pytest.approx(bootstrap_error(statistic, units), rel=0.15)


def test_means_have_their_usual_values_and_errors() -> None:
    _, first, _, units = sample()
    codes = unit_codes(units, ROWS)
    interval = mean_intervals.mean_interval(first, units)
    estimate = influence.mean(first, codes)
    assert estimate.value == pytest.approx(interval.value)
    half = 1.976013 * estimate.standard_error(codes)  # Student's t of 149 degrees of freedom
    assert half == pytest.approx(interval.high - interval.value, rel=1e-6)


def test_a_share_of_few_hits_is_tested_by_the_difference() -> None:
    """Without a single hit the error of a ratio would be that of the reference alone, relative to itself."""
    hits, none = np.array([1.0, 1.0] + [0.0] * 98), np.zeros(100)
    codes = np.arange(100)
    lost = influence.mean(none, codes).loss_from(influence.mean(hits, codes), is_relative=True)
    difference = mean_intervals.mean_difference(hits, none)
    assert lost.value == 1.0
    assert 2 * stats.t.sf(lost.value / lost.standard_error(codes), lost.degrees) == pytest.approx(
        difference.p_value
    )


def test_degrees_of_freedom_are_those_of_the_rarer_class() -> None:
    truth = np.array([1.0] * 20 + [0.0] * 80)
    codes = np.arange(100)
    assert influence.auc(truth, np.arange(100.0), codes).degrees == 19
    assert influence.log_odds_shift(truth, np.full(100, 0.3), codes).degrees == 19
    assert influence.mean(truth, codes).scatter(codes, 100).degrees == 99


@pytest.mark.parametrize("shift", [-3.0, 0.0, 1.0, 8.0])
def test_a_shift_of_log_odds_is_found(shift: float) -> None:
    generator = np.random.default_rng(0)
    log_odds = generator.normal(-1.0, 2.0, size=4000)
    truth = (generator.random(4000) < special.expit(log_odds)).astype(float)
    codes = np.arange(4000)
    estimate = influence.log_odds_shift(truth, special.expit(log_odds - shift), codes)
    assert estimate.value == pytest.approx(shift, abs=0.1)
    assert abs(estimate.value - shift) < 3 * estimate.standard_error(codes)


def test_certain_probabilities_have_a_finite_shift() -> None:
    truth = np.array([1.0, 0.0] * 50)
    for probability in (np.zeros(100), np.ones(100), truth, 1.0 - truth):
        estimate = influence.log_odds_shift(truth, probability, np.arange(100))
        assert np.isfinite(estimate.value)
        assert np.isfinite(estimate.standard_error(np.arange(100)))


def test_rows_without_an_estimate_are_refused() -> None:
    codes = np.arange(4)
    ones = np.ones(4)
    for attempt in (
        lambda: influence.auc(ones, ones, codes),
        lambda: influence.log_odds_shift(ones, ones / 2, codes),
        lambda: influence.mean(ones, np.zeros(4, dtype=int)),
        lambda: influence.mean(ones, codes).loss_from(influence.mean(0 * ones, codes), is_relative=True),
    ):
        with pytest.raises(UndefinedMetricError):
            attempt()

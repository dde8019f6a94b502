"""AUC intervals: agreement with scikit-learn and slow formulas, coverage by simulation, known answers, errors."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.metrics import roc_auc_score

from ml.evaluation.auc_intervals import (
    auc_difference,
    auc_interval,
    delong_auc_covariance,
    newcombe_limits,
)
from ml.evaluation.binary_metrics import UndefinedMetricError
from ml.evaluation.bootstrap_intervals import bootstrap_intervals
from ml.evaluation.confidence_intervals import Difference, Interval


def slow_delong(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Compute the covariance as DeLong, DeLong and Clarke-Pearson (1988) write it, pair by pair."""
    pairs = scores[:, truth == 1][:, :, None] - scores[:, truth == 0][:, None, :]
    kernel = (pairs > 0) + 0.5 * (pairs == 0)
    per_positive, per_negative = kernel.mean(axis=2), kernel.mean(axis=1)
    covariance: np.ndarray = np.atleast_2d(np.cov(per_positive)) / per_positive.shape[1]
    covariance += np.atleast_2d(np.cov(per_negative)) / per_negative.shape[1]
    return covariance


def slow_obuchowski(truth: np.ndarray, score: np.ndarray, units: np.ndarray) -> float:
    """Compute the variance as Obuchowski (1997) writes it, cluster by cluster."""
    pairs = score[truth == 1][:, None] - score[truth == 0][None, :]
    kernel = (pairs > 0) + 0.5 * (pairs == 0)
    auc, (m, n) = kernel.mean(), kernel.shape
    x, y = (
        np.array([(means[units[truth == label] == unit] - auc).sum() for unit in np.unique(units)])
        for means, label in ((kernel.mean(axis=1), 1), (kernel.mean(axis=0), 0))
    )
    count, with_x, with_y = (
        len(np.unique(labels)) for labels in (units, units[truth == 1], units[truth == 0])
    )
    s10 = with_x / ((with_x - 1) * m) * (x**2).sum()
    s01 = with_y / ((with_y - 1) * n) * (y**2).sum()
    s11 = count / (count - 1) * (x * y).sum()
    return float(s10 / m + s01 / n + 2 * s11 / (m * n))


def sample_scores(seed: int, rows: int, scores: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Sample truth and correlated scores, rounded so that many are tied."""
    generator = np.random.default_rng(seed)
    truth = (np.arange(rows) % 3 == 0).astype(float)
    shared = generator.normal(size=rows) + truth
    return truth, np.round(shared + generator.normal(size=(scores, rows)), 1)


def sample_clusters(
    generator: np.random.Generator, clusters: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sample truth, a score and units, where the rows of a unit share a component of truth and score."""
    units = np.repeat(np.arange(clusters), size)
    shared = generator.normal(size=clusters)[units]
    truth = (shared + generator.normal(size=len(units)) > 0.3).astype(float)
    return truth, shared + generator.normal(size=len(units)) + 0.5 * truth, units


@pytest.mark.parametrize("seed", range(5))
def test_delong_agrees_with_sklearn_and_the_formula_of_1988(seed: int) -> None:
    truth, scores = sample_scores(seed, rows=120, scores=3)
    aucs, covariance = delong_auc_covariance(truth, scores)
    np.testing.assert_allclose(aucs, [roc_auc_score(truth, score) for score in scores], atol=1e-12)
    np.testing.assert_allclose(covariance, slow_delong(truth, scores), atol=1e-12)


def test_one_row_per_unit_has_the_unclustered_variance() -> None:
    truth, scores = sample_scores(0, rows=90, scores=2)
    units = np.random.default_rng(0).permutation(90).astype(np.uint64)
    _, clustered = delong_auc_covariance(truth, scores, units)
    _, unclustered = delong_auc_covariance(truth, scores)
    np.testing.assert_allclose(clustered, unclustered, rtol=1e-12)


def test_clustered_variance_agrees_with_the_formula_of_1997() -> None:
    truth, score, units = sample_clusters(np.random.default_rng(5), clusters=30, size=3)
    _, covariance = delong_auc_covariance(truth, score[None, :], units)
    assert covariance[0, 0] == pytest.approx(slow_obuchowski(truth, score, units), rel=1e-12)


def test_clustered_variance_agrees_with_a_bootstrap_over_units() -> None:
    truth, score, units = sample_clusters(np.random.default_rng(6), clusters=100, size=12)
    unclustered, clustered = (
        delong_auc_covariance(truth, score[None, :], labels)[1][0, 0] for labels in (None, units)
    )

    def auc(counts: np.ndarray) -> dict[str, float]:
        rows = np.repeat(np.arange(len(counts)), counts)
        return {"auc": float(delong_auc_covariance(truth[rows], score[None, rows])[0][0])}

    bootstrap = bootstrap_intervals(auc, units, seed=0, resamples=800)["auc"]
    standard_error = (bootstrap.high - bootstrap.low) / (2 * stats.norm.ppf(0.975))
    assert np.sqrt(clustered) == pytest.approx(standard_error, rel=0.12)
    assert clustered > 1.5 * unclustered


def test_copies_of_rows_in_the_same_unit_do_not_narrow_the_interval() -> None:
    truth, scores = sample_scores(1, rows=60)
    copied = auc_interval(np.repeat(truth, 4), np.repeat(scores[0], 4), units=np.repeat(np.arange(60), 4))
    once = auc_interval(truth, scores[0])
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))


def test_auc_interval_is_symmetric_on_the_log_odds() -> None:
    truth, scores = sample_scores(2, rows=240)
    interval = auc_interval(truth, scores[0])
    low, value, high = (np.log(x / (1 - x)) for x in (interval.low, interval.value, interval.high))
    assert high - value == pytest.approx(value - low)
    error = np.sqrt(slow_delong(truth, scores)[0, 0]) / (interval.value * (1 - interval.value))
    assert high - value == pytest.approx(stats.t.ppf(0.975, 79) * error, rel=1e-6)
    narrow = auc_interval(truth, scores[0], level=0.5)
    assert interval.low < narrow.low < narrow.value < narrow.high < interval.high


def test_perfect_separation_has_an_interval_of_positive_width() -> None:
    truth = np.repeat([0.0, 1.0], 10)
    interval, opposite = auc_interval(truth, truth), auc_interval(truth, -truth)
    assert (interval.value, interval.high) == (1.0, 1.0)
    # (1 - x)^2 = 1.96^2 x(1 - x) [1 + 9(1 - x)/(2 - x) + 9x/(1 + x)] / 100
    x = interval.low
    variance = x * (1 - x) * (1 + 9 * (1 - x) / (2 - x) + 9 * x / (1 + x)) / 100
    assert (1 - x) / np.sqrt(variance) == pytest.approx(1.959964, rel=1e-6)
    assert 0.75 < x < 0.9
    assert (opposite.value, opposite.low) == (0.0, 0.0)
    assert opposite.high == pytest.approx(1 - x)
    assert auc_interval(np.repeat(truth, 20), np.repeat(truth, 20)).low > 0.98


def hanley_mcneil_variance(auc: float, positives: int, negatives: int) -> float:
    """Compute the variance as Hanley and McNeil (1982) write it, with Newcombe's mean of both numbers."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    others = (positives + negatives) / 2 - 1
    return (auc * (1 - auc) + others * (q1 - auc**2) + others * (q2 - auc**2)) / (positives * negatives)


@pytest.mark.parametrize(("auc", "positives", "negatives"), [(0.7, 10, 290), (0.95, 5, 40), (0.4, 30, 3)])
def test_limits_from_counts_solve_the_equation_of_2006(auc: float, positives: int, negatives: int) -> None:
    for limit in newcombe_limits(auc, positives, negatives):
        error = np.sqrt(hanley_mcneil_variance(limit, positives, negatives))
        assert abs(auc - limit) == pytest.approx(1.959964 * error, rel=1e-6)
    low, high = newcombe_limits(auc, positives, negatives)
    assert 0.0 < low < auc < high < 1.0
    assert newcombe_limits(1 - auc, negatives, positives) == pytest.approx((1 - high, 1 - low))


def test_few_positives_have_the_outer_limits_of_both_methods() -> None:
    truth, scores = sample_scores(2, rows=60)
    interval = auc_interval(truth, scores[0])
    error = np.sqrt(slow_delong(truth, scores)[0, 0]) / (interval.value * (1 - interval.value))
    half = stats.t.ppf(0.975, 19) * error
    delong = special.expit(special.logit(interval.value) + np.array([-half, half]))
    newcombe = newcombe_limits(interval.value, 20, 40)
    assert interval.low == pytest.approx(min(delong[0], newcombe[0]))
    assert interval.high == pytest.approx(max(delong[1], newcombe[1]))


def test_few_positives_have_nominal_coverage_near_one() -> None:
    """10 of 300, whose scores spread twice as much: DeLong's normal limits cover in 82 %, Newcombe's in 92 %."""
    truth = np.repeat([0.0, 1.0], [290, 10])

    def interval(generator: np.random.Generator) -> Interval:
        return auc_interval(truth, generator.normal(size=300) * (1 + truth) + np.sqrt(5) * 1.2816 * truth)

    assert coverage(interval, stats.norm.cdf(1.2816), times=300) >= 0.93


def test_constant_score_has_an_auc_of_one_half() -> None:
    truth = np.repeat([0.0, 1.0], 10)
    assert auc_interval(truth, np.zeros(20)) == Interval(0.5, 0.5, 0.5)


def test_auc_difference_has_the_variance_of_the_contrast() -> None:
    truth, scores = sample_scores(3, rows=200, scores=2)
    difference = auc_difference(truth, scores[0], scores[1])
    covariance = slow_delong(truth, scores)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    expected = roc_auc_score(truth, scores[0]) - roc_auc_score(truth, scores[1])
    assert difference.value == pytest.approx(expected)
    # 67 positives.
    assert difference.high - difference.value == pytest.approx(stats.t.ppf(0.975, 66) * error, rel=1e-6)
    assert difference.p_value == pytest.approx(2 * stats.t.sf(abs(difference.value) / error, 66))


def test_equal_rankings_do_not_differ() -> None:
    truth, scores = sample_scores(4, rows=50)
    assert auc_difference(truth, scores[0], np.exp(scores[0])) == Difference(0.0, 0.0, 0.0, 1.0)


def test_perfect_against_constant_score_has_an_interval_of_positive_width() -> None:
    small, large = (np.repeat([0.0, 1.0], count) for count in (3, 100))
    few, many = (auc_difference(truth, truth, np.zeros(len(truth))) for truth in (small, large))
    assert few.value == many.value == 0.5
    assert many.p_value < few.p_value
    assert 0.4 < many.low < 0.5
    assert few.low == pytest.approx(auc_interval(small, small).low - 0.5)
    assert auc_difference(large, np.zeros(200), large).p_value == many.p_value


tables = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 6)), min_size=4, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(tables, st.booleans())
def test_auc_differences_are_antisymmetric(rows: list[tuple[int, int, int]], clustered: bool) -> None:
    truth = (np.arange(len(rows)) % 2).astype(float)
    a, b, units = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    units[:4] = [7, 8, 9, 10]
    forward = auc_difference(truth, a, b, units if clustered else None)
    backward = auc_difference(truth, b, a, units if clustered else None)
    assert forward.value == pytest.approx(-backward.value)
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low))
    assert forward.p_value == pytest.approx(backward.p_value)
    assert 0.0 <= forward.p_value <= 1.0
    assert forward.low <= forward.high


def coverage(
    interval: Callable[[np.random.Generator], Interval | Difference], true_value: float, times: int
) -> float:
    """Compute the share of sampled intervals that contain the true value."""
    generator = np.random.default_rng(7)
    intervals = [interval(generator) for _ in range(times)]
    return float(np.mean([each.low <= true_value <= each.high for each in intervals]))


def test_auc_interval_has_nominal_coverage() -> None:
    truth = np.repeat([0.0, 1.0], [60, 40])

    def interval(generator: np.random.Generator) -> Interval:
        return auc_interval(truth, generator.normal(size=100) + 1.5 * truth)

    assert 0.92 <= coverage(interval, stats.norm.cdf(1.5 / np.sqrt(2)), times=300) <= 0.98


def test_auc_interval_has_nominal_coverage_near_one() -> None:
    truth = np.repeat([0.0, 1.0], [30, 15])

    def interval(generator: np.random.Generator) -> Interval:
        return auc_interval(truth, generator.normal(size=45) + 3.0 * truth)

    assert 0.92 <= coverage(interval, stats.norm.cdf(3.0 / np.sqrt(2)), times=300) <= 1.0


def test_auc_difference_of_equally_good_scores_has_nominal_coverage() -> None:
    truth = np.repeat([0.0, 1.0], [80, 60])

    def interval(generator: np.random.Generator) -> Difference:
        a, b = generator.normal(size=140) + truth + generator.normal(size=(2, 140))
        return auc_difference(truth, a, b)

    assert 0.92 <= coverage(interval, true_value=0.0, times=300) <= 0.98


def test_clustered_auc_difference_has_nominal_coverage_and_the_unclustered_one_has_not() -> None:
    def interval(generator: np.random.Generator, clustered: bool) -> Difference:
        units = np.repeat(np.arange(40), 6)
        truth = np.tile([0.0, 1.0], 120)
        # Each score has its own errors, shared by the rows of a unit; both scores are equally good.
        a, b = (truth * (1 + generator.normal(size=40)[units]) + generator.normal(size=240) for _ in range(2))
        return auc_difference(truth, a, b, units if clustered else None)

    assert 0.91 <= coverage(lambda generator: interval(generator, True), true_value=0.0, times=300) <= 0.98
    assert coverage(lambda generator: interval(generator, False), true_value=0.0, times=300) < 0.9


def test_invalid_input_is_rejected() -> None:
    truth = np.array([0.0, 0.0, 1.0, 1.0])
    with pytest.raises(UndefinedMetricError, match="got 0 positive and 4 negative"):
        auc_interval(np.zeros(4), truth)
    with pytest.raises(UndefinedMetricError, match="got 2 and 1"):
        auc_interval(truth, truth, units=np.array([1, 1, 2, 3]))
    with pytest.raises(ValueError, match="1 NaN"):
        auc_interval(truth, np.array([0.1, np.nan, 0.2, 0.3]))
    with pytest.raises(ValueError, match="truth of 0 and 1"):
        auc_interval(2 * truth, truth)

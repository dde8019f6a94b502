"""Agreement with slow and with public implementations, coverage by simulation, known answers and refusals."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from ml.evaluation.binary_metrics import UndefinedMeasureError, calibration_error, roc_auc
from ml.evaluation.confidence_intervals import (
    Difference,
    Interval,
    auc_difference,
    auc_interval,
    bootstrap_difference,
    bootstrap_intervals,
    calibration_interval,
    delong,
    mean_difference,
    mean_interval,
    resampled_difference,
    resampled_interval,
)


def of_rows(statistic: Callable[[np.ndarray], float]) -> Callable[[np.ndarray], float]:
    """A statistic of row positions as one of counts: the plain way, against which counting is held."""

    def of_counts(counts: np.ndarray) -> float:
        try:
            return float(statistic(np.repeat(np.arange(len(counts)), counts)))
        except UndefinedMeasureError:
            return float("nan")

    return of_counts


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float], units: np.ndarray, seed: int, resamples: int
) -> Interval:
    """`bootstrap_intervals` of one statistic of row positions."""
    counted = of_rows(statistic)
    return bootstrap_intervals(lambda counts: {"one": counted(counts)}, units, seed, resamples)["one"]


def slow_delong(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The covariance as DeLong, DeLong and Clarke-Pearson (1988) write it, pair by pair."""
    pairs = scores[:, truth == 1][:, :, None] - scores[:, truth == 0][:, None, :]
    kernel = (pairs > 0) + 0.5 * (pairs == 0)
    of_positives, of_negatives = kernel.mean(axis=2), kernel.mean(axis=1)
    covariance: np.ndarray = np.atleast_2d(np.cov(of_positives)) / of_positives.shape[1]
    covariance += np.atleast_2d(np.cov(of_negatives)) / of_negatives.shape[1]
    return covariance


def slow_obuchowski(truth: np.ndarray, score: np.ndarray, groups: np.ndarray) -> float:
    """The variance as Obuchowski (1997) writes it, cluster by cluster."""
    pairs = score[truth == 1][:, None] - score[truth == 0][None, :]
    kernel = (pairs > 0) + 0.5 * (pairs == 0)
    auc, (m, n) = kernel.mean(), kernel.shape
    x, y = (
        np.array([(part[groups[truth == c] == g] - auc).sum() for g in np.unique(groups)])
        for part, c in ((kernel.mean(axis=1), 1), (kernel.mean(axis=0), 0))
    )
    count, with_x, with_y = (
        len(np.unique(part)) for part in (groups, groups[truth == 1], groups[truth == 0])
    )
    s10 = with_x / ((with_x - 1) * m) * (x**2).sum()
    s01 = with_y / ((with_y - 1) * n) * (y**2).sum()
    s11 = count / (count - 1) * (x * y).sum()
    return float(s10 / m + s01 / n + 2 * s11 / (m * n))


def drawn(seed: int, rows: int, scores: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Truth and correlated scores, rounded so that many are tied."""
    generator = np.random.default_rng(seed)
    truth = (np.arange(rows) % 3 == 0).astype(float)
    shared = generator.normal(size=rows) + truth
    return truth, np.round(shared + generator.normal(size=(scores, rows)), 1)


def clustered(
    generator: np.random.Generator, clusters: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, a score and groups: a group shares a part of both."""
    groups = np.repeat(np.arange(clusters), size)
    shared = generator.normal(size=clusters)[groups]
    truth = (shared + generator.normal(size=len(groups)) > 0.3).astype(float)
    return truth, shared + generator.normal(size=len(groups)) + 0.5 * truth, groups


@pytest.mark.parametrize("seed", range(5))
def test_delong_agrees_with_sklearn_and_the_formula_of_1988(seed: int) -> None:
    truth, scores = drawn(seed, rows=120, scores=3)
    aucs, covariance = delong(truth, scores)
    np.testing.assert_allclose(aucs, [roc_auc_score(truth, score) for score in scores], atol=1e-12)
    np.testing.assert_allclose(covariance, slow_delong(truth, scores), atol=1e-12)


def test_one_row_per_group_is_the_plain_variance() -> None:
    truth, scores = drawn(0, rows=90, scores=2)
    groups = np.random.default_rng(0).permutation(90).astype(np.uint64)
    np.testing.assert_allclose(delong(truth, scores, groups)[1], delong(truth, scores)[1], rtol=1e-12)


def test_clustered_variance_agrees_with_the_formula_of_1997() -> None:
    truth, score, groups = clustered(np.random.default_rng(5), clusters=30, size=3)
    _, covariance = delong(truth, score[None, :], groups)
    assert covariance[0, 0] == pytest.approx(slow_obuchowski(truth, score, groups), rel=1e-12)


def test_clustered_variance_is_that_of_a_bootstrap_over_groups() -> None:
    truth, score, groups = clustered(np.random.default_rng(6), clusters=100, size=12)
    plain, of_groups = (delong(truth, score[None, :], by)[1][0, 0] for by in (None, groups))

    def auc(index: np.ndarray) -> float:
        return float(delong(truth[index], score[None, index])[0][0])

    draws = bootstrap_interval(auc, groups, seed=0, resamples=800)
    spread = (draws.high - draws.low) / (2 * stats.norm.ppf(0.975))
    assert np.sqrt(of_groups) == pytest.approx(spread, rel=0.12)
    assert of_groups > 1.5 * plain


def test_copies_of_rows_add_nothing_when_grouped() -> None:
    truth, scores = drawn(1, rows=60)
    copied = auc_interval(np.repeat(truth, 4), np.repeat(scores[0], 4), groups=np.repeat(np.arange(60), 4))
    once = auc_interval(truth, scores[0])
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))


def test_auc_interval_is_symmetric_on_the_log_odds() -> None:
    truth, scores = drawn(2, rows=60)
    found = auc_interval(truth, scores[0])
    low, value, high = (np.log(x / (1 - x)) for x in (found.low, found.value, found.high))
    assert high - value == pytest.approx(value - low)
    error = np.sqrt(slow_delong(truth, scores)[0, 0]) / (found.value * (1 - found.value))
    assert high - value == pytest.approx(1.959964 * error, rel=1e-6)
    narrow = auc_interval(truth, scores[0], level=0.5)
    assert found.low < narrow.low < narrow.value < narrow.high < found.high


def test_perfect_separation_leaves_doubt() -> None:
    truth = np.repeat([0.0, 1.0], 10)
    found, opposite = auc_interval(truth, truth), auc_interval(truth, -truth)
    assert (found.value, found.high) == (1.0, 1.0)
    # (1 - x)^2 = 1.96^2 x(1 - x) [1 + 9(1 - x)/(2 - x) + 9x/(1 + x)] / 100
    x = found.low
    variance = x * (1 - x) * (1 + 9 * (1 - x) / (2 - x) + 9 * x / (1 + x)) / 100
    assert (1 - x) / np.sqrt(variance) == pytest.approx(1.959964, rel=1e-6)
    assert 0.75 < x < 0.9
    assert (opposite.value, opposite.low) == (0.0, 0.0)
    assert opposite.high == pytest.approx(1 - x)
    assert auc_interval(np.repeat(truth, 20), np.repeat(truth, 20)).low > 0.98


def test_constant_score_is_one_half() -> None:
    truth = np.repeat([0.0, 1.0], 10)
    assert auc_interval(truth, np.zeros(20)) == Interval(0.5, 0.5, 0.5)


def test_auc_difference_by_the_contrast() -> None:
    truth, scores = drawn(3, rows=200, scores=2)
    found = auc_difference(truth, scores[0], scores[1])
    covariance = slow_delong(truth, scores)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert found.value == pytest.approx(roc_auc_score(truth, scores[0]) - roc_auc_score(truth, scores[1]))
    assert found.high - found.value == pytest.approx(1.959964 * error, rel=1e-6)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(found.value) / error))


def test_equal_rankings_do_not_differ() -> None:
    truth, scores = drawn(4, rows=50)
    assert auc_difference(truth, scores[0], np.exp(scores[0])) == Difference(0.0, 0.0, 0.0, 1.0)


def test_perfect_against_constant_leaves_doubt() -> None:
    small, large = (np.repeat([0.0, 1.0], count) for count in (3, 100))
    few, many = (auc_difference(truth, truth, np.zeros(len(truth))) for truth in (small, large))
    assert few.value == many.value == 0.5
    assert many.p_value < few.p_value
    assert 0.4 < many.low < 0.5
    assert few.low == pytest.approx(auc_interval(small, small).low - 0.5)
    assert auc_difference(large, np.zeros(200), large).p_value == many.p_value


tabular = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 6)), min_size=4, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(tabular, st.booleans())
def test_differences_are_antisymmetric(rows: list[tuple[int, int, int]], grouped: bool) -> None:
    truth = (np.arange(len(rows)) % 2).astype(float)
    a, b, units = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    units[:4] = [7, 8, 9, 10]
    groups = units if grouped else None
    for there, back in (
        (auc_difference(truth, a, b, groups), auc_difference(truth, b, a, groups)),
        (mean_difference(a, b, groups), mean_difference(b, a, groups)),
        (
            bootstrap_difference(lambda n: n @ a / n.sum(), lambda n: n @ b / n.sum(), units, 1, 40),
            bootstrap_difference(lambda n: n @ b / n.sum(), lambda n: n @ a / n.sum(), units, 1, 40),
        ),
    ):
        assert there.value == pytest.approx(-back.value)
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
        assert there.p_value == pytest.approx(back.p_value)
        assert 0.0 <= there.p_value <= 1.0
        assert there.low <= there.high


def test_mean_difference_agrees_with_scipy() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 25))
    found, expected = mean_difference(a, b), stats.ttest_rel(a, b)
    assert found.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    of_mean = mean_interval(a - b)
    assert (of_mean.low, of_mean.high) == pytest.approx((found.low, found.high))


def test_groups_of_equal_size_are_a_t_test_of_their_means() -> None:
    values = np.random.default_rng(1).normal(size=(12, 5)) + np.arange(12)[:, None]
    grouped = mean_interval(values.ravel(), groups=np.repeat(np.arange(12), 5))
    of_means = mean_interval(values.mean(axis=1))
    assert (grouped.value, grouped.low, grouped.high) == pytest.approx(
        (of_means.value, of_means.low, of_means.high)
    )


def test_constant_differences() -> None:
    a = np.array([0.1, 0.2, 0.3, 0.4])
    assert mean_difference(a, a) == Difference(0.0, 0.0, 0.0, 1.0)
    # All four better by as much: of the 16 flips of sign, 2 are as far from 0.
    assert mean_difference(a + 0.1, a).p_value == 1 / 8


def test_resampled_difference_by_hand() -> None:
    # s² = 0.0001, times 1/3 + 1/2; t of 2 degrees of freedom: 4.302653 for 95 %, and p = 1 - t / sqrt(t² + 2).
    a, b = np.array([0.71, 0.73, 0.72]), np.full(3, 0.70)
    found = resampled_difference(a, b, test_per_train=0.5)
    error = (0.0001 * (1 / 3 + 1 / 2)) ** 0.5
    assert found.value == pytest.approx(0.02)
    assert (found.low, found.high) == pytest.approx((0.02 - 4.302653 * error, 0.02 + 4.302653 * error))
    t = 0.02 / error
    assert found.p_value == pytest.approx(1 - t / (t**2 + 2) ** 0.5)
    of_values = resampled_interval(a - b, test_per_train=0.5)
    assert (of_values.low, of_values.high) == pytest.approx((found.low, found.high))


def test_resampled_difference_of_equal_splits() -> None:
    a = np.array([0.5, 0.25, 0.75])
    assert resampled_difference(a, a, 0.5) == Difference(0.0, 0.0, 0.0, 1.0)
    assert resampled_difference(a + 0.125, a, 0.5) == Difference(0.125, 0.125, 0.125, 0.0)


def test_bootstrap_agrees_with_scipy() -> None:
    values = np.random.default_rng(2).exponential(size=300)
    found = bootstrap_interval(lambda i: values[i].mean(), np.arange(300, dtype=np.uint64), 0, 4000)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(9)
    ).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.015)


def test_all_rows_of_a_unit_come_along() -> None:
    units = np.array([5, 9, 5, 7, 9, 9], dtype=np.uint64)
    sizes = {5: 2, 7: 1, 9: 3}
    seen: list[np.ndarray] = []

    def note(index: np.ndarray) -> float:
        seen.append(index)
        return 0.0

    bootstrap_interval(note, units, seed=0, resamples=200)
    *drawn, whole = seen
    np.testing.assert_array_equal(whole, np.arange(6))
    for index in drawn:
        times = np.bincount(index, minlength=6)
        of_unit = {unit: set(times[units == unit]) for unit in sizes}
        assert all(len(count) == 1 for count in of_unit.values())
        assert sum(count.pop() for count in of_unit.values()) == 3
    drawn_sizes = np.array([len(index) for index in drawn])
    assert drawn_sizes.mean() == pytest.approx(6, abs=0.4)


def test_bootstrap_is_determined_by_the_seed() -> None:
    values, units = np.random.default_rng(3).normal(size=50), np.arange(50) // 2

    def interval(seed: int) -> Interval:
        return bootstrap_interval(lambda i: float(np.median(values[i])), units, seed, resamples=100)

    assert interval(1) == interval(1) != interval(2)


def test_bootstrap_difference_is_paired() -> None:
    values = np.random.default_rng(4).normal(size=100) * 100
    units = np.arange(100)
    mean, more = of_rows(lambda i: values[i].mean()), of_rows(lambda i: (values[i] + 1).mean())
    found = bootstrap_difference(more, mean, units, 0, 199)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))
    assert found.p_value == 2 / 200
    same = bootstrap_difference(mean, mean, units, 0, 199)
    assert same == Difference(0.0, 0.0, 0.0, 1.0)


def test_resamples_without_a_value_are_left_out() -> None:
    truth, score = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.9, 0.2, 0.3, 0.1])
    found = bootstrap_interval(lambda i: roc_auc(truth[i], score[i]), np.arange(4), seed=0, resamples=200)
    assert found.value == 0.75
    assert 0.0 <= found.low < found.high <= 1.0


@pytest.mark.parametrize(
    "statistic",
    [
        lambda index: float("nan"),
        lambda index: 1.0 if len(np.unique(index)) == 20 else float("nan"),
        lambda index: roc_auc(np.zeros(len(index)), np.zeros(len(index))),
    ],
    ids=["never", "hardly ever", "one class"],
)
def test_too_few_values(statistic: Callable[[np.ndarray], float]) -> None:
    with pytest.raises(ValueError, match="values; use more units"):
        bootstrap_interval(statistic, np.arange(20), seed=0, resamples=50)


def covered(
    interval: Callable[[np.random.Generator], Interval | Difference], true: float, times: int
) -> float:
    """Share of intervals that hold the true value."""
    generator = np.random.default_rng(7)
    found = [interval(generator) for _ in range(times)]
    return float(np.mean([each.low <= true <= each.high for each in found]))


def test_auc_interval_covers() -> None:
    truth = np.repeat([0.0, 1.0], [60, 40])

    def interval(generator: np.random.Generator) -> Interval:
        return auc_interval(truth, generator.normal(size=100) + 1.5 * truth)

    assert 0.92 <= covered(interval, true=stats.norm.cdf(1.5 / np.sqrt(2)), times=300) <= 0.98


def test_auc_interval_covers_near_one() -> None:
    truth = np.repeat([0.0, 1.0], [30, 15])

    def interval(generator: np.random.Generator) -> Interval:
        return auc_interval(truth, generator.normal(size=45) + 3.0 * truth)

    assert 0.92 <= covered(interval, true=stats.norm.cdf(3.0 / np.sqrt(2)), times=300) <= 1.0


def test_auc_difference_of_equally_good_scores_covers() -> None:
    truth = np.repeat([0.0, 1.0], [80, 60])

    def interval(generator: np.random.Generator) -> Difference:
        a, b = generator.normal(size=140) + truth + generator.normal(size=(2, 140))
        return auc_difference(truth, a, b)

    assert 0.92 <= covered(interval, true=0.0, times=300) <= 0.98


def test_clustered_auc_difference_covers_where_the_plain_one_does_not() -> None:
    def interval(generator: np.random.Generator, grouped: bool) -> Difference:
        groups = np.repeat(np.arange(40), 6)
        truth = np.tile([0.0, 1.0], 120)
        # Each score errs in its own way on whole groups, and both are equally good.
        a, b = (
            truth * (1 + generator.normal(size=40)[groups]) + generator.normal(size=240) for _ in range(2)
        )
        return auc_difference(truth, a, b, groups if grouped else None)

    assert 0.91 <= covered(lambda generator: interval(generator, True), true=0.0, times=300) <= 0.98
    assert covered(lambda generator: interval(generator, False), true=0.0, times=300) < 0.9


def test_mean_interval_covers() -> None:
    groups = np.repeat(np.arange(25), 4)

    def interval(generator: np.random.Generator) -> Interval:
        return mean_interval(generator.normal(size=25)[groups] + generator.normal(size=100), groups)

    assert 0.92 <= covered(interval, true=0.0, times=300) <= 0.98


def test_resampled_interval_covers_where_the_plain_one_does_not() -> None:
    """Three folds, three times, of values with a mean of 0: nine means of one and the same table."""
    generator = np.random.default_rng(0)

    def folds() -> np.ndarray:
        table = generator.normal(size=60)
        return np.concatenate([generator.permutation(table).reshape(3, 20).mean(axis=1) for _ in range(3)])

    tables = [folds() for _ in range(300)]
    plain = [mean_interval(values) for values in tables]
    corrected = [resampled_interval(values, 20 / 40) for values in tables]
    share_plain, share_corrected = (
        np.mean([i.low <= 0.0 <= i.high for i in intervals]) for intervals in (plain, corrected)
    )
    assert share_plain < 0.85
    assert share_corrected >= 0.92


def test_bootstrap_interval_covers() -> None:
    groups = np.repeat(np.arange(60), 2)

    def interval(generator: np.random.Generator) -> Interval:
        values = generator.normal(size=60)[groups] + generator.normal(size=120)
        seed = int(generator.integers(2**31))
        return bootstrap_interval(lambda i: values[i].mean(), groups, seed, resamples=200)

    assert 0.9 <= covered(interval, true=0.0, times=600) <= 0.97  # the percentile interval is a little narrow


def calibrated(generator: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Truths drawn from their own probabilities, seven of ten rows from few enough values to be ties."""
    probability = generator.beta(1, 4, size=rows)
    probability[: rows * 7 // 10] = np.round(probability[: rows * 7 // 10], 2)
    return (generator.random(rows) < probability).astype(np.float64), probability


@pytest.mark.parametrize(("rows", "most"), [(60, 0.15), (400, 0.1), (3000, 0.1)])
def test_a_perfect_model_is_found_miscalibrated_only_by_rare_chance(rows: int, most: float) -> None:
    def interval(generator: np.random.Generator) -> Interval:
        truth, probability = calibrated(generator, rows)
        return calibration_interval(truth, probability, np.arange(rows), seed=1, resamples=200)

    generator = np.random.default_rng(7)
    found = [interval(generator) for _ in range(200)]
    # One in twenty says that there is an error at all, some more where a bin has six rows; none that there is much.
    assert np.mean([i.low > 0 for i in found]) <= most
    assert max(i.low for i in found) < 0.05
    # What was measured is never 0, however perfect the model is.
    assert min(i.value for i in found) > 0


def test_calibration_interval_covers() -> None:
    # All probabilities too high by .04, so that the gaps of all bins have one sign: the true error is .04.
    def interval(generator: np.random.Generator) -> Interval:
        true = generator.uniform(0.2, 0.7, size=500)
        truth = (generator.random(500) < true).astype(np.float64)
        return calibration_interval(truth, true + 0.04, np.arange(500), seed=1, resamples=200)

    assert covered(interval, true=0.04, times=150) >= 0.95


def test_a_percentile_bootstrap_calls_a_perfect_model_miscalibrated() -> None:
    """Why the calibration error has an interval of its own."""
    truth, probability = calibrated(np.random.default_rng(0), 400)
    percentile = bootstrap_interval(
        lambda i: calibration_error(truth[i], probability[i]), np.arange(400), seed=1, resamples=100
    )
    assert percentile.low > 0.01
    assert calibration_interval(truth, probability, np.arange(400), seed=1).low == 0


def test_calibration_interval_of_patients_is_wider_than_that_of_their_rows() -> None:
    generator = np.random.default_rng(0)
    truth, probability = calibrated(generator, 300)
    patients = np.repeat(np.arange(300), 5)
    grouped = calibration_interval(np.repeat(truth, 5), np.repeat(probability, 5), patients, seed=0)
    alone = calibration_interval(np.repeat(truth, 5), np.repeat(probability, 5), np.arange(1500), seed=0)
    once = calibration_interval(truth, probability, np.arange(300), seed=0)
    assert (grouped.value, grouped.high) == pytest.approx((once.value, once.high), rel=1e-9)
    assert grouped.high > alone.high
    assert grouped.value == pytest.approx(calibration_error(truth, probability), rel=1e-12)


def test_refusals() -> None:
    truth = np.array([0.0, 0.0, 1.0, 1.0])
    with pytest.raises(UndefinedMeasureError, match="got 0 positive and 4 negative"):
        auc_interval(np.zeros(4), truth)
    with pytest.raises(UndefinedMeasureError, match="got 2 and 1"):
        auc_interval(truth, truth, groups=np.array([1, 1, 2, 3]))
    with pytest.raises(ValueError, match="1 NaN"):
        auc_interval(truth, np.array([0.1, np.nan, 0.2, 0.3]))
    with pytest.raises(ValueError, match="truth of 0 and 1"):
        auc_interval(2 * truth, truth)
    with pytest.raises(ValueError, match="one group per row"):
        mean_interval(truth, groups=np.arange(3))
    with pytest.raises(ValueError, match="finite values"):
        mean_interval(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="expected pairs"):
        mean_difference(truth, truth[:3])
    with pytest.raises(ValueError, match="expected pairs"):
        resampled_difference(truth, truth[:3], 0.5)
    for ratio in (0.0, -0.5, float("nan")):
        with pytest.raises(ValueError, match="above 0"):
            resampled_interval(truth, ratio)
    with pytest.raises(UndefinedMeasureError, match="at least two units"):
        resampled_interval(np.ones(1), 0.5)
    for values in (np.empty(0), np.ones(1)):
        with pytest.raises(UndefinedMeasureError, match="at least two units"):
            mean_interval(values)
    with pytest.raises(UndefinedMeasureError, match="at least two units, got 1"):
        bootstrap_interval(lambda i: truth[i].mean(), np.zeros(4), seed=0, resamples=10)

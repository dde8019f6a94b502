"""Lower confidence limits agree with reference implementations and hold the true value as often as they should."""

import numpy as np
import pytest
from scipy import stats

from ml.data.limits import auc_limits, balanced_accuracy_limits, correlation_lower_limit, wilson_lower_limit
from ml.evaluation.auc_intervals import auc_interval


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (3, 7), (20, 20), (150, 200)])
@pytest.mark.parametrize("alpha", [0.025, 0.001])
def test_wilson_limit_agrees_with_scipy(successes: int, trials: int, alpha: float) -> None:
    reference = stats.binomtest(successes, trials).proportion_ci(1 - 2 * alpha, method="wilson").low
    assert wilson_lower_limit(successes, trials, alpha) == pytest.approx(reference, abs=1e-12)


@pytest.mark.parametrize(("positives", "negatives"), [(4, 4), (10, 200), (300, 300)])
def test_auc_limit_of_separated_classes_agrees_with_the_evaluation(positives: int, negatives: int) -> None:
    truth = np.r_[np.ones(positives), np.zeros(negatives)]
    assert auc_limits(1.0, positives, negatives, 0.025)[0] == pytest.approx(
        auc_interval(truth, truth).low, abs=1e-6
    )


def test_auc_limits_agree_with_delong_in_large_samples() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(2000) < 0.4).astype(float)
    reference = auc_interval(truth, truth + rng.normal(size=2000))
    limits = auc_limits(reference.value, int(truth.sum()), int(2000 - truth.sum()), 0.025)
    assert limits == pytest.approx((reference.low, reference.high), abs=0.005)


def test_limits_hold_the_true_value() -> None:
    """In at most about 5 % of samples a limit at 5 % is above the true value."""
    rng = np.random.default_rng(0)
    true = 0.9
    above = [
        balanced_accuracy_limits(rng.binomial(30, true), 30, rng.binomial(80, true), 80, 0.05)[1] > true
        for _ in range(1000)
    ]
    assert np.mean(above) < 0.07
    pairs = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], (200, 60))
    spearman = 6 / np.pi * np.arcsin(0.45)
    rank = [correlation_lower_limit(stats.spearmanr(p).statistic, 60, 0.05) > spearman for p in pairs]
    assert np.mean(rank) < 0.09


def test_few_rows_prove_nothing() -> None:
    assert correlation_lower_limit(1.0, 9, 0.05) == -1.0
    assert balanced_accuracy_limits(20, 20, 20, 20, 0.001)[1] < 0.8
    assert auc_limits(1.0, 4, 4, 0.025)[0] < 0.6

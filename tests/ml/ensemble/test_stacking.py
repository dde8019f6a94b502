"""Stacking weights: known weights are recovered, noise gets none, few rows shrink to equal weights."""

import numpy as np
import pytest
from scipy import special

from ml.data.target import Target, from_log_odds_scale, row_losses, to_log_odds_scale
from ml.ensemble.stacking import StackingWeights, fit_stacking_weights

ROWS = 40_000


def sample_scores(target: Target) -> tuple[np.ndarray, np.ndarray]:
    """Sample two independent scores and a truth that follows their mean."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, ROWS)) * 3
    mean = scores.mean(axis=0)
    if target == "numeric":
        return scores, mean + rng.normal(size=ROWS)
    return scores, (rng.random(ROWS) < special.expit(mean)).astype(float)


def fit_weights(scores: np.ndarray, truth: np.ndarray, target: Target) -> np.ndarray:
    return np.array(fit_stacking_weights(scores, truth, target).weights)


@pytest.mark.parametrize("target", ["binary", "numeric"])
def test_known_weights_are_recovered_and_noise_gets_none(target: Target) -> None:
    scores, truth = sample_scores(target)
    noise = np.random.default_rng(1).normal(size=(2, ROWS)) * 3
    weights = fit_weights(np.vstack([noise[:1], scores, noise[1:]]), truth, target)
    np.testing.assert_allclose(weights, [0.0, 0.5, 0.5, 0.0], atol=0.05)


def test_few_rows_are_shrunk_to_equal_weights() -> None:
    scores, truth = sample_scores("binary")
    few, many = (fit_weights(scores[:, :rows] * [[1.0], [0.2]], truth[:rows], "binary") for rows in (8, ROWS))
    np.testing.assert_allclose(few, 0.5, atol=0.1)
    np.testing.assert_allclose(many, [0.5, 2.5], atol=0.3)


def test_scores_too_close_to_the_mean_get_large_weights() -> None:
    scores, truth = sample_scores("binary")
    weights = fit_weights(scores / 4, truth, "binary")
    np.testing.assert_allclose(weights, 2.0, atol=0.2)


def test_an_inverted_member_gets_no_weight() -> None:
    scores, truth = sample_scores("numeric")
    weights = fit_weights(np.stack([scores.mean(axis=0), -scores[0]]), truth, "numeric")
    assert weights[1] == 0.0
    assert weights[0] == pytest.approx(1.0, abs=0.02)


def test_small_weights_move_scores_to_the_base_score() -> None:
    np.testing.assert_allclose(
        StackingWeights((0.5, 0.25), 2.0)([np.array([4.0, 2.0]), np.array([2.0, 6.0])]), [3.0, 3.0]
    )
    truth = 5.0 + np.random.default_rng(0).normal(size=ROWS)
    noise = 5.0 + np.random.default_rng(1).normal(size=(1, ROWS)) * 9
    weights = fit_stacking_weights(noise, truth, "numeric")
    assert weights(noise).mean() == pytest.approx(5.0, abs=0.02)
    assert weights(noise).std() < 0.1


def test_losses_on_the_log_odds_scale_are_those_of_the_predictions() -> None:
    score, truth = np.array([-2.0, 0.5]), np.array([0.0, 1.0])
    probability = from_log_odds_scale(score, "binary")
    np.testing.assert_allclose(
        row_losses(score, truth, "binary"), -np.log(np.where(truth == 1, probability, 1 - probability))
    )
    np.testing.assert_allclose(to_log_odds_scale(probability, "binary"), score)
    assert np.isfinite(to_log_odds_scale(np.array([0.0, 1.0]), "binary")).all()
    np.testing.assert_array_equal(to_log_odds_scale(score, "numeric"), score)
    np.testing.assert_array_equal(row_losses(score, truth, "numeric"), (score - truth) ** 2)

"""Stacking: the right mixture is found, noise gets nothing."""

import numpy as np
import pytest
from scipy import special

from ml.data.target import Target, from_link, losses, to_link
from ml.ensemble.stacking import Mixture, stack

ROWS = 40_000


def known(target: Target) -> tuple[np.ndarray, np.ndarray]:
    """Two independent signals and a truth that follows their mean."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, ROWS)) * 3
    mean = scores.mean(axis=0)
    if target == "numeric":
        return scores, mean + rng.normal(size=ROWS)
    return scores, (rng.random(ROWS) < special.expit(mean)).astype(float)


def weights_of(scores: np.ndarray, truth: np.ndarray, target: Target) -> np.ndarray:
    return np.array(stack(scores, truth, target).weights)


@pytest.mark.parametrize("target", ["binary", "numeric"])
def test_finds_the_mixture_and_leaves_noise_out(target: Target) -> None:
    scores, truth = known(target)
    noise = np.random.default_rng(1).normal(size=(2, ROWS)) * 3
    weights = weights_of(np.vstack([noise[:1], scores, noise[1:]]), truth, target)
    np.testing.assert_allclose(weights, [0.0, 0.5, 0.5, 0.0], atol=0.05)


def test_few_rows_are_no_reason_to_leave_equal_weights() -> None:
    scores, truth = known("binary")
    few, many = (weights_of(scores[:, :rows] * [[1.0], [0.2]], truth[:rows], "binary") for rows in (8, ROWS))
    np.testing.assert_allclose(few, 0.5, atol=0.1)
    np.testing.assert_allclose(many, [0.5, 2.5], atol=0.3)


def test_timid_members_are_made_bold() -> None:
    scores, truth = known("binary")
    timid = weights_of(scores / 4, truth, "binary")
    np.testing.assert_allclose(timid, 2.0, atol=0.2)


def test_a_member_that_is_wrong_way_round_gets_nothing() -> None:
    scores, truth = known("numeric")
    weights = weights_of(np.stack([scores.mean(axis=0), -scores[0]]), truth, "numeric")
    assert weights[1] == 0.0
    assert weights[0] == pytest.approx(1.0, abs=0.02)


def test_what_shrinks_a_mixture_draws_it_to_the_mean() -> None:
    np.testing.assert_allclose(
        Mixture((0.5, 0.25), 2.0)([np.array([4.0, 2.0]), np.array([2.0, 6.0])]), [3.0, 3.0]
    )
    truth = 5.0 + np.random.default_rng(0).normal(size=ROWS)
    wild = 5.0 + np.random.default_rng(1).normal(size=(1, ROWS)) * 9
    mixture = stack(wild, truth, "numeric")
    assert mixture(wild).mean() == pytest.approx(5.0, abs=0.02)
    assert mixture(wild).std() < 0.1


def test_losses_are_those_of_the_answers() -> None:
    score, truth = np.array([-2.0, 0.5]), np.array([0.0, 1.0])
    p = from_link(score, "binary")
    np.testing.assert_allclose(losses(score, truth, "binary"), -np.log(np.where(truth == 1, p, 1 - p)))
    np.testing.assert_allclose(to_link(p, "binary"), score)
    assert np.isfinite(to_link(np.array([0.0, 1.0]), "binary")).all()
    np.testing.assert_array_equal(to_link(score, "numeric"), score)
    np.testing.assert_array_equal(losses(score, truth, "numeric"), (score - truth) ** 2)

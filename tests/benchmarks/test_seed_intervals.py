"""Intervals over users and seeds: equal to those over users with one seed, and true with several."""

import numpy as np
import pytest

from benchmarks.seed_intervals import seeds_interval
from ml.evaluation.mean_intervals import mean_interval


def test_with_one_seed_the_interval_is_over_users() -> None:
    values = np.random.default_rng(0).random((1, 50))
    found, expected = seeds_interval(values), mean_interval(values[0])
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )


def test_equal_values_have_no_width() -> None:
    found = seeds_interval(np.full((3, 10), 0.5))
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(("seed_deviation", "users_alone"), [(0.0, 0.93), (0.2, 0.75)])
def test_the_true_mean_is_inside_as_often_as_stated_also_where_seeds_differ(
    seed_deviation: float, users_alone: float
) -> None:
    """An interval over users of the mean of three seeds is too narrow where seeds differ."""
    rng, inside, inside_alone, repeats = np.random.default_rng(1), 0, 0, 2000
    for _ in range(repeats):
        seeds, users = rng.normal(0, seed_deviation, (3, 1)), rng.normal(0, 1, (1, 200))
        values = seeds + users + rng.normal(0, 0.5, (3, 200))
        found, alone = seeds_interval(values), mean_interval(values.mean(axis=0))
        inside += found.low <= 0 <= found.high
        inside_alone += alone.low <= 0 <= alone.high
    assert inside / repeats >= 0.93
    assert (inside_alone / repeats < users_alone) == bool(seed_deviation)

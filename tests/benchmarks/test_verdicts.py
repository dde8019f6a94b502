"""Simulated nights: looks that are counted promote nothing by chance and leave a new recipe its power."""

import numpy as np

from benchmarks.verdicts.looks import simulate, simulate_leads, spent_levels


def test_nights_of_one_recipe_promote_nothing_and_leave_a_new_one_its_power() -> None:
    """The old rule, 2.5 % a night, promotes a challenger that is no better in a third of ledgers."""
    nights = 60
    levels = spent_levels([*["champion"] * nights, "better"])
    promoted, power = simulate(levels, 0.0, 500, np.random.default_rng(0))
    assert promoted <= 0.03
    assert power >= 0.7
    before, blocked = simulate(np.full(nights + 1, 0.025), 0.0, 500, np.random.default_rng(0))
    assert before >= 0.25
    assert blocked <= 0.7


def test_a_new_recipe_every_night_promotes_at_most_the_error_rate() -> None:
    levels = spent_levels([f"recipe {night}" for night in range(60)])
    assert levels.sum() < 0.05
    promoted, _ = simulate(levels, 0.0, 500, np.random.default_rng(1))
    assert promoted <= 0.06


def test_leads_on_validation_rows_leave_a_recipe_after_many_its_power() -> None:
    recipes = [f"recipe {month}" for month in range(12)]
    _, before = simulate(spent_levels([*recipes, "better"]), 0.0, 500, np.random.default_rng(2))
    promoted, power = simulate_leads(recipes, 1.0, 0.0, 500, np.random.default_rng(2))
    assert promoted <= 0.04
    assert before + 0.25 <= power

"""A time budget is divided by stated costs: the same on every machine, with a share for the strongest candidate."""

import math

from hypothesis import given
from hypothesis import strategies as st

from ml.time_budget import FREE, STRONGEST_SHARE, FitCost, divide

SECONDS = st.floats(0, 1000, allow_nan=False)
COSTS = st.lists(st.tuples(SECONDS, st.one_of(SECONDS, st.just(math.inf))), min_size=1, max_size=8)


def test_what_costs_too_much_is_left_out_and_the_strongest_keeps_its_share() -> None:
    costs = {
        "baseline": FREE,
        "slow": FitCost(700.0, 700.0),
        "fast": FitCost(10.0, 10.0),
        "strong": FitCost(50.0, 400.0),
        "too strong": FitCost(600.0, math.inf),
    }
    allowances = divide(costs, 300.0)
    assert {name: allowance.is_enough for name, allowance in allowances.items()} == {
        "baseline": True, "slow": False, "fast": True, "strong": True, "too strong": False,
    }  # fmt: skip
    # All but the cost of the fast one.
    assert allowances["strong"].seconds == 290.0
    assert allowances["fast"].seconds == 300.0 * (1 - STRONGEST_SHARE)


def test_a_longer_budget_suffices_for_more() -> None:
    costs = {"baseline": FREE, "strong": FitCost(50.0, 400.0), "too strong": FitCost(600.0, math.inf)}
    allowances = divide(costs, 1200.0)
    assert all(allowance.is_enough for allowance in allowances.values())
    assert allowances["too strong"].seconds == 800.0


def test_the_baseline_is_fitted_whatever_it_costs() -> None:
    (baseline, other) = divide({"baseline": FitCost(9.0, 9.0), "other": FitCost(9.0, 9.0)}, 1.0).values()
    assert (baseline.is_enough, other.is_enough) == (True, False)


@given(COSTS, st.floats(1e-9, 1e4))
def test_estimates_of_what_is_fitted_stay_within_the_budget(
    costs: list[tuple[float, float]], budget: float
) -> None:
    named = {str(i): FitCost(min(pair), max(pair)) for i, pair in enumerate(costs)}
    allowances = divide(named, budget)
    assert list(allowances) == list(named)
    assert all(0.0 <= allowance.seconds <= budget for allowance in allowances.values())
    started = [name for name, allowance in allowances.items() if allowance.is_enough]
    assert "0" in started
    spent = sum(min(named[name].full, allowances[name].seconds) for name in started[:-1])
    if named["0"].minimum <= allowances["0"].seconds:
        assert spent <= budget * (1 + 1e-9) + 1e-6
    assert allowances == divide(named, budget)

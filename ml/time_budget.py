"""Divide a time budget among candidates by what they say they cost, so that the division is the same on every machine.

The last candidate, the strongest, has a share to itself: slower candidates before it cannot use it up.
"""

from collections.abc import Mapping
from dataclasses import dataclass

# The share of the budget that is kept for the strongest candidate, as far as it needs that.
STRONGEST_SHARE = 0.6


@dataclass(frozen=True)
class FitCost:
    """Estimated processor seconds per thread of a fit: those without which it is useless, and those that it uses."""

    minimum: float
    full: float

    def times(self, fits: int) -> "FitCost":
        """Return the cost of several such fits."""
        return FitCost(fits * self.minimum, fits * self.full)


FREE = FitCost(0.0, 0.0)


@dataclass(frozen=True)
class Allowance:
    """The seconds that a fit may take. A fit that needs more `cost` than that is not started."""

    seconds: float
    cost: FitCost
    is_first: bool

    @property
    def is_enough(self) -> bool:
        """Whether the fit is worth starting. Time is no reason to skip the first candidate, the baseline."""
        return self.is_first or self.cost.minimum <= self.seconds


def divide(costs: Mapping[str, FitCost], budget: float) -> dict[str, Allowance]:
    """Return the allowance of each candidate of `costs`, which are in order from simple to strong.

    A candidate may use all that is left before it, except what is kept for the strongest: the last one that the budget
    share kept suffices for. What a candidate costs is subtracted as it is estimated, never as it is measured.
    """
    names = list(costs)
    affordable = [name for name in names if costs[name].minimum <= STRONGEST_SHARE * budget]
    strongest = affordable[-1] if affordable else names[0]
    kept = min(costs[strongest].full, STRONGEST_SHARE * budget)
    left = budget - kept
    allowances: dict[str, Allowance] = {}
    for name in names:
        if name != strongest:
            allowances[name] = Allowance(left, costs[name], name == names[0])
            if allowances[name].is_enough:
                left = max(left - costs[name].full, 0.0)
    # What the candidates before it leave is for the strongest too.
    seconds = min(left + kept, budget)
    allowances[strongest] = Allowance(seconds, costs[strongest], strongest == names[0])
    return {name: allowances[name] for name in names}

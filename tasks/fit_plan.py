"""Plan the fits of a run: which candidates the time budget suffices for, and for how long each may be fitted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import floor

from ml.data.dataset import Dataset
from ml.estimator import AdjustableCandidate, Candidate, CostedCandidate, FitResources
from ml.time_budget import FREE, FitCost, divide

SECONDS_PER_WEEK = 604_800


@dataclass(frozen=True)
class PlannedFit:
    """A candidate as it is to be fitted, within `seconds` (processor seconds per thread).

    `reason` says why it is not fitted; empty if it is. `left_out` has the reasons by part of the candidate that the
    seconds do not suffice for.
    """

    candidate: Candidate
    seconds: float
    reason: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)


def plan_fits(
    candidates: Mapping[str, Candidate], train: Dataset, resources: FitResources, fits: int = 1
) -> dict[str, PlannedFit]:
    """Divide the seconds of `resources` among the candidates, in order from simple to strong.

    Each candidate is fitted `fits` times, each time within an equal share of its seconds. The plan depends on the data,
    the candidates, the seconds and the threads, not on the speed or load of the machine.
    """
    budget = resources.seconds
    costs = {
        name: candidate.cost(train, resources).times(fits) if isinstance(candidate, CostedCandidate) else FREE
        for name, candidate in candidates.items()
    }
    planned: dict[str, PlannedFit] = {}
    for name, allowance in divide(costs, budget).items():
        candidate, left_out = candidates[name], dict[str, str]()
        limited = replace(resources, seconds=allowance.seconds / fits)
        reason = ""
        if not allowance.is_enough:
            reason = (
                f"expected about {_seconds(allowance.cost.minimum)} s for {_count(fits)} to these data; got"
                f" {_seconds(allowance.seconds)} s of the time budget of {budget:g} s; raise --time-budget"
                f"{_sufficient_budget(costs, name, budget)}"
            )
        elif isinstance(candidate, AdjustableCandidate):
            candidate, left_out = candidate.adjust_to(train, limited)
        planned[name] = PlannedFit(candidate, limited.seconds, reason, left_out)
    return planned


def _sufficient_budget(costs: Mapping[str, FitCost], name: str, budget: float) -> str:
    """Format a budget, in whole seconds, that suffices for a candidate while a second less does not.

    Empty if a week does not suffice.
    """
    too_short, enough = floor(budget), floor(budget) + 1
    while not divide(costs, enough)[name].is_enough:
        if enough > SECONDS_PER_WEEK:
            return ""
        too_short, enough = enough, 2 * enough
    while enough - too_short > 1:
        between = (too_short + enough) // 2
        if divide(costs, between)[name].is_enough:
            enough = between
        else:
            too_short = between
    return f" to {enough}"


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 10.0 else f"{round(value, 1):g}"


def _count(fits: int) -> str:
    return "a fit" if fits == 1 else f"{fits} fits"

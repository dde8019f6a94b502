"""The plan of the fits: what the time budget suffices for, by stated costs alone."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows import ecommerce_recommendation, fintech_risk
from ml.data.dataset import Dataset
from ml.estimator import Candidate, FitResources
from ml.reranking.reranker import Reranker
from ml.tabular.constant import Constant
from ml.time_budget import FitCost
from tasks.fit_plan import plan_fits


@dataclass(frozen=True)
class Stated:
    """A candidate that states a cost."""

    minimum: float
    full: float

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        return FitCost(self.minimum, self.full)

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> Any:
        return Constant().fit(train, valid, resources)


def log_of(users: int, items: int, events: int) -> Dataset:
    """Return histories in which every item occurs."""
    lists = np.array_split(np.arange(events) % items, users)
    frame = pd.DataFrame({"user": [f"u{n}" for n in range(users)]})
    frame["items"] = [[f"i{item}" for item in items] for items in lists]
    frame["times"] = [list(map(float, range(len(items)))) for items in lists]
    return Dataset(frame, pd.Series([[]] * users, dtype=object), np.arange(users, dtype=np.uint64))


def table(rows: int, columns: int) -> Dataset:
    frame = pd.DataFrame(np.zeros((rows, columns))).rename(columns=str)
    return Dataset(frame, pd.Series(np.zeros(rows)), np.arange(rows, dtype=np.uint64))


def test_a_candidate_that_costs_too_much_is_left_out_by_name() -> None:
    candidates: dict[str, Candidate] = {
        "constant": Constant(), "slow": Stated(699.0, 699.0), "strong": Stated(10.0, math.inf)
    }  # fmt: skip
    planned = plan_fits(candidates, table(10, 2), FitResources(seconds=300.0))
    assert planned["slow"].reason == (
        "expected about 699 s for a fit to these data; got 120 s of the time budget of 300 s; raise --time-budget to "
        "1748"
    )
    raised = plan_fits(candidates, table(10, 2), FitResources(seconds=1748.0))
    assert [plan.reason for plan in raised.values()] == ["", "", ""]
    assert plan_fits(candidates, table(10, 2), FitResources(seconds=1747.0))["slow"].reason
    assert (planned["constant"].reason, planned["strong"].reason) == ("", "")
    assert planned["strong"].seconds == 300.0


def test_candidates_that_are_fitted_several_times_share_their_seconds_among_the_fits() -> None:
    candidates: dict[str, Candidate] = {
        "constant": Constant(), "slow": Stated(20.0, 20.0), "strong": Stated(1.0, 60.0)
    }  # fmt: skip
    once, six = (plan_fits(candidates, table(10, 2), FitResources(seconds=100.0), fits) for fits in (1, 6))
    assert (once["slow"].reason, once["strong"].seconds) == ("", 80.0)
    assert six["slow"].reason == (
        "expected about 120 s for 6 fits to these data; got 40 s of the time budget of 100 s; raise --time-budget to "
        "300"
    )
    assert six["strong"].seconds == pytest.approx(100.0 / 6)


def test_small_costs_are_named_with_a_digit_and_what_no_budget_suffices_for_without_a_number() -> None:
    candidates: dict[str, Candidate] = {
        "constant": Constant(),
        "quick": Stated(0.4, 0.4),
        "endless": Stated(math.inf, math.inf),
        "strong": Stated(0.1, 9.0),
    }
    planned = plan_fits(candidates, table(10, 2), FitResources(seconds=0.5))
    assert planned["quick"].reason == (
        "expected about 0.4 s for a fit to these data; got 0.2 s of the time budget of 0.5 s; raise --time-budget to 1"
    )
    assert planned["endless"].reason.endswith("raise --time-budget")


def test_the_reranker_is_fitted_without_the_model_that_a_large_catalogue_makes_slow() -> None:
    train = log_of(users=6000, items=24_000, events=300_000)
    resources = FitResources(threads=2, seconds=ecommerce_recommendation.CASE.time_budget)
    planned = plan_fits(ecommerce_recommendation.CASE.candidates, train, resources)
    left_out = [name for name, plan in planned.items() if plan.reason]
    assert left_out == ["EASE", "reranker with transformer"]
    reranker = planned["reranker"].candidate
    assert isinstance(reranker, Reranker)
    assert list(planned["reranker"].left_out) == ["EASE"]
    assert set(ecommerce_recommendation.RERANKER.models) - set(reranker.models) == {"EASE"}
    # What is left fits, so it is not adjusted again.
    limited = FitResources(threads=2, seconds=planned["reranker"].seconds)
    assert reranker.adjust_to(train, limited) == (reranker, {})
    assert planned["reranker"].seconds >= 0.6 * resources.seconds


def test_a_small_log_and_a_table_of_usual_size_are_fitted_in_full() -> None:
    resources = FitResources(threads=1, seconds=300.0)
    planned = plan_fits(ecommerce_recommendation.CASE.candidates, log_of(600, 1500, 60_000), resources)
    assert [name for name, plan in planned.items() if plan.reason] == ["reranker with transformer"]
    assert planned["reranker"].candidate is ecommerce_recommendation.RERANKER
    limited = FitResources(threads=1, seconds=fintech_risk.CASE.time_budget)
    for name, plan in plan_fits(fintech_risk.CASE.candidates, table(90_000, 10), limited).items():
        assert (name, plan.reason, plan.left_out) == (name, "", {})
        assert plan.seconds >= 0.2 * limited.seconds

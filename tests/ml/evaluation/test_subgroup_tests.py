"""Tests of groups: Holm's procedure, the two conditions of a refusal, and what a group could show."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from ml.evaluation.subgroup_tests import (
    ABOVE_BY_CHANCE,
    EXPLAINED,
    METRIC,
    METRIC_LEVEL,
    UNDECIDED,
    Harm,
    HarmTest,
    check_groups,
    check_harm,
    describe_not_evaluated,
    describe_power,
    judge,
)

# Student's t is the normal distribution.
MANY = 10**9


def harm_test(value: float, error: float = 1.0, bound: float = 0.0, group: str = "f") -> HarmTest:
    return HarmTest(METRIC, "check", "sex", group, bound, (Harm(value, error, MANY),))


def estimate(value: float, error: float = 0.01) -> dict[str, float]:
    return {"value": value, "error": error, "degrees": MANY}


def group(name: str = "f", **measures: Any) -> dict[str, Any]:
    return {"column": "sex", "group": name, "evaluated": True, **measures}


def failed(checks: list[dict[str, Any]]) -> list[str]:
    return [check["check"] for check in checks if not check["passed"] and not check.get("warns")]


def test_tests_are_judged_together_by_holm() -> None:
    p_values = [0.01, 0.04, 0.03, 0.005]
    checks = judge([harm_test(float(stats.norm.isf(p))) for p in p_values], 0.05)
    # 0.005 is below 0.05 / 4 and 0.01 below 0.05 / 3, but 0.03 is not below 0.05 / 2.
    assert [check["passed"] for check in checks] == [False, True, True, False]
    assert [check["low"] > 0 for check in checks] == [not check["passed"] for check in checks]


def test_a_family_of_groups_without_a_harm_is_refused_in_at_most_its_level() -> None:
    generator, families = np.random.default_rng(0), 300
    refused = 0
    for scores in generator.normal(size=(families, 6)):
        refused += any(not check["passed"] for check in judge([harm_test(z) for z in scores], METRIC_LEVEL))
    assert stats.binom.sf(refused - 1, families, METRIC_LEVEL) > 0.01
    assert refused > families * METRIC_LEVEL / 3


def test_errors_of_few_cases_are_judged_by_students_t() -> None:
    few = HarmTest(METRIC, "check", "sex", "f", 0.0, (Harm(2.0, 1.0, 19),))
    assert few.p_value == pytest.approx(stats.t.sf(2.0, 19))
    assert few.low(0.05) == pytest.approx(2.0 - 1.729133)
    assert few.detectable(0.05) > harm_test(0.0).detectable(0.05)


def test_a_harm_must_be_certain_and_above_the_bound() -> None:
    certain, above_by_chance, small = judge(
        [harm_test(0.10, 0.02, 0.03), harm_test(0.05, 0.04, 0.03), harm_test(0.02, 0.001, 0.03)], 0.04
    )
    assert (certain["passed"], certain["got"], certain["bound"]) == (False, 0.10, 0.03)
    assert (above_by_chance["passed"], above_by_chance["note"]) == (True, ABOVE_BY_CHANCE)
    assert small["passed"]
    assert "note" not in small


@pytest.mark.parametrize("value", [(float("nan"), 0.1), (0.1, float("nan"))])
def test_nan_passes_no_check(value: tuple[float, float]) -> None:
    assert not judge([harm_test(*value)], 0.05)[0]["passed"]


def test_the_detectable_harm_is_detected_in_80_percent_of_cases() -> None:
    for error in (0.005, 0.03):
        test = harm_test(0.0, error, 0.03)
        harm = test.detectable(0.01)
        needed = max(0.03, float(stats.norm.isf(0.01)) * error)
        assert stats.norm.sf((needed - harm) / error) == pytest.approx(0.8, abs=1e-6)


def test_a_gap_that_the_mix_of_cases_explains_warns_only() -> None:
    groups = [group(gap=estimate(0.08), unexplained=estimate(0.005))]
    checks = check_groups("roc_auc", groups, 0.03, None)
    assert failed(checks) == []
    (warned,) = [check for check in checks if check.get("warns")]
    assert not warned["passed"]
    assert warned["note"] == EXPLAINED
    groups = [group(gap=estimate(0.08), unexplained=estimate(0.06, 0.05))]
    (warned,) = [check for check in check_groups("roc_auc", groups, 0.03, None) if check.get("warns")]
    assert warned["note"] == UNDECIDED
    groups = [group(gap=estimate(0.08), unexplained=estimate(0.07))]
    checks = check_groups("roc_auc", groups, 0.03, None)
    assert failed(checks) == ["roc_auc of sex=f below that of the rest, beyond its mix of cases, by at most"]
    assert not any(check.get("warns") for check in checks)


def test_log_odds_that_are_off_everywhere_are_no_harm_of_a_group() -> None:
    def checks(own: float, difference: float) -> list[str]:
        groups = [group(shift=estimate(own, 0.1), shift_from_rest=estimate(difference, 0.1))]
        return failed(check_groups("roc_auc", groups, None, 0.25))

    assert checks(1.0, 0.0) == []
    # The other group is the one whose log odds are off.
    assert checks(0.0, -1.0) == []
    assert checks(1.0, -1.0) == []
    for sign in (-1.0, 1.0):
        assert checks(sign, sign) == ["log odds of sex=f off, beyond those of the rest, by at most"]
    assert checks(0.2, 0.2) == []


def test_without_promised_metrics_the_baseline_is_what_a_group_could_have() -> None:
    groups = [group(gap=estimate(0.5), below_baseline=estimate(-0.2))]
    assert failed(check_groups("ndcg_at_10", groups, 0.03, None)) == []
    groups = [group(gap=estimate(0.5), below_baseline=estimate(0.2))]
    assert failed(check_groups("ndcg_at_10", groups, 0.03, None)) == [
        "ndcg_at_10 of sex=f below that of the baseline by at most"
    ]


def test_groups_that_are_worse_than_with_the_champion_fail() -> None:
    groups = [
        group("f", harm=estimate(0.08)),
        group("m", harm=estimate(-0.02)),
        {**group("other"), "evaluated": False},
    ]
    checks = check_harm("roc_auc", groups, 0.03)
    assert failed(checks) == ["roc_auc of sex=f below that of the champion by at most"]
    assert len(checks) == 2


def test_small_groups_are_named_and_many_are_counted() -> None:
    groups = [{**group(f"g{i}"), "evaluated": False, "reason": "one class"} for i in range(1000)]
    text = describe_not_evaluated([group("a"), *groups])
    assert text.startswith("1000 of 1001 groups not evaluated: sex=g0 (one class), sex=g1 (one class)")
    assert text.endswith("and 995 more")
    assert len(describe_not_evaluated([{**groups[0], "group": "x" * 100_000}])) < 200
    assert describe_not_evaluated([group("a")]) == ""


def test_the_power_of_the_checks_is_described() -> None:
    groups = [
        group("f", gap=estimate(0.0, 0.01), unexplained=estimate(0.0, 0.01)),
        group("m", gap=estimate(0.0, 0.05), unexplained=estimate(0.0, 0.05)),
    ]
    text = describe_power(check_groups("roc_auc", groups, 0.03, 0.25))
    # At a level of .04 / 2, the quantiles of the test and of 80 % add up to 2.054 + 0.842.
    assert text.endswith("from 0.038 (sex=f) to 0.145 (sex=m)")
    assert describe_power([]) == ""


def test_a_group_without_others_to_compare_with_has_no_check() -> None:
    assert check_groups("roc_auc", [group(value=0.7)], 0.03, 0.25) == []

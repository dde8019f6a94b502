"""Tests of the measures of groups: which group is certainly harmed, and what harm each could show.

A group is refused if it is harmed beyond chance and the harm is estimated above a bound. All tests of a family together
refuse a model that harms nobody in at most the level of the family (Holm, 1979). A test that does not refuse shows no
harmlessness: beside each is the smallest harm that it would have found in 80 % of cases.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

# Of the 5 % of models without a harm that may be refused, most are spent where power is scarce.
METRIC_LEVEL, CALIBRATION_LEVEL = 0.04, 0.01
COMPARISON_LEVEL = 0.05
ABOVE_BY_CHANCE = "above the bound, but not beyond chance"
# Characters of the name of a group in a message.
MAX_NAME = 60
EXPLAINED = "its mix of cases explains it: they are harder to tell apart"
UNDECIDED = "too few rows to tell whether its mix of cases explains it"
# What a test is about: the primary metric, or the log odds.
METRIC, CALIBRATION = "metric", "calibration"
# What is off in a group whose predictions are too high or too low on average.
SHIFTS = {
    "shift": "log odds of {} off, beyond those of the rest, by at most",
    "bias": "mean error of {}, beyond that of the rest, in standard deviations of the target, at most",
}
# The share of cases in which the smallest harm that a group could show is found.
POWER = 0.8


class Harm(NamedTuple):
    """An estimated harm with its standard error, and the degrees of freedom of that."""

    value: float
    error: float
    degrees: float


@dataclass(frozen=True)
class HarmTest:
    """A test whether a group is harmed: all `harms` must be above 0 and above `bound`.

    With two `sides` the direction of the harm was chosen by its estimate.
    """

    family: str
    check: str
    column: str
    group: str
    bound: float
    harms: tuple[Harm, ...]
    sides: int = 1

    @property
    def p_value(self) -> float:
        """The p-value of the null hypothesis that one of the harms is at most 0, by Student's t."""
        # Of Python, the largest of NaN and a number is either.
        return float(np.max([self.sides * _upper_tail(harm) for harm in self.harms]))

    @property
    def estimate(self) -> float:
        """The smallest of the harms."""
        return float(np.min([harm.value for harm in self.harms]))

    def low(self, level: float) -> float:
        """Return the smallest of the lower confidence limits at an error rate of `level`."""
        return float(np.min([harm.value - self._quantile(harm, level) * harm.error for harm in self.harms]))

    def detectable(self, level: float) -> float:
        """Return the smallest harm that is refused in 80 % of cases."""
        harm = max(self.harms, key=lambda harm: harm.error)
        needed = max(self.bound, self._quantile(harm, level) * harm.error)
        return needed + float(stats.norm.ppf(POWER)) * harm.error

    def _quantile(self, harm: Harm, level: float) -> float:
        return float(stats.t.isf(level / self.sides, harm.degrees))


def check_groups(
    primary: str, groups: Sequence[Mapping[str, Any]], max_gap: float | None, max_shift: float | None
) -> list[dict[str, Any]]:
    """Check the groups of `ml.evaluation.subgroups.subgroup_metrics`: one check for each group and measure.

    A group fails if its primary metric is below that of the rest by more than `max_gap`, beyond chance and beyond what
    its mix of cases explains; where predictions promise no metric, if it is that far below the baseline. It fails too
    if its log odds, or its predicted numbers in standard deviations of the target, are off by more than `max_shift`,
    and by that much more than those of the rest in one direction. A gap that the mix of cases explains is a check that
    warns.
    """
    compared = [group for group in groups if group["evaluated"]]
    tests = [] if max_gap is None else [t for g in compared if (t := _gap_test(primary, g, max_gap))]
    shifts = [] if max_shift is None else [t for g in compared if (t := _shift_test(g, max_shift))]
    checks = [*judge(tests, METRIC_LEVEL), *judge(shifts, CALIBRATION_LEVEL)]
    return checks if max_gap is None else [*checks, *_explained_gaps(primary, compared, checks, max_gap)]


def check_harm(primary: str, groups: Sequence[Mapping[str, Any]], max_harm: float) -> list[dict[str, Any]]:
    """Check the groups of `ml.evaluation.subgroups.compare_groups`: which is certainly worse than with the champion."""
    tests = [
        HarmTest(
            METRIC,
            f"{primary} of {_name(group)} below that of the champion by at most",
            group["column"],
            group["group"],
            max_harm,
            (_harm(group["harm"]),),
        )
        for group in groups
        if group["evaluated"]
    ]
    return judge(tests, COMPARISON_LEVEL)


def describe_not_evaluated(groups: Sequence[Mapping[str, Any]], named: int = 5) -> str:
    """Say which groups are too small to be evaluated, and why, and which columns have but a pool of small ones.

    Empty where all are evaluated.
    """
    small = [group for group in groups if not group["evaluated"]]
    names = [f"{_name(group)} ({group.get('reason', 'too few rows')})" for group in small[:named]]
    more = [f"and {len(small) - named} more"] if len(small) > named else []
    counted = f"{len(small)} of {len(groups)} groups not evaluated: {', '.join([*names, *more])}"
    in_column = Counter(group["column"] for group in groups)
    pools = [group for group in groups if group.get("values", 1) > 1 and in_column[group["column"]] == 1]
    # With all rows in it, there are no others to compare it with.
    pooled = [f"all {pool['values']:,} values of {pool['column']} are one group" for pool in pools[:named]]
    return "; ".join([*([counted] if small else []), *pooled])


def describe_power(checks: Sequence[Mapping[str, Any]]) -> str:
    """Say which harm of a group the checks would have found in 80 % of cases; empty without checks of groups."""
    found = [check for check in checks if check.get("detectable") is not None and not check.get("warns")]
    metric = sorted((c["detectable"], _name(c)) for c in found if c["family"] == METRIC)
    if not metric:
        return ""
    (least, best), (most, worst) = metric[0], metric[-1]
    smallest = f"{least:.3f} ({best})"
    harms = smallest if len(metric) == 1 else f"from {smallest} to {most:.3f} ({worst})"
    return f"smallest harm that a group would have shown in 80 % of cases: {harms}"


def judge(tests: Sequence[HarmTest], level: float) -> list[dict[str, Any]]:
    """Judge tests together: `check`, `family`, `column`, `group`, `bound`, `got`, `low`, `passed` and `detectable`.

    `got` is the estimated harm and `low` its lower confidence limit, at the level that Holm's procedure gives to the
    test. A check fails if `got` is above the bound and `low` above 0.
    """
    p_values = np.array([test.p_value for test in tests])
    order = np.argsort(p_values, kind="stable")
    certain = 0
    # NaN is below no level.
    while certain < len(tests) and p_values[order[certain]] <= level / (len(tests) - certain):
        certain += 1
    found = []
    for rank, test in zip(np.argsort(order).tolist(), tests, strict=True):
        spent = level / max(len(tests) - min(rank, certain), 1)
        above = not test.estimate <= test.bound
        check = {
            "check": test.check,
            "family": test.family,
            "column": test.column,
            "group": test.group,
            "bound": test.bound,
            "got": test.estimate,
            "low": test.low(spent),
            "passed": not above or (rank >= certain and bool(np.isfinite(test.p_value))),
            "detectable": test.detectable(level / len(tests)),
        }
        found.append({**check, "note": ABOVE_BY_CHANCE} if above and check["passed"] else check)
    return found


def _gap_test(primary: str, group: Mapping[str, Any], bound: float) -> HarmTest | None:
    name = f"{primary} of {_name(group)}"
    if "unexplained" in group:
        check = f"{name} below that of the rest, beyond its mix of cases, by at most"
        measures: tuple[str, ...] = ("gap", "unexplained")
    elif "below_baseline" in group:
        check, measures = f"{name} below that of the baseline by at most", ("below_baseline",)
    elif "gap" in group:
        check, measures = f"{name} below that of the rest by at most", ("gap",)
    else:
        return None
    harms = tuple(_harm(group[measure]) for measure in measures)
    return HarmTest(METRIC, check, group["column"], group["group"], bound, harms)


def _shift_test(group: Mapping[str, Any], bound: float) -> HarmTest | None:
    measure, text = next(((m, text) for m, text in SHIFTS.items() if m in group), (None, ""))
    if measure is None:
        return None
    direction = 1.0 if group[measure]["value"] >= 0.0 else -1.0
    harms = tuple(_harm(group[name], direction) for name in (measure, f"{measure}_from_rest"))
    check = text.format(_name(group))
    return HarmTest(CALIBRATION, check, group["column"], group["group"], bound, harms, sides=2)


def _explained_gaps(
    primary: str, groups: Sequence[Mapping[str, Any]], checks: Sequence[Mapping[str, Any]], bound: float
) -> list[dict[str, Any]]:
    """Warn of groups that are certainly served worse than the rest, where that stops no model."""
    stopping = {(c["column"], c["group"]) for c in checks if c["family"] == METRIC and not c["passed"]}
    compared = [g for g in groups if "unexplained" in g and (g["column"], g["group"]) not in stopping]
    tests = [
        HarmTest(
            METRIC,
            f"{primary} of {_name(group)} below that of the rest by at most",
            group["column"],
            group["group"],
            bound,
            (_harm(group["gap"]),),
        )
        for group in compared
    ]
    return [
        {**check, "warns": True, "note": EXPLAINED if group["unexplained"]["value"] <= bound else UNDECIDED}
        for group, check in zip(compared, judge(tests, METRIC_LEVEL), strict=True)
        if not check["passed"]
    ]


def _name(group: Mapping[str, Any]) -> str:
    """Name a group in a message; a cell of a file may be long."""
    label = str(group["group"])
    return f"{group['column']}={label if len(label) <= MAX_NAME else label[:MAX_NAME] + '...'}"


def _harm(estimate: Mapping[str, float], direction: float = 1.0) -> Harm:
    return Harm(direction * estimate["value"], estimate["error"], estimate["degrees"])


def _upper_tail(harm: Harm) -> float:
    """Return the chance of such a harm where there is none; without an error, whether there is one."""
    if harm.error == 0.0 and np.isfinite(harm.value):
        return 0.0 if harm.value > 0.0 else 1.0
    return float(stats.t.sf(harm.value / harm.error, harm.degrees)) if harm.error > 0.0 else float("nan")

"""The quality gate: the thresholds that a model must meet before it may be registered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml.evaluation.recalibration import INTERCEPT, SLOPE
from ml.evaluation.subgroup_tests import check_groups

# With fewer units of one class on test, no interval is trusted and nothing is decided.
MIN_CLASS_UNITS = 20
TOO_FEW = "too few test rows to tell"
LATENCY_CHECK = "time for one row, in times of a reference computation, at most"


@dataclass(frozen=True)
class QualityThresholds:
    """Thresholds that the use case sets; None disables a check that does not apply.

    `min_primary` bounds the lower limit of the 95 % interval of the primary metric on test, or of the metric `bounded`,
    so that a worthless model passes for at most 2.5 % of tables, however small. `max_calibration_error` bounds the
    lower limit of the interval of the calibration error, because chance alone makes the error large in few rows.
    `max_calibration_intercept` bounds how far the interval of the calibration in the large is from 0, and
    `calibration_slopes` bounds the calibration slope, of which the interval must reach these limits
    (`ml.evaluation.recalibration`); the slope of a constant probability has no value and is not checked.
    `max_subgroup_gap` and `max_subgroup_shift` bound how much worse off a sensitive group may be, in its primary metric
    and in its log odds, of numbers in its mean error in standard deviations of the target
    (`ml.evaluation.subgroup_tests`); `max_subgroup_gap` also bounds how much worse than with the champion.
    `max_megabytes` bounds the size of the package. `max_latency` bounds the median processor time for one row, as a
    multiple of that of a reference computation of about a millisecond; a slower model is warned about.
    """

    min_primary: float
    max_calibration_error: float | None = None
    max_calibration_intercept: float | None = None
    calibration_slopes: tuple[float, float] | None = None
    max_subgroup_gap: float | None = None
    max_subgroup_shift: float | None = None
    max_megabytes: float = 100.0
    max_latency: float = 100.0
    bounded: str = ""


def check_quality(
    thresholds: QualityThresholds, evaluation: Mapping[str, Any], megabytes: float, latency: float
) -> list[dict[str, Any]]:
    """Check an evaluation on test against the thresholds: `check`, `bound`, `got`, `passed` for each.

    `evaluation` has `primary` (the name of the primary metric) with its limits `low` and `high`, `metrics` by name,
    `intervals` by name, and the `groups` of `ml.evaluation.subgroups.subgroup_metrics`. With `rarer_class`, the units
    of the rarer class of a binary target, at least `MIN_CLASS_UNITS` are required, as with fewer the interval is too
    narrow. A failed check has a `note` where the test rows are too few to tell. One that `warns` stops no model.
    """
    checks = [_check_minimum(thresholds, evaluation)]
    rarer_class = evaluation.get("rarer_class")
    if rarer_class is not None and rarer_class < MIN_CLASS_UNITS:
        few = _check("test units of the rarer class at least", MIN_CLASS_UNITS, rarer_class, False)
        checks.append({**few, "note": TOO_FEW})
    if thresholds.max_calibration_error is not None:
        got = evaluation["intervals"]["calibration_error"]["low"]
        checks.append(
            _at_most("calibration error beyond chance at most", thresholds.max_calibration_error, got)
        )
    checks += _check_recalibration(thresholds, evaluation["intervals"])
    bounds = thresholds.max_subgroup_gap, thresholds.max_subgroup_shift
    group_metric = evaluation.get("group_metric", evaluation["primary"])
    checks += check_groups(group_metric, evaluation["groups"], *bounds)
    checks.append(_at_most("size in MB at most", thresholds.max_megabytes, megabytes))
    # Machines differ, and the next one may be busy: time alone is no reason to reject a model.
    checks.append({**_at_most(LATENCY_CHECK, thresholds.max_latency, latency), "warns": True})
    return checks


def _check_recalibration(thresholds: QualityThresholds, intervals: Mapping[str, Any]) -> list[dict[str, Any]]:
    checks = []
    if thresholds.max_calibration_intercept is not None and (large := intervals.get(INTERCEPT)):
        distance = max(large["low"], -large["high"], 0.0)
        name = "calibration in the large beyond chance, in log odds, at most"
        checks.append(_at_most(name, thresholds.max_calibration_intercept, distance))
    if thresholds.calibration_slopes is not None and (slope := intervals.get(SLOPE)):
        least, most = thresholds.calibration_slopes
        high = slope["high"]
        checks.append(_check("upper limit of calibration slope at least", least, high, high >= least))
        checks.append(_at_most("lower limit of calibration slope at most", most, slope["low"]))
    return checks


def stops(check: Mapping[str, Any]) -> bool:
    """Tell whether a check stops a model."""
    return not check["passed"] and not check.get("warns", False)


def _check_minimum(thresholds: QualityThresholds, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    name, minimum = thresholds.bounded or evaluation["primary"], thresholds.min_primary
    limits = evaluation["intervals"][thresholds.bounded] if thresholds.bounded else evaluation
    low, high = limits["low"], limits["high"]
    check = _check(f"lower limit of {name} at least", minimum, low, low >= minimum)
    return {**check, "note": TOO_FEW} if low < minimum <= high else check


def _at_most(name: str, bound: float, got: float) -> dict[str, Any]:
    return _check(name, bound, got, got <= bound)


def _check(name: str, bound: float, got: float, passed: bool) -> dict[str, Any]:
    # NaN fails every check, as every comparison with it is False.
    return {"check": name, "bound": bound, "got": float(got), "passed": bool(passed)}

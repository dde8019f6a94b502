"""The quality gate: each threshold holds at its bound and not beyond it, and NaN fails every check."""

import math
from typing import Any

import pytest

from ml.evaluation.quality_gate import LATENCY_CHECK, QualityThresholds, check_quality, stops

THRESHOLDS = QualityThresholds(
    min_primary=0.7,
    max_calibration_error=0.05,
    max_subgroup_gap=0.1,
    max_subgroup_shift=0.2,
    max_megabytes=10.0,
    max_latency=5.0,
)


def evaluation(low: float, calibration_low: float, group: dict[str, Any]) -> dict[str, Any]:
    """Return an evaluation whose primary metric is 0.7, with this lower limit."""
    return {
        "primary": "roc_auc",
        "low": low,
        "high": 0.75,
        "metrics": {"roc_auc": 0.7, "calibration_error": 0.2},
        "intervals": {"calibration_error": {"low": calibration_low}},
        "groups": [{"column": "sex", "group": "f", **group}],
    }


def failed_checks(
    low: float = 0.7,
    calibration_low: float = 0.05,
    gap: float = 0.1,
    shift: float = 0.2,
    megabytes: float = 10.0,
    latency: float = 5.0,
    thresholds: QualityThresholds = THRESHOLDS,
) -> list[str]:
    """Return the names of failed checks; the defaults are exactly on the bounds."""
    group = {
        "evaluated": True,
        "gap": {"value": gap, "error": 0.001, "degrees": 999},
        "unexplained": {"value": 0.2, "error": 0.001, "degrees": 999},
        "shift": {"value": shift, "error": 0.001, "degrees": 999},
        "shift_from_rest": {"value": 0.4, "error": 0.001, "degrees": 999},
    }
    checks = check_quality(thresholds, evaluation(low, calibration_low, group), megabytes, latency)
    return [check["check"] for check in checks if not check["passed"]]


def test_values_on_the_bounds_pass() -> None:
    assert failed_checks() == []


@pytest.mark.parametrize(
    ("argument", "value", "check"),
    [
        ("low", 0.6999, "lower limit of roc_auc at least"),
        ("calibration_low", 0.0501, "calibration error beyond chance at most"),
        ("gap", 0.1001, "roc_auc of sex=f below that of the rest, beyond its mix of cases, by at most"),
        ("shift", 0.2001, "log odds of sex=f off, beyond those of the rest, by at most"),
        ("megabytes", 10.1, "size in MB at most"),
        ("latency", 5.1, LATENCY_CHECK),
    ],
)
def test_values_beyond_a_bound_and_nan_fail(argument: str, value: float, check: str) -> None:
    beyond, nan = {argument: value}, {argument: math.nan}
    assert failed_checks(**beyond) == [check]  # type: ignore[arg-type]
    assert check in failed_checks(**nan)  # type: ignore[arg-type]


def test_thresholds_of_none_are_not_checked() -> None:
    thresholds = QualityThresholds(min_primary=0.0)
    assert failed_checks(calibration_low=0.9, gap=0.9, thresholds=thresholds) == []
    without_intervals = {
        "primary": "roc_auc",
        "low": 0.5,
        "high": 0.5,
        "metrics": {"roc_auc": 0.5},
        "intervals": {},
        "groups": [],
    }
    assert len(check_quality(thresholds, without_intervals, 0.0, 0.0)) == 3


def test_a_group_that_was_not_evaluated_is_not_checked() -> None:
    group = {"evaluated": False, "gap": {"value": 0.9, "error": 0.1, "degrees": 99}}
    checks = check_quality(THRESHOLDS, evaluation(0.9, 0.0, group), 1.0, 1.0)
    assert all(check["passed"] for check in checks)
    assert not any("sex" in check["check"] for check in checks)


def test_only_latency_does_not_stop_a_model() -> None:
    group = {"evaluated": False}
    checks = check_quality(THRESHOLDS, evaluation(0.0, 0.9, group), 99.0, 99.0)
    assert [check["check"] for check in checks if not check["passed"] and not stops(check)] == [LATENCY_CHECK]
    assert sum(stops(check) for check in checks) == 3


@pytest.mark.parametrize(
    ("large", "slope", "failed"),
    [
        ((-0.2, 0.4), (0.7, 1.5), []),
        ((0.21, 0.5), (0.7, 1.5), ["calibration in the large beyond chance, in log odds, at most"]),
        ((-0.5, -0.21), (0.7, 1.5), ["calibration in the large beyond chance, in log odds, at most"]),
        ((0.0, 0.0), (0.1, 0.69), ["upper limit of calibration slope at least"]),
        ((0.0, 0.0), (1.51, 2.0), ["lower limit of calibration slope at most"]),
        ((math.nan, math.nan), None, ["calibration in the large beyond chance, in log odds, at most"]),
    ],
)
def test_calibration_is_refused_where_its_whole_interval_is_beyond_the_bounds(
    large: tuple[float, float], slope: tuple[float, float] | None, failed: list[str]
) -> None:
    found = evaluation(0.9, 0.0, {"evaluated": False})
    found["intervals"]["calibration_intercept"] = dict(zip(("low", "high"), large, strict=True))
    if slope:
        found["intervals"]["calibration_slope"] = dict(zip(("low", "high"), slope, strict=True))
    thresholds = QualityThresholds(0.6, max_calibration_intercept=0.2, calibration_slopes=(0.7, 1.5))
    checks = check_quality(thresholds, found, 1.0, 1.0)
    assert [check["check"] for check in checks if not check["passed"]] == failed
    assert all(stops(check) for check in checks if not check["passed"])


def test_a_point_above_the_minimum_is_not_enough() -> None:
    """In eight rows, an AUC of 0.7 may be chance: the check fails and says that the rows are too few to tell."""
    check = check_quality(
        QualityThresholds(min_primary=0.6), evaluation(0.3, 0.0, {"evaluated": False}), 1.0, 1.0
    )[0]
    assert (check["passed"], check["got"], check["note"]) == (False, 0.3, "too few test rows to tell")
    surely_below = check_quality(
        QualityThresholds(0.8), evaluation(0.3, 0.0, {"evaluated": False}), 1.0, 1.0
    )[0]
    assert not surely_below["passed"]
    assert "note" not in surely_below


@pytest.mark.parametrize(("units", "passed"), [(1, False), (19, False), (20, True)])
def test_an_interval_of_very_few_positives_is_not_trusted(units: int, passed: bool) -> None:
    found = {**evaluation(0.9, 0.0, {"evaluated": False}), "rarer_class": units}
    assert all(check["passed"] for check in check_quality(THRESHOLDS, found, 1.0, 1.0)) == passed

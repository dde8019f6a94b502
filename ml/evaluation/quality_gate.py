"""The quality gate: the thresholds that a model must meet before it may be registered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class QualityThresholds:
    """Thresholds that the use case sets; None disables a check that does not apply.

    `min_primary` bounds the primary metric on test. `max_calibration_error` bounds the lower limit of the 95 % interval
    of the calibration error on test, because chance alone makes the error large in few rows. `max_subgroup_gap` bounds
    how far the upper limit of the 95 % interval of a sensitive group's primary metric may be below the primary metric
    of all rows. `max_megabytes` bounds the size of the package, `max_milliseconds` the median processor time per row.
    """

    min_primary: float
    max_calibration_error: float | None = None
    max_subgroup_gap: float | None = None
    max_megabytes: float = 100.0
    max_milliseconds: float = 100.0


def check_quality(
    thresholds: QualityThresholds, evaluation: Mapping[str, Any], megabytes: float, milliseconds: float
) -> list[dict[str, Any]]:
    """Check an evaluation on test against the thresholds: `check`, `bound`, `got`, `passed` for each.

    `evaluation` has `primary` (the name of the primary metric), `metrics` by name, `intervals` by name, and the
    `groups` of `ml.evaluation.subgroups.subgroup_metrics`.
    """
    primary, metrics = evaluation["primary"], evaluation["metrics"]
    value, minimum = metrics[primary], thresholds.min_primary
    checks = [_check(f"{primary} at least", minimum, value, value >= minimum)]
    if thresholds.max_calibration_error is not None:
        got = evaluation["intervals"]["calibration_error"]["low"]
        checks.append(
            _at_most("calibration error beyond chance at most", thresholds.max_calibration_error, got)
        )
    if thresholds.max_subgroup_gap is not None:
        for group in evaluation["groups"]:
            if group["evaluated"]:
                name = f"{primary} of {group['column']}={group['group']} below that of all rows by at most"
                checks.append(_at_most(name, thresholds.max_subgroup_gap, value - group["high"]))
    checks.append(_at_most("size in MB at most", thresholds.max_megabytes, megabytes))
    checks.append(_at_most("milliseconds for one row at most", thresholds.max_milliseconds, milliseconds))
    return checks


def _at_most(name: str, bound: float, got: float) -> dict[str, Any]:
    return _check(name, bound, got, got <= bound)


def _check(name: str, bound: float, got: float, passed: bool) -> dict[str, Any]:
    # NaN fails every check, as every comparison with it is False.
    return {"check": name, "bound": bound, "got": float(got), "passed": bool(passed)}

"""The quality gate: what must hold of a judged model before it may be registered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class QualityThresholds:
    """Bounds, set by the use case. None switches a bound off where it has no meaning.

    minimum: least value of the primary measure on test. calibration_error: most, on test; chance alone makes one in
    few rows, so the lower end of its 95 % interval is held against the bound. subgroup_gap: how far the
    primary measure of a sensitive group may lie below everyone's; the group is harmed when even the upper end of its
    95 % interval lies lower. megabytes: size of the package. milliseconds: median processor time for one row.
    """

    minimum: float
    calibration_error: float | None = None
    subgroup_gap: float | None = None
    megabytes: float = 100.0
    milliseconds: float = 100.0


def check_quality(
    gates: QualityThresholds,
    primary: str,
    metrics: Mapping[str, float],
    intervals: Mapping[str, Mapping[str, float]],
    groups: Sequence[Mapping[str, Any]],
    megabytes: float,
    ms: float,
) -> list[dict[str, Any]]:
    """One line per bound: check, bound, got, passed."""
    checks = [
        _check(f"{primary} at least", gates.minimum, metrics[primary], metrics[primary] >= gates.minimum)
    ]
    if gates.calibration_error is not None:
        got, bound = intervals["calibration_error"]["low"], gates.calibration_error
        checks.append(_check("calibration error beyond chance at most", bound, got, got <= bound))
    if gates.subgroup_gap is not None:
        for group in (g for g in groups if g["judged"]):
            gap = metrics[primary] - group["high"]
            name = f"{primary} of {group['column']}={group['group']} below everyone's by at most"
            checks.append(_check(name, gates.subgroup_gap, gap, gap <= gates.subgroup_gap))
    checks.append(_check("size in MB at most", gates.megabytes, megabytes, megabytes <= gates.megabytes))
    checks.append(
        _check("milliseconds for one row at most", gates.milliseconds, ms, ms <= gates.milliseconds)
    )
    return checks


def _check(name: str, bound: float, got: float, passed: bool) -> dict[str, Any]:
    # A NaN passes nothing: every comparison with it is False.
    return {"check": name, "bound": bound, "got": float(got), "passed": bool(passed)}

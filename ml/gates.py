"""The quality gate: what must hold of a judged model before it may be registered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ml.judge import Decision, Judge
from ml.model import Part

# Units; a smaller group says too little: it is shown, not judged.
FEWEST_IN_GROUP = 100
FEWEST_OF_A_CLASS = 20


@dataclass(frozen=True)
class Gates:
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
    gates: Gates,
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


def subgroups(
    part: Part, prediction: pd.DataFrame, judge: Judge, decision: Decision, sensitive: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The primary measure of each group of each sensitive column, numbers in four bands of equal size."""
    found = []
    by_user = "user" in prediction.columns
    for column in sensitive:
        labels = _labels(part.about[column])
        for group in sorted(set(labels)):
            rows = np.flatnonzero(labels == group)
            mine = part.take(rows)
            if by_user:
                answered = prediction[prediction["user"].isin(set(mine.frame["user"]))]
            else:
                answered = prediction.iloc[rows]
            line = {"column": column, "group": group, "rows": len(rows), "judged": False}
            if _enough(mine):
                interval = judge.interval(mine, answered)
                line |= {"judged": True, "value": interval.value, "low": interval.low, "high": interval.high}
                if "threshold" in decision:
                    probability = answered["probability"].to_numpy()
                    line |= {
                        "observed": float(mine.truth.mean()),
                        "predicted": float(probability.mean()),
                        "selected": float((probability >= decision["threshold"]).mean()),
                    }
            found.append(line)
    return found


def _labels(values: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 4:
        bands = pd.qcut(values, 4, duplicates="drop")
        names = {b: f"{max(b.left, values.min()):g} to {b.right:g}" for b in bands.cat.categories}
        return np.array([names.get(band, "missing") for band in bands], dtype=object)
    return values.astype(object).where(values.notna(), "missing").astype(str).to_numpy()


def _enough(part: Part) -> bool:
    if len(np.unique(part.units)) < FEWEST_IN_GROUP:
        return False
    if part.truth.dtype == object or part.truth.nunique() > 2:
        return True
    positive = part.truth.to_numpy() == 1.0
    return all(len(np.unique(part.units[rows])) >= FEWEST_OF_A_CLASS for rows in (positive, ~positive))

"""Promote: the verdict on a challenger, and the ledger that remembers every decision.

The ledger is written first and the alias follows, so that a crash between the two is finished by the next run.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.data.dataset import Dataset
from ml.errors import QualityGateError
from ml.evaluation.evaluator import Evaluator
from ml.evaluation.quality_gate import QualityThresholds, check_quality
from tasks.ledger import INCONCLUSIVE, KEEP_CHAMPION, PROMOTE, Verdict

# Fewer rows that the champion has not learned from cannot decide between two models.
MIN_UNITS = 50


@task(name="quality gate", cache_policy=NO_CACHE)
def quality_gate(
    thresholds: QualityThresholds, evaluation: Mapping[str, Any], megabytes: float, milliseconds: float
) -> list[dict[str, Any]]:
    """Every check with bound and figure. Raises QualityGateError, which carries them, when one fails."""
    checks = check_quality(
        thresholds,
        evaluation["primary"],
        evaluation["metrics"],
        evaluation["intervals"],
        evaluation["groups"],
        megabytes,
        milliseconds,
    )
    failed = [c for c in checks if not c["passed"]]
    if failed:
        raise QualityGateError(
            "; ".join(f"{c['check']} {c['bound']:g}" for c in failed),
            "; ".join(f"{c['got']:.4g}" for c in failed),
            "nothing was registered; see the report",
            {"checks": checks},
        )
    return checks


@task(name="compare", cache_policy=NO_CACHE)
def compare_with_champion(
    evaluator: Evaluator, test: Dataset, challenger: pd.DataFrame, champion: pd.DataFrame, left_out: int
) -> Verdict:
    """Both models on the same rows, paired. Only an advantage whose whole 95 % interval lies above 0 promotes."""
    units = len(np.unique(test.units))
    rest = f"; {left_out} rows left out that the champion learned from" if left_out else ""
    if units < MIN_UNITS:
        return Verdict(
            INCONCLUSIVE,
            f"{units} units to compare on, fewer than {MIN_UNITS}{rest}: the champion stays",
            None,
            units,
        )
    if test.truth.dtype != object and test.truth.nunique() < 2:
        return Verdict(
            INCONCLUSIVE, f"all rows to compare on have one answer{rest}: the champion stays", None, units
        )
    difference = evaluator.paired_difference(test, challenger, champion)
    interval = f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    figures = f"{interval} {evaluator.primary}, {units} units{rest}"
    if difference.low > 0:
        return Verdict(PROMOTE, f"better than the champion by {figures}", asdict(difference), units)
    worse = "worse than the champion" if difference.high < 0 else "no better than the champion beyond chance"
    return Verdict(KEEP_CHAMPION, f"{worse}: {figures}", asdict(difference), units)

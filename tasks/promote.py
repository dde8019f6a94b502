"""Promote: the quality gate, and the comparison of a challenger with the champion (decisions: tasks/ledger.py)."""

import logging
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.data.dataset import Dataset, rarer_class_units
from ml.errors import QualityGateError
from ml.evaluation.evaluator import Evaluator
from ml.evaluation.quality_gate import QualityThresholds, check_quality, stops
from ml.evaluation.subgroup_tests import describe_power
from tasks.error_boundary import redact_errors
from tasks.facts import EvaluationFacts
from tasks.ledger import INCONCLUSIVE, KEEP_CHAMPION, PROMOTE, Verdict
from tasks.metric_descriptions import describe_metric, label_metrics

log = logging.getLogger("steward")
# Fewer units that the champion was not trained on cannot decide between two models.
MIN_UNITS = 50
# With fewer units of one class, the interval of a difference of two AUCs is too narrow.
MIN_CLASS_UNITS = 10
# Where the champion was trained on more of the test rows, the others do not stand for all.
MAX_SHARE_LEFT_OUT = 0.2


@task(name="quality gate", cache_policy=NO_CACHE)
@redact_errors
def quality_gate(
    thresholds: QualityThresholds, evaluation: EvaluationFacts, megabytes: float, latency: float
) -> list[dict[str, Any]]:
    """Return each check with its bound and value. Raises QualityGateError, with all checks, if one stops the model."""
    checks = check_quality(thresholds, evaluation, megabytes, latency)
    failed = [check for check in checks if stops(check)]
    if failed:
        raise QualityGateError(
            "; ".join(f"{label_metrics(check['check'])} {check['bound']:g}" for check in failed),
            "; ".join(
                f"{check['got']:.4g}" + (f" ({check['note']})" if "note" in check else "") for check in failed
            ),
            "nothing was registered; see the report",
            {"checks": checks},
        )
    if power := describe_power(checks):
        log.info("  %s", power)
    for check in checks:
        if not check["passed"]:
            name = label_metrics(check["check"])
            log.warning("  %s %g; got %.4g", name, check["bound"], check["got"])
    return checks


@task(name="compare", cache_policy=NO_CACHE)
@redact_errors
def compare_with_champion(
    evaluator: Evaluator,
    test: Dataset,
    challenger: pd.DataFrame,
    champion: pd.DataFrame,
    rows_left_out: int,
) -> Verdict:
    """Compare the predictions of both models on the same test rows, paired.

    Only an advantage whose whole 95 % interval is above 0 promotes the challenger. `rows_left_out` is the number of
    test rows that are not in `test` because the champion was trained on them; more than `MAX_SHARE_LEFT_OUT` of all
    test rows are too many to decide.
    """
    units = len(np.unique(test.units))
    rest = f"; {rows_left_out} rows left out that the champion was trained on" if rows_left_out else ""
    share = rows_left_out / max(rows_left_out + len(test.frame), 1)
    if share > MAX_SHARE_LEFT_OUT:
        reason = (
            f"the champion was trained on {rows_left_out:,} of {rows_left_out + len(test.frame):,} test rows"
            f" ({share:.1%}), which leaves out more than {MAX_SHARE_LEFT_OUT:.0%}: the champion stays;"
            " compare on rows that it has not seen, such as later ones"
        )
        return Verdict(INCONCLUSIVE, reason, None, units)
    if units < MIN_UNITS:
        reason = f"{units} units to compare on, fewer than {MIN_UNITS}{rest}: the champion stays"
        return Verdict(INCONCLUSIVE, reason, None, units)
    if test.truth.dtype != object and test.truth.nunique() < 2:
        reason = f"all rows to compare on have the same target value{rest}: the champion stays"
        return Verdict(INCONCLUSIVE, reason, None, units)
    rarer = rarer_class_units(test)
    if rarer is not None and rarer < MIN_CLASS_UNITS:
        few = f"{rarer} units of the rarer class to compare on, fewer than {MIN_CLASS_UNITS}"
        reason = f"{few}{rest}: the champion stays"
        return Verdict(INCONCLUSIVE, reason, None, units)
    difference = evaluator.paired_difference(test, challenger, champion)
    interval = f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    summary = f"{interval} {describe_metric(evaluator.primary).label}, {units} units{rest}"
    if difference.low > 0:
        return Verdict(PROMOTE, f"better than the champion by {summary}", asdict(difference), units)
    worse = "worse than the champion" if difference.high < 0 else "no better than the champion beyond chance"
    return Verdict(KEEP_CHAMPION, f"{worse}: {summary}", asdict(difference), units)

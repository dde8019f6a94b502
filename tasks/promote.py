"""Promote: the quality gate, and the comparison of a challenger with the champion (decisions: tasks/ledger.py)."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.data.dataset import Dataset, rarer_class_units
from ml.errors import QualityGateError
from ml.evaluation.confidence_intervals import Difference
from ml.evaluation.evaluator import Evaluator, units_of_several_rows
from ml.evaluation.looks import Look, look_level
from ml.evaluation.mean_intervals import mean_difference
from ml.evaluation.quality_gate import MIN_CLASS_UNITS, QualityThresholds, check_quality, stops
from ml.evaluation.subgroup_tests import check_harm, describe_not_evaluated, describe_power
from ml.evaluation.subgroups import compare_groups
from tasks.error_boundary import redact_errors
from tasks.facts import EvaluationFacts
from tasks.ledger import INCONCLUSIVE, KEEP_CHAMPION, PROMOTE, Verdict
from tasks.metric_descriptions import describe_metric, format_value, label_metrics

log = logging.getLogger("steward")
# Fewer units that the champion was not trained on cannot decide between two models.
MIN_UNITS = 50
# The first comparison on rows that have not judged before.
FIRST_LOOK = Look(1, look_level(1, is_new_recipe=True), is_new_recipe=True, unrecorded=0)
# Of a promotion that is not made, at most this many harmed groups are named.
MAX_NAMED = 5
NO_BETTER = "no better than the champion beyond chance"
# The log loss of a promoted challenger is at most this share of the champion's larger, with a confidence of 95 %.
LOSS_MARGIN, LOSS_CONFIDENCE = 0.01, 0.95
# Where the champion was trained on more of the test rows, the others do not stand for all.
MAX_SHARE_LEFT_OUT = 0.2


@dataclass(frozen=True)
class Demands:
    """What a promotion demands: an advantage at the level of the look, and no group that the challenger harms.

    No group of the `sensitive` columns may be worse off than with the champion by more than `max_group_harm`, beyond
    chance; None demands nothing of groups.
    """

    look: Look = FIRST_LOOK
    sensitive: tuple[str, ...] = ()
    max_group_harm: float | None = None


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
    demands: Demands = Demands(),
) -> Verdict:
    """Compare the predictions of both models on the same test rows, paired.

    A challenger is promoted if the lower limit of its advantage, at the confidence of the look, is above 0, the upper
    limit of what its log loss is larger by is within the margin, and it harms no group. `rows_left_out` is the number
    of test rows that are not in `test` because the champion was trained on them; more than `MAX_SHARE_LEFT_OUT` of all
    test rows are too many to decide.
    """
    units = len(np.unique(test.units))
    rest = f"; {rows_left_out} rows left out that the champion was trained on" if rows_left_out else ""
    if reason := _too_few(test, units, rows_left_out):
        return Verdict(INCONCLUSIVE, reason.format(rest=rest), None, units)
    look = demands.look
    difference = evaluator.paired_difference(test, challenger, champion, look.confidence)
    loss = _loss_difference(evaluator, test, challenger, champion)
    label = describe_metric(evaluator.primary).label
    summary = f"{_interval(difference)} {label}, {units} units{rest}; {look}"
    groups = _compare_groups(evaluator, test, challenger, champion, demands)
    measured = (asdict(difference), units, {**asdict(look), "confidence": look.confidence}, loss, groups)
    if not difference.low > 0:
        worse = "worse than the champion" if difference.high < 0 else NO_BETTER
        return Verdict(KEEP_CHAMPION, f"{worse}: {summary}{_exhausted(difference, look)}", *measured)
    if loss and not loss["high"] <= loss["margin"]:
        reason = (
            f"its log loss may be larger than the champion's by {loss['high']:.4f}, more than {loss['margin']:.4f}"
            f" ({LOSS_MARGIN:.0%}), although it is better by {summary}"
        )
        return Verdict(KEEP_CHAMPION, reason, *measured)
    if harmed := _describe_harm(groups):
        return Verdict(KEEP_CHAMPION, f"{harmed}, although it is better by {summary}", *measured)
    return Verdict(PROMOTE, f"better than the champion by {summary}", *measured)


def _too_few(test: Dataset, units: int, rows_left_out: int) -> str:
    """Say why these rows cannot decide, with `{rest}` for what is known of the others; empty if they can."""
    share = rows_left_out / max(rows_left_out + len(test.frame), 1)
    if share > MAX_SHARE_LEFT_OUT:
        return (
            f"the champion was trained on {rows_left_out:,} of {rows_left_out + len(test.frame):,} test rows"
            f" ({share:.1%}), which leaves out more than {MAX_SHARE_LEFT_OUT:.0%}: the champion stays;"
            " compare on rows that it has not seen, such as later ones"
        )
    if units < MIN_UNITS:
        return f"{units} units to compare on, fewer than {MIN_UNITS}{{rest}}: the champion stays"
    if test.truth.dtype != object and test.truth.nunique() < 2:
        return "all rows to compare on have the same target value{rest}: the champion stays"
    rarer = rarer_class_units(test)
    if rarer is not None and rarer < MIN_CLASS_UNITS:
        few = f"{rarer} units of the rarer class to compare on, fewer than {MIN_CLASS_UNITS}"
        return f"{few}{{rest}}: the champion stays"
    return ""


def _loss_difference(
    evaluator: Evaluator, test: Dataset, challenger: pd.DataFrame, champion: pd.DataFrame
) -> dict[str, float] | None:
    """Return the challenger's log loss less the champion's, with its limits and the margin; None without one."""
    first, second = (evaluator.log_losses(test, prediction) for prediction in (challenger, champion))
    if first is None or second is None:
        return None
    level = 2.0 * LOSS_CONFIDENCE - 1.0
    difference = mean_difference(first, second, units_of_several_rows(test), level)
    margin = LOSS_MARGIN * float(second.mean())
    return {"value": difference.value, "low": difference.low, "high": difference.high, "margin": margin}


def _compare_groups(
    evaluator: Evaluator, test: Dataset, challenger: pd.DataFrame, champion: pd.DataFrame, demands: Demands
) -> dict[str, Any] | None:
    """Return the checks of all groups, and a note about those that are too small; None where nothing is demanded."""
    if demands.max_group_harm is None or not demands.sensitive:
        return None
    groups = compare_groups(test, challenger, champion, evaluator, demands.sensitive)
    note = describe_not_evaluated(groups)
    if note:
        log.warning("  compared with the champion: %s", note)
    return {"checks": check_harm(evaluator.group_metric, groups, demands.max_group_harm), "note": note}


def _describe_harm(groups: Mapping[str, Any] | None) -> str:
    """Name the groups that are worse off than with the champion, beyond chance and beyond the bound; empty for none."""
    failed = [check for check in (groups or {}).get("checks", ()) if stops(check)]
    named = [f"{check['check']} {check['bound']:g}: {check['got']:.4f}" for check in failed[:MAX_NAMED]]
    if len(failed) > MAX_NAMED:
        named.append(f"and {len(failed) - MAX_NAMED} more groups")
    return f"it must have {'; '.join(named)}" if failed else ""


def _exhausted(difference: Difference, look: Look) -> str:
    """Say so where the advantage would have sufficed at the first look."""
    if difference.value > 0 and difference.p_value < 2.0 * FIRST_LOOK.level and look.level < FIRST_LOOK.level:
        return "; it would have sufficed at the first look: bring rows that have not judged yet"
    return ""


def _interval(difference: Difference) -> str:
    value, low, high = (
        format_value(each, "+") for each in (difference.value, difference.low, difference.high)
    )
    return f"{value} [{low}, {high}]"

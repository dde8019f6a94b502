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
FIRST_LOOK = Look(1, look_level(is_new_recipe=True), is_new_recipe=True, unrecorded=0)
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

    `look` is None where the lead on validation rows, `validation`, is too small for one (as in `Verdict`).

    No group of the `sensitive` columns may be worse off than with the champion by more than `max_group_harm`, beyond
    chance; None demands nothing of groups.
    """

    look: Look | None = FIRST_LOOK
    sensitive: tuple[str, ...] = ()
    max_group_harm: float | None = None
    validation: Mapping[str, Any] | None = None


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
    test rows are too many to decide. Without a look, the predictions are not compared.
    """
    units = len(np.unique(test.units))
    if too_few_rows(test, rows_left_out, "test"):
        return inconclusive(test, rows_left_out)
    rest = _rest(rows_left_out)
    look, validation = demands.look, demands.validation
    if look is None:
        return _not_ahead(validation or {}, describe_metric(evaluator.primary).label, units)
    difference = evaluator.paired_difference(test, challenger, champion, look.confidence)
    loss = _loss_difference(evaluator, test, challenger, champion)
    label = describe_metric(evaluator.primary).label
    summary = f"{_interval(difference)} {label}, {units} units{rest}; {look}"
    groups = _compare_groups(evaluator, test, challenger, champion, demands)
    look_facts = {**asdict(look), "confidence": look.confidence}
    measured = (asdict(difference), units, look_facts, loss, groups, validation)
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


def inconclusive(test: Dataset, rows_left_out: int) -> Verdict:
    """Keep the champion because these rows are too few to decide, and say why."""
    reason = too_few_rows(test, rows_left_out, "test")
    if _share(test, rows_left_out) > MAX_SHARE_LEFT_OUT:
        stays = ": the champion stays; compare on rows that it has not seen, such as later ones"
    else:
        stays = f"{_rest(rows_left_out)}: the champion stays"
    return Verdict(INCONCLUSIVE, reason + stays, None, len(np.unique(test.units)))


def _rest(rows_left_out: int) -> str:
    return f"; {rows_left_out} rows left out that the champion was trained on" if rows_left_out else ""


def lead_on_validation(
    evaluator: Evaluator, valid: Dataset, challenger: pd.DataFrame, champion: pd.DataFrame
) -> dict[str, float]:
    """Return the challenger's lead over the champion on validation rows, with its one-sided p-value."""
    difference = evaluator.paired_difference(valid, challenger, champion)
    half = 0.5 * difference.p_value
    p_value = half if difference.value > 0 else 1.0 - half
    return {**asdict(difference), "p_value": p_value, "units": len(np.unique(valid.units))}


def _not_ahead(validation: Mapping[str, Any], label: str, units: int) -> Verdict:
    """Keep the champion because of a lead on validation rows that is too small for a look at the test rows."""
    ahead = "not clearly ahead of" if validation["value"] > 0 else "not ahead of"
    lead = Difference(*(validation[name] for name in ("value", "low", "high", "p_value")))
    reason = (
        f"{ahead} the champion on validation rows: {_interval(lead)} {label}, {validation['units']} units,"
        f" one-sided p = {lead.p_value:.2g}{_among(validation)}; not compared on the test rows, which saves the look"
    )
    return Verdict(KEEP_CHAMPION, reason, None, units, validation=validation)


def _among(validation: Mapping[str, Any]) -> str:
    """Compare the lead with those of other recipes; empty where it was not."""
    if "among" not in validation:
        return ""
    return f", p = {validation['among']:.2g} among the leads of {validation['recipes']} other recipes"


def _share(rows: Dataset, rows_left_out: int) -> float:
    return rows_left_out / max(rows_left_out + len(rows.frame), 1)


def too_few_rows(rows: Dataset, rows_left_out: int, part: str) -> str:
    """Say why these rows of a part of the table cannot decide between models; empty if they can."""
    share, total = _share(rows, rows_left_out), rows_left_out + len(rows.frame)
    if share > MAX_SHARE_LEFT_OUT:
        return (
            f"the champion was trained on {rows_left_out:,} of {total:,} {part} rows ({share:.1%}), which leaves out"
            f" more than {MAX_SHARE_LEFT_OUT:.0%}"
        )
    units = len(np.unique(rows.units))
    if units < MIN_UNITS:
        return f"{units} units to compare on, fewer than {MIN_UNITS}"
    if rows.truth.dtype != object and rows.truth.nunique() < 2:
        return "all rows to compare on have the same target value"
    rarer = rarer_class_units(rows)
    if rarer is not None and rarer < MIN_CLASS_UNITS:
        return f"{rarer} units of the rarer class to compare on, fewer than {MIN_CLASS_UNITS}"
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
    is_later = look.number > 1 and look.level < FIRST_LOOK.level
    if is_later and difference.value > 0 and difference.p_value < 2.0 * FIRST_LOOK.level:
        return "; it would have sufficed at the first look: bring rows that have not judged yet"
    return ""


def _interval(difference: Difference) -> str:
    value, low, high = (
        format_value(each, "+") for each in (difference.value, difference.low, difference.high)
    )
    return f"{value} [{low}, {high}]"

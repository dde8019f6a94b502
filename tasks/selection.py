"""Select the candidate that leads: the simplest that nothing beats."""

from collections.abc import Mapping

import pandas as pd

from ml.data.dataset import Dataset
from ml.data.target import is_constant
from ml.evaluation.evaluator import Evaluator
from tasks.facts import Comparison

# Why a candidate that predicts the same for every row is left out.
CONSTANT = (
    "expected different predictions for different rows; got the same one for all {rows:,}{folds}, as it cannot tell "
    "these rows apart; more rows, or settings for fewer rows, may change that"
)
# The share of runs in which a candidate may lead by chance alone.
FAMILY_ERROR_RATE = 0.05


def reason_to_leave_out(prediction: pd.DataFrame, constant_folds: bool) -> str:
    """Return why a candidate is not compared with others: its fit is a constant; empty where it is none.

    It could not lead in any case: without it, the others are compared at the level of fewer comparisons. With
    `constant_folds`, candidates are compared by predictions out of fold, and its are constant in each fold.
    """
    if is_constant(prediction):
        return CONSTANT.format(rows=len(prediction), folds="")
    return CONSTANT.format(rows=len(prediction), folds=" within each fold") if constant_folds else ""


def select_leader(
    predictions: Mapping[str, pd.DataFrame], rows: Dataset, evaluator: Evaluator
) -> tuple[str, dict[str, Comparison]]:
    """Return the leading candidate, and for each candidate but the first its comparison with the leader at that time.

    Candidates are compared in the order of `predictions`. One takes the lead only if the paired interval of its
    advantage over the leader is above 0: the simplest that nothing beats leads. The level of each comparison is at
    least 95 % and such that in at most 5 % of runs any candidate leads by chance (Bonferroni; only the lower limit of
    an interval can make a leader).
    """
    level = max(1.0 - FAMILY_ERROR_RATE, 1.0 - 2.0 * FAMILY_ERROR_RATE / max(len(predictions) - 1, 1))
    leader, *others = predictions
    comparisons: dict[str, Comparison] = {}
    for name in others:
        difference = evaluator.paired_difference(rows, predictions[name], predictions[leader], level)
        comparisons[name] = {
            "candidate": leader,
            "value": difference.value,
            "low": difference.low,
            "high": difference.high,
            "p_value": difference.p_value,
            "level": level,
        }
        leader = name if difference.low > 0 else leader
    return leader, comparisons

"""Measures of each group of a sensitive column, such as sex or age: of one model, and of two on the same rows."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.evaluation.binary_metrics import UndefinedMetricError
from ml.evaluation.confidence_intervals import unit_codes
from ml.evaluation.evaluator import Decision, Evaluator
from ml.evaluation.groups import MIN_CLASS_UNITS, find_groups, has_enough_events, too_small
from ml.evaluation.influence import InfluenceEstimate, Measure, RowMeasures, log_odds_shift
from ml.evaluation.mean_intervals import share_interval

# Half the width of a 95 % interval, in standard errors of a normal estimate.
Z_95 = 1.959964
# Metrics of a group from which the number of its members with an outcome follows.
SHARES = ("observed", "predicted", "selected", "ratio", "false_positives", "false_negatives")


def subgroup_metrics(
    dataset: Dataset,
    prediction: pd.DataFrame,
    evaluator: Evaluator,
    decision: Decision,
    sensitive: tuple[str, ...],
    baseline: pd.DataFrame | None = None,
) -> list[dict[str, Any]]:
    """Measure each group of each sensitive column; numbers are grouped into quartiles.

    Each group has `column`, `group`, `rows` and `evaluated`, and where it is not evaluated the `reason`. Evaluated ones
    have the primary metric with its limits (`value`, `low`, `high`), and with a standard error (`error`) too:

    - `gap`: how far the metric is below that of all other rows (`rest`), and `unexplained`: the part of the gap that
      predictions do not promise, which a mix of cases that are harder to tell apart does not explain;
    - `below_baseline`, where predictions promise no metric: how far it is below that of `baseline` in the group;
    - `shift`: the shift of log odds that makes the predictions true on average, and `shift_from_rest`: how much more
      that is than for the other rows; of numbers the mean error (`bias`, `bias_from_rest`).

    Decisions with a threshold add the mean truth (`observed`), the mean probability (`predicted`), their `ratio`, the
    share of positive decisions (`selected`), and the error rates among negatives and among positives.

    Values that fewer than `MIN_PEOPLE` units have are pooled. Where the pool itself is smaller, neither it nor the
    smallest other group has a number of rows (None) or shares: else they would follow from those of all rows.
    """
    measures = evaluator.row_measures(dataset, prediction)
    reference = None if baseline is None else evaluator.row_measures(dataset, baseline).primary
    found = []
    for group in find_groups(dataset, sensitive):
        facts = group.facts()
        if not group.reason:
            subset, predicted = dataset.take(group.rows), _take_predictions(dataset, prediction, group.rows)
            facts |= asdict(evaluator.primary_interval(subset, predicted))
            facts |= _compare_with_rest(dataset, measures, reference, group.rows)
            if group.is_hidden:
                _hide_degrees(facts)
            if "threshold" in decision and not group.is_hidden:
                facts |= _decision_metrics(subset, predicted, decision["threshold"])
        found.append(facts)
    return found


def compare_groups(
    dataset: Dataset,
    challenger: pd.DataFrame,
    champion: pd.DataFrame,
    evaluator: Evaluator,
    sensitive: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Measure for each group how far the challenger is below the champion, on the same rows.

    Groups have the keys of `subgroup_metrics`. Evaluated ones have `harm` with limits and standard error, and
    `rest_harm` with those of all other rows. Both models see the same mix of cases, so that it explains nothing here.
    """
    new, old = (evaluator.row_measures(dataset, prediction) for prediction in (challenger, champion))
    codes = unit_codes(dataset.units, len(dataset.units))

    def loss(rows: np.ndarray) -> dict[str, float]:
        estimate = new.primary(rows).loss_from(old.primary(rows), new.is_relative)
        return _estimate(estimate, codes[rows])

    found = []
    for group in find_groups(dataset, sensitive):
        facts = group.facts()
        if not group.reason:
            try:
                facts["harm"] = loss(group.rows)
            except UndefinedMetricError as error:
                facts |= {"evaluated": False, "reason": str(error)}
            with suppress(UndefinedMetricError):
                facts["rest_harm"] = loss(_rest(group.rows, len(codes)))
            if group.is_hidden:
                _hide_degrees(facts)
        found.append(facts)
    return found


def _take_predictions(dataset: Dataset, prediction: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    if "user" in prediction.columns:
        return prediction[prediction["user"].isin(set(dataset.frame["user"].iloc[rows]))]
    return prediction.iloc[rows]


def _compare_with_rest(
    dataset: Dataset, measures: RowMeasures, baseline: Measure | None, rows: np.ndarray
) -> dict[str, Any]:
    """Compare a group with all other rows, and with the baseline; nothing where there are too few other rows."""
    codes = unit_codes(dataset.units, len(dataset.units))
    facts: dict[str, Any] = {}
    if measures.expected is None and baseline is not None:
        with suppress(UndefinedMetricError):
            loss = measures.primary(rows).loss_from(baseline(rows), measures.is_relative)
            facts["below_baseline"] = _estimate(loss, codes[rows])
    rest = _rest(rows, len(codes))
    if too_small(dataset, rest):
        return facts

    def placed(measure: Measure, some: np.ndarray) -> InfluenceEstimate:
        return measure(some).scatter(some, len(codes))

    with suppress(UndefinedMetricError):
        others = placed(measures.primary, rest)
        gap = placed(measures.primary, rows).loss_from(others, measures.is_relative)
        facts |= {"rest": others.value, "gap": _estimate(gap, codes)}
        if measures.expected is not None:
            promised = placed(measures.expected, rest) - placed(measures.expected, rows)
            facts["unexplained"] = _estimate(gap - promised, codes)
    if measures.certainty is not None:
        events, probability = measures.certainty
        if all(has_enough_events(events[some], codes[some]) for some in (rows, rest)):

            def shift(some: np.ndarray) -> InfluenceEstimate:
                return log_odds_shift(events[some], probability[some], codes[some])

            own = placed(shift, rows)
            facts["shift"] = _estimate(own, codes)
            facts["shift_from_rest"] = _estimate(own - placed(shift, rest), codes)
    if measures.bias is not None:
        own = placed(measures.bias, rows)
        facts["bias"] = _estimate(own, codes)
        facts["bias_from_rest"] = _estimate(own - placed(measures.bias, rest), codes)
    return facts


def _decision_metrics(subset: Dataset, predicted: pd.DataFrame, threshold: float) -> dict[str, Any]:
    truth, probability = subset.truth.to_numpy(), predicted["probability"].to_numpy()
    selected = (probability >= threshold).astype(np.float64)
    observed, mean = share_interval(truth, subset.units), float(probability.mean())
    negative, positive = (truth == value for value in (0.0, 1.0))
    limits = (observed.value, observed.low, observed.high)
    # Without a probability above 0, nothing is predicted that events could be compared with.
    ratio = (
        dict(zip(("value", "low", "high"), (limit / mean for limit in limits), strict=True)) if mean else None
    )
    return {
        "observed": observed.value,
        "predicted": mean,
        "ratio": ratio,
        "selected": float(selected.mean()),
        "false_positives": asdict(share_interval(selected[negative], subset.units[negative])),
        "false_negatives": asdict(share_interval(1.0 - selected[positive], subset.units[positive])),
    }


def _estimate(estimate: InfluenceEstimate, codes: np.ndarray) -> dict[str, float]:
    """Return value, standard error with its degrees of freedom, and 95 % limits."""
    value, error = estimate.value, estimate.standard_error(codes)
    limits = {"low": value - Z_95 * error, "high": value + Z_95 * error}
    return {"value": value, "error": error, "degrees": estimate.degrees, **limits}


def _hide_degrees(facts: Mapping[str, Any]) -> None:
    """Replace degrees of freedom, from which the size of a class follows, by the fewest that a group may have."""
    for measure in facts.values():
        if isinstance(measure, dict) and "degrees" in measure:
            measure["degrees"] = MIN_CLASS_UNITS - 1


def _rest(rows: np.ndarray, size: int) -> np.ndarray:
    others = np.ones(size, dtype=bool)
    others[rows] = False
    return np.flatnonzero(others)

"""Measures of each group of a sensitive column, such as sex or age: of one model, and of two on the same rows."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.data.rare_values import MIN_PEOPLE, POOLED
from ml.evaluation.binary_metrics import UndefinedMetricError
from ml.evaluation.confidence_intervals import unit_codes
from ml.evaluation.evaluator import Decision, Evaluator
from ml.evaluation.influence import InfluenceEstimate, Measure, RowMeasures, log_odds_shift
from ml.evaluation.mean_intervals import share_interval

# Groups with fewer units, or fewer units of a class, are listed without a metric: its interval would be too wide.
MIN_UNITS = 100
MIN_CLASS_UNITS = 20
# Groups of one column that are measured on their own, those of most units; the others are one group together.
MAX_GROUPS = 30
SMALLER = f"all but the {MAX_GROUPS} largest groups"
# Half the width of a 95 % interval, in standard errors of a normal estimate.
Z_95 = 1.959964
# Metrics of a group from which the number of its members with an outcome follows.
SHARES = ("observed", "predicted", "selected", "ratio", "false_positives", "false_negatives")


@dataclass(frozen=True)
class Group:
    """A group of rows: their positions, and why it is not evaluated; empty where it is.

    `values` counts the values that are pooled in it. The number of rows of a hidden group must not be shown.
    """

    column: str
    label: str
    rows: np.ndarray
    values: int
    is_hidden: bool
    reason: str

    def facts(self) -> dict[str, Any]:
        """Describe the group as facts."""
        facts: dict[str, Any] = {
            "column": self.column,
            "group": self.label,
            "rows": None if self.is_hidden else len(self.rows),
            "evaluated": not self.reason,
        }
        if self.values > 1:
            facts["values"] = self.values
        return facts | ({"reason": self.reason} if self.reason else {})


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


def find_groups(dataset: Dataset, sensitive: tuple[str, ...]) -> Iterator[Group]:
    """Find the groups of each sensitive column, at most `MAX_GROUPS` and a pool of each."""
    for column in sensitive:
        labels, pooled = _pool(_labels(dataset.metadata[column]), dataset.units)
        names, positions = np.unique(labels, return_inverse=True)
        by_label = np.split(np.argsort(positions, kind="stable"), np.cumsum(np.bincount(positions))[:-1])
        hidden = _groups_without_counts(labels, dataset.units)
        for label, rows in zip(names, by_label, strict=True):
            reason = _too_small(dataset, rows)
            yield Group(column, str(label), rows, pooled.get(label, 1), label in hidden, reason)


def _pool(labels: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Pool rare values, and all groups but the largest; return the labels, and how many values each pool has."""
    sizes = pd.Series(units).groupby(labels).nunique()
    rare = sizes.index[sizes < MIN_PEOPLE]
    common = sizes.drop(rare).sort_values(ascending=False, kind="stable")
    smaller = common.index[MAX_GROUPS:]
    pools = {POOLED: len(rare), SMALLER: len(smaller)}
    names = dict.fromkeys(rare, POOLED) | dict.fromkeys(smaller, SMALLER)
    if names:
        labels = pd.Series(labels).map(lambda label: names.get(label, label)).to_numpy(dtype=object)
    return labels.astype(str), pools


def _groups_without_counts(labels: np.ndarray, units: np.ndarray) -> set[str]:
    """Return the pool and the smallest other group, if the pool has fewer than `MIN_PEOPLE` units; else nothing."""
    sizes = pd.Series(units).groupby(labels).nunique()
    if POOLED not in sizes.index or sizes[POOLED] >= MIN_PEOPLE:
        return set()
    others = sizes.drop(POOLED)
    return {POOLED, *([str(others.idxmin())] if len(others) else [])}


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
    if _too_small(dataset, rest):
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
        if all(_has_enough_events(events[some], codes[some]) for some in (rows, rest)):

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


def _labels(values: pd.Series) -> np.ndarray:
    """Return the group of each row. The outer quartiles are open: their bounds are the values of single people."""
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 4:
        bands = pd.qcut(values, 4, duplicates="drop")
        first, last = bands.cat.categories[0], bands.cat.categories[-1]
        names = {band: f"{band.left:g} to {band.right:g}" for band in bands.cat.categories}
        names |= {first: f"up to {first.right:g}", last: f"above {last.left:g}"}
        if first == last:
            names = {first: "all values"}
        return np.array([names.get(band, "missing") for band in bands], dtype=object)
    return values.astype(object).where(values.notna(), "missing").astype(str).to_numpy()


def _too_small(dataset: Dataset, rows: np.ndarray) -> str:
    """Return why rows are too few to be evaluated; empty where they are enough. No number of rows is named."""
    units, truth = dataset.units[rows], dataset.truth.to_numpy()[rows]
    if len(np.unique(units)) < MIN_UNITS:
        return f"fewer than {MIN_UNITS} units"
    if dataset.classes or truth.dtype == object:
        return ""
    if (truth == truth[0]).all():
        return "all target values are equal"
    is_binary = bool(np.isin(truth, (0.0, 1.0)).all())
    if is_binary and not _has_enough_events(truth, units):
        return f"fewer than {MIN_CLASS_UNITS} units of one class"
    return ""


def _has_enough_events(events: np.ndarray, codes: np.ndarray) -> bool:
    """Tell whether units with and without an event are enough for a normal test of a shift."""
    return all(len(np.unique(codes[events == value])) >= MIN_CLASS_UNITS for value in (0.0, 1.0))

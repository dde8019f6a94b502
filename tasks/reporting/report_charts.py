"""Draw the charts of the report that a run has facts for."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup

from ml.evaluation.confidence_intervals import Interval
from tasks.facts import LeaderboardEntry, RunFacts
from tasks.metric_descriptions import describe_metric
from tasks.reporting import charts
from tasks.reporting.formatting import format_level, format_number, is_number

MAX_FEATURES = 15
# Rank correlations closer to 0 are no direction.
MIN_CORRELATION = 0.1


def draw_charts(facts: RunFacts) -> dict[str, Markup]:
    """Draw all charts that the facts suffice for, by name; their SVG has its text escaped."""
    drawn = {**_data_charts(facts), **_interval_charts(facts), **_curve_charts(facts), **_shape_charts(facts)}
    return {name: Markup(svg) for name, svg in drawn.items()}


def leader(facts: RunFacts) -> LeaderboardEntry | None:
    """Return the leaderboard entry of the selected candidate."""
    return next((entry for entry in facts.get("leaderboard") or [] if entry.get("leads")), None)


def _interval(estimate: Mapping[str, Any]) -> Interval | None:
    """Return None where a limit is missing or undefined: a chart cannot show it."""
    values: list[Any] = [estimate.get(name) for name in ("value", "low", "high")]
    return Interval(*values) if all(is_number(v) and math.isfinite(v) for v in values) else None


def _intervals(estimates: Iterable[Mapping[str, Any]], label: str) -> dict[str, Interval]:
    intervals = {label.format(**estimate): _interval(estimate) for estimate in estimates}
    return {name: interval for name, interval in intervals.items() if interval}


def _reference(label: str, estimate: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the label and the value of a reference line; None where a chart cannot show the estimate."""
    interval = _interval(estimate)
    return (f"{label} {format_number(interval.value)}", interval.value) if interval else None


def _descriptions(facts: RunFacts) -> dict[str, str]:
    """Return what columns mean, and how declared features are computed, by name."""
    features: Mapping[str, Any] = facts.get("features") or {}
    computed = {feature["name"]: feature["description"] for feature in features.get("declared") or []}
    return {**computed, **(facts.get("descriptions") or {})}


def _data_charts(facts: RunFacts) -> dict[str, str]:
    validation: Mapping[str, Any] = facts.get("validate") or {}
    counts = {name: validation.get(name) for name in ("clean", "quarantined", "excluded")}
    drawn = {}
    if all(is_number(count) for count in counts.values()):
        title = "Rows: " + ", ".join(f"{count:,} {name}" for name, count in counts.items())
        drawn["rows"] = charts.stacked_bar("rows", title, {k: int(v or 0) for k, v in counts.items()})
    importance: Mapping[str, float] = _evaluation(facts).get("importance") or {}
    if any(importance.values()):
        largest = sorted(importance.items(), key=lambda item: -item[1])[:MAX_FEATURES]
        title = "Share of each feature in the total importance, largest first"
        correlations = _evaluation(facts).get("rank_correlations") or {}
        labels = {column: _with_direction(column, correlations) for column, _ in largest}
        descriptions = {labels.get(k, k): text for k, text in _descriptions(facts).items()}
        shares = {labels[column]: share for column, share in largest}
        drawn["importance"] = charts.bar_chart("importance", title, shares, descriptions)
    return drawn


def _with_direction(column: str, correlations: Mapping[str, float]) -> str:
    """Add an arrow: predictions rise or fall with the column, or neither; none for a category."""
    if column not in correlations:
        return column
    correlation = correlations[column]
    return f"{column} {'↕' if abs(correlation) < MIN_CORRELATION else '↑' if correlation > 0 else '↓'}"


def shape_source(facts: RunFacts) -> LeaderboardEntry | None:
    """Return the leaderboard entry whose curves are shown: that of the leader, else of another additive model."""
    entries = [entry for entry in facts.get("leaderboard") or [] if entry.get("shapes")]
    return next((entry for entry in entries if entry.get("leads")), entries[0] if entries else None)


def _shape_charts(facts: RunFacts) -> dict[str, str]:
    source = shape_source(facts)
    effect = "effect in log odds" if "roc_auc" in (_evaluation(facts).get("metrics") or {}) else "effect"
    return {
        f"shape_{number}": charts.effect_curve(
            f"shape{number}",
            f"Effect of {shape['column']}",
            (shape["x"], shape["effect"]),
            (shape["column"], effect),
        )
        for number, shape in enumerate(source.get("shapes", []) if source else [])
    }


def _interval_charts(facts: RunFacts) -> dict[str, str]:
    """Draw the candidates, the groups, the slices of users and items, and the difference from the champion."""
    evaluation = _evaluation(facts)
    metric = describe_metric(facts.get("metric") or evaluation.get("primary") or "").label
    leaderboard, selected = facts.get("leaderboard") or [], leader(facts)
    rows = "rows out of fold" if selected and selected.get("out_of_fold") else "validation rows"
    curves: Mapping[str, Any] = evaluation.get("curves") or {}
    all_rows, all_users = (_reference(f"all {unit}", evaluation) for unit in ("rows", "users"))
    by_name = {
        "leaderboard": (_intervals(leaderboard, "{candidate}"), f"{metric} on {rows}", None),
        "groups": (
            _intervals(evaluation.get("groups") or [], "{column}: {group}"),
            f"{metric} on test rows",
            all_rows,
        ),
        "histories": (
            _intervals(curves.get("history_length") or [], "history: {history}"),
            f"{metric} on test users",
            all_users,
        ),
        "slices": (
            _intervals(curves.get("slices") or [], "{by}: {slice}"),
            f"{metric} on test users",
            all_users,
        ),
    }
    not_selected = [
        entry["candidate"]
        for entry in leaderboard
        if not selected or entry["candidate"] != selected["candidate"]
    ]
    drawn = {
        name: charts.interval_chart(
            name, f"{axis}, with 95 % intervals", intervals, axis, reference, not_selected
        )
        for name, (intervals, axis, reference) in by_name.items()
        if intervals
    }
    difference = _interval((facts.get("verdict") or {}).get("difference") or {})
    if difference:
        axis = f"advantage in {metric}"
        confidence = format_level(((facts.get("verdict") or {}).get("look") or {}).get("confidence"))
        title, estimates = (
            f"{axis}, with its {confidence} interval",
            {"this model over the champion": difference},
        )
        drawn["difference"] = charts.interval_chart("difference", title, estimates, axis, ("equal", 0.0))
    return drawn


def _curve_charts(facts: RunFacts) -> dict[str, str]:
    curves: Mapping[str, Any] = _evaluation(facts).get("curves") or {}
    drawn = {}
    if "roc" in curves:
        axes = ("false positive rate", "true positive rate")
        drawn["roc"] = charts.line_chart("roc", "ROC curve", curves["roc"], axes, [(0, 0), (1, 1)])
    if "precision_recall" in curves:
        drawn["precision_recall"] = _precision_recall_chart(facts, curves["precision_recall"])
    if curves.get("reliability"):
        drawn["reliability"] = charts.reliability_diagram(
            "reliability", "Calibration: observed share by prediction", curves["reliability"]
        )
    if picture := curves.get("confusion_matrix"):
        drawn["confusion"] = charts.confusion_picture(
            "confusion",
            "Share of the rows of each class, in percent, by predicted class",
            picture["labels"],
            picture["shares"],
        )
    if curves.get("accuracy_by_coverage"):
        axes = ("share of rows answered", "accuracy of the answers")
        drawn["answers"] = charts.line_chart(
            "answers", "Accuracy by share of rows answered", curves["accuracy_by_coverage"], axes
        )
    if curves.get("popularity"):
        drawn["popularity"] = charts.paired_column_chart(
            "popularity",
            "Share of recommendations and of target items, by popularity of the item",
            {
                group["decile"]: (group["recommended_share"], group["target_share"])
                for group in curves["popularity"]
            },
            ("deciles of the items, from the most popular to the rarest", "share"),
        )
    if curves.get("deciles"):
        drawn["deciles"] = charts.prediction_scatter(
            "deciles", "Mean target by size of the prediction", curves["deciles"]
        )
        if "absolute_error" in curves["deciles"]:
            points = curves["deciles"]["predicted"], curves["deciles"]["absolute_error"]
            axes = ("mean prediction", "mean absolute error")
            drawn["errors"] = charts.effect_curve("errors", "Error by size of the prediction", points, axes)
    return drawn


def _precision_recall_chart(facts: RunFacts, points: Mapping[str, Any]) -> str:
    """Draw the curve, the precision of random decisions, and the decisions of the model as a mark."""
    metrics: Mapping[str, float] = _evaluation(facts).get("metrics") or {}
    split: Mapping[str, Any] = facts.get("split") or {}
    positive_share: Any = ((split.get("datasets") or {}).get("test") or {}).get("mean")
    random = [(0.0, positive_share), (1.0, positive_share)] if is_number(positive_share) else []
    decisions = None
    if {"recall", "precision"} <= set(metrics):
        decisions = (metrics["recall"], metrics["precision"])
    return charts.line_chart(
        "precision_recall", "Precision-recall curve", points, ("recall", "precision"), random, decisions
    )


def _evaluation(facts: RunFacts) -> Mapping[str, Any]:
    return facts.get("evaluation") or {}

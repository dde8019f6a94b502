"""Differences between two batches: their kinds, the bounds above which they are reported, and how they are judged."""

from collections.abc import Mapping
from dataclasses import dataclass

from ml.contract.drift_policy import DriftKind


@dataclass(frozen=True)
class Bounds:
    """Effect sizes from which a difference is moderate, and from which it is severe."""

    moderate: float
    severe: float


NEVER = float("inf")
# A moderate difference is reported, a severe one stops the batch. Effects by kind:
#   missing_values, out_of_range, new_categories, category_spelling, new_items: difference of the share of rows
#   lost_letters: difference of the share of texts
#   item_shares: 1 less the rank correlation of the shares of items
#   silent_period: longest time without a row, as a multiple of the earlier longest one
#   unknown_words: difference of the share of words in a text
#   distribution, events_per_user: Kolmogorov-Smirnov distance      category_shares: total variation distance
#   vanished_categories: share of the reference rows that had them  column_relations: difference of Spearman's rho
#   row_count: share of rows that is lacking                        target_shares: Cohen's h
#   label_relation: share of the association between features and target that is lost
#   unit_change, constant, swapped_columns, inverted_labels: present (1) or not (0)
BOUNDS: Mapping[DriftKind, Bounds] = {
    "missing_values": Bounds(0.05, 0.25),
    "unit_change": Bounds(0.5, 0.5),
    "distribution": Bounds(0.15, 0.40),
    "out_of_range": Bounds(0.005, 0.05),
    "constant": Bounds(0.5, 0.5),
    "category_shares": Bounds(0.15, 0.40),
    "new_categories": Bounds(0.01, 0.20),
    "vanished_categories": Bounds(0.02, 0.20),
    "category_spelling": Bounds(0.005, 0.05),
    "swapped_columns": Bounds(0.5, 0.5),
    "column_relations": Bounds(0.20, 0.40),
    "row_count": Bounds(0.50, 0.90),
    "target_shares": Bounds(0.25, 0.80),
    "inverted_labels": Bounds(0.5, 0.5),
    "label_relation": Bounds(0.30, 0.60),
    "time_range": Bounds(0.5, NEVER),
    "events_per_user": Bounds(0.15, 0.40),
    "new_items": Bounds(0.10, 0.40),
    "item_shares": Bounds(0.50, 0.80),
    "silent_period": Bounds(3.0, 10.0),
    "unknown_words": Bounds(0.05, 0.30),
    "lost_letters": Bounds(0.005, 0.05),
}


@dataclass(frozen=True)
class Finding:
    """One difference from the reference: an effect beyond its bound by more than chance.

    `column` is empty for the batch as a whole. `text` describes the difference and has no cell values.
    """

    kind: DriftKind
    column: str
    effect: float
    bound: float
    severe: bool
    text: str


def judge(kind: DriftKind, column: str, effect: float, low: float, text: str) -> list[Finding]:
    """Return the finding, or none if the lower confidence limit `low` of the effect is below the moderate bound.

    What is beyond chance is severe where the effect itself reaches the severe bound.
    """
    bounds = BOUNDS[kind]
    if not low > bounds.moderate:
        return []
    severe = effect >= bounds.severe
    return [Finding(kind, column, float(effect), bounds.severe if severe else bounds.moderate, severe, text)]


def present(kind: DriftKind, column: str, text: str) -> list[Finding]:
    """Return the finding of a kind that is present or not."""
    return judge(kind, column, 1.0, 1.0, text)

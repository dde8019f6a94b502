"""What happens when a batch differs from the last accepted one."""

from collections.abc import Mapping
from typing import Literal, get_args

from pydantic import Field

from ml.contract.values import ColumnName, Reason, Section

DriftKind = Literal[
    "missing_values",
    "unit_change",
    "distribution",
    "out_of_range",
    "constant",
    "category_shares",
    "new_categories",
    "vanished_categories",
    "category_spelling",
    "swapped_columns",
    "column_relations",
    "row_count",
    "target_shares",
    "inverted_labels",
    "label_relation",
    "time_range",
    "events_per_user",
    "new_items",
    "item_shares",
    "silent_period",
    "unknown_words",
    "lost_letters",
]
DRIFT_KINDS: tuple[str, ...] = get_args(DriftKind)
DriftAction = Literal["refuse", "warn", "ignore"]


class DriftPolicy(Section):
    """What happens when a batch differs from the last accepted one, before training and before scoring."""

    actions: Mapping[DriftKind, DriftAction] = Field(default_factory=dict)
    """Actions by kind of difference: `refuse` stops for severe differences and warns of moderate ones (the default),
    `warn` only reports, `ignore` does not look."""
    exceptions: Mapping[ColumnName, Reason] = Field(default_factory=dict)
    """Columns that are not compared, each with the reason."""

"""What the columns of a data set are for: the target, texts, the entities, and the parts of an event log."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from ml.contract.values import Bool, ClassLabels, ColumnName, Columns, Labels, Number, Section, Text

# The share of rows whose right label is held possible, where the contract asks for no other.
COVERAGE = 0.9
# Kinds of targets of tables: two classes, several classes, a number.
TargetKind = Literal["binary", "multiclass", "numeric"]


class Target(Section):
    """The column to predict: two classes where `positive` or `above` is given, several where `labels` are, else a
    number."""

    column: ColumnName
    """Name of the column."""
    positive: Labels = ()
    """Values that are the positive class; all others are the negative one."""
    above: Number | None = None
    """Numbers above this one are the positive class."""
    at_most: Number | None = None
    """With `above`: numbers above this one are of the negative class again, such as deaths after a horizon."""
    labels: ClassLabels = ()
    """All classes, two or more, in the order in which predictions name them."""
    number: Bool = False
    """The column is a number to predict, such as an amount. So is any column of numbers without `positive`, `above` and
    `labels`."""
    coverage: Annotated[Number, Field(gt=0, lt=1)] = COVERAGE
    """With `labels`: the share of rows for which the right label shall be among those held possible; of a number, of
    rows whose number shall be within its interval. With `out_of_scope` also the share of right answers that the
    threshold of answers has to keep."""
    out_of_scope: Labels = ()
    """Values of rows that belong to none of the `labels`. No model learns from them: they are kept apart, to choose
    from which probability a row is answered, and to measure how many of them are left to people."""


class Roles(Section):
    """What each column is for. In a table, a column without a role is a feature."""

    target_definition: Target | None = Field(default=None, alias="target")
    """The column to predict in a table; a log has `user` and `item` instead."""
    id: ColumnName | None = None
    """Identifier of a row: one row each, never a feature."""
    time: ColumnName | None = None
    """When the row or event happened."""
    known_at: ColumnName | None = None
    """When the outcome of the row was known, where that is later than the row; empty where it is not known yet. Never a
    feature. Rows without a known outcome are left out, and no model learns from what was not known in its time."""
    group: ColumnName | None = None
    """Entity with several rows, such as a patient; all its rows are in one dataset of the split."""
    text: Columns = ()
    """Columns with sentences that people wrote. Models of texts read them word by word, never as categories."""
    site: ColumnName | None = None
    """Where the row comes from, such as a hospital; split by `site` holds out whole sites."""
    sensitive: Columns = ()
    """Columns by which subgroups are compared. They stay features unless they are also `ignored`."""
    ignored: Columns = ()
    """Columns that are no features."""
    user: ColumnName | None = None
    """Who interacts, in a log."""
    item: ColumnName | None = None
    """What is recommended, in a log."""
    event_order: ColumnName | None = None
    """Order of the events of a user, where a log has no time, or the same time for several events."""
    event_weight: ColumnName | None = None
    """How much an event counts: a number above 0, or a category with its weights in `event_weight_by_value`."""
    segment: ColumnName | None = None
    """Group of the user, such as a country; users without history are recommended what is popular in their segment."""
    allow_repeat_recommendations: Bool = False
    """Whether items that a user already has may be recommended again."""
    descriptions: Mapping[str, Text] = Field(default_factory=dict)
    """What a column means, by column; reports show it."""

    @property
    def target(self) -> str | None:
        """Return the column to predict."""
        return self.target_definition.column if self.target_definition else None

    @property
    def target_kind(self) -> TargetKind | None:
        """Return the kind of the target; None for a log, which has none."""
        if self.target_definition is None:
            return None
        if self.labels:
            return "multiclass"
        return "binary" if self.positive or self.above is not None else "numeric"

    @property
    def positive(self) -> tuple[str, ...]:
        """Return the values that are the positive class; empty where the target is a number or split by `above`."""
        return self.target_definition.positive if self.target_definition else ()

    @property
    def above(self) -> float | None:
        """Return the number above which the target is of the positive class."""
        return self.target_definition.above if self.target_definition else None

    @property
    def at_most(self) -> float | None:
        """Return the largest number of the positive class, where `above` has an upper end."""
        return self.target_definition.at_most if self.target_definition else None

    @property
    def labels(self) -> tuple[str, ...]:
        """Return all classes of the target; empty where it has two classes or is a number."""
        return self.target_definition.labels if self.target_definition else ()

    @property
    def coverage(self) -> float:
        """Return the share of rows whose right label is held possible, or whose number is within its interval."""
        return self.target_definition.coverage if self.target_definition else COVERAGE

    @property
    def out_of_scope(self) -> tuple[str, ...]:
        """Return the values of rows that belong to none of the labels."""
        return self.target_definition.out_of_scope if self.target_definition else ()

    def columns(self) -> set[str]:
        """Return all columns that have a role or a description."""
        table = (self.target, self.id, self.time, self.known_at, self.group, self.site)
        log = (self.user, self.item, self.event_order, self.event_weight, self.segment)
        return {c for c in (*table, *log) if c} | {
            *self.sensitive,
            *self.ignored,
            *self.text,
            *self.descriptions,
        }

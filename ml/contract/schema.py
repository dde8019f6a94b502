"""The contract of a data set: which rows may enter, what each column is for, and why.

A contract is a JSON file that loads as a Great Expectations suite. Great Expectations checks nothing inside `meta`;
`Meta` does: an unknown key is an error, never a rule that silently does nothing. docs/contract.md explains every key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from ml.contract.declared_features import DeclaredFeature, DeclaredFeatures, feature_columns, source_columns
from ml.contract.drift_policy import DriftPolicy
from ml.contract.expectations import EXPECTATIONS
from ml.contract.proposal import Proposal
from ml.contract.read_options import ItemTable, ReadOptions
from ml.contract.roles import Roles
from ml.contract.row_condition import Condition, columns_of
from ml.contract.row_condition_parser import parse_row_condition
from ml.contract.shared_codes import SpecialCodes, codes_by_column
from ml.contract.split_policy import SplitPolicy
from ml.contract.sums import Sum
from ml.contract.values import (
    MAX_COLUMNS,
    MAX_RULES,
    Bool,
    Codes,
    ColumnName,
    Columns,
    Name,
    Number,
    Reason,
    Section,
    Share,
    Text,
    WholeNumber,
)
from ml.contract.wording import Wording

PUBLICATION = ("description", "publisher", "licence", "citation", "url", "sha256", "downloads")
COLUMN_ARGUMENTS = ("column", "column_A", "column_B")


class RuleMeta(Section):
    """What happens when an expectation fails, and why it is there."""

    action: Literal["fail", "quarantine", "exclude", "warn"]
    """`fail` stops the run; `quarantine` sets bad rows aside as faults; `exclude` leaves out correct rows outside the
    population; `warn` only reports. Fewer good rows than `mostly` allows stop the run in any case."""
    reason: Reason
    """Why the rule is there; reports show it."""
    review: Bool = False
    """Whether the rule is a draft that a person still has to look at."""


class Rule(Section):
    """One expectation of Great Expectations with its action and reason."""

    type: Text
    """Name of the expectation, such as `expect_column_values_to_be_between`."""
    kwargs: Mapping[str, Any]
    """Arguments of the expectation."""
    meta: RuleMeta

    @property
    def action(self) -> str:
        """Return what happens when the expectation fails."""
        return self.meta.action

    @property
    def reason(self) -> str:
        """Return why the rule is there."""
        return self.meta.reason

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that the expectation looks at."""
        return (
            *(self.kwargs[key] for key in COLUMN_ARGUMENTS if key in self.kwargs),
            *self.kwargs.get("column_list", ()),
        )

    @property
    def name(self) -> str:
        """Return a short name for reports, such as `column_values_to_be_between(age)`."""
        return f"{self.type.removeprefix('expect_')}({', '.join(self.columns)})"

    @property
    def row_condition(self) -> Condition | None:
        """Return which rows the expectation looks at, None for all of them."""
        text = self.kwargs.get("row_condition")
        return parse_row_condition(text) if text else None

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Return the columns that a table needs for this rule: those of the expectation and of its row condition."""
        condition = self.row_condition
        return self.columns + (columns_of(condition) if condition else ())

    @property
    def patterns(self) -> tuple[str, ...]:
        """Return the regular expressions that are searched for."""
        one = (self.kwargs["regex"],) if "regex" in self.kwargs else ()
        return (*one, *self.kwargs.get("regex_list", ()))

    @property
    def is_row_level(self) -> bool:
        """Return whether the expectation finds single bad rows."""
        return self.type in EXPECTATIONS and EXPECTATIONS[self.type].finds_rows


class FirstRowPer(Section):
    """Keep only the first row of each entity; later rows are excluded from the population."""

    entity: ColumnName
    """Column of the entity, such as a patient."""
    order_by: ColumnName
    """Column that orders the rows, such as a date."""
    reason: Reason
    """Why later rows are left out."""


class CopyPolicy(Section):
    """What counts as a copy of an earlier row, and what becomes of it."""

    columns: Columns = ()
    """Columns of which all values are repeated in a copy; by default all that are read, without those that are ignored
    and not sensitive."""
    action: Literal["quarantine", "exclude", "warn"] = "quarantine"
    """`quarantine` sets copies aside as faults, `exclude` leaves them out as none, `warn` keeps and counts them."""
    reason: Reason
    """Why copies are judged so."""


class MetaDraft(Section):
    """The sections of `meta` that are valid; `read` and `roles` may be missing, and the others are checked anyway."""

    schema_version: Literal[2] = 2
    description: Text | None = None
    """What the data are."""
    publisher: Text | None = None
    """Who publishes them."""
    licence: Text | None = None
    """Under which terms they may be used."""
    citation: Text | None = None
    """How they are cited."""
    url: Text | None = None
    """Where the files come from."""
    sha256: Mapping[str, Text] | None = None
    """SHA-256 of the published files, by file name; a run names files that differ."""
    downloads: Mapping[str, Text] | None = None
    """Addresses of the published files, by file name, for `steward data --download`."""
    wording: Wording = Field(default_factory=Wording)
    """How reports speak of the data."""
    read: ReadOptions | None = None
    roles: Roles | None = None
    split: SplitPolicy = Field(default_factory=SplitPolicy)
    """How rows are divided into train, valid and test."""
    drift: DriftPolicy = Field(default_factory=DriftPolicy)
    """What happens when a batch differs from the last accepted one."""
    max_quarantined_share: Share = 0.05
    """Share of rows in quarantine above which a run stops."""
    max_text_length: Annotated[WholeNumber, Field(gt=0)] = 50_000
    """Characters of a column with texts; rows with longer ones are quarantined."""
    first_row_per: FirstRowPer | None = None
    """Keep only the first row of each entity."""
    leakage_exceptions: Mapping[str, Reason] = Field(default_factory=dict)
    """Columns that may predict the target on their own, each with the reason why that is no leakage."""
    copies: CopyPolicy | None = None
    """What counts as a copy of an earlier row, and what becomes of it; by default it is a fault."""
    sums: Annotated[tuple[Sum, ...], Field(max_length=MAX_RULES)] = ()
    """Columns that are the sum of others in each row."""
    copy_exception: Reason | None = None
    """Why rows of (nearly) equal content under different ids may be in several datasets of the split."""
    features: Mapping[ColumnName, DeclaredFeature] = Field(default_factory=dict)
    """New columns of a table that are computed from others, by their names."""
    sentinel_values: Mapping[str, Codes] = Field(default_factory=dict)
    """Numbers that are codes, such as 98 for "not measured": by column, each with its meaning."""
    shared_sentinel_values: Annotated[tuple[SpecialCodes, ...], Field(max_length=MAX_RULES)] = ()
    """The same for several columns at once."""
    never_recommend: Mapping[str, Reason] = Field(default_factory=dict)
    """Items that are never recommended, each with the reason."""
    event_weight_by_value: Mapping[str, Annotated[Number, Field(gt=0)]] = Field(default_factory=dict)
    """How much an event counts, by each value of a category with the role `event_weight`."""
    decay: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Weight of an event relative to the next one of its user, above 0 and at most 1; by default it is tuned."""
    item_attributes: ItemTable | None = None
    """Side table with attributes of the items of a log."""
    proposals: Annotated[tuple[Proposal, ...], Field(max_length=MAX_COLUMNS)] = ()
    """How a draft arrived at what is in `meta`, point by point; has no effect on the data."""


class Meta(MetaDraft):
    """Everything in a contract that is not an expectation."""

    schema_version: Literal[2]
    """Version of the keys of this file."""
    read: ReadOptions
    """How the files are read."""
    roles: Roles
    """What each column is for."""


class ContractFile(Section):
    """The contract of a data set: a Great Expectations suite, with what steward needs in `meta`."""

    name: Name
    """`<case>.<data set>`, such as `fintech-risk.my_loans`; models are registered under it."""
    expectations: Annotated[tuple[Rule, ...], Field(max_length=MAX_RULES)]
    """Rules that the data must keep, in any order."""
    meta: Meta


@dataclass(frozen=True)
class Contract:
    """A contract that was checked; `source` is the JSON as it was given, which is stored with every model."""

    name: str
    rules: tuple[Rule, ...]
    read: ReadOptions
    roles: Roles
    split: SplitPolicy
    drift: DriftPolicy
    max_quarantined_share: float
    max_text_length: int
    first_row_per: FirstRowPer | None
    # Columns that may predict the target on their own, each with the reason why that is no leakage.
    leakage_exceptions: Mapping[str, str]
    # What counts as a copy of an earlier row; None for the default, by which it is a fault.
    copies: CopyPolicy | None
    sums: tuple[Sum, ...]
    # Why copies of rows may be in several datasets of the split; None where they may not.
    copy_exception: str | None
    # Features that are computed from other columns, by the name of the new column.
    declared_features: DeclaredFeatures
    # Codes of numeric columns that are no quantities, such as 0 for "not measured"; ascending.
    sentinel_values: Mapping[str, tuple[float, ...]]
    # Items that are never recommended, each with the reason.
    never_recommend: Mapping[str, str]
    # Weight of an event by the value of a category with the role event_weight; else empty.
    event_weight_by_value: Mapping[str, float]
    # Weight of an event relative to the next one of its user; None where the decay is tuned.
    decay: float | None
    item_attributes: ItemTable | None
    wording: Wording
    # Description, publisher, licence, citation, addresses and digests of the data, as far as they are given.
    publication: Mapping[str, Any]
    proposals: tuple[Proposal, ...]
    source: Mapping[str, Any]

    @classmethod
    def from_file(cls, file: ContractFile, source: Mapping[str, Any]) -> Self:
        """Build the contract from a file without errors."""
        meta = file.meta
        return cls(
            name=file.name,
            rules=file.expectations,
            read=meta.read,
            roles=meta.roles,
            split=meta.split.completed(meta.roles),
            drift=meta.drift,
            max_quarantined_share=meta.max_quarantined_share,
            max_text_length=meta.max_text_length,
            first_row_per=meta.first_row_per,
            leakage_exceptions=meta.leakage_exceptions,
            copies=meta.copies,
            sums=meta.sums,
            copy_exception=meta.copy_exception,
            declared_features=meta.features,
            sentinel_values=codes_by_column(
                meta.sentinel_values, meta.shared_sentinel_values, meta.read, meta.roles
            ),
            never_recommend=meta.never_recommend,
            event_weight_by_value=meta.event_weight_by_value,
            decay=meta.decay,
            item_attributes=meta.item_attributes,
            wording=meta.wording,
            publication={key: given for key in PUBLICATION if (given := getattr(meta, key)) is not None},
            proposals=meta.proposals,
            source=source,
        )

    @property
    def features(self) -> tuple[str, ...]:
        """Return the columns that models of a table use as they are, in the order of the contract."""
        return feature_columns(self.read, self.roles, self.split.by, self.declared_features)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the columns that a prediction needs: features, and those that features are computed from."""
        needed = {*self.features, *source_columns(self.declared_features)}
        return tuple(c for c in self.read.columns if c in needed)

    @property
    def is_recommendation(self) -> bool:
        """Return whether the data are a log of interactions, from which items are recommended."""
        return self.roles.user is not None

"""The contract of one data set: what may enter, what each column is for, and why.

A contract is a JSON file that loads as a Great Expectations suite. GX checks nothing inside `meta`, so everything of
ours sits there and `ml.contract.schema.parser` checks it, key by key: a misspelt key is an error, never a rule
that silently
does nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ACTIONS = ("refuse", "quarantine", "exclude", "warn")
COLUMN_TYPES = ("number", "integer", "category", "time", "epoch")
FORMATS = ("csv", "parquet", "sequences", "baskets")
# Formats of one history a line: lines of different lengths, so that they can name no columns.
LINES = ("sequences", "baskets")
# Of a side table of items.
ITEM_FORMATS = ("csv", "json")
SPLITS = ("hash", "stratified", "time", "site")
# Of a log of interactions, each with the roles that say when something happened, and whether it has shares.
LOG_SPLITS: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "time": (("time",), True),
    "session": (("time",), True),
    "last": (("time", "position"), False),
    "any": ((), False),
}
# Expectations that tell good rows from bad ones; all others judge the batch as a whole.
ROW_EXPECTATION = re.compile(
    r"expect_(column_values|column_pair_values|column_value_lengths|multicolumn|select_column|compound_columns)_"
    r"(?!to_be_of_type|to_be_in_type_list)"
)
NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
COLUMN_ARGUMENTS = ("column", "column_A", "column_B")


@dataclass(frozen=True)
class Rule:
    """One expectation with what happens when it fails.

    `refuse` stops the batch; `quarantine` sets the bad rows aside as faults; `exclude` leaves rows out that are no
    fault but outside the population; `warn` only reports. `mostly` is the share of rows that must be good (in 0..1):
    fewer refuse the batch, whatever the action.
    """

    expectation: Mapping[str, Any]
    action: str
    reason: str
    columns: tuple[str, ...]

    @property
    def type(self) -> str:
        return str(self.expectation["type"])

    @property
    def name(self) -> str:
        return f"{self.type.removeprefix('expect_')}({', '.join(self.columns)})"

    @property
    def tells_rows(self) -> bool:
        return bool(ROW_EXPECTATION.match(self.type))


@dataclass(frozen=True)
class Roles:
    """What each column is for. A column without a role is a feature.

    `position` is the order within a user where the time is not known, or not finely enough: simultaneous events are
    in the order of their positions. `weight` says how much an event of a log counts: a category, whose values have
    their weights in `meta.weights`, or a number above 0, such as pieces. `segment` is a group of users, such as their
    country: whoever has no history is recommended what is popular in the own one.
    """

    target: str | None = None
    positive: tuple[str, ...] = ()
    above: float | None = None
    id: str | None = None
    time: str | None = None
    group: str | None = None
    site: str | None = None
    sensitive: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    user: str | None = None
    item: str | None = None
    position: str | None = None
    weight: str | None = None
    segment: str | None = None
    repeat: bool = False
    descriptions: Mapping[str, str] = field(default_factory=dict)

    def columns(self) -> set[str]:
        one = (self.target, self.id, self.time, self.group, self.site)
        log = (self.user, self.item, self.position, self.weight, self.segment)
        return {c for c in (*one, *log) if c} | {*self.sensitive, *self.ignored, *self.descriptions}


@dataclass(frozen=True)
class Read:
    """How to read the files. Readers guess nothing.

    `columns` maps every column that is read to its type. `strip` takes white space off both ends of every cell of a
    text file, before the `missing` words are looked for. `source_column` stacks several files and names the column
    that holds each file's stem; `join` joins several files on that key. `row_column` names a column that holds the
    number of each row, from 1, over all files in their order: the order where a file has no other. `folder` is where
    the files lie when it is not named as the contract, as where two contracts are about the same files.
    Files of the format `sequences` have a user and then items on each line, those of `baskets` only items, with the
    number of the line for a user; each item is a row with the two columns that are named first in `columns`.
    A `simulator` makes `rows` rows from `seed` instead.
    """

    columns: Mapping[str, str]
    files: tuple[str, ...] = ()
    folder: str | None = None
    format: str = "csv"
    encoding: str = "utf-8"
    separator: str = ","
    header: bool = True
    missing: tuple[str, ...] = ("",)
    strip: bool = False
    source_column: str | None = None
    row_column: str | None = None
    join: str | None = None
    simulator: str | None = None
    rows: int = 0
    seed: int = 0

    @property
    def in_files(self) -> tuple[str, ...]:
        """The columns that are read from the files, and not told by the reader."""
        return tuple(c for c in self.columns if c not in (self.source_column, self.row_column))


@dataclass(frozen=True)
class ItemTable:
    """A side table of items, in a file beside those of `Read`: what each item is, whether anybody had it or not.

    Of the format `json` it is an object of item: list of attributes (strings or whole numbers). Of the format `csv`
    the column `item` names the item, and each cell of the columns `attributes` is an attribute, or several, between
    which `list_separator` stands; the words `missing` say none. `columns` names all columns in their order where the
    file has no header. Text of a separator of one character may be quoted; where it is longer, nothing is.
    """

    file: str
    format: str = "csv"
    encoding: str = "utf-8"
    separator: str = ","
    header: bool = True
    columns: tuple[str, ...] = ()
    item: str = ""
    attributes: tuple[str, ...] = ()
    list_separator: str | None = None
    missing: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class SplitPolicy:
    """How rows are divided. `test` and `valid` are shares of rows (hash, stratified) or of time; `site` names sites.

    A log is divided by `time` at two instants, or by `session`: whoever comes after an instant is asked for the last
    event. By `last`, the last event of each user judges and the one before chooses; by `any`, where no order is known,
    so do two events that a hash picks. These two have no shares: both are 0.
    """

    by: str = "hash"
    test: float = 0.2
    valid: float = 0.2
    sites: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeepFirst:
    """Only the first row of each entity `per`, in the order of column `by`, belongs to the population."""

    per: str
    by: str
    reason: str


@dataclass(frozen=True)
class Contract:
    """One data set's contract; `source` is the JSON it was made from, which travels with every model."""

    name: str
    rules: tuple[Rule, ...]
    read: Read
    roles: Roles
    split: SplitPolicy
    budget: float
    keep_first: KeepFirst | None
    # Columns that may foretell the target on their own, each with the reason why that is no leak.
    foretelling: Mapping[str, str]
    # Values of numeric columns that are codes and no quantities, such as 0 for not measured, in ascending order.
    special: Mapping[str, tuple[float, ...]]
    # Items that are never recommended, each with the reason.
    blocked: Mapping[str, str]
    # How much an event counts by the value of the column with the role weight; empty where that is numeric, or none.
    weights: Mapping[str, float]
    # In a log, what an event counts beside the next one of its user; None where what came last in the log shall tell.
    decay: float | None
    # Of a recommendation, what is known of the items besides who had them.
    items: ItemTable | None
    about: Mapping[str, Any]
    source: Mapping[str, Any]

    @property
    def features(self) -> tuple[str, ...]:
        roles = self.roles
        kept_out = {roles.target, roles.id, roles.time, roles.group, *roles.ignored}
        if self.split.by == "site":
            kept_out.add(roles.site)
        return tuple(c for c in self.read.columns if c not in kept_out)

    @property
    def is_recommendation(self) -> bool:
        return self.roles.user is not None

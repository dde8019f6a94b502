"""The contract of one data set: what may enter, what each column is for, and why.

A contract is a JSON file that loads as a Great Expectations suite. GX checks nothing inside `meta`, so everything of
ours sits there and is checked here, key by key: a misspelt key is an error, never a rule that silently does nothing.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from typing import Any, get_args

from ml.refusal import ContractError

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


ABOUT = ("description", "publisher", "licence", "citation", "url")
JSON_TYPES: Mapping[Any, tuple[str, Callable[[Any], bool]]] = {
    str: ("a string", lambda v: isinstance(v, str)),
    bool: ("true or false", lambda v: isinstance(v, bool)),
    int: ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    float: ("a number", lambda v: isinstance(v, int | float) and not isinstance(v, bool)),
    list: ("a list", lambda v: isinstance(v, list)),
    tuple[str, ...]: (
        "a list of strings",
        lambda v: isinstance(v, list) and all(isinstance(s, str) for s in v),
    ),
    Mapping[str, str]: (
        "an object of strings",
        lambda v: isinstance(v, Mapping) and all(isinstance(s, str) for s in v.values()),
    ),
}


def parse(source: Mapping[str, Any]) -> Contract:
    """Check a contract's JSON key by key. Raises ContractError at the first key, column or value that is wrong."""
    _known(source, ("name", "expectations", "meta"), "the contract")
    name = _required(source, "name", "the contract")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9-]+\.[A-Za-z0-9_-]+", name):
        raise ContractError("a name such as fintech-risk.my_loans", repr(name), "name <case>.<data set>")
    expectations = _typed(_required(source, "expectations", "the contract"), list, "expectations")
    meta = _required(source, "meta", "the contract")
    keys = ("read", "roles", "split", "budget", "keep_first", "foretelling", "special")
    _known(meta, (*keys, "weights", "blocked", "items", *ABOUT, "sha256"), "meta")
    read = _read(_required(meta, "read", "meta"))
    roles = _roles(_required(meta, "roles", "meta"), read)
    contract = Contract(
        name=name,
        rules=tuple(_rule(e, f"expectations[{i}]", read) for i, e in enumerate(expectations)),
        read=read,
        roles=roles,
        split=_split(meta.get("split", {}), roles),
        budget=_share(meta.get("budget", 0.05), "meta.budget"),
        keep_first=_keep_first(meta["keep_first"], read) if "keep_first" in meta else None,
        foretelling=_foretelling(meta.get("foretelling", {}), read),
        special=_special(meta.get("special", {}), read),
        blocked=_blocked(meta.get("blocked", {}), roles),
        weights=_weights(meta.get("weights", {}), roles, read),
        items=_items(meta["items"], read, roles) if "items" in meta else None,
        about=_about(meta),
        source=source,
    )
    if not contract.is_recommendation:
        _features_fit(contract)
    return contract


def _read(raw: Mapping[str, Any]) -> Read:
    read = Read(**_fields(raw, Read, "meta.read"))
    for column, kind in read.columns.items():
        _one_of(kind, COLUMN_TYPES, f"meta.read.columns[{column!r}]")
    _one_of(read.format, FORMATS, "meta.read.format")
    _told_by_the_reader(read)
    if read.format in LINES:
        _lines_fit(read)
    if read.folder is not None and not re.fullmatch(r"[A-Za-z0-9_-]+", read.folder):
        raise ContractError("the name of a folder in meta.read.folder", repr(read.folder), "correct it")
    if read.source_column and read.join:
        raise ContractError(
            "files either stacked or joined", "both meta.read.source_column and meta.read.join", "keep one"
        )
    if bool(read.simulator) == bool(read.files):
        raise ContractError(
            "either meta.read.files or meta.read.simulator", "both or neither", "name one of them"
        )
    if len(read.files) > 1 and not (read.source_column or read.join):
        raise ContractError(
            "meta.read.source_column or meta.read.join for several files",
            "neither",
            "say how the files go together",
        )
    if read.simulator and read.rows < 1:
        raise ContractError(
            "at least one row in meta.read.rows", f"{read.rows}", "say how many rows to make up"
        )
    return read


def _lines_fit(read: Read) -> None:
    where = f"for the format {read.format} in meta.read"
    if read.header:
        raise ContractError(f"header false {where}", "true", "set it: its lines name no columns")
    if len(read.in_files) != 2:
        raise ContractError(f"a user and an item as columns {where}", f"{list(read.in_files)}", "name two")
    if not read.separator:
        raise ContractError(f"a separator {where}", "none", "say what stands between two items")
    if read.format == "baskets" and len(read.files) > 1:
        raise ContractError(f"one file {where}", f"{len(read.files)}", "lines of two files have one number")


def _told_by_the_reader(read: Read) -> None:
    if read.row_column is None:
        return
    _columns_exist({read.row_column}, read, "meta.read.row_column")
    if read.columns[read.row_column] != "integer" or read.row_column == read.source_column or read.simulator:
        raise ContractError(
            "a column of its own, of type integer, for rows of files in meta.read.row_column",
            repr(read.row_column),
            "correct it",
        )


def _roles(raw: Mapping[str, Any], read: Read) -> Roles:
    names = tuple(k for k in Roles.__dataclass_fields__ if k not in ("positive", "above"))
    _known(raw, names, "meta.roles")
    values = _fields({k: v for k, v in raw.items() if k != "target"}, Roles, "meta.roles")
    if "target" in raw:
        values |= _target(raw["target"])
    roles = Roles(**values)
    _columns_exist(roles.columns(), read, "meta.roles")
    log = (roles.user, roles.item, roles.position)
    complete = (roles.user and roles.item) or roles.target
    if not complete or (roles.target and any(log)):
        raise ContractError(
            "roles.target, or the roles user, item and time or position",
            f"{sorted(raw)}",
            "complete meta.roles",
        )
    for role in ("weight", "segment"):
        if roles.target and (column := getattr(roles, role)):
            raise ContractError(
                f"the role {role} in meta.roles of a log only",
                f"a target and {column!r}",
                "remove the role: rows of a table count the same, and the column stays a feature",
            )
    _roles_fit(roles, read)
    return roles


def _target(raw: Mapping[str, Any]) -> dict[str, Any]:
    where = "meta.roles.target"
    _known(raw, ("column", "positive", "above"), where)
    if "positive" in raw and "above" in raw:
        raise ContractError(
            f"{where} with positive or above", "both", "keep one, or neither to predict a number"
        )
    target: dict[str, Any] = {"target": _typed(_required(raw, "column", where), str, f"{where}.column")}
    if "positive" in raw:
        target["positive"] = _labels(raw["positive"], f"{where}.positive")
    if "above" in raw:
        target["above"] = _typed(raw["above"], float, f"{where}.above")
    return target


def _roles_fit(roles: Roles, read: Read) -> None:
    """Columns have types that their roles can be computed with."""
    numeric = None if roles.positive else roles.target
    fitting: list[tuple[str | None, tuple[str, ...], str]] = [
        (numeric, ("number", "integer"), "target"),
        (roles.time, ("time", "epoch"), "time"),
        (roles.position, ("integer",), "position"),
        (roles.user, ("category",), "user"),
        (roles.item, ("category",), "item"),
        (roles.weight, ("category", "number", "integer"), "weight"),
        (roles.segment, ("category",), "segment"),
    ]
    for column, kinds, role in fitting:
        if column and read.columns[column] not in kinds:
            raise ContractError(
                f"the type {' or '.join(kinds)} for the {role} {column!r} in meta.roles",
                repr(read.columns[column]),
                "correct meta.read.columns, or give the target its positive classes",
            )


def _rule(raw: Mapping[str, Any], where: str, read: Read) -> Rule:
    _known(raw, ("type", "kwargs", "meta"), where)
    kwargs, meta = _required(raw, "kwargs", where), _required(raw, "meta", where)
    _typed(_required(raw, "type", where), str, f"{where}.type")
    if not isinstance(kwargs, Mapping):
        raise ContractError(f"an object in {where}.kwargs", type(kwargs).__name__, "correct it")
    _known(meta, ("action", "reason"), f"{where}.meta")
    columns = tuple(_typed(kwargs[k], str, f"{where}.kwargs.{k}") for k in COLUMN_ARGUMENTS if k in kwargs)
    columns += _typed(kwargs.get("column_list", []), tuple[str, ...], f"{where}.kwargs.column_list")
    _columns_exist(set(columns), read, where)
    action = _required(meta, "action", f"{where}.meta")
    _one_of(action, ACTIONS, f"{where}.meta.action")
    rule = Rule(raw, action, _reason(meta, f"{where}.meta"), columns)
    if rule.action in ("quarantine", "exclude") and not rule.tells_rows:
        raise ContractError(
            f"refuse or warn in {where}.meta.action",
            f"{rule.action} for {rule.type}",
            "it judges no single rows",
        )
    return rule


def _split(raw: Mapping[str, Any], roles: Roles) -> SplitPolicy:
    _known(raw, tuple(SplitPolicy.__dataclass_fields__), "meta.split")
    if roles.user:
        return _log_split(raw, roles)
    rest = _fields({k: v for k, v in raw.items() if k != "sites"}, SplitPolicy, "meta.split")
    sites = _labels(raw["sites"], "meta.split.sites") if "sites" in raw else ()
    policy = SplitPolicy(**rest, sites=sites)
    _one_of(policy.by, SPLITS, "meta.split.by")
    if policy.by == "site" and not policy.sites:
        raise ContractError("meta.split.sites to leave out", "none", "name the sites of the test")
    if policy.by in ("time", "site") and getattr(roles, policy.by) is None:
        raise ContractError(f"a column with the role {policy.by}", "none", f"set meta.roles.{policy.by}")
    if policy.by == "stratified" and not roles.positive and roles.above is None:
        raise ContractError(
            "classes to stratify by in meta.split.by",
            "a number to predict",
            "split by hash, or set positive or above in meta.roles.target",
        )
    return _shares_fit(policy)


def _log_split(raw: Mapping[str, Any], roles: Roles) -> SplitPolicy:
    """What comes next can be foretold only from what came before, where that is known."""
    by = raw.get("by", "time" if roles.time else "last")
    _one_of(by, tuple(LOG_SPLITS), "meta.split.by")
    needed, has_shares = LOG_SPLITS[by]
    if needed and not any(getattr(roles, role) for role in needed):
        raise ContractError(
            f"the roles user, item and {' or '.join(needed)} to split by {by}",
            f"no {' and no '.join(needed)}",
            "set one in meta.roles, or split by another way in meta.split",
        )
    if not needed and (roles.time or roles.position):
        raise ContractError(
            f"no order of events to split by {by} in meta.split",
            "the role time or position",
            "split by last, or take the role from meta.roles",
        )
    _known(raw, ("by", "test", "valid") if has_shares else ("by",), f"meta.split by {by}")
    if not has_shares:
        return SplitPolicy(by, 0.0, 0.0)
    return _shares_fit(SplitPolicy(**_fields({**raw, "by": by}, SplitPolicy, "meta.split")))


def _shares_fit(policy: SplitPolicy) -> SplitPolicy:
    for name in ("test", "valid"):
        _share(getattr(policy, name), f"meta.split.{name}")
    if not 0 < policy.test + policy.valid < 1:
        raise ContractError(
            "test + valid between 0 and 1",
            f"{policy.test + policy.valid:g}",
            "leave rows to train on in meta.split",
        )
    return policy


def _keep_first(raw: Mapping[str, Any], read: Read) -> KeepFirst:
    keep = KeepFirst(**_fields(raw, KeepFirst, "meta.keep_first"))
    _reason(raw, "meta.keep_first")
    _columns_exist({keep.per, keep.by}, read, "meta.keep_first")
    return keep


def _foretelling(raw: Mapping[str, Any], read: Read) -> dict[str, str]:
    _object(raw, "meta.foretelling")
    _columns_exist(set(raw), read, "meta.foretelling")
    return {column: _reason({"reason": raw[column]}, f"meta.foretelling[{column!r}]") for column in raw}


def _special(raw: Mapping[str, Any], read: Read) -> dict[str, tuple[float, ...]]:
    """The codes of each column, as numbers; the contract says of each what it means."""
    _object(raw, "meta.special")
    _columns_exist(set(raw), read, "meta.special")
    return {column: _codes(raw[column], column, read) for column in raw}


def _blocked(raw: Mapping[str, Any], roles: Roles) -> dict[str, str]:
    _object(raw, "meta.blocked")
    if raw and roles.item is None:
        raise ContractError("meta.blocked where there is a role item", "no such role", "remove it")
    return {item: _reason({"reason": raw[item]}, f"meta.blocked[{item!r}]") for item in raw}


def _codes(raw: Mapping[str, Any], column: str, read: Read) -> tuple[float, ...]:
    where = f"meta.special[{column!r}]"
    _object(raw, where)
    if read.columns[column] not in ("number", "integer"):
        raise ContractError(
            f"a column of type number or integer for {where}",
            repr(read.columns[column]),
            "remove it: each value of a category is a code already",
        )
    for code in raw:
        _reason({"reason": raw[code]}, f"{where}[{code!r}]")
    codes = sorted({float(code) for code in raw if NUMBER.fullmatch(code)})
    if not codes or len(codes) < len(raw):
        raise ContractError(
            f"different numbers as keys of {where}", f"{sorted(raw)}", 'write each code once, as in "98"'
        )
    return tuple(codes)


def _weights(raw: Mapping[str, Any], roles: Roles, read: Read) -> dict[str, float]:
    """What each value of the column with the role weight counts; only a category needs it."""
    where = "meta.weights"
    _object(raw, where)
    if roles.weight is None or read.columns[roles.weight] != "category":
        if raw:
            raise ContractError(
                f"a category with the role weight for {where}",
                "none" if roles.weight is None else repr(read.columns[roles.weight]),
                "name its column in meta.roles.weight, or remove the weights: a number is one already",
            )
        return {}
    if not raw:
        raise ContractError(
            f"a weight of each value of {roles.weight!r} in {where}", "none", "write what each counts"
        )
    for value, weight in raw.items():
        if not 0 < _typed(weight, float, f"{where}[{value!r}]") < math.inf:
            raise ContractError(
                f"a number above 0 in {where}[{value!r}]",
                f"{weight}",
                "correct it, or leave such rows out by a rule with the action exclude",
            )
    return {value: float(weight) for value, weight in raw.items()}


def _items(raw: Mapping[str, Any], read: Read, roles: Roles) -> ItemTable:
    where = "meta.items"
    if not roles.user or not read.files:
        raise ContractError(
            f"the roles user and item, and files in meta.read, for {where}",
            "no such roles" if read.files else "none that are read",
            f"remove {where}: a table of rows has its attributes as columns",
        )
    table = ItemTable(**_fields(raw, ItemTable, where))
    _one_of(table.format, ITEM_FORMATS, f"{where}.format")
    if not table.file or table.file in read.files:
        raise ContractError(
            f"a file of its own in {where}.file", repr(table.file), "name the one that lists the items"
        )
    if table.format == "json":
        _known(raw, ("file", "format", "encoding"), f"{where} of the format json")
        return table
    if not table.item or not table.attributes or not table.separator or table.list_separator == "":
        raise ContractError(
            f"item, attributes, and separators that are no empty text, in {where}",
            f"{table.item!r}, {list(table.attributes)}, {table.separator!r} and {table.list_separator!r}",
            "name the column of the item and those that say what it is",
        )
    if table.header == bool(table.columns):
        raise ContractError(
            f"the names of all columns in {where}.columns where the file has no header, and only there",
            f"header {str(table.header).lower()} and {len(table.columns)} columns",
            "name them, or set header",
        )
    _item_columns_fit(table, where)
    return table


def _item_columns_fit(table: ItemTable, where: str) -> None:
    named = (table.item, *table.attributes)
    unknown = sorted(set(named) - set(table.columns)) if table.columns else []
    twice = sorted(
        {c for c in named if named.count(c) > 1} | {c for c in table.columns if table.columns.count(c) > 1}
    )
    if unknown or twice:
        raise ContractError(
            f"columns of the file in {where}, each once", f"{unknown or twice}", f"correct {where}"
        )


def _about(meta: Mapping[str, Any]) -> dict[str, Any]:
    about = {k: _typed(meta[k], str, f"meta.{k}") for k in ABOUT if k in meta}
    if "sha256" in meta:
        about["sha256"] = _typed(meta["sha256"], Mapping[str, str], "meta.sha256")
    return about


def _features_fit(contract: Contract) -> None:
    if not contract.features:
        raise ContractError(
            "at least one feature column", "none", "give meta.read.columns a column without a role"
        )
    times = [c for c in contract.features if contract.read.columns[c] in ("time", "epoch")]
    if times:
        raise ContractError(
            "features of numbers and categories, as models take no times, in meta.roles",
            f"{times}",
            "give them the role time, or list them in meta.roles.ignored",
        )


def _object(raw: object, where: str) -> None:
    if not isinstance(raw, Mapping):
        raise ContractError(f"an object in {where}", type(raw).__name__, "see the contracts in expectations/")


def _known(raw: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    _object(raw, where)
    unknown = sorted(set(raw) - set(known))
    if unknown:
        raise ContractError(
            f"only the keys {', '.join(known)} in {where}", f"{unknown}", "correct or remove them"
        )


def _required(raw: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in raw:
        raise ContractError(f"the key {key!r} in {where}", f"{sorted(raw)}", "add it")
    return raw[key]


def _fields(raw: Mapping[str, Any], made: type[Any], where: str) -> dict[str, Any]:
    """The values of a dataclass, each of the type of its field; fields without a default are required."""
    fields = made.__dataclass_fields__
    _known(raw, tuple(fields), where)
    for name, one in fields.items():
        if one.default is MISSING and one.default_factory is MISSING:
            _required(raw, name, where)
    return {name: _typed(value, fields[name].type, f"{where}.{name}") for name, value in raw.items()}


def _typed(value: Any, wanted: Any, where: str) -> Any:
    """The value if JSON gave it the wanted type (null only where a field may be None), a list of strings as tuple."""
    if type(None) in get_args(wanted):
        if value is None:
            return None
        wanted = get_args(wanted)[0]
    described, fits = JSON_TYPES[wanted]
    if not fits(value):
        raise ContractError(f"{described} in {where}", type(value).__name__, "correct it")
    return tuple(value) if wanted == tuple[str, ...] else value


def _labels(values: object, where: str) -> tuple[str, ...]:
    """Classes or sites as cells say them: strings, or whole numbers for their text."""
    labels = _typed(values, list, where)
    odd = [v for v in labels if isinstance(v, bool) or not isinstance(v, str | int)]
    if odd or not labels:
        raise ContractError(f"strings in {where}", f"{values!r}", "write each as its cells say it")
    return tuple(str(v) for v in labels)


def _reason(raw: Mapping[str, Any], where: str) -> str:
    reason = _typed(raw.get("reason", ""), str, f"{where}.reason").strip()
    if not reason:
        raise ContractError(f"a reason in {where}", "none", "say why it is there")
    return str(reason)


def _columns_exist(columns: set[str], read: Read, where: str) -> None:
    unknown = sorted(columns - set(read.columns))
    if unknown:
        raise ContractError(
            f"columns of meta.read.columns in {where}", f"{unknown}", f"use one of {sorted(read.columns)}"
        )


def _one_of(value: object, known: Sequence[str], where: str) -> None:
    if value not in known:
        raise ContractError(f"one of {', '.join(known)} in {where}", f"{value!r}", "correct it")


def _share(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ContractError(f"a share from 0 to below 1 in {where}", f"{value!r}", "correct it")
    return float(value)

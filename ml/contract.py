"""The contract of one data set: what may enter, what each column is for, and why.

A contract is a JSON file that loads as a Great Expectations suite. GX checks nothing inside `meta`, so everything of
ours sits there and is checked here, key by key: a misspelt key is an error, never a rule that silently does nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml.refusal import ContractError

ACTIONS = ("refuse", "quarantine", "exclude", "warn")
COLUMN_TYPES = ("number", "integer", "category", "time", "epoch")
SPLITS = ("hash", "stratified", "time", "site")
# Expectations that tell good rows from bad ones; all others judge the batch as a whole.
ROW_EXPECTATION = re.compile(
    r"expect_(column_values|column_pair_values|column_value_lengths|multicolumn|select_column|compound_columns)_"
)
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
    """What each column is for. A column without a role is a feature."""

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
    weight: str | None = None
    repeat: bool = False
    descriptions: Mapping[str, str] = field(default_factory=dict)

    def columns(self) -> set[str]:
        one = (self.target, self.id, self.time, self.group, self.site, self.user, self.item, self.weight)
        return {c for c in one if c} | {*self.sensitive, *self.ignored, *self.descriptions}


@dataclass(frozen=True)
class Read:
    """How to read the files. Readers guess nothing.

    `columns` maps every column that is read to its type. `source_column` stacks several files and names the column
    that holds each file's stem; `join` joins several files on that key.
    A `simulator` makes `rows` rows from `seed` instead.
    """

    columns: Mapping[str, str]
    files: tuple[str, ...] = ()
    format: str = "csv"
    encoding: str = "utf-8"
    separator: str = ","
    header: bool = True
    missing: tuple[str, ...] = ("",)
    source_column: str | None = None
    join: str | None = None
    simulator: str | None = None
    rows: int = 0
    seed: int = 0


@dataclass(frozen=True)
class SplitPolicy:
    """How rows are divided. `test` and `valid` are shares of rows (hash, stratified) or of time; `site` names sites."""

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


ABOUT = ("description", "publisher", "licence", "citation", "url", "sha256")


def parse(source: Mapping[str, Any]) -> Contract:
    """Check a contract's JSON key by key. Raises ContractError at the first key, column or value that is wrong."""
    _known(source, ("name", "expectations", "meta"), "the contract")
    for key in ("name", "expectations", "meta"):
        _required(source, key, "the contract")
    if not re.fullmatch(r"[a-z0-9-]+\.[A-Za-z0-9_-]+", str(source["name"])):
        raise ContractError(
            "a name such as fintech-risk.my_loans", repr(source["name"]), "name <case>.<data set>"
        )
    meta = source["meta"]
    known = ("read", "roles", "split", "budget", "keep_first", "foretelling", *ABOUT)
    _known(meta, known, "meta")
    read = _read(_required(meta, "read", "meta"))
    roles = _roles(_required(meta, "roles", "meta"))
    _columns_exist(roles.columns(), read, "meta.roles")
    rules = tuple(_rule(e, i, read) for i, e in enumerate(source["expectations"]))
    keep_first = _keep_first(meta["keep_first"], read) if "keep_first" in meta else None
    foretelling = dict(meta.get("foretelling", {}))
    _columns_exist(set(foretelling), read, "meta.foretelling")
    contract = Contract(
        name=str(source["name"]),
        rules=rules,
        read=read,
        roles=roles,
        split=_split(meta.get("split", {}), roles),
        budget=_share(meta.get("budget", 0.05), "meta.budget"),
        keep_first=keep_first,
        foretelling=foretelling,
        about={k: meta[k] for k in ABOUT if k in meta},
        source=source,
    )
    if not contract.is_recommendation and not contract.features:
        raise ContractError(
            "at least one feature column", "none", "give meta.read.columns a column without a role"
        )
    return contract


def _read(raw: Mapping[str, Any]) -> Read:
    _known(raw, tuple(Read.__dataclass_fields__), "meta.read")
    columns = dict(_required(raw, "columns", "meta.read"))
    for column, kind in columns.items():
        _one_of(kind, COLUMN_TYPES, f"meta.read.columns[{column!r}]")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    read = Read(**{**values, "columns": columns})
    _one_of(read.format, ("csv", "parquet"), "meta.read.format")
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
    return read


def _roles(raw: Mapping[str, Any]) -> Roles:
    known = tuple(k for k in Roles.__dataclass_fields__ if k not in ("positive", "above"))
    _known(raw, known, "meta.roles")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    if "target" in raw:
        target = raw["target"]
        _known(target, ("column", "positive", "above"), "meta.roles.target")
        if "positive" in target and "above" in target:
            raise ContractError(
                "meta.roles.target with positive or above", "both", "keep one, or neither to predict a number"
            )
        values["target"] = _required(target, "column", "meta.roles.target")
        values["positive"] = tuple(str(v) for v in target.get("positive", ()))
        values["above"] = target.get("above")
    elif not (raw.get("user") and raw.get("item") and raw.get("time")):
        raise ContractError(
            "roles.target, or the three roles user, item and time", f"{sorted(raw)}", "complete meta.roles"
        )
    return Roles(**values)


def _rule(raw: Mapping[str, Any], position: int, read: Read) -> Rule:
    where = f"expectations[{position}]"
    _known(raw, ("type", "kwargs", "meta"), where)
    kwargs, meta = _required(raw, "kwargs", where), _required(raw, "meta", where)
    _required(raw, "type", where)
    _known(meta, ("action", "reason"), f"{where}.meta")
    columns = [kwargs[k] for k in COLUMN_ARGUMENTS if k in kwargs] + list(kwargs.get("column_list", ()))
    if "column_set" not in kwargs:
        _columns_exist(set(columns), read, where)
    rule = Rule(
        raw, _required(meta, "action", f"{where}.meta"), str(meta.get("reason", "")).strip(), tuple(columns)
    )
    _one_of(rule.action, ACTIONS, f"{where}.meta.action")
    if not rule.reason:
        raise ContractError(f"a reason in {where}.meta", "none", "say why the rule is there")
    if rule.action in ("quarantine", "exclude") and not rule.tells_rows:
        raise ContractError(
            f"refuse or warn in {where}.meta.action",
            f"{rule.action} for {rule.type}",
            "it judges no single rows",
        )
    return rule


def _split(raw: Mapping[str, Any], roles: Roles) -> SplitPolicy:
    _known(raw, tuple(SplitPolicy.__dataclass_fields__), "meta.split")
    policy = SplitPolicy(**{**raw, "sites": tuple(str(s) for s in raw.get("sites", ()))})
    _one_of(policy.by, SPLITS, "meta.split.by")
    if policy.by == "site" and not policy.sites:
        raise ContractError("meta.split.sites to leave out", "none", "name the sites of the test")
    if policy.by in ("time", "site") and getattr(roles, policy.by) is None:
        raise ContractError(f"a column with the role {policy.by}", "none", f"set meta.roles.{policy.by}")
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
    names = tuple(KeepFirst.__dataclass_fields__)
    _known(raw, names, "meta.keep_first")
    keep = KeepFirst(**{name: _required(raw, name, "meta.keep_first") for name in names})
    _columns_exist({keep.per, keep.by}, read, "meta.keep_first")
    return keep


def _known(raw: object, known: Sequence[str], where: str) -> None:
    if not isinstance(raw, Mapping):
        raise ContractError(f"an object in {where}", type(raw).__name__, "see the contracts in expectations/")
    unknown = sorted(set(raw) - set(known))
    if unknown:
        raise ContractError(
            f"only the keys {', '.join(known)} in {where}", f"{unknown}", "correct or remove them"
        )


def _required(raw: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in raw:
        raise ContractError(f"the key {key!r} in {where}", f"{sorted(raw)}", "add it")
    return raw[key]


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
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise ContractError(f"a share from 0 to below 1 in {where}", f"{value!r}", "correct it")
    return float(value)

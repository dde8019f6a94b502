"""From a contract's JSON to a `ml.contract.schema.Contract`: what each section may say, and what fits together."""

import math
import re
from collections.abc import Mapping
from typing import Any

from ml.contract.fields import (
    an_object,
    fields_of,
    known_keys,
    labels,
    one_of,
    reason,
    required,
    share,
    typed,
)
from ml.contract.schema import (
    ACTIONS,
    COLUMN_ARGUMENTS,
    COLUMN_TYPES,
    FORMATS,
    ITEM_FORMATS,
    LINES,
    LOG_SPLITS,
    NUMBER,
    SPLITS,
    Contract,
    ItemTable,
    KeepFirst,
    Read,
    Roles,
    Rule,
    SplitPolicy,
)
from ml.errors import ContractError

ABOUT = ("description", "publisher", "licence", "citation", "url")


def parse(source: Mapping[str, Any]) -> Contract:
    """Check a contract's JSON key by key. Raises ContractError at the first key, column or value that is wrong."""
    known_keys(source, ("name", "expectations", "meta"), "the contract")
    name = required(source, "name", "the contract")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9-]+\.[A-Za-z0-9_-]+", name):
        raise ContractError("a name such as fintech-risk.my_loans", repr(name), "name <case>.<data set>")
    expectations = typed(required(source, "expectations", "the contract"), list, "expectations")
    meta = required(source, "meta", "the contract")
    keys = ("read", "roles", "split", "budget", "keep_first", "foretelling", "special")
    known_keys(meta, (*keys, "weights", "decay", "blocked", "items", *ABOUT, "sha256"), "meta")
    read = _read(required(meta, "read", "meta"))
    roles = _roles(required(meta, "roles", "meta"), read)
    contract = Contract(
        name=name,
        rules=tuple(_rule(e, f"expectations[{i}]", read) for i, e in enumerate(expectations)),
        read=read,
        roles=roles,
        split=_split(meta.get("split", {}), roles),
        budget=share(meta.get("budget", 0.05), "meta.budget"),
        keep_first=_keep_first(meta["keep_first"], read) if "keep_first" in meta else None,
        foretelling=_foretelling(meta.get("foretelling", {}), read),
        special=_special(meta.get("special", {}), read),
        blocked=_blocked(meta.get("blocked", {}), roles),
        weights=_weights(meta.get("weights", {}), roles, read),
        decay=_decay(meta["decay"], roles) if "decay" in meta else None,
        items=_items(meta["items"], read, roles) if "items" in meta else None,
        about=_about(meta),
        source=source,
    )
    if not contract.is_recommendation:
        _features_fit(contract)
    return contract


def _read(raw: Mapping[str, Any]) -> Read:
    read = Read(**fields_of(raw, Read, "meta.read"))
    for column, kind in read.columns.items():
        one_of(kind, COLUMN_TYPES, f"meta.read.columns[{column!r}]")
    one_of(read.format, FORMATS, "meta.read.format")
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
    known_keys(raw, names, "meta.roles")
    values = fields_of({k: v for k, v in raw.items() if k != "target"}, Roles, "meta.roles")
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
    known_keys(raw, ("column", "positive", "above"), where)
    if "positive" in raw and "above" in raw:
        raise ContractError(
            f"{where} with positive or above", "both", "keep one, or neither to predict a number"
        )
    target: dict[str, Any] = {"target": typed(required(raw, "column", where), str, f"{where}.column")}
    if "positive" in raw:
        target["positive"] = labels(raw["positive"], f"{where}.positive")
    if "above" in raw:
        target["above"] = typed(raw["above"], float, f"{where}.above")
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
    known_keys(raw, ("type", "kwargs", "meta"), where)
    kwargs, meta = required(raw, "kwargs", where), required(raw, "meta", where)
    typed(required(raw, "type", where), str, f"{where}.type")
    if not isinstance(kwargs, Mapping):
        raise ContractError(f"an object in {where}.kwargs", type(kwargs).__name__, "correct it")
    known_keys(meta, ("action", "reason"), f"{where}.meta")
    columns = tuple(typed(kwargs[k], str, f"{where}.kwargs.{k}") for k in COLUMN_ARGUMENTS if k in kwargs)
    columns += typed(kwargs.get("column_list", []), tuple[str, ...], f"{where}.kwargs.column_list")
    _columns_exist(set(columns), read, where)
    action = required(meta, "action", f"{where}.meta")
    one_of(action, ACTIONS, f"{where}.meta.action")
    rule = Rule(raw, action, reason(meta, f"{where}.meta"), columns)
    if rule.action in ("quarantine", "exclude") and not rule.tells_rows:
        raise ContractError(
            f"refuse or warn in {where}.meta.action",
            f"{rule.action} for {rule.type}",
            "it judges no single rows",
        )
    return rule


def _split(raw: Mapping[str, Any], roles: Roles) -> SplitPolicy:
    known_keys(raw, tuple(SplitPolicy.__dataclass_fields__), "meta.split")
    if roles.user:
        return _log_split(raw, roles)
    rest = fields_of({k: v for k, v in raw.items() if k != "sites"}, SplitPolicy, "meta.split")
    sites = labels(raw["sites"], "meta.split.sites") if "sites" in raw else ()
    policy = SplitPolicy(**rest, sites=sites)
    one_of(policy.by, SPLITS, "meta.split.by")
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
    one_of(by, tuple(LOG_SPLITS), "meta.split.by")
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
    known_keys(raw, ("by", "test", "valid") if has_shares else ("by",), f"meta.split by {by}")
    if not has_shares:
        return SplitPolicy(by, 0.0, 0.0)
    return _shares_fit(SplitPolicy(**fields_of({**raw, "by": by}, SplitPolicy, "meta.split")))


def _shares_fit(policy: SplitPolicy) -> SplitPolicy:
    for name in ("test", "valid"):
        share(getattr(policy, name), f"meta.split.{name}")
    if not 0 < policy.test + policy.valid < 1:
        raise ContractError(
            "test + valid between 0 and 1",
            f"{policy.test + policy.valid:g}",
            "leave rows to train on in meta.split",
        )
    return policy


def _keep_first(raw: Mapping[str, Any], read: Read) -> KeepFirst:
    keep = KeepFirst(**fields_of(raw, KeepFirst, "meta.keep_first"))
    reason(raw, "meta.keep_first")
    _columns_exist({keep.per, keep.by}, read, "meta.keep_first")
    return keep


def _foretelling(raw: Mapping[str, Any], read: Read) -> dict[str, str]:
    an_object(raw, "meta.foretelling")
    _columns_exist(set(raw), read, "meta.foretelling")
    return {column: reason({"reason": raw[column]}, f"meta.foretelling[{column!r}]") for column in raw}


def _special(raw: Mapping[str, Any], read: Read) -> dict[str, tuple[float, ...]]:
    """The codes of each column, as numbers; the contract says of each what it means."""
    an_object(raw, "meta.special")
    _columns_exist(set(raw), read, "meta.special")
    return {column: _codes(raw[column], column, read) for column in raw}


def _blocked(raw: Mapping[str, Any], roles: Roles) -> dict[str, str]:
    an_object(raw, "meta.blocked")
    if raw and roles.item is None:
        raise ContractError("meta.blocked where there is a role item", "no such role", "remove it")
    return {item: reason({"reason": raw[item]}, f"meta.blocked[{item!r}]") for item in raw}


def _decay(raw: object, roles: Roles) -> float:
    if roles.item is None:
        raise ContractError("meta.decay where there is a role item", "no such role", "remove it")
    decay = float(typed(raw, float, "meta.decay"))
    if not 0.0 < decay <= 1.0:
        raise ContractError(
            "a number above 0, and at most 1, in meta.decay",
            f"{raw!r}",
            "correct it, or remove it: then what came last in the log tells",
        )
    return decay


def _codes(raw: Mapping[str, Any], column: str, read: Read) -> tuple[float, ...]:
    where = f"meta.special[{column!r}]"
    an_object(raw, where)
    if read.columns[column] not in ("number", "integer"):
        raise ContractError(
            f"a column of type number or integer for {where}",
            repr(read.columns[column]),
            "remove it: each value of a category is a code already",
        )
    for code in raw:
        reason({"reason": raw[code]}, f"{where}[{code!r}]")
    codes = sorted({float(code) for code in raw if NUMBER.fullmatch(code)})
    if not codes or len(codes) < len(raw):
        raise ContractError(
            f"different numbers as keys of {where}", f"{sorted(raw)}", 'write each code once, as in "98"'
        )
    return tuple(codes)


def _weights(raw: Mapping[str, Any], roles: Roles, read: Read) -> dict[str, float]:
    """What each value of the column with the role weight counts; only a category needs it."""
    where = "meta.weights"
    an_object(raw, where)
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
        if not 0 < typed(weight, float, f"{where}[{value!r}]") < math.inf:
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
    table = ItemTable(**fields_of(raw, ItemTable, where))
    one_of(table.format, ITEM_FORMATS, f"{where}.format")
    if not table.file or table.file in read.files:
        raise ContractError(
            f"a file of its own in {where}.file", repr(table.file), "name the one that lists the items"
        )
    if table.format == "json":
        known_keys(raw, ("file", "format", "encoding"), f"{where} of the format json")
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
    about = {k: typed(meta[k], str, f"meta.{k}") for k in ABOUT if k in meta}
    if "sha256" in meta:
        about["sha256"] = typed(meta["sha256"], Mapping[str, str], "meta.sha256")
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


def _columns_exist(columns: set[str], read: Read, where: str) -> None:
    unknown = sorted(columns - set(read.columns))
    if unknown:
        raise ContractError(
            f"columns of meta.read.columns in {where}", f"{unknown}", f"use one of {sorted(read.columns)}"
        )

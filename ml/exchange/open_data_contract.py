"""Contracts as files of the Open Data Contract Standard 3.1, and back.

Columns and rules are written in the words of the standard; what it has no words for, such as roles, is one custom
property. A contract that is exported and imported has the same columns, rules and `meta`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import yaml

from ml.contract.parser import current_version, parse
from ml.contract.read_options import COLUMN_TYPES
from ml.contract.schema import Contract
from ml.data.digest import json_digest
from ml.errors import ContractError
from ml.exchange.quality_rules import NO_REASON, Json, from_quality, to_quality

API_VERSION = "v3.1.0"
API_VERSIONS = ("v3.0.0", "v3.0.1", "v3.0.2", "v3.1.0")
PROPERTY = "steward"
MAX_BYTES = 4 * 2**20
LOGICAL_TYPES = {
    "number": "number",
    "integer": "integer",
    "category": "string",
    "time": "timestamp",
    "epoch": "integer",
}
# Types of columns by logical type; objects and arrays have none.
COLUMN_OF_LOGICAL = {
    "string": "category",
    "boolean": "category",
    "time": "category",
    "number": "number",
    "integer": "integer",
    "date": "time",
    "timestamp": "time",
}
BOUNDS = {
    "minimum": ("min_value", None),
    "maximum": ("max_value", None),
    "exclusiveMinimum": ("min_value", "strict_min"),
    "exclusiveMaximum": ("max_value", "strict_max"),
}


@dataclass(frozen=True)
class Target:
    """The target of a contract that is imported from another project: its column and its positive values."""

    column: str
    positive: Sequence[str]


@dataclass(frozen=True)
class ImportedContract:
    """The JSON of a contract, which `ml.contract.parser.parse` accepts, and what could not be imported."""

    source: Json
    left_out: tuple[str, ...]


def export_contract(contract: Contract) -> str:
    """Return a contract as YAML of the standard."""
    source: Json = {"expectations": [], **current_version(contract.source)[0]}
    meta = {key: value for key, value in source["meta"].items() if key != "read"}
    meta["read"] = {key: value for key, value in source["meta"]["read"].items() if key != "columns"}
    by_column: dict[str, list[Json]] = {column: [] for column in contract.read.columns}
    of_table: list[Json] = []
    for rule in source["expectations"]:
        column = rule["kwargs"].get("column")
        by_column.get(column, of_table).append(to_quality(rule))
    descriptions = source["meta"].get("roles", {}).get("descriptions", {})
    properties = [
        {
            "name": column,
            "logicalType": LOGICAL_TYPES[kind],
            "physicalType": kind,
            **({"description": descriptions[column]} if column in descriptions else {}),
            **({"quality": by_column[column]} if by_column[column] else {}),
        }
        for column, kind in contract.read.columns.items()
    ]
    case, _, data = contract.name.partition(".")
    table: Json = {"name": data, "logicalType": "object", "physicalType": "file", "properties": properties}
    if of_table:
        table["quality"] = of_table
    exported = {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": contract.name,
        "name": contract.name,
        "version": json_digest(contract.source)[:12],
        "status": "active",
        "domain": case,
        "description": {"purpose": str(meta.get("description", ""))},
        "schema": [table],
        "customProperties": [{"property": PROPERTY, "value": meta}],
    }
    return yaml.safe_dump(exported, sort_keys=False, allow_unicode=True, width=120)


def import_contract(text: bytes, case: str, target: Target | None = None) -> ImportedContract:
    """Return a contract of the standard as a contract of a use case.

    `target` is needed where it has no custom property of this project. Raises ContractError for a file that is not of
    the standard, has several tables, or is no valid contract after the import.
    """
    document = _read(text)
    table = _only_table(document)
    steward = [
        p["value"]
        for p in _objects(document.get("customProperties"))
        if p.get("property") == PROPERTY and isinstance(p.get("value"), dict)
    ]
    columns, rules, left_out = _columns_and_rules(table, is_own=bool(steward))
    name = str(table.get("name", "data"))
    if steward:
        meta = {**steward[0], "read": {**steward[0].get("read", {}), "columns": columns}}
    elif target is None:
        raise ContractError(
            "a target for a contract that another project wrote", "none", "add --target and --positive"
        )
    else:
        meta = {
            "schema_version": 2,
            "description": _purpose(document),
            "read": {"files": [f"{name}.csv"], "columns": columns},
            "roles": {"target": {"column": target.column, "positive": list(target.positive)}},
        }
        if times := [column for column, kind in columns.items() if kind == "time"]:
            meta["roles"]["ignored"] = times
            left_out.append(f"{', '.join(times)}: times, ignored until one has the role time")
    source = {"name": f"{case}.{name}", "expectations": rules, "meta": meta}
    parse(source)
    return ImportedContract(source, tuple(left_out))


class _Loader(yaml.SafeLoader):
    """A reader of YAML that refuses aliases, by which a small file can have very many values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


def _read(text: bytes) -> Json:
    if len(text) > MAX_BYTES:
        raise ContractError(f"at most {MAX_BYTES // 2**20} MB of YAML", "more", "remove what is not needed")
    try:
        document = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        raise ContractError("YAML without aliases", f"an error{place}", "correct the file") from None
    if not isinstance(document, dict) or document.get("kind") != "DataContract":
        raise ContractError("kind: DataContract in the file", "another kind of file", "give a data contract")
    if document.get("apiVersion") not in API_VERSIONS:
        got = str(document.get("apiVersion"))[:20]
        raise ContractError(f"apiVersion of {', '.join(API_VERSIONS)}", got, "convert the file")
    return document


def _only_table(document: Json) -> Json:
    tables = _objects(document.get("schema"))
    if len(tables) != 1:
        raise ContractError("one table in schema", f"{len(tables)}", "write one file for each table")
    return tables[0]


def _objects(value: Any) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _purpose(document: Json) -> str:
    description = document.get("description")
    purpose = description.get("purpose") if isinstance(description, dict) else None
    return str(purpose or document.get("name") or "imported from a data contract")


def _columns_and_rules(table: Json, is_own: bool) -> tuple[Json, list[Json], list[str]]:
    """Return types of columns, rules, and what was left out."""
    columns: Json = {}
    rules: list[Json] = []
    left_out: list[str] = []
    keys: list[str] = []
    for entry in _objects(table.get("properties")):
        column = str(entry.get("name"))
        kind = _column_type(entry, is_own)
        if kind is None:
            left_out.append(f"column {column}: its type {entry.get('logicalType')} is not of a table")
            continue
        columns[column] = kind
        if entry.get("primaryKey") is True:
            keys.append(column)
        rules += _declared_rules(entry, column)
        rules += _quality_rules(entry, column, left_out)
    if keys:
        rules.append(_key_rule(keys))
    rules += _quality_rules(table, None, left_out)
    return columns, rules, left_out


def _column_type(entry: Json, is_own: bool) -> str | None:
    """Return the type of a column: that of this project where it wrote the file, else by the logical type."""
    if is_own and entry.get("physicalType") in COLUMN_TYPES:
        return str(entry["physicalType"])
    return COLUMN_OF_LOGICAL.get(str(entry.get("logicalType", "string")))


def _quality_rules(owner: Json, column: str | None, left_out: list[str]) -> Iterator[Json]:
    for quality in _objects(owner.get("quality")):
        rule = from_quality(quality, column)
        if rule:
            yield rule
        else:
            kind = quality.get("metric") or quality.get("engine") or quality.get("type")
            left_out.append(f"a rule of {column or 'the table'} ({kind}): it has no expectation")


def _declared_rules(entry: Json, column: str) -> Iterator[Json]:
    """Yield the rules that a property states by its keys."""
    if entry.get("required") is True:
        yield _rule("expect_column_values_to_not_be_null", {"column": column}, "the column is required")
    if entry.get("unique") is True:
        yield _rule("expect_column_values_to_be_unique", {"column": column}, "the column is unique")
    options = entry.get("logicalTypeOptions")
    if not isinstance(options, dict):
        return
    if bounds := _bounds(options):
        yield _rule("expect_column_values_to_be_between", {"column": column, **bounds}, "the declared range")
    lengths = {
        key: options[name]
        for name, key in (("minLength", "min_value"), ("maxLength", "max_value"))
        if name in options
    }
    if lengths:
        yield _rule(
            "expect_column_value_lengths_to_be_between", {"column": column, **lengths}, "the declared length"
        )
    if "pattern" in options:
        kwargs = {"column": column, "regex": options["pattern"]}
        yield _rule("expect_column_values_to_match_regex", kwargs, "the declared pattern")


def _bounds(options: Mapping[str, Any]) -> Json:
    bounds: Json = {}
    for name, (key, strict) in BOUNDS.items():
        if name in options:
            bound = options[name]
            # YAML reads 2020-01-01 as a date.
            bounds[key] = bound.isoformat() if isinstance(bound, date) else bound
            if strict:
                bounds[strict] = True
    return bounds


def _key_rule(keys: list[str]) -> Json:
    if len(keys) == 1:
        return _rule("expect_column_values_to_be_unique", {"column": keys[0]}, "the primary key")
    return _rule("expect_compound_columns_to_be_unique", {"column_list": keys}, "the primary key")


def _rule(expectation: str, kwargs: Json, reason: str = NO_REASON) -> Json:
    return {"type": expectation, "kwargs": kwargs, "meta": {"action": "quarantine", "reason": reason}}

"""Apply what a person has decided about the doubtful points of a drafted contract."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml.contract.parser import parse

# Roles of several columns, of which a point names one.
LISTS = ("ignored", "sensitive", "text")
# Roles of one column that a contract can do without.
OPTIONAL = ("id", "time", "group", "site", "segment", "event_order")


@dataclass(frozen=True)
class Point:
    """A point to decide: a place of `meta` or a rule by its number, the evidence, and whether it can be taken back."""

    place: str
    reason: str
    rule: int | None
    can_drop: bool


def open_points(source: Mapping[str, Any]) -> list[Point]:
    """Return the points that are marked for review, in the order of the contract."""
    points = [
        Point(proposal["place"], proposal["reason"], None, _can_drop(source, proposal["place"]))
        for proposal in source["meta"].get("proposals", ())
        if proposal.get("review")
    ]
    for number, rule in enumerate(source["expectations"]):
        if rule["meta"].get("review"):
            named = [value for key, value in rule["kwargs"].items() if key.startswith("column")]
            name = f"{rule['type'].removeprefix('expect_')}({', '.join(map(str, named))})"
            points.append(Point(name, rule["meta"]["reason"], number, True))
    points += [
        Point(f"sums.{rule['total']}", rule["reason"], None, True)
        for rule in source["meta"].get("sums", ())
        if rule.get("review")
    ]
    return points


def keep(source: Mapping[str, Any], point: Point) -> dict[str, Any]:
    """Return the contract with the point reviewed and as it is."""
    return _reviewed(copy.deepcopy(dict(source)), point)


def drop(source: Mapping[str, Any], point: Point) -> dict[str, Any]:
    """Return the contract without what the point proposes. Raises ContractError where that leaves no valid contract."""
    changed = _reviewed(copy.deepcopy(dict(source)), point)
    if point.rule is not None:
        changed["expectations"].pop(point.rule)
        return changed
    section, _, rest = point.place.partition(".")
    meta = changed["meta"]
    if section == "sentinel_values":
        column, _, code = rest.rpartition(".")
        meta["sentinel_values"][column].pop(code)
        if not meta["sentinel_values"][column]:
            meta["sentinel_values"].pop(column)
    elif section == "roles":
        role, _, column = rest.partition(".")
        if role in LISTS:
            meta["roles"][role].remove(column)
        elif role == "features":
            meta["roles"].setdefault("ignored", []).append(column)
        else:
            meta["roles"].pop(role)
    elif section == "read" and rest.startswith("missing."):
        meta["read"]["missing"].remove(rest.removeprefix("missing."))
    elif section == "read" and rest.startswith("replace."):
        _drop_repairs(meta, rest.removeprefix("replace."))
    elif section == "copies":
        meta.pop("copies")
    elif section == "sums":
        meta["sums"] = [rule for rule in meta["sums"] if rule["total"] != rest]
    parse(changed)
    return changed


def _can_drop(source: Mapping[str, Any], place: str) -> bool:
    section, _, rest = place.partition(".")
    meta = source["meta"]
    if section == "sentinel_values":
        column, _, code = rest.rpartition(".")
        return code in meta.get("sentinel_values", {}).get(column, {})
    if section == "roles":
        role, _, column = rest.partition(".")
        roles = meta["roles"]
        if role == "features":
            return column in meta["read"]["columns"] and column not in roles.get("ignored", ())
        return column in roles.get(role, ()) if role in LISTS else role in OPTIONAL and role in roles
    if place.startswith("read.missing."):
        return place.removeprefix("read.missing.") in meta["read"].get("missing", ())
    if place.startswith("read.replace."):
        return _repair(meta["read"].get("replace", {}), place.removeprefix("read.replace.")) is not None
    return section == "copies" and "copies" in meta


def _repair(repairs: Mapping[str, Mapping[str, Any]], place: str) -> tuple[str, str | None] | None:
    """Return the column of repairs, with one of its values or None for all; None where there are no such repairs."""
    if place in repairs:
        return place, None
    return next(
        (
            (column, value)
            for column, values in repairs.items()
            for value in values
            if place == f"{column}.{value}"
        ),
        None,
    )


def _drop_repairs(meta: dict[str, Any], place: str) -> None:
    """Take back one repair of a column, or all of them that are no points of their own."""
    read, points = meta["read"], {proposal["place"] for proposal in meta.get("proposals", ())}
    column, value = _repair(read["replace"], place) or (place, None)
    dropped = (
        [value]
        if value is not None
        else [wrong for wrong in read["replace"][column] if f"read.replace.{column}.{wrong}" not in points]
    )
    for wrong in dropped:
        read["replace"][column].pop(wrong)
    if not read["replace"][column]:
        read["replace"].pop(column)
    if not read["replace"]:
        read.pop("replace")


def _reviewed(source: dict[str, Any], point: Point) -> dict[str, Any]:
    if point.rule is not None:
        source["expectations"][point.rule]["meta"].pop("review")
        return source
    for rule in source["meta"].get("sums", ()):
        if point.place == f"sums.{rule['total']}":
            rule.pop("review", None)
    for proposal in source["meta"]["proposals"]:
        if proposal["place"] == point.place:
            proposal.pop("review", None)
    return source

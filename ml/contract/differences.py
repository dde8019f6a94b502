"""What differs between two contracts, as sentences: columns, roles, rules and everything else."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ml.contract.schema import Contract, Rule

# Sections of `meta` that are compared key by key; columns and roles are named one by one.
NO_EFFECT = ("proposals", "description", "schema_version")


def describe_differences(old: Contract, new: Contract) -> list[str]:
    """Return a sentence for each difference; an empty list where both treat all data alike."""
    return [*_columns(old, new), *_rules(old, new), *_meta(old, new)]


def _columns(old: Contract, new: Contract) -> Iterator[str]:
    before, after = old.read.columns, new.read.columns
    for column in dict.fromkeys([*before, *after]):
        if column not in after:
            yield f"column {column!r} is no longer read"
        elif column not in before:
            yield f"column {column!r} is new, of type {after[column]}"
        elif before[column] != after[column]:
            yield f"column {column!r} was {before[column]}, is {after[column]}"


def _rules(old: Contract, new: Contract) -> Iterator[str]:
    before, after = _by_key(old), _by_key(new)
    for key in dict.fromkeys([*before, *after]):
        was, is_now = before.get(key, []), after.get(key, [])
        gone = [rule for rule in was if not any(_same(rule, other) for other in is_now)]
        added = [rule for rule in is_now if not any(_same(rule, other) for other in was)]
        # Of one rule of a kind, the changes are named.
        if len(gone) == len(added) == 1:
            yield f"rule {gone[0].name}: {'; '.join(_changes(gone[0], added[0]))}"
            continue
        yield from (f"rule {rule.name} ({rule.action}) is gone" for rule in gone)
        yield from (f"rule {rule.name} ({rule.action}) is new" for rule in added)


def _by_key(contract: Contract) -> dict[str, list[Rule]]:
    rules: dict[str, list[Rule]] = {}
    for rule in contract.rules:
        rules.setdefault(rule.name, []).append(rule)
    return rules


def _same(a: Rule, b: Rule) -> bool:
    return _text(a.kwargs) == _text(b.kwargs) and a.action == b.action


def _changes(old: Rule, new: Rule) -> Iterator[str]:
    if old.action != new.action:
        yield f"action {old.action} became {new.action}"
    for key in sorted({*old.kwargs} | {*new.kwargs}):
        before, after = old.kwargs.get(key), new.kwargs.get(key)
        if _text(before) == _text(after):
            continue
        if isinstance(before, list) and isinstance(after, list):
            lost = [value for value in before if value not in after]
            added = [value for value in after if value not in before]
            yield f"{key} lost {len(lost)} and got {len(added)} of {len(before)} values"
        else:
            yield f"{key} {_shown(before)} became {_shown(after)}"


def _meta(old: Contract, new: Contract) -> Iterator[str]:
    before, after = _flat(old.source.get("meta", {})), _flat(new.source.get("meta", {}))
    for place in sorted(before.keys() | after.keys()):
        if place.split(".")[0] in NO_EFFECT or place.startswith("read.columns"):
            continue
        if place not in after:
            yield f"meta.{place} {_shown(before[place])} is gone"
        elif place not in before:
            yield f"meta.{place} is new: {_shown(after[place])}"
        elif _text(before[place]) != _text(after[place]):
            yield f"meta.{place} {_shown(before[place])} became {_shown(after[place])}"


def _flat(value: Any, place: str = "") -> dict[str, Any]:
    """Return the values of nested objects by their places."""
    if not isinstance(value, Mapping) or not value:
        return {place: value} if place else {}
    found: dict[str, Any] = {}
    for key, nested in value.items():
        found |= _flat(nested, f"{place}.{key}" if place else str(key))
    return found


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=list)


def _shown(value: Any) -> str:
    text = "none" if value is None else _text(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

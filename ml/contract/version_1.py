"""Read contracts of version 1, as they are in model packages that were registered before steward 0.2.

Version 1 has no `schema_version` and other names. Only names differ: its rules are those of version 2.
"""

from collections.abc import Mapping
from typing import Any

META_KEYS = {
    "foretelling": "leakage_exceptions",
    "special": "sentinel_values",
    "budget": "max_quarantined_share",
    "keep_first": "first_row_per",
    "weights": "event_weight_by_value",
    "blocked": "never_recommend",
    "items": "item_attributes",
}
ROLE_KEYS = {
    "position": "event_order",
    "weight": "event_weight",
    "repeat": "allow_repeat_recommendations",
}
FIRST_ROW_KEYS = {"per": "entity", "by": "order_by"}
ACTIONS = {"refuse": "fail"}
SPLITS = {"any": "random_last_out"}
NEW_NAMES = {**META_KEYS, **ROLE_KEYS, **FIRST_ROW_KEYS, **ACTIONS, **SPLITS}


def upgrade(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a contract of version 1 with the names of version 2, in the same order.

    What has another type than a contract allows is left as it is: validation names it.
    """
    new = dict(source)
    if isinstance(rules := source.get("expectations"), list):
        new["expectations"] = [_with_value(rule, ("meta", "action"), ACTIONS) for rule in rules]
    if isinstance(meta := source.get("meta"), Mapping):
        new["meta"] = _upgraded_meta(meta)
    return new


def new_keys(meta: Mapping[str, Any]) -> list[str]:
    """Return the keys that only version 2 has: they show that its `schema_version` was forgotten."""
    roles = meta.get("roles")
    keys = [*meta, *(roles if isinstance(roles, Mapping) else ())]
    return [key for key in keys if key in {*META_KEYS.values(), *ROLE_KEYS.values()}]


def _upgraded_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    new = {"schema_version": 2, **_renamed(meta, META_KEYS)} | {"schema_version": 2}
    for section, keys in (("roles", ROLE_KEYS), ("first_row_per", FIRST_ROW_KEYS)):
        if isinstance(values := new.get(section), Mapping):
            new[section] = _renamed(values, keys)
    split: dict[str, Any] = _with_value(new, ("split", "by"), SPLITS)
    return split


def _renamed(values: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    return {keys.get(key, key): value for key, value in values.items()}


def _with_value(section: Any, path: tuple[str, str], names: Mapping[str, str]) -> Any:
    """Replace the word at a path of two keys, where there is one, by its name in version 2."""
    outer, inner = path
    if not isinstance(section, Mapping) or not isinstance(nested := section.get(outer), Mapping):
        return section
    word = nested.get(inner)
    if not isinstance(word, str) or word not in names:
        return section
    return {**section, outer: {**nested, inner: names[word]}}

"""Rules of a contract as data quality rules of the Open Data Contract Standard 3.1, and back.

Rules that a metric of the standard expresses exactly are written with it, so that other tools can check them; all
others as rules of Great Expectations. Source: the page on data quality and the JSON Schema of the standard, version
3.1.0 (Bitol).
"""

from collections.abc import Mapping
from typing import Any

from ml.contract.expectations import EXPECTATIONS

ENGINE = "greatExpectations"
# Other spellings of the engine in published examples.
ENGINES = (ENGINE, "great-expectations", "great_expectations", "gx")
ACTION = "action"
NO_REASON = "a rule of the data contract"
# Expectation, metric, and the argument of the metric by that of the expectation.
METRICS: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("expect_column_values_to_not_be_null", "nullValues", {}),
    ("expect_column_values_to_be_unique", "duplicateValues", {}),
    ("expect_compound_columns_to_be_unique", "duplicateValues", {"column_list": "properties"}),
    ("expect_column_values_to_be_in_set", "invalidValues", {"value_set": "validValues"}),
    ("expect_column_values_to_match_regex", "invalidValues", {"regex": "pattern"}),
)
ROW_COUNT = "expect_table_row_count_to_be_between"
Json = dict[str, Any]


def to_quality(rule: Mapping[str, Any]) -> Json:
    """Return a rule, as in the JSON of a contract, as a data quality rule of the standard."""
    kwargs = {key: value for key, value in rule["kwargs"].items() if key != "column"}
    quality = _with_metric(rule["type"], kwargs) or {
        "type": "custom",
        "engine": ENGINE,
        "implementation": {"type": rule["type"], "kwargs": rule["kwargs"]},
    }
    meta = rule["meta"]
    return {
        **quality,
        "description": meta["reason"],
        "customProperties": [{"property": ACTION, "value": meta["action"]}],
    }


def _with_metric(expectation: str, kwargs: Mapping[str, Any]) -> Json | None:
    """Return the metric that says the same as an expectation, None where there is none."""
    if expectation == ROW_COUNT and set(kwargs) == {"min_value", "max_value"}:
        bounds = [kwargs["min_value"], kwargs["max_value"]]
        # The standard wants two different numbers.
        return {"metric": "rowCount", "mustBeBetween": bounds} if bounds[0] != bounds[1] else None
    for name, metric, arguments in METRICS:
        if name == expectation and set(kwargs) == set(arguments):
            named = {arguments[key]: value for key, value in kwargs.items()}
            return {"metric": metric, "mustBe": 0} | ({"arguments": named} if named else {})
    return None


def from_quality(quality: Mapping[str, Any], column: str | None) -> Json | None:
    """Return a data quality rule as a rule of a contract; None for one that has no expectation.

    `column` is the property that has the rule, None for a rule of the whole table.
    """
    kind = quality.get("type", "library")
    if kind == "custom":
        found = _from_engine(quality)
    elif kind == "library":
        found = _from_metric(quality, column)
    else:
        found = None
    if found is None:
        return None
    properties = quality.get("customProperties") or []
    actions = [p.get("value") for p in properties if isinstance(p, Mapping) and p.get("property") == ACTION]
    meta = {
        "action": actions[0] if actions else _default_action(found["type"]),
        "reason": quality.get("description") or NO_REASON,
    }
    return {**found, "meta": meta}


def _default_action(expectation: Any) -> str:
    """Return `quarantine` for an expectation that finds single rows, else `fail`."""
    known = EXPECTATIONS.get(str(expectation))
    return "quarantine" if known is None or known.finds_rows else "fail"


def _from_engine(quality: Mapping[str, Any]) -> Json | None:
    """Return a rule of Great Expectations; the contract's parser refuses what it does not know."""
    rule = quality.get("implementation")
    if quality.get("engine") not in ENGINES or not isinstance(rule, Mapping):
        return None
    return {"type": rule.get("type"), "kwargs": rule.get("kwargs", {})}


def _from_metric(quality: Mapping[str, Any], column: str | None) -> Json | None:
    metric, arguments = quality.get("metric"), quality.get("arguments") or {}
    if metric == "rowCount":
        bounds = _row_bounds(quality)
        return {"type": ROW_COUNT, "kwargs": bounds} if bounds else None
    share = _allowed_share(quality)
    if share is None or not isinstance(arguments, Mapping):
        return None
    for expectation, name, keys in METRICS:
        of_table = "column_list" in keys
        if name == metric and set(arguments) == set(keys.values()) and of_table == (column is None):
            kwargs = {key: arguments[argument] for key, argument in keys.items()}
            place = {} if column is None else {"column": column}
            return {
                "type": expectation,
                "kwargs": {**place, **kwargs} | ({"mostly": 1 - share} if share else {}),
            }
    return None


def _allowed_share(quality: Mapping[str, Any]) -> float | None:
    """Return which share of rows may break a rule; None for a bound that is no share."""
    if quality.get("mustBe") == 0:
        return 0.0
    for operator in ("mustBeLessThan", "mustBeLessOrEqualTo"):
        bound = quality.get(operator)
        if isinstance(bound, int | float) and quality.get("unit") == "percent" and 0 <= bound < 100:
            return bound / 100
    return None


def _row_bounds(quality: Mapping[str, Any]) -> Json | None:
    """Return the bounds of a number of rows; None for operators that are no bounds of whole numbers."""
    both = quality.get("mustBeBetween")
    if isinstance(both, list) and len(both) == 2:
        return {"min_value": both[0], "max_value": both[1]}
    for operator, key, offset in (
        ("mustBe", "min_value", 0),
        ("mustBeGreaterOrEqualTo", "min_value", 0),
        ("mustBeGreaterThan", "min_value", 1),
        ("mustBeLessOrEqualTo", "max_value", 0),
        ("mustBeLessThan", "max_value", -1),
    ):
        bound = quality.get(operator)
        if isinstance(bound, int):
            return {key: bound + offset} | ({"max_value": bound} if operator == "mustBe" else {})
    return None

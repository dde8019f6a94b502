"""Kinds of values that a type or a rule refuses: each is named, and no cell is quoted."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.contract.schema import Rule
from ml.data.casting import cast_columns
from ml.data.value_kinds import count_invalid_cells, count_violations, describe_kinds

INVALID = {
    "number": {
        "12 EUR": "text where a number is expected",
        "1.234,50": "a number like 1.234,56",
        "0,5": "a number like 1.234,56",
        "1,234,567": "a number like 1,234.56",
        "1,234.5": "a number like 1,234.56",
        "12'345": "a number like 1 234",
        "1,234": "a number with a comma",
        " ": "empty text",
        "N/A": "a placeholder where a number is expected",
        "-inf": "an infinite number",
    },
    "integer": {
        "1.5": "a fraction where a whole number is expected",
        "1e300": "a number that is out of range",
        2.5: "a fraction where a whole number is expected",
        pd.Timestamp("2024-01-01"): "a time where a whole number is expected",
    },
    "category": {b"\xff": "bytes that are no UTF-8"},
    "time": {
        "31/12/2024": "a time that is not in ISO 8601",
        "now": "text where a time is expected",
        "?": "a placeholder where a time is expected",
        "-3.5": "a number where a time is expected",
    },
    "epoch": {
        "yesterday": "text where seconds since 1970 are expected",
        1.7e12: "a number that is out of range",
        "inf": "an infinite number",
    },
}


@pytest.mark.parametrize("column_type", INVALID)
def test_each_kind_of_invalid_cell_is_named(column_type: str) -> None:
    expected = INVALID[column_type]
    cells = pd.Series(list(expected), dtype=object)
    _, masks = cast_columns(cells.to_frame("c"), {"c": column_type})
    assert masks["c"].all()
    assert [list(count_invalid_cells(column_type, cells[[row]])) for row in cells.index] == [
        [kind] for kind in expected.values()
    ]
    assert sum(count_invalid_cells(column_type, cells).values()) == len(cells)


ROWS = pd.DataFrame(
    {
        "n": [-1.0, 0.0, 300.0],
        "t": pd.to_datetime(["1999-01-01", "2030-01-01", "2031-01-01"]),
        "k": pd.Series([" Red", "green", " "], dtype="str"),
    }
)


@pytest.mark.parametrize(
    ("kind", "arguments", "expected"),
    [
        (
            "column_values_to_be_between",
            {"column": "n", "min_value": 0, "max_value": 120, "strict_min": True},
            {"a number not above 0": 2, "a number above 120": 1},
        ),
        ("column_values_to_be_between", {"column": "n", "max_value": 1e3}, {"a number above 1000": 3}),
        (
            "column_values_to_be_between",
            {"column": "t", "min_value": "2000-01-01", "max_value": "2020-01-01"},
            {"a time below 2000-01-01": 1, "a time above 2020-01-01": 2},
        ),
        (
            "column_values_to_be_in_set",
            {"column": "k", "value_set": ["red", "blue"]},
            {"a listed value in another spelling": 1, "text that is not listed": 1, "empty text": 1},
        ),
        ("column_values_to_be_in_set", {"column": "n", "value_set": [7]}, {"a number that is not listed": 3}),
        (
            "column_values_to_match_regex",
            {"column": "k", "regex": "x"},
            {"text that does not match the pattern": 2, "empty text": 1},
        ),
        (
            "column_value_lengths_to_be_between",
            {"column": "k", "min_value": 2, "max_value": 3},
            {"text with a length below 2": 1, "text with a length above 3": 2},
        ),
        (
            "column_pair_values_a_to_be_greater_than_b",
            {"column_A": "n", "column_B": "m", "or_equal": True},
            {"n below m": 3},
        ),
        ("compound_columns_to_be_unique", {"column_list": ["n", "k"]}, {"a repeated combination": 3}),
        ("multicolumn_sum_to_equal", {"column_list": ["n"], "sum_total": 1}, {"a combination of values": 3}),
        ("column_values_to_not_be_null", {"column": "n"}, {"missing": 3}),
    ],
)
def test_each_kind_of_violation_is_named(
    kind: str, arguments: dict[str, Any], expected: dict[str, int]
) -> None:
    meta = {"action": "quarantine", "reason": "a reason"}
    rule = Rule.model_validate({"type": f"expect_{kind}", "kwargs": arguments, "meta": meta})
    assert count_violations(rule, ROWS.assign(m=np.inf)) == expected


def test_a_description_names_the_most_frequent_kinds() -> None:
    assert describe_kinds({"missing": 3}) == "missing"
    kinds = {"a": 1, "b": 2000, "c": 3, "d": 4, "e": 5}
    assert describe_kinds(kinds) == "b (2,000), e (5), d (4), 2 more kinds"

"""Only known expectations with arguments of known types are accepted; nothing that an evaluator would run."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from ml.contract.arguments import Arguments
from ml.contract.expectations import EXPECTATIONS, REFUSED
from ml.contract.parser import parse
from ml.contract.values import MAX_COLUMNS, MAX_RULES
from ml.errors import ContractError

TABLE: dict[str, Any] = json.loads((Path(__file__).parent / "examples" / "loans.json").read_text())
DOCUMENT = (Path(__file__).parents[3] / "docs" / "contract.md").read_text()
BETWEEN, IN_SET = "expect_column_values_to_be_between", "expect_column_values_to_be_in_set"
FORMAT = "expect_column_values_to_match_strftime_format"
# A valid value of each argument that an expectation needs.
VALUES: dict[str, Any] = {
    "column": "age",
    "column_A": "age",
    "column_B": "amount",
    "column_list": ["age", "amount"],
    "column_set": ["age"],
    "value": 1,
    "value_set": [1, "x", None, True],
    "value_pairs_set": [[1, 2]],
    "regex": "^x",
    "regex_list": ["^x"],
    "strftime_format": "%Y-%m-%d",
    "threshold": 3,
    "double_sided": True,
    "sum_total": 1.5,
    "type_": "float64",
    "type_list": ["float64"],
    "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[None, 3]]},
    "partition_object": {"values": ["x"], "weights": [1]},
}


def with_rule(kind: str, /, **kwargs: Any) -> dict[str, Any]:
    source = deepcopy(TABLE)
    source["expectations"] = [{"type": kind, "kwargs": kwargs, "meta": {"action": "warn", "reason": "x"}}]
    return source


def error_of(source: Any) -> ContractError:
    with pytest.raises(ContractError) as error:
        parse(source)
    return error.value


@pytest.mark.parametrize("kind", EXPECTATIONS)
def test_expectations_are_accepted_with_what_they_need(kind: str) -> None:
    needed = {name: VALUES[name] for name in EXPECTATIONS[kind].required}
    assert parse(with_rule(kind, **needed)).rules[0].kwargs == needed
    for name in needed:
        error = error_of(with_rule(kind, **{k: v for k, v in needed.items() if k != name}))
        assert error.expected == f"the arguments {name} in expectations[0].kwargs of {kind}"
    assert f"`{kind}`" in DOCUMENT


@pytest.mark.parametrize(
    "kind",
    [
        *REFUSED,
        "expect_column_values_to_be_lovely",
        "UnexpectedRowsExpectation",
        "ExpectColumnValuesToBeBetween",
        "__import__",
        "",
    ],
)
def test_other_expectations_are_refused(kind: str) -> None:
    error = error_of(with_rule(kind, column="age", unexpected_rows_query="DROP TABLE x"))
    assert error.expected == "a known expectation in expectations[0].type"
    assert REFUSED.get(kind, "") in error.next_step


def test_a_misspelt_expectation_is_recognised() -> None:
    assert error_of(with_rule("expect_column_values_to_be_betwen")).next_step.endswith(
        f"probably {BETWEEN!r}"
    )


@pytest.mark.parametrize(
    ("kind", "argument", "value"),
    [
        (BETWEEN, "min_value", {"$PARAMETER": "now()"}),
        (BETWEEN, "min_value", "5"),
        (BETWEEN, "min_value", "2024-02-31"),
        (BETWEEN, "min_value", "9999-12-31T23:59:59-14:00"),
        (BETWEEN, "min_value", True),
        (BETWEEN, "min_value", [1]),
        (BETWEEN, "min_value", float("nan")),
        (BETWEEN, "mostly", 7),
        (BETWEEN, "mostly", {"$PARAMETER": "m"}),
        (BETWEEN, "strict_min", 1),
        (BETWEEN, "column", {"$PARAMETER": "c"}),
        (BETWEEN, "result_format", "COMPLETE"),
        (BETWEEN, "batch_id", "x"),
        (BETWEEN, "windows", []),
        (BETWEEN, "regex", "(a+)+$"),
        (IN_SET, "value_set", {"$PARAMETER": "urn:great_expectations:stores:x"}),
        (IN_SET, "value_set", [[1]]),
        (IN_SET, "value_set", [{"a": 1}]),
        (IN_SET, "value_set", "abc"),
        ("expect_column_values_to_match_regex", "regex", {"$PARAMETER": "r"}),
        ("expect_column_values_to_match_regex", "regex", ["a"]),
        ("expect_column_values_to_match_regex_list", "regex_list", []),
        ("expect_column_values_to_match_regex_list", "match_on", "none"),
        ("expect_column_values_to_be_of_type", "type_", "ExcelFile"),
        ("expect_column_values_to_be_in_type_list", "type_list", ["io.common.os"]),
        ("expect_column_pair_values_to_be_in_set", "value_pairs_set", [[1, 2, 3]]),
        ("expect_column_pair_values_to_be_equal", "ignore_row_if", "1 == 1"),
        ("expect_column_quantile_values_to_be_between", "quantile_ranges", {"quantiles": [2], "value_ranges": []}),
        ("expect_column_quantile_values_to_be_between", "allow_relative_error", "eval"),
        ("expect_column_kl_divergence_to_be_less_than", "partition_object", {"weights": ["x"]}),
        (FORMAT, "strftime_format", "%Y" * 10),
        (FORMAT, "strftime_format", "%Y %"),
        (FORMAT, "strftime_format", "%c"),
        (FORMAT, "strftime_format", "%-d"),
        (FORMAT, "strftime_format", "x" * 100),
        (FORMAT, "strftime_format", "no codes"),
        (FORMAT, "strftime_format", "{0.__class__}"),
    ],
    ids=lambda value: str(value)[-40:],
)  # fmt: skip
def test_arguments_of_other_types_are_refused_with_their_place(kind: str, argument: str, value: Any) -> None:
    needed = {name: VALUES[name] for name in EXPECTATIONS[kind].required}
    error = error_of(with_rule(kind, **needed | {argument: value}))
    for part in ("expectations[0].kwargs", kind, argument):
        assert part in str(error)


def test_every_argument_is_taken_by_an_expectation_and_has_a_type() -> None:
    taken = {name for expectation in EXPECTATIONS.values() for name in expectation.arguments}
    assert taken == set(Arguments.model_fields)
    for name in taken:
        assert f"`{name}`" in DOCUMENT


def test_dates_are_bounds() -> None:
    for date in ("2024-05-01", "2024-05-01T10:00", "2024-05-01 10:00:00.5", "2024-05-01T10:00:00+02:00"):
        assert parse(with_rule(BETWEEN, column="day", min_value=date))


def test_the_numbers_of_rules_and_columns_are_bounded() -> None:
    source = deepcopy(TABLE)
    rule = source["expectations"][0]
    source["expectations"] = [rule] * MAX_RULES
    assert len(parse(source).rules) == MAX_RULES
    source["expectations"] = [{"type": 1}, *source["expectations"], rule]
    assert f"at most {MAX_RULES:,} values in expectations" in str(error_of(source))
    source = deepcopy(TABLE)
    source["meta"]["read"]["columns"] |= {f"c{n}": "number" for n in range(MAX_COLUMNS)}
    assert f"at most {MAX_COLUMNS:,} values in meta.read.columns" in str(error_of(source))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), "a." + "b" * 200),
        (("expectations", 0, "meta", "reason"), "x" * 2001),
        (("meta", "description"), "x" * 2001),
        (("meta", "url"), "x" * 2001),
        (("meta", "citation"), "x" * 2001),
        (("meta", "roles", "descriptions"), {"age": "x" * 2001}),
        (("meta", "first_row_per", "reason"), "x" * 2001),
        (("meta", "read", "columns", "x" * 501), "number"),
        (("meta", "read", "folder"), "x" * 151),
        (("meta", "read", "separator"), "x" * 101),
        (("meta", "read", "files"), ["x" * 501]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_texts_are_bounded(path: tuple[Any, ...], value: Any) -> None:
    source = deepcopy(TABLE)
    place: Any = source
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert "characters in " in str(error_of(source))


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "../x.csv", "a/../../x.csv", "./x.csv", "a//x.csv", "..", ".", "", "a/", "C:\\x.csv", "C:x.csv",
        "a\\x.csv", "~/x.csv", "~root/x.csv", "x\0.csv", "x\n.csv", "file:///etc/passwd", "https://example.org/x.csv",
        "\\\\host\\x.csv",
    ],
)  # fmt: skip
def test_file_names_that_leave_the_folder_are_refused(name: str) -> None:
    source = deepcopy(TABLE)
    source["meta"]["read"]["files"] = [name, "b.csv"]
    error = error_of(source)
    assert "the name of a file in the folder of the data set" in error.expected
    assert "meta.read.files[0]" in error.expected
    log = json.loads((Path(__file__).parent / "examples" / "purchases.json").read_text())
    log["meta"]["item_attributes"] = {"file": name, "item": "item", "attributes": ["colour"]}
    assert "meta.item_attributes.file" in str(error_of(log))


def test_file_names_inside_the_folder_are_accepted() -> None:
    for name in ("a.csv", "part 1/a.csv", "a..b.csv", ".hidden.csv", "2024-01-01T12:00.csv", "données.csv"):
        source = deepcopy(TABLE)
        source["meta"]["read"]["files"] = [name, "b.csv"]
        assert parse(source).read.files[0] == name


@pytest.mark.parametrize(
    "name", ["klingon", "punycode", "idna", "rot13", "zip", "hex", "unicode_escape", "../x", "a.b", ""]
)
def test_encodings_are_known_character_sets(name: str) -> None:
    source = deepcopy(TABLE)
    source["meta"]["read"]["encoding"] = name
    assert "a text encoding that Python knows" in error_of(source).expected


@pytest.mark.parametrize(("key", "value"), [("rows", 10**12), ("seed", -1)])
def test_simulators_are_bounded(key: str, value: int) -> None:
    source = deepcopy(TABLE)
    source["meta"]["read"][key] = value
    assert f"meta.read.{key}" in str(error_of(source))

"""Row conditions: what the grammar accepts, what it refuses with its place, and that nothing else gets through."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.contract.parser import parse
from ml.contract.row_condition import (
    AllOf,
    AnyOf,
    Column,
    Comparison,
    Membership,
    Not,
    NullTest,
    columns_of,
)
from ml.contract.row_condition_parser import MAX_DEPTH, parse_row_condition
from ml.contract.row_condition_tokens import MAX_CHARACTERS, WORDS, ConditionSyntaxError
from ml.errors import ContractError

TABLE: dict[str, Any] = json.loads((Path(__file__).parent / "examples" / "loans.json").read_text())
A, B = Column("a"), Column("b")
A_IS_1 = Comparison(A, "==", 1.0)


def with_condition(text: Any, **kwargs: Any) -> dict[str, Any]:
    source = deepcopy(TABLE)
    source["expectations"][0]["kwargs"] |= {"row_condition": text, **kwargs}
    return source


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("a == 1", A_IS_1),
        ("a==1", A_IS_1),
        ("(a == 1)", A_IS_1),
        ("a > -1.5e3", Comparison(A, ">", -1500.0)),
        ("a <= b", Comparison(A, "<=", B)),
        ("'x' != a", Comparison("x", "!=", A)),
        (r'a == "say \"x\" \\"', Comparison(A, "==", 'say "x" \\')),
        ("a == true", Comparison(A, "==", True)),
        ("a is null", NullTest(A)),
        ("a IS NOT NULL", Not(NullTest(A))),
        ("a.isnull()", NullTest(A)),
        ('col("a").notNull()', Not(NullTest(A))),
        ('col("monthly income") < 5', Comparison(Column("monthly income"), "<", 5.0)),
        ("`in` == 'x'", Comparison(Column("in"), "==", "x")),
        ("größe > 1", Comparison(Column("größe"), ">", 1.0)),
        ('col("a") >= date("2024-05-01")', Comparison(A, ">=", "2024-05-01")),
        ("a in (1, 2)", Membership(A, (1.0, 2.0))),
        ("a not in ['x']", Not(Membership(A, ("x",)))),
        ("1 <= a < b", AllOf((Comparison(1.0, "<=", A), Comparison(A, "<", B)))),
        ("not a == 1 and b is null", AllOf((Not(A_IS_1), NullTest(B)))),
        ("a == 1 or a == 1 and b is null", AnyOf((A_IS_1, AllOf((A_IS_1, NullTest(B)))))),
        ("(a == 1) | (a == 1) & (b is null)", AnyOf((A_IS_1, AllOf((A_IS_1, NullTest(B)))))),
    ],
)
def test_grammar(text: str, condition: Any) -> None:
    assert parse_row_condition(text) == condition


def test_columns_are_found_at_all_places() -> None:
    text = "not (a == 1 or b in (2, 3)) and (c is null or 5 < d <= e)"
    assert columns_of(parse_row_condition(text)) == ("a", "b", "c", "d", "e")


INJECTIONS = [
    "@pd.io.common.os.system('id > proof')==0",
    "@__import__('os').system('id')",
    "a.__class__.__mro__[1] == 1",
    "a.map(print).notnull()",
    "a.isnull(1)",
    "`a`.str.len() > 2",
    "__import__('os').system('id') == 0",
    "(lambda: 1)() == a",
    "a == [x for x in (1,)]",
    "a == f'{a}'",
    "a := 1",
    "a == 1; import os",
    "a == 1 # comment",
    "a == 'x' + 'y'",
    "a ** 9 ** 9 ** 9 == 1",
    "~a",
    "a",
    "1 == 1",
    "a == b'x'",
    "a == 'x",
    r"a == '\x41'",
    "a is 1",
    "a in ()",
    "a in 1",
    "a in (1)]",
    "a == 1e999",
    "a == " + "9" * 50,
    "a == 1 b",
    "a == 1 and",
    "and",
    "",
    "a == 1\0",
    "col(a) == 1",
    "index > 2 .",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_everything_else_is_refused_when_the_contract_is_loaded(text: str) -> None:
    with pytest.raises(ConditionSyntaxError):
        parse_row_condition(text)
    with pytest.raises(ContractError) as error:
        parse(with_condition(text, condition_parser="pandas"))
    assert "expectations[0].kwargs.row_condition" in error.value.expected
    assert "at character" in error.value.expected


def test_length_and_depth_are_bounded() -> None:
    deep = "(" * (MAX_DEPTH - 1) + "a == 1" + ")" * (MAX_DEPTH - 1)
    assert parse_row_condition(deep) == A_IS_1
    for text in (
        f"({deep})",
        "(" * 900 + "a == 1" + ")" * 900,
        "not " * 400 + "a == 1",
        "a == 1 " + " " * MAX_CHARACTERS,
    ):
        with pytest.raises(ConditionSyntaxError):
            parse_row_condition(text)
    long = " or ".join(["a == 1"] * 150)
    assert len(columns_of(parse_row_condition(long))) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nowhere == 1", "['nowhere']"),
        ("age == None", "['None']"),
        ("age == 'x'", "a number to compare the integer 'age' with"),
        ("region == 1", "a text to compare the category 'region' with"),
        ("region == true", "a text to compare the category 'region' with"),
        ("day > 5", "a date to compare the time 'day' with"),
        ("day > 'x'", "a date to compare the time 'day' with"),
        ("day > '2024-02-31'", "a date to compare the time 'day' with"),
        ("age > region", "got the column 'region'"),
        ("age in (1, 'x')", "a number to compare"),
        (5, "a string in expectations[0].kwargs.row_condition"),
        ({"type": "comparison"}, "a string in expectations[0].kwargs.row_condition"),
    ],
)
def test_conditions_fit_the_columns(text: Any, problem: str) -> None:
    with pytest.raises(ContractError) as error:
        parse(with_condition(text))
    assert problem in str(error.value)


def test_a_valid_condition_is_accepted_with_the_parser_that_suites_name() -> None:
    rule = parse(with_condition("age > 5 and day >= '2024-01-01'", condition_parser="pandas")).rules[0]
    assert rule.columns == ("age",)
    assert rule.required_columns == ("age", "age", "day")
    with pytest.raises(ContractError, match="condition_parser"):
        parse(with_condition("age > 5", condition_parser="python"))
    assert parse(with_condition(None)).rules[0].row_condition is None


PIECES = [
    *WORDS,
    "a",
    "b",
    "1",
    "'x'",
    "(",
    ")",
    "[",
    "]",
    ",",
    "==",
    "<",
    "!=",
    ".",
    "isnull",
    "`",
    '"',
    "\\",
    "@",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join) | st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        condition = parse_row_condition(text)
    except ConditionSyntaxError as error:
        assert error.expected  # noqa: PT017
        assert 1 <= error.got.place <= len(text) + 1  # noqa: PT017
    else:
        assert columns_of(condition)

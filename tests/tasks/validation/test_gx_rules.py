"""Row conditions and regular expressions never reach Great Expectations, and select and match what they say."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.contract.schema import Rule
from ml.data.casting import TEXT_DTYPE
from ml.errors import ContractError
from tasks.validation import gx_rules
from tasks.validation.gx_rules import build_suite, evaluate_rules

FRAME = pd.DataFrame(
    {
        "a": [0.0, 1.0, 2.0, np.nan, 4.0, 5.0],
        "k": pd.Series(["x", "yy", None, "x1", "xx", "y"], dtype=TEXT_DTYPE),
    }
)
REGEX = "column_values_to_match_regex"


def rule(kind: str, /, **kwargs: Any) -> Rule:
    meta = {"action": "warn", "reason": "x"}
    return Rule.model_validate({"type": f"expect_{kind}", "kwargs": kwargs, "meta": meta})


def violations(*rules: Rule) -> list[list[int]]:
    evaluations = evaluate_rules(rules, FRAME)
    assert all(evaluation.crash is None for evaluation in evaluations)
    assert [e.success for e in evaluations] == [not len(e.violations) for e in evaluations]
    return [evaluation.violations.tolist() for evaluation in evaluations]


def test_a_rule_with_a_condition_looks_at_the_rows_that_it_selects() -> None:
    too_large = {"column": "a", "max_value": 1}
    assert violations(
        rule("column_values_to_be_between", **too_large),
        rule("column_values_to_be_between", **too_large, row_condition="k == 'xx' or k is null"),
        rule(
            "column_values_to_be_between", **too_large, row_condition="k != 'xx'", condition_parser="pandas"
        ),
        rule("column_values_to_not_be_null", column="k", row_condition="a > 4"),
        rule("compound_columns_to_be_unique", column_list=["a", "k"], row_condition="a in (1, 2)"),
        rule(REGEX, column="k", regex="^x", row_condition="a >= 1"),
    ) == [[2, 4, 5], [2, 4], [2, 5], [], [], [1, 5]]


def test_a_condition_that_selects_no_row_is_satisfied() -> None:
    assert violations(rule("column_values_to_be_null", column="a", row_condition="a > 100")) == [[]]


def test_a_condition_counts_rows() -> None:
    two = rule("table_row_count_to_equal", value=2, row_condition="a < 2")
    three = rule("table_row_count_to_equal", value=3, row_condition="a < 2")
    assert [evaluation.success for evaluation in evaluate_rules([two, three], FRAME)] == [True, False]


@pytest.mark.parametrize(
    ("kind", "kwargs", "bad"),
    [
        ("match_regex", {"regex": "^x"}, [1, 5]),
        ("not_match_regex", {"regex": "^x"}, [0, 3, 4]),
        ("match_regex_list", {"regex_list": ["^x", r"\d"]}, [1, 5]),
        ("match_regex_list", {"regex_list": ["^x", r"\d"], "match_on": "all"}, [0, 1, 4, 5]),
        ("not_match_regex_list", {"regex_list": ["^x", r"\d"]}, [0, 3, 4]),
    ],
)
def test_patterns_judge_cells_that_have_a_value(kind: str, kwargs: dict[str, Any], bad: list[int]) -> None:
    assert violations(rule(f"column_values_to_{kind}", column="k", **kwargs)) == [bad]


def test_a_rule_that_great_expectations_raises_for_leaves_the_others_as_they_are() -> None:
    shares = {"values": ["x"], "bins": [0, 1], "weights": [0.3]}
    raising = rule("column_kl_divergence_to_be_less_than", column="a", threshold=1, partition_object=shares)
    before, broken, after = evaluate_rules(
        [
            rule("column_values_to_not_be_null", column="a"),
            raising,
            rule("column_max_to_be_between", column="a"),
        ],
        FRAME,
    )
    assert (before.success, before.violations.tolist(), before.crash) == (False, [3], None)
    assert (broken.success, broken.crash) == (False, gx_rules.NOT_EVALUATED)
    assert (after.success, after.crash) == (True, None)


@pytest.mark.parametrize(("mostly", "success"), [(0.6, True), (0.61, False)])
def test_mostly_is_a_share_of_the_cells_that_a_pattern_judges(mostly: float, success: bool) -> None:
    """Three of five cells match; one has no value."""
    (evaluation,) = evaluate_rules([rule(REGEX, column="k", regex="^x", mostly=mostly)], FRAME)
    assert evaluation.success is success
    (of_two,) = evaluate_rules(
        [rule(REGEX, column="k", regex="^x", mostly=0.5, row_condition="a in (0, 1)")], FRAME
    )
    assert of_two.success


def test_great_expectations_gets_no_condition_and_no_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [
        rule("column_values_to_be_between", column="a", min_value=0, row_condition="k == 'x'"),
        rule("column_values_to_be_unique", column="a", condition_parser="pandas"),
        rule(REGEX, column="k", regex="^x"),
        rule("column_values_to_not_match_regex_list", column="k", regex_list=["^x"], row_condition="a > 1"),
    ]
    for expectation in build_suite(rules, "rules").expectations:
        assert expectation.row_condition is None
        assert expectation.condition_parser is None
        assert "regex" not in expectation.expectation_type

    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError("evaluated")

    monkeypatch.setattr(pd.DataFrame, "query", fail)
    monkeypatch.setattr(pd.DataFrame, "eval", fail)
    monkeypatch.setattr(pd, "eval", fail)
    violations(*rules)


def test_an_injected_program_does_not_run(tmp_path: Path) -> None:
    """This condition ran a program, in `steward validate` too. Here it is not even checked by the parser before."""
    proof = tmp_path / "proof"
    text = f"@pd.io.common.os.system('touch {proof}')==0"
    injected = rule("column_values_to_not_be_null", column="a", row_condition=text, condition_parser="pandas")
    with pytest.raises(Exception, match="a column, a value, or an operator"):
        evaluate_rules([injected], FRAME)
    assert not proof.exists()


def test_a_rule_that_great_expectations_does_not_accept_is_an_error() -> None:
    with pytest.raises(ContractError, match=re.escape("column_values_to_be_between(a)")):
        build_suite([rule("column_values_to_be_between", column="a", mostly=7)], "rules")


def test_rules_on_the_same_columns_are_evaluated_together(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = []
    evaluate = gx_rules._evaluate
    monkeypatch.setattr(
        gx_rules, "_evaluate", lambda group, table: groups.append(group) or evaluate(group, table)
    )
    between = [rule("column_values_to_be_between", column="a", max_value=n) for n in range(3)]
    where = [rule("column_values_to_be_unique", column="a", row_condition="k == 'x'") for _ in range(2)]
    evaluate_rules([*between, *where], FRAME)
    assert [len(group) for group in groups] == [3, 2]

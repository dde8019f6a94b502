"""Regular expressions are translated for RE2, or refused when the contract is loaded."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from ml.contract.parser import parse
from ml.contract.regular_expression import UnsupportedPatternError, check_pattern
from ml.contract.rule_checks import MAX_PATTERNS
from ml.errors import ContractError

TABLE: dict[str, Any] = json.loads((Path(__file__).parent / "examples" / "loans.json").read_text())

REFUSED = [
    (r"(?=a)", "lookaround"),
    (r"(?<!a)b", "lookaround"),
    (r"(a)\1", "a backreference"),
    (r"(a)?(?(1)b|c)", "a condition on a group"),
    (r"(?>a+)b", "an atomic group"),
    (r"a++", "a possessive repetition"),
    (r"(?m)^a", "flags other than i and s"),
    (r"(?x) a", "flags other than i and s"),
    (r"(?i:(?m:a))", "flags other than i and s"),
    (r"[^\Wa]", r"\D, \S or \W in a class that begins with ^"),
    (r"[", "an error: unterminated character set"),
    ("(" * 40, "an error: missing )"),
    ("(" * 900, "more than 50 groups"),
    ("a" * 1001, "more than 1,000 characters"),
    (r"a{1001}", "a repetition above 1,000"),
    (r"((((a{0,9}){0,9}){0,9}){0,9}){0,9}", "too many repetitions"),
    (r"\w{1,500}", "too many repetitions"),
    (r"a{99999999999999999999}", "an error"),
]


@pytest.mark.parametrize(("pattern", "reason"), REFUSED, ids=lambda value: str(value)[:20])
def test_what_has_no_linear_time_is_refused_when_the_contract_is_loaded(pattern: str, reason: str) -> None:
    with pytest.raises(UnsupportedPatternError):
        check_pattern(pattern)
    for name, value in (("regex", pattern), ("regex_list", ["^x", pattern])):
        source = deepcopy(TABLE)
        kind = "expect_column_values_to_match_regex" + ("_list" if name == "regex_list" else "")
        source["expectations"][0] |= {"type": kind, "kwargs": {"column": "region", name: value}}
        with pytest.raises(ContractError) as error:
            parse(source)
        assert "RE2" in error.value.expected
        assert reason in error.value.got


def test_the_number_of_patterns_is_bounded() -> None:
    source = deepcopy(TABLE)
    kind = "expect_column_values_to_match_regex"
    template = source["expectations"][0]
    source["expectations"] = [
        {**template, "type": kind, "kwargs": {"column": "region", "regex": f"^{n}"}}
        for n in range(MAX_PATTERNS)
    ]
    assert len(parse(source).rules) == MAX_PATTERNS
    source["expectations"].append({**template, "type": kind, "kwargs": {"column": "region", "regex": "x"}})
    with pytest.raises(ContractError, match="at most 100 different regular expressions"):
        parse(source)

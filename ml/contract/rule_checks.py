"""Check the rules of a contract: known expectations, arguments of the right type, nothing that could be executed."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from pydantic import ValidationError

from ml.contract.arguments import Arguments
from ml.contract.checks import NUMERIC
from ml.contract.expectations import EXPECTATIONS, REFUSED, Expectation
from ml.contract.problems import MAX_CHARACTERS, SIMILARITY, Problem, listed, quoted, validation_problems
from ml.contract.read_checks import unknown_columns
from ml.contract.read_options import ReadOptions
from ml.contract.regular_expression import UnsupportedPatternError, check_pattern
from ml.contract.row_condition import (
    Column,
    Comparison,
    Condition,
    Membership,
    NullTest,
    Operand,
    single_tests,
)
from ml.contract.row_condition_parser import parse_row_condition
from ml.contract.row_condition_tokens import ConditionSyntaxError
from ml.contract.schema import Rule
from ml.contract.values import is_date

# Each is compiled when the contract is loaded.
MAX_PATTERNS = 100
DOCUMENTED = "use one of those in docs/contract.md"


def check_rules(rules: Mapping[int, Rule], read: ReadOptions | None) -> Iterator[Problem]:
    """Check rules, by their place in `expectations`, from 0."""
    patterns = {pattern for rule in rules.values() for pattern in _strings(rule, "regex", "regex_list")}
    if len(patterns) > MAX_PATTERNS:
        expected = f"at most {MAX_PATTERNS} different regular expressions in expectations"
        yield Problem(expected, f"{len(patterns):,}", "combine or remove some")
        return
    for number, rule in rules.items():
        yield from _check_rule(number, rule, read)


def _strings(rule: Rule, *names: str) -> Iterator[str]:
    """Iterate over the texts in some arguments, whose types are not yet checked."""
    for name in names:
        value = rule.kwargs.get(name)
        yield from (
            text for text in (value if isinstance(value, list | tuple) else [value]) if isinstance(text, str)
        )


def _check_rule(number: int, rule: Rule, read: ReadOptions | None) -> Iterator[Problem]:
    place = f"expectations[{number}]"
    expectation = EXPECTATIONS.get(rule.type)
    if expectation is None:
        expected = f"a known expectation in {place}.type"
        yield Problem(expected, quoted(rule.type), _explain_unknown(rule.type))
        return
    if rule.action in ("quarantine", "exclude") and not expectation.finds_rows:
        yield Problem(
            f"fail or warn in {place}.meta.action",
            f"{rule.action} for {quoted(rule.type)}",
            "choose one of them: this expectation finds no single rows",
        )
    try:
        Arguments.model_validate(dict(rule.kwargs))
        problems = list(_check_names(place, rule, expectation))
    except ValidationError as error:
        found = validation_problems(error, ("expectations", number, "kwargs"))
        problems = [replace(problem, expected=f"{problem.expected} of {rule.type}") for problem in found]
    yield from problems
    if problems:
        return
    if read:
        yield from unknown_columns(rule.columns, read, place)
    yield from _check_patterns(place, rule)
    yield from _check_row_condition(place, rule, read)


def _explain_unknown(name: str) -> str:
    if name in REFUSED:
        return f"remove it: {REFUSED[name]}"
    close = difflib.get_close_matches(name[:MAX_CHARACTERS], EXPECTATIONS, 1, SIMILARITY)
    return f"{quoted(name)} is probably {quoted(close[0])}" if close else DOCUMENTED


def _check_names(place: str, rule: Rule, expectation: Expectation) -> Iterator[Problem]:
    where = f"{place}.kwargs of {rule.type}"
    if unknown := sorted(set(rule.kwargs) - set(expectation.arguments)):
        names = ", ".join(expectation.arguments)
        yield Problem(
            f"only the arguments {names} in {where}", listed(unknown), "remove what it does not take"
        )
    if missing := [name for name in expectation.required if rule.kwargs.get(name) is None]:
        got = f"only {listed(sorted(rule.kwargs))}" if rule.kwargs else "an empty object"
        yield Problem(f"the arguments {', '.join(missing)} in {where}", got, "add them")


def _check_patterns(place: str, rule: Rule) -> Iterator[Problem]:
    for pattern in rule.patterns:
        try:
            check_pattern(pattern)
        except UnsupportedPatternError as error:
            expected = f"a regular expression that RE2 can match in {place}.kwargs of {rule.type}"
            yield Problem(
                expected, f"{quoted(pattern)} with {error}", "write it without; see docs/contract.md"
            )


def _check_row_condition(place: str, rule: Rule, read: ReadOptions | None) -> Iterator[Problem]:
    text = rule.kwargs.get("row_condition")
    if text is None:
        return
    where = f"{place}.kwargs.row_condition"
    try:
        condition = parse_row_condition(text)
    except ConditionSyntaxError as error:
        expected = f"{error.expected} at character {error.got.place} of {where}"
        yield Problem(expected, quoted(error.got.text), "correct the condition; see docs/contract.md")
        return
    if read:
        yield from unknown_columns(rule.required_columns, read, where)
        yield from _check_types(condition, read, where)


def _check_types(condition: Condition, read: ReadOptions, where: str) -> Iterator[Problem]:
    """Check that columns are compared with values of their type only."""
    for test in single_tests(condition):
        problems = (_type_problem(column, other, read, where) for column, other in _compared(test))
        yield from [problem for problem in problems if problem][:1]


def _compared(test: Comparison | Membership | NullTest) -> list[tuple[Column, Operand]]:
    """Return each column of a test with what it is compared with."""
    if isinstance(test, NullTest):
        return []
    if isinstance(test, Membership):
        return [(test.column, value) for value in test.values]
    sides = ((test.left, test.right), (test.right, test.left))
    return [(side, other) for side, other in sides if isinstance(side, Column)]


def _type_problem(column: Column, other: Operand, read: ReadOptions, where: str) -> Problem | None:
    kind = read.columns.get(column.name)
    if kind is None or _is_comparable(kind, other, read):
        return None
    needed = "a number" if kind in NUMERIC else "a date" if kind in ("time", "epoch") else "a text"
    return Problem(
        f"{needed} to compare the {kind} {quoted(column.name)} with in {where}",
        f"the column {quoted(other.name)}" if isinstance(other, Column) else quoted(other),
        'write numbers without quotes, and texts in quotes; dates as "2024-05-01"',
    )


def _is_comparable(kind: str, other: Operand, read: ReadOptions) -> bool:
    if isinstance(other, Column):
        return other.name not in read.columns or _family(read.columns[other.name]) == _family(kind)
    if kind in NUMERIC:
        return not isinstance(other, str)
    return isinstance(other, str) and (kind == "category" or is_date(other))


def _family(kind: str) -> str:
    return "number" if kind in NUMERIC else "time" if kind in ("time", "epoch") else kind

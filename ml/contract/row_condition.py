"""A row condition of a rule, such as `age >= 18 and region is not null`, as a tree that is never run as code.

`ml.contract.row_condition_parser` makes the tree, `ml.data.row_masks` computes the rows that it selects.
"""

from collections.abc import Iterator
from dataclasses import dataclass

LiteralValue = float | str | bool


@dataclass(frozen=True)
class Column:
    """A column by its name."""

    name: str


Operand = Column | float | str | bool


@dataclass(frozen=True)
class Comparison:
    """Two operands, of which at least one is a column, and an operator between them."""

    left: Operand
    operator: str
    right: Operand


@dataclass(frozen=True)
class Membership:
    """Whether the value of a column is one of some literals."""

    column: Column
    values: tuple[LiteralValue, ...]


@dataclass(frozen=True)
class NullTest:
    """Whether a column has no value."""

    column: Column


@dataclass(frozen=True)
class Not:
    """The rows that a condition does not select."""

    condition: "Condition"


@dataclass(frozen=True)
class AllOf:
    """The rows that each of some conditions selects."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True)
class AnyOf:
    """The rows that at least one of some conditions selects."""

    conditions: tuple["Condition", ...]


Condition = Comparison | Membership | NullTest | Not | AllOf | AnyOf


def single_tests(condition: Condition) -> Iterator[Comparison | Membership | NullTest]:
    """Iterate over the tests of single rows that a condition combines."""
    if isinstance(condition, Not):
        yield from single_tests(condition.condition)
    elif isinstance(condition, AllOf | AnyOf):
        for part in condition.conditions:
            yield from single_tests(part)
    else:
        yield condition


def columns_of(condition: Condition) -> tuple[str, ...]:
    """Return the columns that a condition looks at, each once."""
    names: dict[str, None] = {}
    for test in single_tests(condition):
        operands = (test.left, test.right) if isinstance(test, Comparison) else (test.column,)
        names |= {operand.name: None for operand in operands if isinstance(operand, Column)}
    return tuple(names)

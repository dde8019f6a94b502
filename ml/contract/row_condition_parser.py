"""Parse row conditions by recursive descent, with bounded length and depth.

Grammar:

    condition   = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | "(" condition ")" | test
    test        = operand operator operand { operator operand }
                | column ["not"] "in" list
                | column "is" ["not"] "null"
                | column "." ( "isNull" | "notNull" | "isnull" | "notnull" | "isna" | "notna" ) "(" ")"
    operator    = "==" | "!=" | "<" | "<=" | ">" | ">="
    operand     = column | literal
    column      = name | "`" any name "`" | 'col("' any name '")'
    literal     = number | text in quotes | "true" | "false" | 'date("' text '")'
    list        = ( "(" | "[" ) literal { "," literal } ( ")" | "]" )

`&` is `and`, `|` is `or`. Words are read in lower, upper and title case.
"""

from collections.abc import Callable
from functools import lru_cache

from ml.contract.row_condition import (
    AllOf,
    AnyOf,
    Column,
    Comparison,
    Condition,
    LiteralValue,
    Membership,
    Not,
    NullTest,
    Operand,
)
from ml.contract.row_condition_tokens import ConditionSyntaxError, Token, tokens

MAX_DEPTH = 32
OPERATORS = ("==", "!=", "<", "<=", ">", ">=")
NULL_METHODS = {
    "isNull": True,
    "isnull": True,
    "isna": True,
    "notNull": False,
    "notnull": False,
    "notna": False,
}


@lru_cache(maxsize=1024)
def parse_row_condition(text: str) -> Condition:
    """Parse a row condition. Raises ConditionSyntaxError, with the place, for anything that is not in the grammar."""
    return _Parser(tokens(text)).parse()


class _Parser:
    """A recursive-descent parser with bounded depth."""

    def __init__(self, found: list[Token]) -> None:
        self.found, self.position, self.depth = found, 0, 0

    def parse(self) -> Condition:
        condition = self.any_of()
        if self.next.kind != "end":
            raise self.error("and, or, or the end")
        return condition

    def any_of(self) -> Condition:
        parts = self.joined("or", self.all_of)
        return parts[0] if len(parts) == 1 else AnyOf(parts)

    def all_of(self) -> Condition:
        parts = self.joined("and", self.negation)
        return parts[0] if len(parts) == 1 else AllOf(parts)

    def joined(self, word: str, part: Callable[[], Condition]) -> tuple[Condition, ...]:
        parts = [part()]
        while self.takes("word", word):
            parts.append(part())
        return tuple(parts)

    def negation(self) -> Condition:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"at most {MAX_DEPTH} nested conditions")
        if self.takes("word", "not"):
            condition: Condition = Not(self.negation())
        elif self.takes("symbol", "("):
            condition = self.any_of()
            self.expect("symbol", ")")
        else:
            condition = self.test()
        self.depth -= 1
        return condition

    def test(self) -> Condition:
        left = self.operand()
        if isinstance(left, Column):
            if self.takes("word", "is"):
                negated = self.takes("word", "not")
                self.expect("word", "null")
                return self.null_test(left, not negated)
            if self.takes("symbol", "."):
                method = self.take("name")
                if method not in NULL_METHODS:
                    raise self.error(f"one of {', '.join(NULL_METHODS)}", before=1)
                self.expect("symbol", "(")
                self.expect("symbol", ")")
                return self.null_test(left, NULL_METHODS[method])
            if self.takes("word", "in"):
                return Membership(left, self.literals())
            if self.takes("word", "not"):
                self.expect("word", "in")
                return Not(Membership(left, self.literals()))
        return self.comparisons(left)

    @staticmethod
    def null_test(column: Column, missing: bool) -> Condition:
        return NullTest(column) if missing else Not(NullTest(column))

    def comparisons(self, left: Operand) -> Condition:
        """Parse one comparison, or a chain such as `18 <= age < 65`, which is all of its comparisons."""
        parts: list[Condition] = []
        while self.next.kind == "symbol" and self.next.text in OPERATORS:
            operator = self.take("symbol")
            right = self.operand()
            if not isinstance(left, Column) and not isinstance(right, Column):
                raise self.error("a column on one side of the comparison", before=1)
            parts.append(Comparison(left, operator, right))
            left = right
        if not parts:
            raise self.error("a comparison (== != < <= > >=), in, or is null")
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def operand(self) -> Operand:
        token = self.next
        if token.kind == "name" and token.text == "col" and self.following.text == "(":
            return Column(self.call())
        if token.kind == "name" and token.text == "date" and self.following.text == "(":
            return self.call()
        if token.kind in ("name", "quoted name"):
            return Column(self.take(token.kind))
        return self.literal()

    def call(self) -> str:
        """Parse the text in the brackets of `col("...")` or `date("...")`."""
        self.position += 1
        self.expect("symbol", "(")
        text = self.take("text")
        self.expect("symbol", ")")
        return text

    def literals(self) -> tuple[LiteralValue, ...]:
        opening = "[" if self.next.text == "[" else "("
        self.expect("symbol", opening)
        values = [self.literal()]
        while self.takes("symbol", ","):
            values.append(self.literal())
        self.expect("symbol", {"(": ")", "[": "]"}[opening])
        return tuple(values)

    def literal(self) -> LiteralValue:
        token = self.next
        if token.kind == "number":
            return float(self.take("number"))
        if token.kind == "text":
            return self.take("text")
        for word, value in (("true", True), ("false", False)):
            if self.takes("word", word):
                return value
        raise self.error("a column or a value")

    @property
    def next(self) -> Token:
        return self.found[self.position]

    @property
    def following(self) -> Token:
        return self.found[min(self.position + 1, len(self.found) - 1)]

    def takes(self, kind: str, text: str) -> bool:
        found = self.next.kind == kind and self.next.text == text
        self.position += found
        return found

    def take(self, kind: str) -> str:
        if self.next.kind != kind:
            raise self.error(f"a {kind}")
        self.position += 1
        return self.found[self.position - 1].text

    def expect(self, kind: str, text: str) -> None:
        if not self.takes(kind, text):
            raise self.error(text)

    def error(self, expected: str, before: int = 0) -> ConditionSyntaxError:
        return ConditionSyntaxError(expected, self.found[self.position - before])

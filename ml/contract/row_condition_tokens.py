"""Divide the text of a row condition into tokens."""

import math
import re
from dataclasses import dataclass

MAX_CHARACTERS = 2_000
MAX_NUMBER_CHARACTERS = 40
# Text after an error that its message shows.
SHOWN_CHARACTERS = 20
WORDS = ("and", "or", "not", "in", "is", "null", "true", "false")
SYNONYMS = {"&": "and", "|": "or"}
# Each alternative begins with other characters, and none can match the same text in two ways: matching is linear.
TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<number>-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<text>"(?:[^"\\]|\\["'\\])*"|'(?:[^'\\]|\\["'\\])*')
    | `(?P<quoted_name>[^`]+)`
    | (?P<name>[^\W0-9]\w*)
    | (?P<symbol>==|!=|<=|>=|<|>|[()\[\],.&|])
    """,
    re.VERBOSE,
)
ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True)
class Token:
    """A token: its kind, its text without quotes, and the number of its first character, from 1."""

    kind: str
    text: str
    place: int


class ConditionSyntaxError(Exception):
    """A text that is no row condition: what was expected, and the token or text that came."""

    def __init__(self, expected: str, got: Token) -> None:
        super().__init__(expected, got)
        self.expected, self.got = expected, got


def tokens(text: str) -> list[Token]:
    """Divide a row condition into tokens; the last one is its end. Raises ConditionSyntaxError."""
    if len(text) > MAX_CHARACTERS:
        got = Token("text", f"{len(text):,} characters", 1)
        raise ConditionSyntaxError(f"at most {MAX_CHARACTERS:,} characters", got)
    found, position = [], 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            got = Token("text", text[position : position + SHOWN_CHARACTERS], position + 1)
            raise ConditionSyntaxError("a column, a value, or an operator", got)
        kind = str(match.lastgroup).replace("_", " ")
        if kind != "space":
            found.append(_token(kind, match[str(match.lastgroup)], position + 1))
        position = match.end()
    return [*found, Token("end", "the end", len(text) + 1)]


def _token(kind: str, text: str, place: int) -> Token:
    if kind == "text":
        return Token(kind, ESCAPE.sub(r"\1", text[1:-1]), place)
    if kind == "symbol" and text in SYNONYMS:
        return Token("word", SYNONYMS[text], place)
    if kind == "name" and text.lower() in WORDS and text in (text.lower(), text.upper(), text.title()):
        return Token("word", text.lower(), place)
    if kind == "number" and (len(text) > MAX_NUMBER_CHARACTERS or not math.isfinite(float(text))):
        raise ConditionSyntaxError(
            f"a finite number of at most {MAX_NUMBER_CHARACTERS} characters",
            Token(kind, text[:SHOWN_CHARACTERS], place),
        )
    return Token(kind, text, place)

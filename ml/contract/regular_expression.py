"""Regular expressions of rules: a part of Python's syntax, translated for RE2, which matches in linear time.

Python's own matcher takes exponential time for some expressions, such as `(a+)+$`, on cells of 30 characters. RE2 has
no lookaround and no backreferences: expressions with them are refused. Of what both have, the meaning is Python's, also
where RE2's differs: `\\d`, `\\w` and `\\s` match all of Unicode, and `$` also matches before a line break at the end.
"""

import importlib
import re
import warnings
from collections.abc import Mapping
from typing import Any

MAX_CHARACTERS = 1_000
MAX_GROUPS = 50
# Bounds the states that RE2 may have to follow for each character of a cell.
MAX_SIZE = 2_100
# RE2's own limit.
MAX_COUNT = 1_000
# Size of one character of a class: those of Unicode have many ranges of bytes. Of all others it is 1.
CLASS_SIZE = {"WORD": 40, "DIGIT": 5, "SPACE": 3}
CLASSES: Mapping[bool, Mapping[str, str]] = {
    True: {"DIGIT": "0-9", "WORD": "0-9A-Za-z_", "SPACE": r"\t-\r\x1c-\x20"},
    False: {
        "DIGIT": r"\p{Nd}",
        "WORD": r"\p{L}\p{N}_",
        "SPACE": r"\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}",
    },
}
ANCHORS = {
    "AT_BEGINNING": r"\A",
    "AT_BEGINNING_STRING": r"\A",
    "AT_END": r"(?:\n?\z)",
    "AT_END_STRING": r"\z",
    "AT_BOUNDARY": r"\b",
    "AT_NON_BOUNDARY": r"\B",
}
FLAGS = {re.IGNORECASE: "i", re.DOTALL: "s"}
UNSUPPORTED = {
    "ASSERT": "lookaround",
    "ASSERT_NOT": "lookaround",
    "GROUPREF": "a backreference",
    "GROUPREF_EXISTS": "a condition on a group",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive repetition",
}


class UnsupportedPatternError(Exception):
    """A regular expression that is not valid, or that RE2 cannot match; the text says why."""


def check_pattern(pattern: str) -> None:
    """Raise UnsupportedPatternError for a regular expression that RE2 cannot match."""
    import pyarrow as pa
    import pyarrow.compute as pc

    translated = to_re2(pattern)
    try:
        pc.match_substring_regex(pa.array([""]), translated)
    except pa.ArrowInvalid as error:
        raise UnsupportedPatternError(str(error).rpartition(": ")[2]) from None


def to_re2(pattern: str, ascii_only: bool = False) -> str:
    """Translate a regular expression for RE2; with `ascii_only` for texts of ASCII characters, which is faster.

    Raises UnsupportedPatternError.
    """
    parsed = _parse(pattern)
    if _size(parsed) > MAX_SIZE:
        raise UnsupportedPatternError("too many repetitions")
    if parsed.state.flags & ~(re.UNICODE | re.IGNORECASE | re.DOTALL):
        raise UnsupportedPatternError("flags other than i and s")
    return f"(?{_letters(parsed.state.flags)}:{_sequence(parsed, ascii_only)})"


def _parse(pattern: str) -> Any:
    if len(pattern) > MAX_CHARACTERS:
        raise UnsupportedPatternError(f"more than {MAX_CHARACTERS:,} characters")
    # Before parsing, as Python's parser calls itself for each group.
    if pattern.count("(") > MAX_GROUPS:
        raise UnsupportedPatternError(f"more than {MAX_GROUPS} groups")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("re._parser").parse(pattern)
    except (re.error, ValueError, OverflowError) as error:
        raise UnsupportedPatternError(f"an error: {error}") from None


def _size(parsed: Any) -> int:
    """Return how many characters an expression has after its repetitions are written out."""
    return sum(_node_size(str(op), argument) for op, argument in parsed)


def _node_size(op: str, argument: Any) -> int:
    if op in ("MAX_REPEAT", "MIN_REPEAT"):
        low, high, repeated = argument
        times = int(low) if str(high) == "MAXREPEAT" else int(high)
        if times > MAX_COUNT:
            raise UnsupportedPatternError(f"a repetition above {MAX_COUNT:,}")
        return max(times, 1) * (1 + _size(repeated))
    if op == "SUBPATTERN":
        return 1 + _size(argument[-1])
    if op == "BRANCH":
        return sum(1 + _size(branch) for branch in argument[1])
    if op == "IN":
        return max(CLASS_SIZE.get(str(part[1]).rpartition("_")[2], 1) for part in argument)
    return 1


def _sequence(parsed: Any, ascii_only: bool) -> str:
    return "".join(_node(str(op), argument, ascii_only) for op, argument in parsed)


def _node(op: str, argument: Any, ascii_only: bool) -> str:
    if op == "LITERAL":
        return _character(argument)
    if op == "NOT_LITERAL":
        return f"[^{_character(argument)}]"
    if op == "ANY":
        return "."
    if op == "IN":
        return _character_class(argument, ascii_only)
    if op == "AT" and str(argument) in ANCHORS:
        return ANCHORS[str(argument)]
    if op == "BRANCH":
        return f"(?:{'|'.join(_sequence(branch, ascii_only) for branch in argument[1])})"
    if op == "SUBPATTERN":
        _, added, removed, inner = argument
        if (added | removed) & ~(re.IGNORECASE | re.DOTALL):
            raise UnsupportedPatternError("flags other than i and s")
        flags = _letters(added) + (f"-{_letters(removed)}" if removed else "")
        return f"(?{flags}:{_sequence(inner, ascii_only)})"
    if op in ("MAX_REPEAT", "MIN_REPEAT"):
        # Whether a repetition is greedy decides what it matches, not whether there is a match.
        low, high, repeated = argument
        upper = "" if str(high) == "MAXREPEAT" else int(high)
        return f"(?:{_sequence(repeated, ascii_only)}){{{int(low)},{upper}}}"
    raise UnsupportedPatternError(UNSUPPORTED.get(op, op.lower()))


def _character_class(parts: Any, ascii_only: bool) -> str:
    """Translate a class such as `[a-f\\d]`; a negated category in it becomes an alternative, as `\\W` in `[-\\W]`."""
    negated = str(parts[0][0]) == "NEGATE"
    inside, alternatives = "", []
    for op, argument in parts[negated:]:
        if str(op) == "LITERAL":
            inside += _character(argument)
        elif str(op) == "RANGE":
            inside += "-".join(map(_character, argument))
        else:
            name = str(argument).removeprefix("CATEGORY_")
            characters = CLASSES[ascii_only][name.removeprefix("NOT_")]
            if name.startswith("NOT_"):
                alternatives.append(f"[^{characters}]")
            else:
                inside += characters
    if negated and alternatives:
        raise UnsupportedPatternError(r"\D, \S or \W in a class that begins with ^")
    if inside:
        alternatives.append(f"[{'^' if negated else ''}{inside}]")
    return alternatives[0] if len(alternatives) == 1 else f"(?:{'|'.join(alternatives)})"


def _character(code: int) -> str:
    return f"\\x{{{code:x}}}"


def _letters(flags: int) -> str:
    return "".join(letter for flag, letter in FLAGS.items() if flags & flag)

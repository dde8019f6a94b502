"""Read the JSON text of a contract: its size, depth and keys are checked, and all mistakes have their place.

Python's own reader keeps the last of two equal keys, accepts NaN, and ends with a RecursionError on deep nesting.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from ml.contract.problems import Location, Problem, listed, place_of, quoted, to_error
from ml.errors import ContractError

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 32
# Values of all lists and objects together.
MAX_VALUES = 100_000
MAX_DIGITS = 40
BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
# A text without its closing quote goes to the end: no character is looked at twice.
TEXT_OR_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
SURROGATE = re.compile("[\ud800-\udfff]")
CORRECT = "correct the file"


@dataclass(frozen=True)
class _InvalidNumber:
    """A number that no contract has, in the place of its value."""

    text: str


class _Repeated(dict[str, Any]):
    """An object some of whose keys are there twice."""

    keys_twice: tuple[str, ...] = ()


def read_json_file(file: BinaryIO, name: str) -> dict[str, Any]:
    """Read the JSON of a contract from a file; no more of it is read than a contract may have."""
    return read_json(file.read(MAX_BYTES + 1), name)


def read_json(data: bytes, name: str = "the contract") -> dict[str, Any]:
    """Read the JSON of a contract; `name` is that of its file. Raises one ContractError that names all mistakes."""
    if len(data) > MAX_BYTES:
        raise ContractError(f"at most {MAX_BYTES // 2**20} MB in {name}", "more", "remove what is not needed")
    if data.startswith(BYTE_ORDER_MARKS):
        raise ContractError(f"UTF-8 text in {name}", "a byte order mark", "save it as UTF-8 without one")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        got = f"another byte at position {error.start + 1}"
        raise ContractError(f"UTF-8 text in {name}", got, "save it as UTF-8") from None
    _check_nesting(text, name)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_to_object,
            parse_int=_to_integer,
            parse_float=_to_float,
            parse_constant=_InvalidNumber,
        )
    except json.JSONDecodeError as error:
        raise ContractError(f"JSON in {name}", str(error), CORRECT) from None
    if not isinstance(value, dict):
        raise ContractError(f"an object in {name}", quoted(value), "see docs/contract.md")
    if problems := list(_find_problems(value, ())):
        raise to_error(problems)
    return value


def _check_nesting(text: str, name: str) -> None:
    """Check depth and number of values before anything is parsed; brackets inside of texts do not count."""
    depth = 0
    for match in TEXT_OR_BRACKET.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ContractError(f"at most {MAX_DEPTH} nested values in {name}", "more", CORRECT)
        elif match[0] in "]}":
            depth -= 1
    # Each value but the first of a list or object follows a comma.
    if text.count(",") > MAX_VALUES and TEXT_OR_BRACKET.sub("", text).count(",") > MAX_VALUES:
        raise ContractError(f"at most {MAX_VALUES:,} values in {name}", "more", "remove what is not needed")


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    repeated = _Repeated(values)
    repeated.keys_twice = tuple(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
    return repeated


def _to_integer(digits: str) -> int | _InvalidNumber:
    return int(digits) if len(digits) <= MAX_DIGITS else _InvalidNumber(f"{len(digits):,} digits")


def _to_float(text: str) -> float | _InvalidNumber:
    if len(text) > MAX_DIGITS:
        return _InvalidNumber(f"{len(text):,} digits")
    return number if math.isfinite(number := float(text)) else _InvalidNumber(text)


def _find_problems(value: Any, location: Location) -> Iterator[Problem]:
    if isinstance(value, _InvalidNumber):
        expected = f"a finite number of at most {MAX_DIGITS} digits in {place_of(location)}"
        yield Problem(expected, value.text, "correct it")
    elif isinstance(value, str):
        if not _is_unicode(value):
            yield Problem(f"valid Unicode in {place_of(location)}", "half of a surrogate pair", "correct it")
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _find_problems(item, (*location, position))
    elif isinstance(value, dict):
        yield from _find_key_problems(value, location)
        for key, item in value.items():
            yield from _find_problems(item, (*location, key))


def _find_key_problems(value: dict[str, Any], location: Location) -> Iterator[Problem]:
    if isinstance(value, _Repeated):
        got = listed(value.keys_twice)
        yield Problem(f"each key once in {place_of(location)}", f"{got} more than once", "keep one of each")
    if not all(map(_is_unicode, value)):
        yield Problem(
            f"valid Unicode in the keys of {place_of(location)}", "half of a surrogate pair", "correct it"
        )


def _is_unicode(text: str) -> bool:
    return not SURROGATE.search(text)

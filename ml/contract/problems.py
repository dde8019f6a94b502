"""Mistakes in a contract as text: each with its place, all in one ContractError of bounded length."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ml.contract.arguments import Arguments, Partition, QuantileRanges
from ml.contract.declared_features import DeclaredFeature
from ml.contract.proposal import Proposal
from ml.contract.read_options import ItemTable, ReadOptions
from ml.contract.roles import Roles, Target
from ml.contract.schema import ContractFile, FirstRowPer, Meta, Rule, RuleMeta
from ml.contract.split_policy import SplitPolicy
from ml.contract.values import CODE, FOLDER, FORMAT_CODES, NAME, NOT_BLANK, Section
from ml.contract.version_1 import NEW_NAMES
from ml.errors import ContractError

# Mistakes that are named in full; of more, the number is given.
MAX_PROBLEMS = 20
MAX_VALUES = 12
MAX_CHARACTERS = 60
# Similarity from which a misspelt word is recognised, from 0 to 1.
SIMILARITY = 0.75
EXAMPLES = "see docs/contract.md"

Location = tuple[int | str, ...]
SECTIONS: Mapping[tuple[str, ...], type[Section]] = {
    (): ContractFile,
    ("expectations",): Rule,
    ("expectations", "meta"): RuleMeta,
    ("expectations", "kwargs"): Arguments,
    ("expectations", "kwargs", "quantile_ranges"): QuantileRanges,
    ("expectations", "kwargs", "partition_object"): Partition,
    ("meta",): Meta,
    ("meta", "read"): ReadOptions,
    ("meta", "roles"): Roles,
    ("meta", "roles", "target"): Target,
    ("meta", "split"): SplitPolicy,
    ("meta", "first_row_per"): FirstRowPer,
    ("meta", "item_attributes"): ItemTable,
    ("meta", "proposals"): Proposal,
}
TYPES = {
    "string_type": "a string",
    "string_unicode": "a string of valid Unicode",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "label": "a string or a whole number",
    "bound": "a number, or a date such as 2024-05-01T00:00:00,",
    "cell": "a string, a number, true, false or null",
    "decimal_mark": "'.' or ','",
    "thousands_mark": "'.', ',', a blank, an apostrophe or an empty text",
    "date_format": f"a format of dates with each of the codes {FORMAT_CODES} at most once",
    "file_name": "the name of a file in the folder of the data set, without ~, .., \\ or a leading /",
    "encoding": "a text encoding that Python knows, such as latin-1,",
}
BOUNDS = {
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "too_short": "at least {min_length} value",
    "too_long": "at most {max_length:,} values",
    "string_too_long": "at most {max_length:,} characters",
}
PATTERNS = {
    NAME: ("a name such as fintech-risk.my_loans", "name it <case>.<data set>"),
    FOLDER: ("the name of a folder", "use letters, digits, - and _ only"),
    NOT_BLANK: ("a reason", "write why it is there"),
    CODE: ('a number such as "98" or "-1.5" as key', "correct or remove it"),
}


@dataclass(frozen=True)
class Problem:
    """One mistake; `expected` names its place."""

    expected: str
    got: str
    next_step: str

    def __str__(self) -> str:
        return f"expected {self.expected}; got {self.got}; {self.next_step}"


def to_error(problems: Sequence[Problem], note: str = "") -> ContractError:
    """Combine mistakes into one error: the first `MAX_PROBLEMS` in full, and how many there are."""
    if len(problems) == 1:
        (only,) = problems
        return ContractError(only.expected, only.got, only.next_step + note)
    lines = [f"\n- {problem}" for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"\n- and {len(problems) - MAX_PROBLEMS} more")
    step = f"correct each{note}:{''.join(lines)}"
    return ContractError("a contract without errors", f"{len(problems)} errors", step)


def quoted(value: Any) -> str:
    """Quote a value of the contract as JSON would have it, shortened; of lists and objects only the kind is named."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 3]}..."


def listed(values: Iterable[Any]) -> str:
    """List quoted values, the first `MAX_VALUES` of them."""
    every = list(values)
    more = f", and {len(every) - MAX_VALUES} more" if len(every) > MAX_VALUES else ""
    return f"[{', '.join(map(quoted, every[:MAX_VALUES]))}{more}]"


def validation_problems(error: ValidationError, root: Location = ()) -> list[Problem]:
    """Translate the errors of pydantic in the section at `root`: unknown keys first, those of one object together."""
    unknown_keys: dict[Location, list[str]] = {}
    others = []
    for details in error.errors(include_url=False):
        details["loc"] = (*root, *details["loc"])
        if details["type"] == "extra_forbidden":
            *parent, key = details["loc"]
            unknown_keys.setdefault(tuple(parent), []).append(str(key))
        else:
            others.append(_problem(details))
    return [*(_unknown_keys(parent, keys) for parent, keys in unknown_keys.items()), *others]


def _unknown_keys(parent: Location, unknown: Sequence[str]) -> Problem:
    keys = _keys(parent)
    corrections = [text for key in unknown[:MAX_VALUES] if (text := _correction(key, keys))]
    return Problem(
        f"only the keys {', '.join(keys)} in {place_of(parent)}",
        listed(unknown) if len(unknown) > 1 else quoted(unknown[0]),
        ", ".join(corrections) or f"correct or remove {'them' if len(unknown) > 1 else 'it'}",
    )


def _correction(wrong: str, words: Sequence[str]) -> str | None:
    """Name the word that was probably meant, if there is one."""
    if NEW_NAMES.get(wrong) in words:
        return f"{quoted(wrong)} is {quoted(NEW_NAMES[wrong])} in schema_version 2"
    close = difflib.get_close_matches(wrong[:MAX_CHARACTERS], words, 1, SIMILARITY)
    return f"{quoted(wrong)} is probably {quoted(close[0])}" if close else None


def _problem(details: ErrorDetails) -> Problem:
    kind, location, value = details["type"], details["loc"], details["input"]
    context, place = details.get("ctx", {}), place_of(location)
    if kind == "missing":
        return Problem(f"the key {location[-1]!r} in {place_of(location[:-1])}", _keys_of(value), "add it")
    if kind == "literal_error":
        words = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        step = _correction(value, words) if isinstance(value, str) else None
        return Problem(f"one of {', '.join(words)} in {place}", quoted(value), step or "choose one of them")
    if kind == "string_pattern_mismatch":
        expected, step = PATTERNS[context["pattern"]]
        return Problem(f"{expected} in {place}", quoted(value), step)
    if kind in BOUNDS:
        return Problem(f"{BOUNDS[kind].format(**context)} in {place}", quoted(value), "correct it")
    return Problem(f"{TYPES.get(kind, 'a valid value')} in {place}", quoted(value), EXAMPLES)


def _keys(location: Location) -> list[str]:
    section = _section(_path(location))
    assert section
    return [field.alias or name for name, field in section.model_fields.items()]


def _section(path: tuple[str, ...]) -> type[Section] | None:
    """Return the section at a path; features have names of their own."""
    is_feature = len(path) == 3 and path[:2] == ("meta", "features")
    return DeclaredFeature if is_feature else SECTIONS.get(path)


def _keys_of(value: Any) -> str:
    return f"only {listed(sorted(value))}" if value else "an empty object"


def _path(location: Location) -> tuple[str, ...]:
    return tuple(part for part in location if isinstance(part, str))


def place_of(location: Location) -> str:
    """Name a place as in meta.read.columns['age'] or expectations[0].kwargs."""
    text = ""
    for depth, part in enumerate(location):
        if part == "[key]":
            continue
        if isinstance(part, int):
            text += f"[{part}]"
        elif _section(_path(location[:depth])):
            text += f".{part}" if text else part
        else:
            text += f"[{quoted(part)}]"
    return text or "the contract"

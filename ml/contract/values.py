"""Types of single values in a contract's JSON. Nothing is converted: the text "0.2" is no number, and 1 is not true."""

import codecs
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

NAME = r"^[a-z0-9-]+\.[A-Za-z0-9_-]+$"
FOLDER = r"^[A-Za-z0-9_-]+$"
NOT_BLANK = r"\S"
CODE = r"^-?[0-9]+(\.[0-9]+)?$"
DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
DRIVE = re.compile(r"[A-Za-z]:")
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
# Codecs that Python knows and that are no character sets of files: they take quadratic time, or are not safe.
NO_ENCODINGS = ("idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape")

# Bounds of a contract's parts. The text as a whole is bounded in json_text.py.
MAX_NAME = 150
MAX_COLUMN = 500
MAX_COLUMNS = 10_000
MAX_FILES = 1_000
MAX_RULES = 1_000
MAX_CLASSES = 10_000
MAX_TEXT = 2_000
MAX_WORD = 100
MAX_FORMAT = 64
DECIMAL_MARKS = (".", ",")
# None, or a blank or apostrophe in one of their forms.
THOUSANDS_MARKS = ("", ".", ",", " ", "'", "\u2019", "\u00a0", "\u202f")
MAX_REPLACEMENTS = 1_000
# Codes of strptime of which each matches texts of bounded length.
FORMAT_CODES = "aAbBdfGHIjmMpSuUVwWyYzZ"


class Section(BaseModel):
    """An object of a contract's JSON. Unknown keys are refused, and nothing can be assigned."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def _as_label(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PydanticCustomError("label", "a string or a whole number")
    return str(value)


def _as_file_name(value: Any) -> Any:
    """Accept only names that cannot leave the folder that they are looked up in."""
    if isinstance(value, str) and (
        "\\" in value
        or value.startswith("~")
        or DRIVE.match(value)
        or CONTROL_CHARACTER.search(value)
        or any(part in ("", ".", "..") for part in value.split("/"))
    ):
        raise PydanticCustomError("file_name", "a file name")
    return value


def _as_encoding(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        # Text without letters, or with a path, is looked up nowhere.
        codec = codecs.lookup(value) if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", value) else None
    except (LookupError, ValueError):
        codec = None
    if codec is None or not codec._is_text_encoding or codec.name in NO_ENCODINGS:
        raise PydanticCustomError("encoding", "an encoding")
    return value


def _as_format(value: str) -> str:
    """Accept a format that strptime can read back, with each code at most once."""
    codes = [after[:1] for after in value.replace("%%", "").split("%")[1:]]
    if codes and len(set(codes)) == len(codes) and all(code and code in FORMAT_CODES for code in codes):
        try:
            datetime.strptime(datetime(2024, 2, 29).strftime(value), value)
            return value
        except ValueError:
            pass
    raise PydanticCustomError("date_format", "a format of dates")


def _as_decimal_mark(value: Any) -> Any:
    if isinstance(value, str) and value not in DECIMAL_MARKS:
        raise PydanticCustomError("decimal_mark", "a decimal mark")
    return value


def _as_thousands_mark(value: Any) -> Any:
    if isinstance(value, str) and value not in THOUSANDS_MARKS:
        raise PydanticCustomError("thousands_mark", "a mark between thousands")
    return value


def is_date(text: str) -> bool:
    """Return whether a text is a date, or a date and time, as in ISO 8601, that exists in UTC too."""
    if not DATE.fullmatch(text):
        return False
    try:
        instant = datetime.fromisoformat(text)
        return instant.tzinfo is None or bool(instant.astimezone(UTC))
    except (ValueError, OverflowError):
        return False


Bool = StrictBool
WholeNumber = StrictInt
Number = StrictFloat
Share = Annotated[StrictFloat, Field(ge=0, lt=1)]
Name = Annotated[str, StringConstraints(pattern=NAME, max_length=MAX_NAME)]
Folder = Annotated[str, StringConstraints(pattern=FOLDER, max_length=MAX_NAME)]
ColumnName = Annotated[str, StringConstraints(max_length=MAX_COLUMN)]
Columns = Annotated[tuple[ColumnName, ...], Field(max_length=MAX_COLUMNS)]
# The name of a file in the folder of the data set, also with folders below it.
FileName = Annotated[str, StringConstraints(max_length=MAX_COLUMN), BeforeValidator(_as_file_name)]
Encoding = Annotated[str, BeforeValidator(_as_encoding)]
# A short text that is compared with text of a file.
Word = Annotated[str, StringConstraints(max_length=MAX_WORD)]
DateFormat = Annotated[str, StringConstraints(max_length=MAX_FORMAT), AfterValidator(_as_format)]
DecimalMark = Annotated[
    str, BeforeValidator(_as_decimal_mark), WithJsonSchema({"type": "string", "enum": [*DECIMAL_MARKS]})
]
ThousandsMark = Annotated[
    str, BeforeValidator(_as_thousands_mark), WithJsonSchema({"type": "string", "enum": [*THOUSANDS_MARKS]})
]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
# Why something is in a contract: text that is not only white space.
Reason = Annotated[str, StringConstraints(strip_whitespace=True, pattern=NOT_BLANK, max_length=MAX_TEXT)]
# A class or a site as cells have it; a whole number is read as its digits.
Label = Annotated[str, BeforeValidator(_as_label), WithJsonSchema({"type": ["string", "integer"]})]
Labels = Annotated[tuple[Label, ...], Field(min_length=1)]
# The classes of a target with several.
ClassLabels = Annotated[tuple[Label, ...], Field(min_length=2, max_length=MAX_CLASSES)]
# Meanings of numbers that are codes, by number.
Codes = Annotated[
    Mapping[Annotated[str, StringConstraints(pattern=CODE, max_length=MAX_WORD)], Reason],
    Field(min_length=1, json_schema_extra={"additionalProperties": False}),
]

"""Types of single values in a contract's JSON. Nothing is converted: the text "0.2" is no number, and 1 is not true."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
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


class Section(BaseModel):
    """An object of a contract's JSON. Unknown keys are refused, and nothing can be assigned."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def _as_label(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PydanticCustomError("label", "a string or a whole number")
    return str(value)


Bool = StrictBool
WholeNumber = StrictInt
Number = StrictFloat
Share = Annotated[StrictFloat, Field(ge=0, lt=1)]
Name = Annotated[str, StringConstraints(pattern=NAME)]
Folder = Annotated[str, StringConstraints(pattern=FOLDER)]
# Why something is in a contract: text that is not only white space.
Reason = Annotated[str, StringConstraints(strip_whitespace=True, pattern=NOT_BLANK)]
# A class or a site as cells have it; a whole number is read as its digits.
Label = Annotated[str, BeforeValidator(_as_label), WithJsonSchema({"type": ["string", "integer"]})]
Labels = Annotated[tuple[Label, ...], Field(min_length=1)]
# Meanings of numbers that are codes, by number.
Codes = Annotated[
    Mapping[Annotated[str, StringConstraints(pattern=CODE)], Reason],
    Field(min_length=1, json_schema_extra={"additionalProperties": False}),
]

"""Arguments of expectations, with their types: texts, numbers, and lists of them. No argument is an expression."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from ml.contract.values import Bool, ColumnName, DateFormat, Number, Section, WholeNumber, is_date

MAX_LIST = 1_000
TypeName = Literal[
    "bool", "boolean", "category", "datetime64", "datetime64[us]", "float", "float32", "float64", "Float64", "int",
    "int8", "int16", "int32", "int64", "Int64", "object", "str", "string", "Timestamp", "uint8", "uint16", "uint32",
    "uint64",
]  # fmt: skip


def _as_bound(value: Any) -> Any:
    if _is_number(value) or (isinstance(value, str) and is_date(value)):
        return value
    raise PydanticCustomError("bound", "a number or a date")


def _as_cell(value: Any) -> Any:
    if value is None or isinstance(value, str | bool) or _is_number(value):
        return value
    raise PydanticCustomError("cell", "a string, a number, true, false or null")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


Bound = Annotated[Any, BeforeValidator(_as_bound), WithJsonSchema({"type": ["number", "string"]})]
Cell = Annotated[
    Any, BeforeValidator(_as_cell), WithJsonSchema({"type": ["string", "number", "boolean", "null"]})
]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Numbers = Annotated[tuple[Number, ...], Field(max_length=MAX_LIST)]
Range = Annotated[tuple[Bound | None, ...], Field(min_length=2, max_length=2)]
Pair = Annotated[tuple[Cell, ...], Field(min_length=2, max_length=2)]


class QuantileRanges(Section):
    """Quantiles of a column, with the bounds of each."""

    quantiles: Annotated[tuple[Fraction, ...], Field(max_length=MAX_LIST)]
    """The quantiles, from 0 to 1."""
    value_ranges: Annotated[tuple[Range, ...], Field(max_length=MAX_LIST)]
    """Smallest and largest good value of each quantile, `null` for none."""


class Partition(Section):
    """An expected distribution of a column."""

    values: tuple[Cell, ...] | None = None
    """Values of a category."""
    bins: Numbers | None = None
    """Edges of the ranges of a number, ascending."""
    weights: Numbers
    """Share of each value or range."""
    tail_weights: Numbers | None = None
    """Shares below the first and above the last edge."""


class Arguments(Section):
    """Arguments of an expectation; which of them it takes and needs is in docs/contract.md."""

    column: ColumnName | None = None
    """The column that the rule looks at."""
    column_A: ColumnName | None = None  # noqa: N815 (the name in Great Expectations)
    """The first of two columns."""
    column_B: ColumnName | None = None  # noqa: N815
    """The second of two columns."""
    column_list: Annotated[tuple[ColumnName, ...], Field(min_length=1, max_length=MAX_LIST)] | None = None
    """Columns that the rule looks at together."""
    column_set: Annotated[tuple[ColumnName, ...], Field(max_length=MAX_LIST)] | None = None
    """Columns that the table has."""
    column_index: WholeNumber | None = None
    """Place of the column, from 0."""
    mostly: Fraction | None = None
    """Share of rows that must be good, from 0 to 1."""
    row_condition: str | None = None
    """The rows that the rule looks at, such as `age >= 18 and region is not null`."""
    condition_parser: Literal["pandas", "great_expectations", "great_expectations__experimental__"] | None = (
        None
    )
    """Has no effect: there is one language of row conditions. Suites of Great Expectations have it."""
    ignore_row_if: (
        Literal[
            "both_values_are_missing",
            "either_value_is_missing",
            "neither",
            "all_values_are_missing",
            "any_value_is_missing",
            "never",
        ]
        | None
    ) = None
    """Rows with missing values that are neither good nor bad."""
    min_value: Bound | None = None
    """Smallest good value: a number, or a date such as 2024-05-01T00:00:00."""
    max_value: Bound | None = None
    """Largest good value."""
    strict_min: Bool | None = None
    """Whether `min_value` itself is bad."""
    strict_max: Bool | None = None
    """Whether `max_value` itself is bad."""
    value: Number | None = None
    """The only good value."""
    value_set: tuple[Cell, ...] | None = None
    """Values: strings, numbers, true, false."""
    value_pairs_set: tuple[Pair, ...] | None = None
    """Pairs of values."""
    ties_okay: Bool | None = None
    """Whether several values may be the most common ones."""
    regex: str | None = None
    """A regular expression that is searched for in the text of each cell."""
    regex_list: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)] | None = None
    """Several regular expressions."""
    match_on: Literal["any", "all"] | None = None
    """Whether `any` (the default) or `all` of `regex_list` must be found."""
    strftime_format: DateFormat | None = None
    """A format such as `%Y-%m-%d`, with each code at most once."""
    strictly: Bool | None = None
    """Whether equal values after one another are bad."""
    or_equal: Bool | None = None
    """Whether equal values are good."""
    method: Literal["iqr", "std"] | None = None
    """How the spread of the values is measured."""
    multiplier: Annotated[Number, Field(ge=0)] | None = None
    """How many times the spread a value may be away."""
    threshold: Number | None = None
    """Limit of the rule."""
    double_sided: Bool | None = None
    """Whether values far below the mean are bad too."""
    sum_total: Number | None = None
    """The sum of the columns in a good row."""
    type_: TypeName | None = None
    """A type of pandas or numpy, such as `float64`."""
    type_list: Annotated[tuple[TypeName, ...], Field(min_length=1, max_length=MAX_LIST)] | None = None
    """Several of these types."""
    exact_match: Bool | None = None
    """Whether the table may have no other columns."""
    quantile_ranges: QuantileRanges | None = None
    """Quantiles with the bounds of each."""
    allow_relative_error: Literal[False, "linear", "lower", "higher", "midpoint", "nearest"] | None = None
    """How a quantile between two values is computed; by default it is the nearest value."""
    partition_object: Partition | None = None
    """The expected distribution."""
    bucketize_data: Bool | None = None
    """Whether numbers are divided into ranges."""
    internal_weight_holdout: Fraction | None = None
    """Share that ranges without weight get."""
    tail_weight_holdout: Fraction | None = None
    """Share that the tails get."""

"""The expectations that a rule may have, each with its arguments. All others are refused.

These are the expectations of Great Expectations that work on a table in memory. Not among them: SQL queries and other
tables, JSON Schema (which may name addresses and regular expressions of its own), and LIKE patterns (databases only).
"""

from collections.abc import Mapping
from dataclasses import dataclass

CONDITION = ("row_condition", "condition_parser")
BOUNDS = ("min_value", "max_value", "strict_min", "strict_max")


@dataclass(frozen=True)
class Expectation:
    """What an expectation takes: arguments that it needs, others that it may have, and what it finds."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    finds_rows: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the names of all arguments."""
        return (*self.required, *self.optional)


def _rows(*required: str, optional: tuple[str, ...] = ()) -> Expectation:
    """Return an expectation that finds single bad rows."""
    return Expectation(required, (*optional, "mostly", *CONDITION), finds_rows=True)


def _batch(*required: str, optional: tuple[str, ...] = ()) -> Expectation:
    """Return an expectation that judges the rows as a whole."""
    return Expectation(required, (*optional, *CONDITION))


EXPECTATIONS: Mapping[str, Expectation] = {
    "expect_column_values_to_not_be_null": _rows("column"),
    "expect_column_values_to_be_null": _rows("column"),
    "expect_column_values_to_be_unique": _rows("column"),
    "expect_column_values_to_be_between": _rows("column", optional=BOUNDS),
    "expect_column_values_to_be_in_set": _rows("column", "value_set"),
    "expect_column_values_to_not_be_in_set": _rows("column", "value_set"),
    "expect_column_values_to_match_regex": _rows("column", "regex"),
    "expect_column_values_to_not_match_regex": _rows("column", "regex"),
    "expect_column_values_to_match_regex_list": _rows("column", "regex_list", optional=("match_on",)),
    "expect_column_values_to_not_match_regex_list": _rows("column", "regex_list"),
    "expect_column_values_to_match_strftime_format": _rows("column", "strftime_format"),
    "expect_column_values_to_be_dateutil_parseable": _rows("column"),
    "expect_column_values_to_be_json_parseable": _rows("column"),
    "expect_column_values_to_be_increasing": _rows("column", optional=("strictly",)),
    "expect_column_values_to_be_decreasing": _rows("column", optional=("strictly",)),
    "expect_column_values_to_not_be_outliers": _rows("column", optional=("method", "multiplier")),
    "expect_column_value_lengths_to_be_between": _rows("column", optional=BOUNDS),
    "expect_column_value_lengths_to_equal": _rows("column", "value"),
    "expect_column_pair_values_a_to_be_greater_than_b": _rows(
        "column_A", "column_B", optional=("or_equal", "ignore_row_if")
    ),
    "expect_column_pair_values_to_be_equal": _rows("column_A", "column_B", optional=("ignore_row_if",)),
    "expect_column_pair_values_to_be_in_set": _rows(
        "column_A", "column_B", "value_pairs_set", optional=("ignore_row_if",)
    ),
    "expect_compound_columns_to_be_unique": _rows("column_list", optional=("ignore_row_if",)),
    "expect_multicolumn_sum_to_equal": _rows("column_list", "sum_total", optional=("ignore_row_if",)),
    "expect_multicolumn_values_to_be_equal": _rows("column_list", optional=("ignore_row_if",)),
    "expect_select_column_values_to_be_unique_within_record": _rows(
        "column_list", optional=("ignore_row_if",)
    ),
    "expect_column_value_z_scores_to_be_less_than": _batch(
        "column", "threshold", "double_sided", optional=("mostly",)
    ),
    "expect_column_values_to_be_of_type": _batch("column", "type_", optional=("mostly",)),
    "expect_column_values_to_be_in_type_list": _batch("column", "type_list", optional=("mostly",)),
    "expect_column_max_to_be_between": _batch("column", optional=BOUNDS),
    "expect_column_min_to_be_between": _batch("column", optional=BOUNDS),
    "expect_column_mean_to_be_between": _batch("column", optional=BOUNDS),
    "expect_column_median_to_be_between": _batch("column", optional=BOUNDS),
    "expect_column_sum_to_be_between": _batch("column", optional=BOUNDS),
    "expect_column_stdev_to_be_between": _batch("column", optional=BOUNDS),
    "expect_column_unique_value_count_to_be_between": _batch("column", optional=BOUNDS),
    "expect_column_proportion_of_unique_values_to_be_between": _batch("column", optional=BOUNDS),
    "expect_column_proportion_of_non_null_values_to_be_between": _batch("column", optional=BOUNDS),
    "expect_column_distinct_values_to_be_in_set": _batch("column", "value_set"),
    "expect_column_distinct_values_to_contain_set": _batch("column", "value_set"),
    "expect_column_distinct_values_to_equal_set": _batch("column", "value_set"),
    "expect_column_most_common_value_to_be_in_set": _batch("column", "value_set", optional=("ties_okay",)),
    "expect_column_quantile_values_to_be_between": _batch(
        "column", "quantile_ranges", optional=("allow_relative_error",)
    ),
    "expect_column_kl_divergence_to_be_less_than": _batch(
        "column",
        "partition_object",
        optional=("threshold", "bucketize_data", "internal_weight_holdout", "tail_weight_holdout"),
    ),
    "expect_table_row_count_to_be_between": _batch(optional=BOUNDS),
    "expect_table_row_count_to_equal": _batch("value"),
    "expect_column_to_exist": Expectation(("column",), ("column_index",)),
    "expect_column_type_to_be": Expectation(("column", "type_")),
    "expect_table_column_count_to_be_between": Expectation((), ("min_value", "max_value")),
    "expect_table_column_count_to_equal": Expectation(("value",)),
    "expect_table_columns_to_match_ordered_list": Expectation(("column_list",)),
    "expect_table_columns_to_match_set": Expectation(("column_set",), ("exact_match",)),
}
# Expectations of Great Expectations that are refused, each with the reason.
REFUSED: Mapping[str, str] = {
    "unexpected_rows_expectation": "a contract runs no SQL",
    "expect_query_results_to_match_comparison": "a contract runs no SQL",
    "expect_table_row_count_to_equal_other_table": "a contract has one table",
    "expect_column_values_to_match_json_schema": "a JSON Schema may read addresses",
    "expect_column_values_to_match_like_pattern": "LIKE is for databases; use a regular expression",
    "expect_column_values_to_match_like_pattern_list": "LIKE is for databases; use regular expressions",
    "expect_column_values_to_not_match_like_pattern": "LIKE is for databases; use a regular expression",
    "expect_column_values_to_not_match_like_pattern_list": "LIKE is for databases; use regular expressions",
    "expect_multicolumn_values_to_be_unique": "use expect_select_column_values_to_be_unique_within_record",
}

"""Identifiers that are written in two ways."""

import pandas as pd
import pytest

from ml.data.identifiers import count_alike, identifier_warnings


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["A1", "A2", "A1"], 0),
        (["A1", "a1", "A 1 ", "B2"], 3),
        (["straße", "STRASSE"], 2),
        (["A1", None, "a1"], 2),
        ([], 0),
    ],
)
def test_values_that_differ_in_case_or_white_space_are_counted(
    values: list[str | None], expected: int
) -> None:
    assert count_alike(pd.Series(values, dtype="str")) == expected


def test_numbers_and_absent_columns_have_no_case() -> None:
    rows = pd.DataFrame({"id": [1, 2], "who": ["ann", "Ann"], "day": pd.to_datetime(["2024-01-01"] * 2)})
    assert identifier_warnings(rows, ("id", None, "absent", "day")) == []
    (warning,) = identifier_warnings(rows, ("who", "who"))
    assert warning.startswith("2 values of who differ")

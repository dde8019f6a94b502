"""Types of columns, words for missing values, and padding."""

import numpy as np
import pandas as pd
import pytest

from ml.data.casting import TEXT_DTYPE
from ml.drafting.columns import find_missing_words, infer_type, padded_cells, without_padding


def texts(*values: object, repeat: int = 1) -> pd.Series:
    return pd.Series([None if v is None else str(v) for v in values] * repeat, dtype=TEXT_DTYPE)


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("age", texts(*range(20, 70)), "integer"),
        ("loan", texts(*range(1000, 90_000, 500)), "number"),
        ("ratio", texts("0.5", "1", "2.25"), "number"),
        ("smoker", texts("0", "1", repeat=5), "category"),
        # Written with decimals, categories of two files could differ: 1.0 and 1.
        ("sex", texts("0.0", "1.0", repeat=5), "integer"),
        ("admission_type_id", texts(*range(1, 9), repeat=5), "category"),
        ("encounter_id", texts(*range(2_000_000, 2_000_900, 9)), "integer"),
        ("zip", texts("01234", "02345", "10001", "00501", repeat=9), "category"),
        ("code", texts(*range(100, 999), *(f"V{i}" for i in range(10, 20))), "category"),
        ("when", texts("2024-01-02", "2024-05-06T07:08:09"), "time"),
        ("time", texts(*range(881_250_949, 881_260_949, 100)), "epoch"),
        ("huge", texts(2**60, 2**60 + 1), "category"),
        ("mixed", texts("a", "1", "2", "3", "b", "4", "5"), "category"),
        ("empty", texts(None, None), "category"),
        ("flag", pd.Series([True, False]), "category"),
        ("at", pd.Series(pd.to_datetime(["2024-01-01", "2024-02-01"])), "time"),
    ],
)
def test_types(name: str, cells: pd.Series, kind: str) -> None:
    assert infer_type(name, cells) == kind


def test_a_few_texts_among_numbers_do_not_make_a_category() -> None:
    assert infer_type("income", texts(*np.arange(0.5, 300.0), "oops")) == "number"


def test_missing_words_depend_on_the_column() -> None:
    frame = pd.DataFrame(
        {
            "income": texts("1", "2", "3", "-", "?"),
            "result": texts("None", "high", "low", "-", "N/A"),
            "country": texts("NA", "DE", "FR", "IT", "ES"),
        }
    )
    found = {proposal.place: proposal for proposal in find_missing_words(frame)}
    assert [*found] == ["read.missing.?", "read.missing.-", "read.missing.N/A", "read.missing.NA"]
    assert "'income' (1)" in found["read.missing.?"].reason
    assert not found["read.missing.?"].review
    # Namibia, or North America.
    assert found["read.missing.NA"].review


def test_padding_is_counted_and_removed() -> None:
    frame = pd.DataFrame({"a": texts("x", " x", "y\t", " "), "b": [1.0, 2.0, 3.0, 4.0]})
    assert padded_cells(frame) == 3
    stripped = without_padding(frame)
    assert stripped["a"].tolist()[:3] == ["x", "x", "y"]
    assert stripped["a"].isna().tolist() == [False, False, False, True]
    assert stripped["b"].equals(frame["b"])

"""Row conditions select the rows that pandas' `query` selects."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.contract.row_condition_parser import parse_row_condition
from ml.data.casting import TEXT_DTYPE
from ml.data.row_masks import row_mask

NUMBERS = st.sampled_from([None, 0.0, 1.0, 2.0, -1.5, 1e9])
TEXTS = st.sampled_from([None, "x", "y", "Zoë", "1", ""])
TIMES = st.sampled_from([None, "2024-01-01", "2024-01-02 12:00:00", "1969-12-31"])
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, TEXTS, TEXTS, TIMES, TIMES), min_size=1, max_size=12)
OPERATORS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


def frame_of(rows: list[tuple[object, ...]]) -> pd.DataFrame:
    a, b, k, m, t, u = zip(*rows, strict=True)
    numbers = {"a": pd.Series(a, dtype="float64"), "b": pd.Series(b, dtype="float64")}
    texts = {"k": pd.Series(k, dtype=TEXT_DTYPE), "m m": pd.Series(m, dtype=TEXT_DTYPE)}
    times = {
        c: pd.to_datetime(pd.Series(v), format="mixed").astype("datetime64[us]")
        for c, v in (("t", t), ("u", u))
    }
    return pd.DataFrame(numbers | texts | times)


def comparisons(columns: list[str], values: list[str]) -> st.SearchStrategy[str]:
    operand = st.sampled_from(columns)
    two = st.tuples(operand, OPERATORS, st.sampled_from([*columns, *values])).map(" ".join)
    chain = st.tuples(operand, OPERATORS, operand, OPERATORS, operand).map(" ".join)
    turned = st.tuples(st.sampled_from(values), OPERATORS, operand).map(" ".join)
    some = st.lists(st.sampled_from(values), min_size=1, max_size=3).map(lambda v: f"[{', '.join(v)}]")
    within = st.tuples(operand, st.sampled_from(["in", "not in"]), some).map(" ".join)
    null = st.tuples(operand, st.sampled_from(["isnull", "notnull"])).map(lambda t: f"{t[0]}.{t[1]}()")
    if columns == ["t", "u"]:
        # pandas reads a text as a date only on the right of these operators: `t == '2024-05-01'` is never true there.
        order = st.sampled_from(["<", "<=", ">", ">="])
        dates = st.tuples(operand, order, st.sampled_from(values)).map(" ".join)
        return chain | null | dates
    return two | chain | null | turned | within


TESTS = (
    comparisons(["a", "b"], ["0", "1.0", "-1.5", "2e0"])
    | comparisons(["k", "`m m`"], ["'x'", '"Zoë"', "'1'"])
    | comparisons(["t", "u"], ["'2024-01-01'", "'2024-01-02 12:00:00'"])
)
CONDITIONS = st.recursive(
    TESTS.map(lambda text: f"({text})"),
    lambda part: (
        st.tuples(part, st.sampled_from([" and ", " or ", " & ", " | "]), part).map(
            lambda p: f"({''.join(p)})"
        )
        | part.map(lambda p: f"(not {p})")
    ),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(ROWS, CONDITIONS)
def test_masks_equal_pandas_query(rows: list[tuple[object, ...]], text: str) -> None:
    frame = frame_of(rows)
    # The reference is given conditions of this test only.
    expected = frame.query(text, engine="python").index
    assert np.flatnonzero(row_mask(parse_row_condition(text), frame)).tolist() == expected.tolist(), text


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a == 1", [1]),
        ("a != 1", [0, 2]),
        ("not a == 1", [0, 2]),
        ("a < 1", [0]),
        ("a not in (1)", [0, 2]),
        ("a is null", [2]),
        ("col('a').notNull()", [0, 1]),
        ("a == true", [1]),
        ("a in (true, 5)", [1]),
        ("t >= date('2024-01-02T00:00:00+02:00')", [1]),
        ("t in ('2024-01-01')", [0]),
        ("k is null or k > 'x'", [1, 2]),
    ],
)
def test_missing_values_equal_nothing(text: str, rows: list[int]) -> None:
    frame = frame_of(
        [
            (0.0, None, "x", None, "2024-01-01", None),
            (1.0, None, "y", None, "2024-01-02", None),
            (None, None, None, None, None, None),
        ]
    )
    assert np.flatnonzero(row_mask(parse_row_condition(text), frame)).tolist() == rows

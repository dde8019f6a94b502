"""Rules about two columns have support that chance does not give; sums are rules."""

import numpy as np
import pandas as pd
import pytest

from ml.data.casting import TEXT_DTYPE
from ml.drafting.columns import Column, describe_columns
from ml.drafting.relations import find_sums, relation_rules
from ml.drafting.spellings import edit_distance, find_misspellings


def columns(frame: pd.DataFrame) -> list[Column]:
    return describe_columns(
        {c: frame[c].map(str, na_action="ignore").astype(TEXT_DTYPE) for c in frame.columns}
    )


def table(rows: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    paid = rng.integers(1, 900, rows)
    internet = rng.choice(["dsl", "fibre", "none"], rows)
    backup = np.where(internet == "none", "no internet", rng.choice(["yes", "no"], rows))
    return pd.DataFrame(
        {
            "paid": paid,
            "owed": paid + rng.integers(0, 300, rows),
            "age": rng.integers(18, 80, rows),
            "internet": internet,
            "backup": backup,
            "colour": rng.choice(["red", "blue"], rows),
        }
    )


def test_an_order_that_chance_would_break_is_a_rule() -> None:
    rules = relation_rules(columns(table()), {})
    order, pairs = rules
    assert (order.kwargs["column_A"], order.kwargs["column_B"]) == ("owed", "paid")
    assert "100.00% of 600 rows" in order.reason
    assert order.action == "quarantine"
    assert set(pairs.columns) == {"internet", "backup"}
    assert ["none", "yes"] not in pairs.kwargs["value_pairs_set"]
    assert ["none", "no internet"] in pairs.kwargs["value_pairs_set"]


def test_an_order_with_a_few_exceptions_only_warns_and_is_asked_about() -> None:
    frame = table()
    frame.loc[:5, "owed"] = 0
    (order, *_) = relation_rules(columns(frame), {})
    assert order.action == "warn"
    assert order.review


def test_codes_are_in_no_order() -> None:
    frame = table()
    frame.loc[:99, "owed"] = -9
    (order, *_) = relation_rules(columns(frame), {"owed": [-9.0]})
    assert order.kwargs["row_condition"] == 'col("owed") not in (-9)'
    assert order.action == "quarantine"


def test_opposites_are_compared_though_their_ranges_hardly_meet() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"ap_lo": rng.integers(60, 100, 500), "ap_hi": rng.integers(101, 180, 500)})
    (order,) = relation_rules(columns(frame), {})
    assert (order.kwargs["column_A"], order.kwargs["column_B"]) == ("ap_hi", "ap_lo")
    unrelated = frame.set_axis(["height", "cost"], axis=1)
    assert relation_rules(columns(unrelated), {}) == []


def test_sums_are_rules() -> None:
    frame = table().assign(total=lambda t: t["paid"] + t["age"])
    (found,) = find_sums(columns(frame), {})
    assert found.kwargs == {"total": "total", "parts": ["paid", "age"], "tolerance": 1e-6}
    assert found.reason == "'total' is 'paid' + 'age' in 100.0% of 600 rows"
    assert (found.name, found.action, found.review) == ("sums.total", "quarantine", True)
    assert find_sums(columns(frame), {"age": [99.0]}) == []
    # A few wrong totals are faults of rows, many of the idea.
    frame.loc[:3, "total"] = 1
    assert find_sums(columns(frame), {})[0].action == "warn"
    frame.loc[:30, "total"] = 1
    assert find_sums(columns(frame), {}) == []


def test_sums_of_rounded_amounts_are_found_with_their_tolerance() -> None:
    rng = np.random.default_rng(0)
    net, tax = rng.normal(900, 90, 500), rng.normal(100, 20, 500)
    frame = pd.DataFrame(
        {"net": net.round(2), "tax": tax.round(2), "gross": (net + tax).round(2), "rate": tax / 1e5}
    )
    (found,) = find_sums(columns(frame), {})
    assert (found.kwargs["total"], found.kwargs["tolerance"]) == ("gross", 0.011)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("male", "male", 0), ("femle", "female", 1), ("nroth", "north", 1), ("abc", "xyz", 2), ("a", "abcd", 2)],
)
def test_edit_distance(a: str, b: str, distance: int) -> None:
    assert edit_distance(a, b, 1) == distance


def test_misspellings_are_rare_and_near_a_frequent_value() -> None:
    values = ["Female"] * 60 + ["Male"] * 50 + ["Femle", "male ", "FEMALE", "Unknown"] + ["A1", "A2"] * 30
    (column,) = columns(pd.DataFrame({"sex": values}))
    found = {error.wrong: error.right for error in find_misspellings(column)}
    assert found == {"Femle": "Female", "male ": "Male", "FEMALE": "Female"}

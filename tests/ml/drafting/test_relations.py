"""Rules about two columns have support that chance does not give; sums are rules."""

import numpy as np
import pandas as pd
import pytest

from ml.data.casting import TEXT_DTYPE
from ml.drafting.columns import Column, describe_columns
from ml.drafting.proposals import DraftRule
from ml.drafting.relations import relation_rules
from ml.drafting.spellings import edit_distance, find_misspellings, find_repairs
from ml.drafting.sums import find_sums


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


def accounts(rows: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            c: rng.lognormal(5, 0.5, rows).round(2)
            for c in ("rent", "food", "fuel", "opening", "paid_in", "paid_out")
        }
    )
    frame["spent"] = (frame["rent"] + frame["food"] + frame["fuel"]).round(2)
    frame["closing"] = (frame["opening"] + frame["paid_in"] - frame["paid_out"]).round(2)
    return frame


def kept(rule: DraftRule) -> tuple[str, list[str], list[str]]:
    return rule.kwargs["total"], rule.kwargs["parts"], rule.kwargs.get("subtracted", [])


def test_sums_of_several_parts_and_differences_are_found_with_their_support() -> None:
    frame = accounts()
    spent, closing = find_sums(columns(frame), {})
    assert kept(spent) == ("spent", ["rent", "food", "fuel"], [])
    assert kept(closing) == ("closing", ["opening", "paid_in"], ["paid_out"])
    assert closing.reason == "'closing' is 'opening' + 'paid_in' - 'paid_out' in 100.0% of 500 rows"
    assert (closing.action, closing.review, closing.name) == ("quarantine", True, "sums.closing")
    # In another order of the columns another one is the combination; the sum without subtraction is the same.
    again = find_sums(columns(frame[["spent", "fuel", "food", "rent"]]), {})
    assert [(*kept(rule)[:1], *map(set, kept(rule)[1:])) for rule in again] == [
        ("spent", {"rent", "food", "fuel"}, set())
    ]


def test_a_few_wrong_totals_hide_no_sum_and_many_do() -> None:
    frame = accounts()
    frame.loc[:3, "spent"] = 1e6
    found = {rule.kwargs["total"]: rule for rule in find_sums(columns(frame), {})}
    assert (found["spent"].action, found["closing"].action) == ("warn", "quarantine")
    assert "in 99.2% of 500 rows" in found["spent"].reason
    frame.loc[:30, "spent"] = 1e6
    assert [rule.kwargs["total"] for rule in find_sums(columns(frame), {})] == ["closing"]


def test_rounded_parts_have_a_tolerance_for_each() -> None:
    rng = np.random.default_rng(1)
    parts = pd.DataFrame({c: rng.normal(500, 90, 600) for c in "abcd"})
    frame = parts.round(2).assign(total=parts.sum(axis=1).round(2))
    (found,) = find_sums(columns(frame), {})
    assert kept(found) == ("total", ["a", "b", "c", "d"], [])
    assert found.kwargs["tolerance"] == pytest.approx(0.022)


def test_missing_values_weights_and_sums_of_nothing_are_no_sums() -> None:
    frame = accounts()
    frame.loc[::3, "food"] = np.nan
    frame["empty"] = np.where(np.arange(500) < 60, np.arange(500), np.nan)
    assert {rule.kwargs["total"] for rule in find_sums(columns(frame), {})} == {"spent", "closing"}
    weighted = accounts()[["rent", "food", "fuel"]].assign(
        score=lambda t: t["rent"] + 2 * t["food"] + t["fuel"]
    )
    assert find_sums(columns(weighted), {}) == []
    # Where all but one part are 0, equal columns say nothing about a sum.
    some = pd.DataFrame(0.0, range(500), [*"abcd"])
    for place, column in enumerate("abc"):
        rows = slice(place * 40, place * 40 + 40)
        some.loc[some.index[rows], [column, "d"]] = np.arange(1.0, 41.0)[:, None]
    assert find_sums(columns(some), {}) == []


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


def repairs(values: list[str]) -> dict[str, str]:
    (column,) = columns(pd.DataFrame({"x": values}))
    return {error.wrong: error.right for error in find_repairs(column)}


@pytest.mark.parametrize(
    ("frequent", "rare", "right"),
    [
        (["Female", "Male"], "Femle", "Female"),
        (["Female", "Male"], "Feamle", "Female"),
        (["reading room", "reception"], "readng room", "reading room"),
        (["some college", "bachelor"], "some colege", "some college"),
        (["Grade 1", "Grade 2"], "Grde 1", "Grade 1"),
        # Two letters of a long word.
        (["married", "never married"], "nevr maried", None),
        (["unemployed", "student"], "unemploeyd", "unemployed"),
        (["administration", "student"], "admnistrtion", "administration"),
        # Other words, not other spellings.
        (["typical", "none"], "atypical", None),
        (["Zambia", "Kenya"], "Gambia", None),
        (["Iraq", "Kenya"], "Iran", None),
        (["hypertension", "none"], "hypotension", None),
        (["diverticulitis", "none"], "diverticulosis", None),
        (["macrocytic", "normal"], "microcytic", None),
        # Two values that it could be.
        (["Slovakia", "Slovania"], "Slovaka", "Slovakia"),
        (["Marina", "Martina"], "Martna", None),
        (["carton", "cartoon"], "cartoonn", "cartoon"),
        (["marten", "martin"], "martn", None),
        # Codes and numbers.
        (["A11", "A12"], "A13", None),
        (["AB11", "AC12"], "AD11", None),
        (["CODEA", "CODEB", "CADEA"], "CODEC", None),
        (["Grade 1", "Grade 2"], "Grade 3", None),
        (["1234", "5678"], "1235", None),
    ],
)
def test_one_rare_word_is_repaired_codes_and_other_words_are_not(
    frequent: list[str], rare: str, right: str | None
) -> None:
    assert repairs(frequent * 60 + [rare]) == ({rare: right} if right else {})


def test_a_spelling_in_many_rows_is_no_typing_error() -> None:
    assert repairs(["north"] * 900 + ["south"] * 900 + ["nroth"] * 9) == {"nroth": "north"}
    assert repairs(["north"] * 900 + ["south"] * 900 + ["nroth"] * 20) == {}
    assert repairs(["north"] * 9_000 + ["south"] * 900 + ["nroth"] * 20) == {"nroth": "north"}

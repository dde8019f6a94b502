"""Applying a contract: Great Expectations compared with plain pandas, every row accounted for, faults rejected."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ml.contract.parser import parse
from ml.contract.schema import Contract, Rule
from ml.errors import ContractError, DataGateError
from tasks.settings import ROOT
from tasks.storage.content_store import StageResult, Store
from tasks.validate import apply_contract, check_rules, validate
from tasks.validation.builtin_checks import MIN_ROWS

COLUMNS = {"id": "category", "a": "number", "b": "number", "kind": "category", "y": "integer"}
SECRET = "Jane-Doe-4711"
ROWS = 40


def rule(kind: str, action: str = "quarantine", reason: str = "a reason", **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{kind}", "kwargs": kwargs, "meta": {"action": action, "reason": reason}}


def make_contract(
    *rules: dict[str, Any], columns: dict[str, str] = COLUMNS, roles: Any = None, **meta: Any
) -> Contract:
    roles = {"target": {"column": "y", "positive": ["1"]}, "id": "id", **(roles or {})}
    read = {"files": ["x.csv"], "columns": columns}
    meta = {"schema_version": 2, "read": read, "roles": roles, "max_quarantined_share": 0.99, **meta}
    return parse({"name": "toy.rows", "expectations": list(rules), "meta": meta})


def good(rows: int = ROWS) -> pd.DataFrame:
    """Return valid cells as text, as they are read from a file."""
    numbers = np.arange(rows)
    cells = {
        "id": [f"C{n:03d}" for n in numbers],
        "a": numbers,
        "b": numbers / 2,
        "kind": np.where(numbers % 3, "x", "y"),
        "y": numbers % 2,
    }
    return pd.DataFrame({c: pd.Series(v).astype("str") for c, v in cells.items()})


def change(cells: dict[str, dict[int, str | None]], frame: pd.DataFrame | None = None) -> pd.DataFrame:
    frame = good() if frame is None else frame.copy()
    for column, values in cells.items():
        for row, value in values.items():
            frame.loc[row, column] = value
    return frame


def quarantined_rows(frame: pd.DataFrame, contract: Contract, **options: Any) -> dict[str, list[int]]:
    """Return the quarantined rows by rule."""
    clean, quarantine, excluded, _ = apply_contract(frame, contract, **options)
    assert sorted([*clean["_row"], *quarantine["row"].unique(), *excluded["row"].unique()]) == list(
        range(len(frame))
    )
    assert quarantine["reason"].str.len().gt(0).all()
    return {str(name): rows["row"].tolist() for name, rows in quarantine.groupby("rule")}


def failed_rules(frame: pd.DataFrame, contract: Contract, **options: Any) -> dict[str, str]:
    """Return the rules that this batch fails, with their reasons."""
    with pytest.raises(DataGateError) as error:
        apply_contract(frame, contract, **options)
    assert SECRET not in str(error.value)
    assert SECRET not in json.dumps(error.value.facts)
    failed = {r["rule"]: r["reason"] for r in error.value.facts["rules"] if r["verdict"] == "failed"}
    assert all(name in str(error.value) or name == "columns_present" for name in failed)
    return failed


# --- Great Expectations against plain pandas ---------------------------------------------------------------------


@dataclass(frozen=True)
class Plain:
    """An expectation implemented in plain pandas: masks of the rows that count, and of those that violate it."""

    kind: str
    kwargs: dict[str, Any]
    counts: Callable[[pd.DataFrame], pd.Series]
    violations: Callable[[pd.DataFrame], pd.Series]


def column_rule(kind: str, column: str, violations: Callable[[pd.Series], pd.Series], **kwargs: Any) -> Plain:
    return Plain(
        kind,
        {"column": column, **kwargs},
        lambda frame: frame[column].notna(),
        lambda frame: frame[column].notna() & violations(frame[column]),
    )


def pair_rule(ignore: str, counts: Callable[[pd.DataFrame], pd.Series]) -> Plain:
    return Plain(
        "column_pair_values_a_to_be_greater_than_b",
        {"column_A": "a", "column_B": "b", "ignore_row_if": ignore},
        counts,
        lambda frame: counts(frame) & ~(frame["a"] > frame["b"]),
    )


def does_not_match(pattern: str) -> Callable[[pd.Series], pd.Series]:
    return lambda values: ~values.map(lambda v: bool(re.search(pattern, str(v)))).astype(bool)


def text_length(values: pd.Series) -> pd.Series:
    return values.map(lambda v: len(v) if isinstance(v, str) else 0)


EXPECTATIONS = [
    column_rule(
        "column_values_to_be_between", "a", lambda v: ~((v >= 0) & (v <= 2)), min_value=0, max_value=2
    ),
    column_rule(
        "column_values_to_be_between",
        "a",
        lambda v: ~((v > 0) & (v < 2)),
        min_value=0,
        max_value=2,
        strict_min=True,
        strict_max=True,
    ),
    column_rule("column_values_to_be_between", "b", lambda v: ~(v > -1), min_value=-1, strict_min=True),
    column_rule("column_values_to_be_in_set", "kind", lambda v: ~v.isin(["x", "yy"]), value_set=["x", "yy"]),
    column_rule("column_values_to_be_in_set", "a", lambda v: ~v.isin([0, 1, 2]), value_set=[0, 1, 2]),
    column_rule("column_values_to_not_be_in_set", "kind", lambda v: v.isin(["x"]), value_set=["x"]),
    column_rule("column_values_to_be_unique", "b", lambda v: v.duplicated(keep=False)),
    column_rule("column_values_to_match_regex", "kind", does_not_match("^[xy]"), regex="^[xy]"),
    column_rule(
        "column_value_lengths_to_be_between",
        "kind",
        lambda v: ~text_length(v).eq(1),
        min_value=1,
        max_value=1,
    ),
    Plain(
        "column_values_to_not_be_null",
        {"column": "a"},
        lambda frame: pd.Series(True, frame.index),
        lambda frame: frame["a"].isna(),
    ),
    Plain(
        "compound_columns_to_be_unique",
        {"column_list": ["a", "kind"]},
        lambda frame: frame[["a", "kind"]].notna().any(axis=1),
        lambda frame: frame[["a", "kind"]].notna().any(axis=1) & frame.duplicated(["a", "kind"], keep=False),
    ),
    pair_rule("both_values_are_missing", lambda frame: frame[["a", "b"]].notna().any(axis=1)),
    pair_rule("either_value_is_missing", lambda frame: frame[["a", "b"]].notna().all(axis=1)),
]

CELLS = {
    "id": st.sampled_from([None, *(f"C{n}" for n in range(30))]),
    "a": st.sampled_from(["0", "1", "2", "3", "-5", "1e9", "0.5", "unknown", None]),
    "b": st.sampled_from(["-1", "0", "1", "2.5", "70", "inf", None]),
    "kind": st.sampled_from(["x", "y", "yy", "Zoë", None]),
    "y": st.sampled_from(["0", "1", "0", "1", "no", None]),
}
TABLES = st.lists(st.fixed_dictionaries(CELLS), min_size=20, max_size=60).map(
    lambda rows: pd.DataFrame(rows, columns=list(CELLS)).astype("str")
)
CHOICES = st.lists(
    st.tuples(
        st.integers(0, len(EXPECTATIONS) - 1),
        st.sampled_from(["quarantine", "quarantine", "exclude", "warn", "fail"]),
        st.sampled_from([None, None, 0.5, 0.9]),
    ),
    min_size=1,
    max_size=6,
)


def to_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Convert cells without the code under test: what is not a finite number is missing."""
    numbers = {c: pd.to_numeric(frame[c], errors="coerce").replace([np.inf, -np.inf], np.nan) for c in "aby"}
    return frame.assign(**numbers)


def plain_verdict(plain: Plain, frame: pd.DataFrame, mostly: float | None) -> tuple[set[int], bool]:
    """Return the violating rows, and whether the expectation as a whole fails."""
    violations, counts = plain.violations(frame), int(plain.counts(frame).sum())
    share = 1 - violations.sum() / counts if counts else 1.0
    return set(violations[violations].index), bool(share < (1.0 if mostly is None else mostly))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TABLES, CHOICES, st.booleans())
@example(good(), [(0, "warn", None), (0, "quarantine", None), (0, "exclude", None)], True)
def test_all_rows_are_accounted_for_and_all_verdicts_equal_plain_pandas(
    frame: pd.DataFrame, choices: Sequence[tuple[int, str, float | None]], first_row_per: bool
) -> None:
    rules = []
    for number, (index, action, mostly) in enumerate(choices):
        kwargs = {**EXPECTATIONS[index].kwargs, **({} if mostly is None else {"mostly": mostly})}
        rules.append(rule(EXPECTATIONS[index].kind, action, f"rule {number}", **kwargs))
    meta = (
        {"first_row_per": {"entity": "kind", "order_by": "a", "reason": "first of its kind"}}
        if first_row_per
        else {}
    )

    removed: pd.DataFrame | None = None
    try:
        clean, quarantine, excluded, facts = apply_contract(frame, make_contract(*rules, **meta))
        removed = pd.concat([quarantine, excluded])
    except DataGateError as error:
        facts = error.facts
    assert facts["clean"] + facts["quarantined"] + facts["excluded"] == facts["rows"] == len(frame)
    if removed is not None:
        groups = [set(clean["_row"]), set(quarantine["row"]), set(excluded["row"])]
        assert set().union(*groups) == set(range(len(frame)))
        assert sum(map(len, groups)) == len(frame)
        assert [facts["clean"], facts["quarantined"], facts["excluded"]] == [len(group) for group in groups]

    population = to_numbers(frame)
    results = {result["reason"]: result for result in facts["rules"]}
    for excluding in (True, False):
        excluded_rows: set[int] = set()
        for number, (index, action, mostly) in enumerate(choices):
            if (action == "exclude") != excluding:
                continue
            violating, failed = plain_verdict(EXPECTATIONS[index], population, mostly)
            result = results[f"rule {number}"]
            assert (result["violations"], result["rows"]) == (len(violating), len(population))
            if EXPECTATIONS[index].kwargs:
                assert sum(result.get("kinds", {}).values()) == len(violating)
            assert (result["verdict"] == "failed") == (failed and (action == "fail" or mostly is not None))
            if removed is not None:
                removed_rows = set(removed.loc[removed["reason"] == f"rule {number}", "row"])
                assert removed_rows == (violating if action in ("quarantine", "exclude") else set())
            excluded_rows |= violating if excluding else set()
        population = population.drop(index=sorted(excluded_rows))
        if excluding and first_row_per:
            ordered = population.sort_values("a", kind="stable")
            later = ordered["kind"].notna() & ordered.duplicated("kind")
            assert results["first of its kind"]["violations"] == int(later.sum())
            population = population.drop(index=ordered.index[later])
    assert facts["rows"] - facts["excluded"] == len(population)


# --- what each action does -----------------------------------------------------------------------------------------


def test_data_that_satisfy_the_contract_are_unchanged() -> None:
    clean, quarantine, excluded, facts = apply_contract(
        good(), make_contract(easy := rule("column_to_exist", "fail", column="a"))
    )
    assert easy["meta"]["action"] == "fail"
    assert clean["_row"].tolist() == list(range(ROWS))
    assert clean["a"].tolist() == list(np.arange(ROWS, dtype=float))
    assert clean["id"].iat[7] == "C007"
    assert (len(quarantine), len(excluded)) == (0, 0)
    assert (facts["rows"], facts["clean"]) == (ROWS, ROWS)
    assert {result["verdict"] for result in facts["rules"]} == {"passed"}


@pytest.mark.parametrize("action", ["quarantine", "exclude", "warn"])
def test_actions_remove_or_keep_violating_rows(action: str) -> None:
    contract = make_contract(
        rule("column_values_to_be_between", action, "too large", column="a", max_value=35)
    )
    clean, quarantine, excluded, facts = apply_contract(good(), contract)
    tables = {"quarantine": quarantine, "exclude": excluded}
    for name, table in tables.items():
        assert table["row"].tolist() == ([36, 37, 38, 39] if name == action else [])
        assert list(table.columns) == ["row", "rule", "reason"]
        assert set(table["reason"]) <= {"too large"}
        assert set(table["rule"]) <= {"column_values_to_be_between(a)"}
    assert len(clean) == (ROWS if action == "warn" else ROWS - 4)
    assert facts["rules"][0]["violations"] == 4
    assert facts["rules"][0]["verdict"] == ("warned" if action == "warn" else "applied")


def test_a_rule_with_the_action_fail_fails_for_one_row() -> None:
    contract = make_contract(
        rule("column_values_to_be_between", "fail", "too large", column="a", max_value=38)
    )
    assert failed_rules(good(), contract) == {"column_values_to_be_between(a)": "too large"}


@pytest.mark.parametrize("action", ["quarantine", "exclude", "warn", "fail"])
@pytest.mark.parametrize(("violations", "fails"), [(4, False), (5, True)])
def test_mostly_bounds_the_violations_for_each_action(action: str, violations: int, fails: bool) -> None:
    """90 % of 40 rows are 36: four violations are at the bound, five exceed it."""
    contract = make_contract(
        rule("column_values_to_be_between", action, column="a", max_value=ROWS - 1 - violations, mostly=0.9)
    )
    if fails:
        assert list(failed_rules(good(), contract)) == ["column_values_to_be_between(a)"]
    else:
        clean, *_ = apply_contract(good(), contract)
        assert len(clean) == (ROWS - violations if action in ("quarantine", "exclude") else ROWS)


def test_excluded_rows_are_not_seen_by_other_rules() -> None:
    """Row 39 violates all rules, has an invalid cell, and is a copy; it is excluded first, and not quarantined."""
    frame = change({"kind": {38: "out", 39: "out"}, "a": {38: "many", 39: "many"}, "id": {38: "C039"}})
    contract = make_contract(
        rule("column_values_to_be_between", "fail", column="b", max_value=18.9),
        rule("column_values_to_not_be_in_set", "exclude", "not ours", column="kind", value_set=["out"]),
        max_quarantined_share=0.0,
    )
    clean, quarantine, excluded, facts = apply_contract(change({"b": {38: "99", 39: "99"}}, frame), contract)
    assert excluded["row"].tolist() == [38, 39]
    assert (len(clean), len(quarantine)) == (ROWS - 2, 0)
    assert {result["rows"] for result in facts["rules"][1:]} == {ROWS - 2}


@pytest.mark.parametrize(("violations", "fails"), [(4, False), (5, True)])
def test_max_quarantined_share_is_a_share_of_the_population(violations: int, fails: bool) -> None:
    """Ten rows are excluded: of the 40 others, 10 % may be quarantined."""
    frame = good(50)
    frame.loc[40:, "kind"] = "out"
    contract = make_contract(
        rule("column_values_to_not_be_in_set", "exclude", column="kind", value_set=["out"]),
        rule("column_values_to_be_between", column="a", min_value=violations),
        rule("column_values_to_be_between", column="b", min_value=violations / 2),
        max_quarantined_share=0.1,
    )
    if fails:
        culprits = (
            "column_values_to_be_between(a) 5 rows (a number below 5),"
            " column_values_to_be_between(b) 5 rows (a number below 2.5)"
        )
        reason = f"at most 10.00% of rows in quarantine; 12.50% are (5 of 40): {culprits}"
        assert failed_rules(frame, contract) == {"max_quarantined_share": reason}
    else:
        assert len(apply_contract(frame, contract)[0]) == 36


def test_a_refusal_names_rule_column_rows_and_kind_of_value() -> None:
    """Each message says what is wrong with how many rows, and quotes no cell."""
    frame = good(500).astype("str")
    frame.loc[:449, "a"] = "secret-1"
    frame.loc[450:460, "a"] = "1,5"
    frame.loc[:2, "y"] = None
    with pytest.raises(DataGateError) as error:
        apply_contract(frame, make_contract(max_quarantined_share=0.02))
    message = str(error.value)
    assert "at most 2.00% of rows in quarantine; 92.20% are (461 of 500): type(a) 461 rows" in message
    assert "type(a) 461 rows (text where a number is expected (450), a number like 1.234,56 (11))" in message
    assert "present(y) 3 rows (missing)" in message
    assert "secret" not in message
    # Also where a rule fails the batch by itself.
    low = rule("column_values_to_be_between", "fail", "no debts", column="a", min_value=490, mostly=0.9)
    with pytest.raises(DataGateError, match=r"no debts \(490 of 500 rows: a number below 490\)"):
        apply_contract(good(500), make_contract(low))
    outside = rule("column_values_to_be_in_set", "exclude", column="kind", value_set=["X", "z"])
    assert failed_rules(good(30), make_contract(outside))["enough_rows"] == (
        "at least 20 clean rows; there are 0; removed by column_values_to_be_in_set(kind) 30 rows"
        " (a listed value in another spelling (20), text that is not listed (10))"
    )


def test_a_table_expectation_applies_to_the_batch() -> None:
    row_count = rule("table_row_count_to_be_between", "fail", "a whole month", min_value=ROWS + 1)
    assert failed_rules(good(), make_contract(row_count)) == {
        "table_row_count_to_be_between()": "a whole month"
    }
    row_count["meta"]["action"] = "warn"
    *_, facts = apply_contract(good(), make_contract(row_count))
    assert (facts["rules"][0]["verdict"], facts["rules"][0]["violations"]) == ("warned", 1)


def test_a_row_condition_decides_which_rows_a_rule_looks_at() -> None:
    too_large = rule("column_values_to_be_between", column="a", max_value=35, row_condition="kind == 'y'")
    assert quarantined_rows(good(), make_contract(too_large)) == {"column_values_to_be_between(a)": [36, 39]}
    by_target = rule("column_values_to_be_between", column="a", max_value=35, row_condition="y == 1")
    assert quarantined_rows(good(), make_contract(by_target)) == {"column_values_to_be_between(a)": [37, 39]}
    # Rows to score have no target.
    assert quarantined_rows(good().drop(columns="y"), make_contract(by_target), scoring=True) == {}


# --- named corruptions ---------------------------------------------------------------------------------------------


def test_a_missing_column_is_an_error_that_names_it() -> None:
    assert failed_rules(good().drop(columns=["b"]), make_contract()) == {
        "columns_present": "the contract requires these columns"
    }
    with pytest.raises(DataGateError, match="no column 'a', 'b'"):
        apply_contract(good().drop(columns=["a", "b"]), make_contract())


def test_a_table_without_target_values_fails() -> None:
    frame = good()
    frame["y"] = pd.Series(None, frame.index, dtype="str")
    assert {"max_quarantined_share", "enough_rows"} <= set(failed_rules(frame, make_contract()))


def test_a_constant_target_fails() -> None:
    failed = failed_rules(good().assign(y="1"), make_contract())
    assert failed == {"target_varies": "at least two different target values; there are 1"}
    # Two values that are both not the positive class are one class.
    assert "target_varies" in failed_rules(change({"y": {0: "5"}}, good().assign(y="0")), make_contract())


@pytest.mark.parametrize("rows", [0, 1, MIN_ROWS - 1])
def test_too_few_rows_fail(rows: int) -> None:
    contract = make_contract(
        *(rule(expectation.kind, **expectation.kwargs) for expectation in EXPECTATIONS),
        max_quarantined_share=0.99,
    )
    assert "enough_rows" in failed_rules(good().head(rows), contract)


def test_the_minimum_number_of_rows_passes() -> None:
    assert len(apply_contract(good(MIN_ROWS), make_contract())[0]) == MIN_ROWS


def test_features_without_any_value_fail() -> None:
    frame = good()
    for column in ("a", "b", "kind"):
        frame[column] = pd.Series(None, frame.index, dtype="str")
    assert failed_rules(frame, make_contract()) == {"features_present": "at least one feature has a value"}


def test_a_rule_that_crashes_fails_and_quotes_no_cell() -> None:
    """A numeric rule on a column of categories."""
    frame = change({"kind": {3: SECRET}})
    for action in ("quarantine", "warn", "exclude", "fail"):
        contract = make_contract(rule("column_values_to_be_between", action, column="kind", min_value=0))
        reason = failed_rules(frame, contract)["column_values_to_be_between(kind)"]
        assert reason.startswith("the rule crashed")


def test_messages_have_no_cell_values() -> None:
    frame = change({"kind": {3: SECRET, 4: SECRET}, "id": {3: SECRET, 4: SECRET}, "a": {5: SECRET}})
    for expectation in EXPECTATIONS:
        failed_rules(
            frame,
            make_contract(rule(expectation.kind, "fail", **expectation.kwargs), max_quarantined_share=0.0),
        )
    _, quarantine, excluded, facts = apply_contract(frame, make_contract())
    assert SECRET not in quarantine.to_csv() + excluded.to_csv() + json.dumps(facts)


def test_the_first_of_exact_copies_is_kept() -> None:
    frame = pd.concat([good(), good().iloc[[5, 5, 7]]], ignore_index=True)
    assert quarantined_rows(frame, make_contract()) == {"exact_copy": [40, 41, 42]}


def test_ignored_columns_do_not_distinguish_rows() -> None:
    """Except sensitive ones, which are used to evaluate."""
    frame = pd.concat([good(), good().iloc[[5]]], ignore_index=True)
    frame["note"] = [f"line {n}" for n in range(len(frame))]
    columns = {**COLUMNS, "note": "category"}
    ignored = make_contract(columns=columns, roles={"ignored": ["note"]})
    assert quarantined_rows(frame, ignored) == {"exact_copy": [40]}
    sensitive = make_contract(columns=columns, roles={"ignored": ["note"], "sensitive": ["note"]})
    assert quarantined_rows(frame, sensitive) == {"one_row_per(id)": [5, 40]}


@pytest.mark.parametrize("action", ["quarantine", "exclude", "warn"])
def test_the_contract_says_which_columns_make_a_copy_and_what_becomes_of_it(action: str) -> None:
    frame = pd.concat([good(), good().iloc[[5, 5, 7]]], ignore_index=True)
    frame["id"] = [f"C{n:03d}" for n in range(len(frame))]
    columns = [column for column in COLUMNS if column != "id"]
    copies = {"columns": columns, "action": action, "reason": "a form may be sent twice"}
    clean, quarantine, excluded, facts = apply_contract(frame, make_contract(copies=copies))
    removed = {"quarantine": quarantine, "exclude": excluded}
    assert {name: list(rows["row"]) for name, rows in removed.items() if len(rows)} == (
        {} if action == "warn" else {action: [40, 41, 42]}
    )
    (found,) = (result for result in facts["rules"] if result["rule"] == "exact_copy")
    assert (found["violations"], found["action"]) == (3, action)
    assert found["reason"].endswith("a form may be sent twice")
    assert len(clean) == (43 if action == "warn" else 40)
    # Without the section, another id makes another row.
    assert quarantined_rows(frame, make_contract()) == {}


def test_all_rows_of_an_id_with_different_content_are_quarantined() -> None:
    frame = change({"id": {9: "C004", 20: None, 21: None}})
    assert quarantined_rows(frame, make_contract()) == {"one_row_per(id)": [4, 9], "present(id)": [20, 21]}
    # So is a copy of one of them.
    with_copy = pd.concat([frame, frame.iloc[[4]]], ignore_index=True)
    assert quarantined_rows(with_copy, make_contract())["one_row_per(id)"] == [4, 9, 40]


def test_first_row_per_excludes_later_rows_of_an_entity() -> None:
    """Rows are ordered by time, not by the file; rows without an entity are kept."""
    columns = {"id": "category", "patient": "category", "day": "time", "a": "number", "y": "integer"}
    frame = good().assign(
        patient=[f"P{n // 2}" for n in range(ROWS)], day=[f"2024-01-{31 - n % 28:02d}" for n in range(ROWS)]
    )
    frame = change({"patient": {0: None, 1: None}}, frame)
    first = {"entity": "patient", "order_by": "day", "reason": "only first stays are predicted"}
    contract = make_contract(columns=columns, roles={"time": "day"}, first_row_per=first)
    clean, quarantine, excluded, facts = apply_contract(frame, contract)
    # The second row of each pair is the earlier day, except where the days of the month start again.
    days = pd.to_datetime(frame["day"])
    later = [n + int(days[n] <= days[n + 1]) for n in range(2, ROWS, 2)]
    assert excluded["row"].tolist() == later
    assert set(excluded["reason"]) == {first["reason"]}
    assert (len(clean), len(quarantine)) == (ROWS - len(later), 0)
    assert facts["rules"][0]["rule"] == "first_row_per(patient by day)"


def test_cells_that_do_not_fit_their_type_are_quarantined() -> None:
    frame = change({"a": {1: "1,000", 2: "inf"}, "y": {3: "0.5"}})
    assert quarantined_rows(frame, make_contract()) == {"type(a)": [1, 2], "type(y)": [3]}


def test_rows_without_a_required_value_are_quarantined() -> None:
    columns = {**COLUMNS, "day": "time", "clinic": "category"}
    frame = good().assign(day="2024-01-01", clinic="K")
    frame = change(
        {"id": {0: None}, "y": {1: None}, "day": {2: None, 3: "someday"}, "clinic": {4: None}}, frame
    )
    contract = make_contract(columns=columns, roles={"time": "day", "group": "clinic"})
    assert quarantined_rows(frame, contract) == {
        "present(clinic)": [4],
        "present(day)": [2],
        "present(id)": [0],
        "present(y)": [1],
        "type(day)": [3],
    }


def test_a_row_that_violates_several_rules_is_counted_once() -> None:
    contract = make_contract(
        rule("column_values_to_be_between", column="a", min_value=1),
        rule("column_values_to_be_between", column="b", min_value=0.1),
        rule("column_values_to_be_between", "exclude", column="a", max_value=38),
        rule("column_values_to_be_between", "exclude", column="b", max_value=19.2),
    )
    _, quarantine, excluded, facts = apply_contract(good(), contract)
    assert (quarantine["row"].tolist(), excluded["row"].tolist()) == ([0, 0], [39, 39])
    assert (facts["clean"], facts["quarantined"], facts["excluded"]) == (ROWS - 2, 1, 1)


# --- scoring ---------------------------------------------------------------------------------------------------------


def test_scoring_needs_no_target_and_skips_its_rules() -> None:
    contract = make_contract(
        rule("column_values_to_be_in_set", "fail", column="y", value_set=[0, 1]),
        rule("column_values_to_be_between", column="a", min_value=1),
    )
    for frame in (good().drop(columns=["y"]), good().assign(y="not known yet"), good().assign(y="9")):
        assert quarantined_rows(frame, contract, scoring=True) == {"column_values_to_be_between(a)": [0]}


def test_scoring_keeps_copies_single_rows_and_all_rows_of_an_entity() -> None:
    first = {"entity": "kind", "order_by": "a", "reason": "first of its kind"}
    frame = good().drop(columns=["y"])
    copied = pd.concat([frame, frame.iloc[[5]]], ignore_index=True)
    assert quarantined_rows(copied, make_contract(first_row_per=first), scoring=True) == {}
    assert quarantined_rows(frame.head(1), make_contract(first_row_per=first), scoring=True) == {}
    # An id with different content would still have two predictions.
    ambiguous = change({"id": {9: "C005"}}, copied)
    assert quarantined_rows(ambiguous, make_contract(), scoring=True) == {"one_row_per(id)": [5, 9, 40]}


def test_scoring_needs_features_and_id() -> None:
    columns = {**COLUMNS, "weight": "number", "note": "category", "day": "time", "clinic": "category"}
    roles = {"ignored": ["note"], "time": "day", "group": "clinic"}
    contract = make_contract(columns=columns, roles=roles)
    assert "weight" in contract.features
    assert quarantined_rows(good().assign(weight="1"), contract, scoring=True) == {}
    for required in ("weight", "a", "id"):
        assert "columns_present" in failed_rules(
            good().assign(weight="1").drop(columns=[required]), contract, scoring=True
        )


def test_scoring_an_empty_table_fails() -> None:
    assert set(failed_rules(good().head(0), make_contract(), scoring=True)) == {"enough_rows"}


def test_scoring_a_log_needs_user_item_and_time() -> None:
    contract = parse(
        {
            "name": "toy.log",
            "expectations": [],
            "meta": {
                "schema_version": 2,
                "read": {
                    "files": ["x.csv"],
                    "columns": {"user": "category", "item": "category", "at": "epoch", "stars": "number"},
                },
                "roles": {"user": "user", "item": "item", "time": "at", "event_weight": "stars"},
                "max_quarantined_share": 0.9,
            },
        }
    )
    frame = pd.DataFrame(
        {"user": ["u", "u", None, "v"], "item": ["i", "j", "j", None], "at": ["5", None, "6", "7"]}
    )
    assert quarantined_rows(frame, contract, scoring=True) == {
        "present(at)": [1],
        "present(item)": [3],
        "present(user)": [2],
    }
    assert "columns_present" in failed_rules(frame.drop(columns=["at"]), contract, scoring=True)


def make_event_contract(kind: str, **meta: Any) -> Contract:
    columns = {"user": "category", "item": "category", "at": "epoch", "did": kind}
    roles = {"user": "user", "item": "item", "time": "at", "event_weight": "did"}
    read = {"files": ["x.csv"], "columns": columns}
    meta = {"schema_version": 2, "read": read, "roles": roles, "max_quarantined_share": 0.9, **meta}
    return parse({"name": "toy.log", "expectations": [], "meta": meta})


def events(did: list[str | None]) -> pd.DataFrame:
    rows = [str(n) for n in range(len(did))]
    return pd.DataFrame({"user": rows, "item": rows, "at": rows, "did": pd.Series(did, dtype="str")})


def test_an_event_value_without_a_weight_in_the_contract_fails() -> None:
    contract = make_event_contract("category", event_weight_by_value={"look": 0.2, "buy": 1})
    frame = events(["look", "buy"] * 15 + [SECRET, None])
    assert failed_rules(frame, contract) == {
        "event_weight(did)": "meta.event_weight_by_value has no weight for its value"
    }
    # A missing value is quarantined; in scoring, so are values without a weight.
    assert quarantined_rows(frame.drop(index=30).reset_index(drop=True), contract) == {
        "event_weight(did)": [30]
    }
    assert quarantined_rows(frame, contract, scoring=True) == {"event_weight(did)": [30, 31]}
    assert quarantined_rows(frame.head(30), contract) == {}


def test_an_excluded_event_value_needs_no_weight() -> None:
    source = make_event_contract("category", event_weight_by_value={"look": 0.2, "buy": 1}).source
    exclude = rule("column_values_to_not_be_in_set", "exclude", column="did", value_set=["wish"])
    contract = parse({**source, "expectations": [exclude]})
    assert quarantined_rows(events(["look", "buy", "wish"] * 10), contract) == {}


def test_numbers_that_are_no_weights_are_quarantined() -> None:
    frame = events(["1", "2.5"] * 15 + ["0", "-1", None, "many"])
    assert quarantined_rows(frame, make_event_contract("number")) == {
        "type(did)": [33],
        "event_weight(did)": [30, 31, 32],
    }


# --- contracts and the task ------------------------------------------------------------------------------------------

CONTRACTS = sorted((ROOT / "expectations").glob("*/*.json"))


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_great_expectations_knows_the_rules_of_all_contracts(path: Path) -> None:
    check_rules(parse(json.loads(path.read_text())))


def test_each_use_case_has_contracts() -> None:
    assert len({path.parent for path in CONTRACTS}) == 6
    assert len(CONTRACTS) >= 6


@pytest.mark.parametrize(
    "invalid",
    [
        rule("column_values_to_be_lovely", column="a"),
        rule("column_values_to_be_in_set", column="a"),
        rule("column_values_to_be_between", column="a", least=0),
        rule("column_values_to_be_between", column="a", min_value=0, mostly=7),
    ],
)
def test_an_unknown_expectation_is_an_error(invalid: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match=Rule.model_validate(invalid).name.split("(")[0]):
        check_rules(make_contract(invalid))


def test_the_task_stores_three_tables_with_row_numbers_of_the_source(tmp_path: Path) -> None:
    frame = change({"a": {3: "-1", 30: "many"}, "kind": {8: "out"}})
    contract = make_contract(
        rule("column_values_to_be_between", "quarantine", "no debts", column="a", min_value=0),
        rule("column_values_to_not_be_in_set", "exclude", "not ours", column="kind", value_set=["out"]),
    )
    store = Store(tmp_path)
    raw = store.get_or_compute("raw", lambda: StageResult({"rows": frame}, {}))
    stored = validate.fn(raw, contract, None, store)
    assert stored.table_names == ("clean", "quarantine", "excluded")
    clean, quarantine = stored.table("clean"), stored.table("quarantine")
    assert clean["id"].tolist() == frame.loc[clean["_row"], "id"].tolist()
    assert quarantine.to_dict("records") == [
        {"row": 3, "rule": "column_values_to_be_between(a)", "reason": "no debts"},
        {"row": 30, "rule": "type(a)", "reason": "the cell is not a valid number"},
    ]
    assert stored.table("excluded")["row"].tolist() == [8]
    assert (stored.facts["rows"], stored.facts["clean"]) == (ROWS, ROWS - 3)
    assert validate.fn(raw, contract, None, store).reused
    other = make_contract(*contract.source["expectations"], max_quarantined_share=0.5)
    assert not validate.fn(raw, other, None, store).reused


def test_a_failed_batch_is_validated_again(tmp_path: Path) -> None:
    """Nothing is stored for a batch that fails."""
    store = Store(tmp_path)
    raw = store.get_or_compute("raw", lambda: StageResult({"rows": good().assign(y="1")}, {}))
    for _ in range(2):
        with pytest.raises(DataGateError) as error:
            validate.fn(raw, make_contract(), None, store)
        assert error.value.facts["clean"] == ROWS
    assert len(list((tmp_path / "keys").iterdir())) == 1


def test_quarantined_rows_that_differ_from_the_others_are_reported() -> None:
    """Amounts with thousands separators are no numbers, and always the largest. What a rule removes is no surprise."""
    frame = good(400)
    amounts = np.arange(400) * 10
    frame["a"] = [f"{amount:,}" for amount in amounts]
    facts = apply_contract(frame, make_contract()).facts
    assert facts["quarantined"] == 300
    assert facts["quarantine_differences"] == [
        "a: higher in quarantine than in rows that stay, in 100% of all pairs",
        "b: higher in quarantine than in rows that stay, in 100% of all pairs",
    ]
    ruled = make_contract(rule("column_values_to_be_between", column="b", max_value=100))
    facts = apply_contract(good(400), ruled).facts
    assert facts["quarantined"] == 199
    assert facts["quarantine_differences"] == [
        "a: higher in quarantine than in rows that stay, in 100% of all pairs"
    ]
    even = good(400).assign(a=lambda f: f["a"].where(f.index % 7 > 0, "?"))
    assert "quarantine_differences" not in apply_contract(even, make_contract()).facts


def test_the_target_of_quarantined_rows_is_compared() -> None:
    frame = good(400)
    frame["a"] = frame["a"].where((frame["y"] == "0") | (frame.index % 3 > 0), "x")
    facts = apply_contract(frame, make_contract()).facts
    # Each of these rows is of the rarer kind.
    assert facts["quarantine_differences"] == [
        "y: 100% of the rows in quarantine are positive, 40% of those that stay",
        "kind: other categories in quarantine than in rows that stay, in 80% of the rows",
    ]

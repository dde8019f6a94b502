"""The contract's gate: Great Expectations' verdicts against plain masks, every row accounted for, faults refused."""

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
from tasks.validate import FEWEST_ROWS, check, examine, validate

COLUMNS = {"id": "category", "a": "number", "b": "number", "kind": "category", "y": "integer"}
SECRET = "Jane-Doe-4711"
ROWS = 40


def rule(kind: str, action: str = "quarantine", reason: str = "a reason", **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{kind}", "kwargs": kwargs, "meta": {"action": action, "reason": reason}}


def contract(
    *rules: dict[str, Any], columns: dict[str, str] = COLUMNS, roles: Any = None, **meta: Any
) -> Contract:
    roles = {"target": {"column": "y", "positive": ["1"]}, "id": "id", **(roles or {})}
    meta = {"read": {"files": ["x.csv"], "columns": columns}, "roles": roles, "budget": 0.99, **meta}
    return parse({"name": "toy.rows", "expectations": list(rules), "meta": meta})


def good(rows: int = ROWS) -> pd.DataFrame:
    """Cells as they come from a file."""
    numbers = np.arange(rows)
    cells = {
        "id": [f"C{n:03d}" for n in numbers],
        "a": numbers,
        "b": numbers / 2,
        "kind": np.where(numbers % 3, "x", "y"),
        "y": numbers % 2,
    }
    return pd.DataFrame({c: pd.Series(v).astype("str") for c, v in cells.items()})


def changed(cells: dict[str, dict[int, str | None]], frame: pd.DataFrame | None = None) -> pd.DataFrame:
    frame = good() if frame is None else frame.copy()
    for column, values in cells.items():
        for row, value in values.items():
            frame.loc[row, column] = value
    return frame


def quarantined(frame: pd.DataFrame, its: Contract, **how: Any) -> dict[str, list[int]]:
    """The rows that each rule took, as the quarantine table names them."""
    clean, quarantine, excluded, _ = examine(frame, its, **how)
    assert sorted([*clean["_row"], *quarantine["row"].unique(), *excluded["row"].unique()]) == list(
        range(len(frame))
    )
    assert quarantine["reason"].str.len().gt(0).all()
    return {str(name): rows["row"].tolist() for name, rows in quarantine.groupby("rule")}


def refused(frame: pd.DataFrame, its: Contract, **how: Any) -> dict[str, str]:
    """The rules that refused this batch, with the reason of each."""
    with pytest.raises(DataGateError) as refusal:
        examine(frame, its, **how)
    assert SECRET not in str(refusal.value)
    assert SECRET not in json.dumps(refusal.value.facts)
    found = {r["rule"]: r["reason"] for r in refusal.value.facts["rules"] if r["verdict"] == "refused"}
    assert all(name in str(refusal.value) or name == "columns_present" for name in found)
    return found


# --- Great Expectations against plain pandas ---------------------------------------------------------------------


@dataclass(frozen=True)
class Plain:
    """One expectation and its verdict in plain pandas: which rows count, and which of them are bad."""

    kind: str
    kwargs: dict[str, Any]
    counts: Callable[[pd.DataFrame], pd.Series]
    bad: Callable[[pd.DataFrame], pd.Series]


def one(kind: str, column: str, bad: Callable[[pd.Series], pd.Series], **kwargs: Any) -> Plain:
    return Plain(
        kind,
        {"column": column, **kwargs},
        lambda frame: frame[column].notna(),
        lambda frame: frame[column].notna() & bad(frame[column]),
    )


def pair(ignore: str, counts: Callable[[pd.DataFrame], pd.Series]) -> Plain:
    return Plain(
        "column_pair_values_a_to_be_greater_than_b",
        {"column_A": "a", "column_B": "b", "ignore_row_if": ignore},
        counts,
        lambda frame: counts(frame) & ~(frame["a"] > frame["b"]),
    )


def found(pattern: str) -> Callable[[pd.Series], pd.Series]:
    return lambda values: ~values.map(lambda v: bool(re.search(pattern, str(v)))).astype(bool)


def length(values: pd.Series) -> pd.Series:
    return values.map(lambda v: len(v) if isinstance(v, str) else 0)


EXPECTATIONS = [
    one("column_values_to_be_between", "a", lambda v: ~((v >= 0) & (v <= 2)), min_value=0, max_value=2),
    one(
        "column_values_to_be_between",
        "a",
        lambda v: ~((v > 0) & (v < 2)),
        min_value=0,
        max_value=2,
        strict_min=True,
        strict_max=True,
    ),
    one("column_values_to_be_between", "b", lambda v: ~(v > -1), min_value=-1, strict_min=True),
    one("column_values_to_be_in_set", "kind", lambda v: ~v.isin(["x", "yy"]), value_set=["x", "yy"]),
    one("column_values_to_be_in_set", "a", lambda v: ~v.isin([0, 1, 2]), value_set=[0, 1, 2]),
    one("column_values_to_not_be_in_set", "kind", lambda v: v.isin(["x"]), value_set=["x"]),
    one("column_values_to_be_unique", "b", lambda v: v.duplicated(keep=False)),
    one("column_values_to_match_regex", "kind", found("^[xy]"), regex="^[xy]"),
    one("column_value_lengths_to_be_between", "kind", lambda v: ~length(v).eq(1), min_value=1, max_value=1),
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
    pair("both_values_are_missing", lambda frame: frame[["a", "b"]].notna().any(axis=1)),
    pair("either_value_is_missing", lambda frame: frame[["a", "b"]].notna().all(axis=1)),
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
        st.sampled_from(["quarantine", "quarantine", "exclude", "warn", "refuse"]),
        st.sampled_from([None, None, 0.5, 0.9]),
    ),
    min_size=1,
    max_size=6,
)


def plainly_typed(frame: pd.DataFrame) -> pd.DataFrame:
    """An independent reading of the cells: what is no finite number is missing."""
    numbers = {c: pd.to_numeric(frame[c], errors="coerce").replace([np.inf, -np.inf], np.nan) for c in "aby"}
    return frame.assign(**numbers)


def plain_verdict(plain: Plain, frame: pd.DataFrame, mostly: float | None) -> tuple[set[int], bool]:
    """The bad rows, and whether the expectation as a whole failed."""
    bad, counts = plain.bad(frame), int(plain.counts(frame).sum())
    share = 1 - bad.sum() / counts if counts else 1.0
    return set(bad[bad].index), bool(share < (1.0 if mostly is None else mostly))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TABLES, CHOICES, st.booleans())
@example(good(), [(0, "warn", None), (0, "quarantine", None), (0, "exclude", None)], True)
def test_every_row_is_accounted_for_and_every_verdict_is_right(
    frame: pd.DataFrame, choices: Sequence[tuple[int, str, float | None]], keep_first: bool
) -> None:
    rules = []
    for number, (which, action, mostly) in enumerate(choices):
        kwargs = {**EXPECTATIONS[which].kwargs, **({} if mostly is None else {"mostly": mostly})}
        rules.append(rule(EXPECTATIONS[which].kind, action, f"rule {number}", **kwargs))
    meta = {"keep_first": {"per": "kind", "by": "a", "reason": "first of its kind"}} if keep_first else {}

    left: pd.DataFrame | None = None
    try:
        clean, quarantine, excluded, facts = examine(frame, contract(*rules, **meta))
        left = pd.concat([quarantine, excluded])
    except DataGateError as refusal:
        facts = refusal.facts
    assert facts["clean"] + facts["quarantined"] + facts["excluded"] == facts["rows"] == len(frame)
    if left is not None:
        groups = [set(clean["_row"]), set(quarantine["row"]), set(excluded["row"])]
        assert set().union(*groups) == set(range(len(frame)))
        assert sum(map(len, groups)) == len(frame)
        assert [facts["clean"], facts["quarantined"], facts["excluded"]] == [len(g) for g in groups]

    typed = plainly_typed(frame)
    population = typed
    verdicts = {line["reason"]: line for line in facts["rules"]}
    for excluding in (True, False):
        gone: set[int] = set()
        for number, (which, action, mostly) in enumerate(choices):
            if (action == "exclude") != excluding:
                continue
            bad, failed = plain_verdict(EXPECTATIONS[which], population, mostly)
            line = verdicts[f"rule {number}"]
            assert (line["bad"], line["rows"]) == (len(bad), len(population))
            assert (line["verdict"] == "refused") == (failed and (action == "refuse" or mostly is not None))
            if left is not None:
                took = set(left.loc[left["reason"] == f"rule {number}", "row"])
                assert took == (bad if action in ("quarantine", "exclude") else set())
            gone |= bad if excluding else set()
        population = population.drop(index=sorted(gone))
        if excluding and keep_first:
            ordered = population.sort_values("a", kind="stable")
            later = ordered["kind"].notna() & ordered.duplicated("kind")
            assert verdicts["first of its kind"]["bad"] == int(later.sum())
            population = population.drop(index=ordered.index[later])
    assert facts["rows"] - facts["excluded"] == len(population)


# --- what each action does -----------------------------------------------------------------------------------------


def test_data_that_keep_their_contract_pass_untouched() -> None:
    clean, quarantine, excluded, facts = examine(
        good(), contract(EASY := rule("column_to_exist", "refuse", column="a"))
    )
    assert EASY["meta"]["action"] == "refuse"
    assert clean["_row"].tolist() == list(range(ROWS))
    assert clean["a"].tolist() == list(np.arange(ROWS, dtype=float))
    assert clean["id"].iat[7] == "C007"
    assert (len(quarantine), len(excluded)) == (0, 0)
    assert (facts["rows"], facts["clean"]) == (ROWS, ROWS)
    assert {line["verdict"] for line in facts["rules"]} == {"passed"}


AT_MOST_9 = {"column": "a", "max_value": 9}


@pytest.mark.parametrize("action", ["quarantine", "exclude", "warn"])
def test_what_an_action_does_with_bad_rows(action: str) -> None:
    its = contract(rule("column_values_to_be_between", action, "too large", column="a", max_value=35))
    clean, quarantine, excluded, facts = examine(good(), its)
    tables = {"quarantine": quarantine, "exclude": excluded}
    for name, table in tables.items():
        assert table["row"].tolist() == ([36, 37, 38, 39] if name == action else [])
        assert list(table.columns) == ["row", "rule", "reason"]
        assert set(table["reason"]) <= {"too large"}
        assert set(table["rule"]) <= {"column_values_to_be_between(a)"}
    assert len(clean) == (ROWS if action == "warn" else ROWS - 4)
    assert facts["rules"][0]["bad"] == 4
    assert facts["rules"][0]["verdict"] == ("warned" if action == "warn" else "acted")


def test_a_refusing_rule_refuses_for_one_row() -> None:
    its = contract(rule("column_values_to_be_between", "refuse", "too large", column="a", max_value=38))
    assert refused(good(), its) == {"column_values_to_be_between(a)": "too large"}


@pytest.mark.parametrize("action", ["quarantine", "exclude", "warn", "refuse"])
@pytest.mark.parametrize(("bad", "stopped"), [(4, False), (5, True)])
def test_mostly_bounds_every_action(action: str, bad: int, stopped: bool) -> None:
    """Nine in ten of 40 rows are 36: four bad ones are at the bound, five beyond it."""
    its = contract(
        rule("column_values_to_be_between", action, column="a", max_value=ROWS - 1 - bad, mostly=0.9)
    )
    if stopped:
        assert list(refused(good(), its)) == ["column_values_to_be_between(a)"]
    else:
        clean, *_ = examine(good(), its)
        assert len(clean) == (ROWS - bad if action in ("quarantine", "exclude") else ROWS)


def test_rows_outside_the_population_are_judged_by_no_other_rule() -> None:
    """Row 39 breaks every rule, holds a misfit, and is a copy; it is out first, and costs no budget."""
    frame = changed({"kind": {38: "out", 39: "out"}, "a": {38: "many", 39: "many"}, "id": {38: "C039"}})
    its = contract(
        rule("column_values_to_be_between", "refuse", column="b", max_value=18.9),
        rule("column_values_to_not_be_in_set", "exclude", "not ours", column="kind", value_set=["out"]),
        budget=0.0,
    )
    clean, quarantine, excluded, facts = examine(changed({"b": {38: "99", 39: "99"}}, frame), its)
    assert excluded["row"].tolist() == [38, 39]
    assert (len(clean), len(quarantine)) == (ROWS - 2, 0)
    assert {line["rows"] for line in facts["rules"][1:]} == {ROWS - 2}


@pytest.mark.parametrize(("bad", "stopped"), [(4, False), (5, True)])
def test_the_budget_is_a_share_of_the_population(bad: int, stopped: bool) -> None:
    """Ten rows are excluded: of the 40 others, a tenth may be set aside."""
    frame = good(50)
    frame.loc[40:, "kind"] = "out"
    its = contract(
        rule("column_values_to_not_be_in_set", "exclude", column="kind", value_set=["out"]),
        rule("column_values_to_be_between", column="a", min_value=bad),
        rule("column_values_to_be_between", column="b", min_value=bad / 2),
        budget=0.1,
    )
    if stopped:
        assert refused(frame, its) == {"budget": "at most 10.00% of rows in quarantine; 12.50% are"}
    else:
        assert len(examine(frame, its)[0]) == 36


def test_a_whole_table_expectation_judges_the_batch() -> None:
    few = rule("table_row_count_to_be_between", "refuse", "a whole month", min_value=ROWS + 1)
    assert refused(good(), contract(few)) == {"table_row_count_to_be_between()": "a whole month"}
    few["meta"]["action"] = "warn"
    *_, facts = examine(good(), contract(few))
    assert (facts["rules"][0]["verdict"], facts["rules"][0]["bad"]) == ("warned", 1)


# --- named corruptions ---------------------------------------------------------------------------------------------


def test_a_missing_column_is_refused_by_name() -> None:
    assert refused(good().drop(columns=["b"]), contract()) == {"columns_present": "the contract names them"}
    with pytest.raises(DataGateError, match="no column 'a', 'b'"):
        examine(good().drop(columns=["a", "b"]), contract())


def test_a_table_without_answers_is_refused() -> None:
    frame = good()
    frame["y"] = pd.Series(None, frame.index, dtype="str")
    assert {"budget", "enough_rows"} <= set(refused(frame, contract()))


def test_one_answer_for_all_is_refused() -> None:
    found = refused(good().assign(y="1"), contract())
    assert found == {"target_varies": "at least two different answers; there are 1"}
    # Two classes of which neither is the positive one are one answer as well.
    assert "target_varies" in refused(changed({"y": {0: "5"}}, good().assign(y="0")), contract())


@pytest.mark.parametrize("rows", [0, 1, FEWEST_ROWS - 1])
def test_too_few_rows_are_refused(rows: int) -> None:
    its = contract(*(rule(e.kind, **e.kwargs) for e in EXPECTATIONS), budget=0.99)
    assert "enough_rows" in refused(good().head(rows), its)


def test_the_fewest_rows_are_enough() -> None:
    assert len(examine(good(FEWEST_ROWS), contract())[0]) == FEWEST_ROWS


def test_columns_without_any_value_are_refused() -> None:
    frame = good()
    for column in ("a", "b", "kind"):
        frame[column] = pd.Series(None, frame.index, dtype="str")
    assert refused(frame, contract()) == {"features_present": "at least one feature has a value"}


def test_a_rule_that_crashes_refuses_and_quotes_nothing() -> None:
    """Text in a numeric rule, because the contract calls the column a category."""
    frame = changed({"kind": {3: SECRET}})
    for action in ("quarantine", "warn", "exclude", "refuse"):
        its = contract(rule("column_values_to_be_between", action, column="kind", min_value=0))
        found = refused(frame, its)["column_values_to_be_between(kind)"]
        assert found.startswith("the rule crashed")


def test_messages_hold_no_cell_values() -> None:
    frame = changed({"kind": {3: SECRET, 4: SECRET}, "id": {3: SECRET, 4: SECRET}, "a": {5: SECRET}})
    for e in EXPECTATIONS:
        refused(frame, contract(rule(e.kind, "refuse", **e.kwargs), budget=0.0))
    _, quarantine, excluded, facts = examine(frame, contract())
    assert SECRET not in quarantine.to_csv() + excluded.to_csv() + json.dumps(facts)


def test_of_exact_copies_one_stays() -> None:
    frame = pd.concat([good(), good().iloc[[5, 5, 7]]], ignore_index=True)
    assert quarantined(frame, contract()) == {"exact_copy": [40, 41, 42]}


def test_what_is_ignored_makes_no_row_another() -> None:
    """Unless it is sensitive: then it judges, and a row that differs by it is another."""
    frame = pd.concat([good(), good().iloc[[5]]], ignore_index=True)
    frame["note"] = [f"line {n}" for n in range(len(frame))]
    columns = {**COLUMNS, "note": "category"}
    ignored = contract(columns=columns, roles={"ignored": ["note"]})
    assert quarantined(frame, ignored) == {"exact_copy": [40]}
    watched = contract(columns=columns, roles={"ignored": ["note"], "sensitive": ["note"]})
    assert quarantined(frame, watched) == {"one_row_per(id)": [5, 40]}


def test_of_one_id_with_different_content_none_stays() -> None:
    frame = changed({"id": {9: "C004", 20: None, 21: None}})
    assert quarantined(frame, contract()) == {"one_row_per(id)": [4, 9], "present(id)": [20, 21]}
    # A copy of one of them is no better than they are.
    with_copy = pd.concat([frame, frame.iloc[[4]]], ignore_index=True)
    assert quarantined(with_copy, contract())["one_row_per(id)"] == [4, 9, 40]


def test_the_first_row_of_an_entity_is_kept() -> None:
    """By time, whatever the order of the file; rows without an entity stay."""
    columns = {"id": "category", "patient": "category", "day": "time", "a": "number", "y": "integer"}
    frame = good().assign(
        patient=[f"P{n // 2}" for n in range(ROWS)], day=[f"2024-01-{31 - n % 28:02d}" for n in range(ROWS)]
    )
    frame = changed({"patient": {0: None, 1: None}}, frame)
    keep = {"per": "patient", "by": "day", "reason": "a later stay is another question"}
    its = contract(columns=columns, roles={"time": "day"}, keep_first=keep)
    clean, quarantine, excluded, facts = examine(frame, its)
    # Of each pair the second row is the earlier day, but where the days of the month begin anew.
    days = pd.to_datetime(frame["day"])
    later = [n + int(days[n] <= days[n + 1]) for n in range(2, ROWS, 2)]
    assert excluded["row"].tolist() == later
    assert set(excluded["reason"]) == {keep["reason"]}
    assert (len(clean), len(quarantine)) == (ROWS - len(later), 0)
    assert facts["rules"][0]["rule"] == "keep_first(patient by day)"


def test_a_cell_that_does_not_fit_its_type_is_set_aside() -> None:
    frame = changed({"a": {1: "1,000", 2: "inf"}, "y": {3: "0.5"}})
    assert quarantined(frame, contract()) == {"type(a)": [1, 2], "type(y)": [3]}


def test_a_row_without_a_role_is_set_aside() -> None:
    columns = {**COLUMNS, "day": "time", "clinic": "category"}
    frame = good().assign(day="2024-01-01", clinic="K")
    frame = changed(
        {"id": {0: None}, "y": {1: None}, "day": {2: None, 3: "someday"}, "clinic": {4: None}}, frame
    )
    its = contract(columns=columns, roles={"time": "day", "group": "clinic"})
    assert quarantined(frame, its) == {
        "present(clinic)": [4],
        "present(day)": [2],
        "present(id)": [0],
        "present(y)": [1],
        "type(day)": [3],
    }


def test_one_row_may_break_several_rules_and_is_counted_once() -> None:
    its = contract(
        rule("column_values_to_be_between", column="a", min_value=1),
        rule("column_values_to_be_between", column="b", min_value=0.1),
        rule("column_values_to_be_between", "exclude", column="a", max_value=38),
        rule("column_values_to_be_between", "exclude", column="b", max_value=19.2),
    )
    _, quarantine, excluded, facts = examine(good(), its)
    assert (quarantine["row"].tolist(), excluded["row"].tolist()) == ([0, 0], [39, 39])
    assert (facts["clean"], facts["quarantined"], facts["excluded"]) == (ROWS - 2, 1, 1)


# --- scoring ---------------------------------------------------------------------------------------------------------


def test_scoring_needs_no_answers_and_asks_no_rule_about_them() -> None:
    its = contract(
        rule("column_values_to_be_in_set", "refuse", column="y", value_set=[0, 1]),
        rule("column_values_to_be_between", column="a", min_value=1),
    )
    for frame in (good().drop(columns=["y"]), good().assign(y="not known yet"), good().assign(y="9")):
        assert quarantined(frame, its, scoring=True) == {"column_values_to_be_between(a)": [0]}


def test_scoring_takes_copies_one_row_and_every_row_of_an_entity() -> None:
    keep = {"per": "kind", "by": "a", "reason": "first of its kind"}
    frame = good().drop(columns=["y"])
    copied = pd.concat([frame, frame.iloc[[5]]], ignore_index=True)
    assert quarantined(copied, contract(keep_first=keep), scoring=True) == {}
    assert quarantined(frame.head(1), contract(keep_first=keep), scoring=True) == {}
    # But one id with different content is still two answers to one question.
    torn = changed({"id": {9: "C005"}}, copied)
    assert quarantined(torn, contract(), scoring=True) == {"one_row_per(id)": [5, 9, 40]}


def test_scoring_needs_what_the_model_is_asked_with() -> None:
    columns = {**COLUMNS, "weight": "number", "note": "category", "day": "time", "clinic": "category"}
    roles = {"ignored": ["note"], "time": "day", "group": "clinic"}
    its = contract(columns=columns, roles=roles)
    assert "weight" in its.features
    assert quarantined(good().assign(weight="1"), its, scoring=True) == {}
    for needed in ("weight", "a", "id"):
        assert "columns_present" in refused(
            good().assign(weight="1").drop(columns=[needed]), its, scoring=True
        )


def test_scoring_nothing_is_refused() -> None:
    assert set(refused(good().head(0), contract(), scoring=True)) == {"enough_rows"}


def test_a_log_to_score_needs_user_item_and_time() -> None:
    its = parse(
        {
            "name": "toy.log",
            "expectations": [],
            "meta": {
                "read": {
                    "files": ["x.csv"],
                    "columns": {"user": "category", "item": "category", "at": "epoch", "stars": "number"},
                },
                "roles": {"user": "user", "item": "item", "time": "at", "weight": "stars"},
                "budget": 0.9,
            },
        }
    )
    frame = pd.DataFrame(
        {"user": ["u", "u", None, "v"], "item": ["i", "j", "j", None], "at": ["5", None, "6", "7"]}
    )
    assert quarantined(frame, its, scoring=True) == {
        "present(at)": [1],
        "present(item)": [3],
        "present(user)": [2],
    }
    assert "columns_present" in refused(frame.drop(columns=["at"]), its, scoring=True)


def behaviours(kind: str, **meta: Any) -> Contract:
    columns = {"user": "category", "item": "category", "at": "epoch", "did": kind}
    roles = {"user": "user", "item": "item", "time": "at", "weight": "did"}
    meta = {"read": {"files": ["x.csv"], "columns": columns}, "roles": roles, "budget": 0.9, **meta}
    return parse({"name": "toy.log", "expectations": [], "meta": meta})


def events(did: list[str | None]) -> pd.DataFrame:
    rows = [str(n) for n in range(len(did))]
    return pd.DataFrame({"user": rows, "item": rows, "at": rows, "did": pd.Series(did, dtype="str")})


def test_a_behaviour_that_the_contract_gives_no_weight_is_refused() -> None:
    its = behaviours("category", weights={"look": 0.2, "buy": 1})
    frame = events(["look", "buy"] * 15 + [SECRET, None])
    assert refused(frame, its) == {"weight(did)": "meta.weights has no weight for its value"}
    # An event without any is at fault itself, and a question goes on without those that nobody can weigh.
    assert quarantined(frame.drop(index=30).reset_index(drop=True), its) == {"weight(did)": [30]}
    assert quarantined(frame, its, scoring=True) == {"weight(did)": [30, 31]}
    assert quarantined(frame.head(30), its) == {}


def test_a_behaviour_outside_the_population_needs_no_weight() -> None:
    source = behaviours("category", weights={"look": 0.2, "buy": 1}).source
    leave = rule("column_values_to_not_be_in_set", "exclude", column="did", value_set=["wish"])
    its = parse({**source, "expectations": [leave]})
    assert quarantined(events(["look", "buy", "wish"] * 10), its) == {}


def test_a_number_that_is_no_weight_is_set_aside() -> None:
    frame = events(["1", "2.5"] * 15 + ["0", "-1", None, "many"])
    assert quarantined(frame, behaviours("number")) == {"type(did)": [33], "weight(did)": [30, 31, 32]}


# --- contracts and the task ------------------------------------------------------------------------------------------

CONTRACTS = sorted((ROOT / "expectations").glob("*/*.json"))


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_our_contracts_hold_only_what_great_expectations_knows(path: Path) -> None:
    check(parse(json.loads(path.read_text())))


def test_every_case_has_contracts() -> None:
    assert len({path.parent for path in CONTRACTS}) == 3
    assert len(CONTRACTS) >= 6


@pytest.mark.parametrize(
    "wrong",
    [
        rule("column_values_to_be_lovely", column="a"),
        rule("column_values_to_be_in_set", column="a"),
        rule("column_values_to_be_between", column="a", least=0),
        rule("column_values_to_be_between", column="a", min_value=0, mostly=7),
    ],
)
def test_an_expectation_that_nobody_knows_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match=Rule(wrong, "", "", ()).name.split("(")[0]):
        check(contract(wrong))


def test_the_task_stores_three_parts_whose_rows_point_at_the_source(tmp_path: Path) -> None:
    frame = changed({"a": {3: "-1", 30: "many"}, "kind": {8: "out"}})
    its = contract(
        rule("column_values_to_be_between", "quarantine", "no debts", column="a", min_value=0),
        rule("column_values_to_not_be_in_set", "exclude", "not ours", column="kind", value_set=["out"]),
    )
    store = Store(tmp_path)
    raw = store.get_or_compute("raw", lambda: StageResult({"rows": frame}, {}))
    stored = validate.fn(raw, its, None, store)
    assert stored.table_names == ("clean", "quarantine", "excluded")
    clean, quarantine = stored.table("clean"), stored.table("quarantine")
    assert clean["id"].tolist() == frame.loc[clean["_row"], "id"].tolist()
    assert quarantine.to_dict("records") == [
        {"row": 3, "rule": "column_values_to_be_between(a)", "reason": "no debts"},
        {"row": 30, "rule": "type(a)", "reason": "the cell is no number"},
    ]
    assert stored.table("excluded")["row"].tolist() == [8]
    assert (stored.facts["rows"], stored.facts["clean"]) == (ROWS, ROWS - 3)
    assert validate.fn(raw, its, None, store).reused
    other = contract(*its.source["expectations"], budget=0.5)
    assert not validate.fn(raw, other, None, store).reused


def test_a_refused_batch_is_judged_again(tmp_path: Path) -> None:
    """A refusal is no result: nothing is stored under its key."""
    store = Store(tmp_path)
    raw = store.get_or_compute("raw", lambda: StageResult({"rows": good().assign(y="1")}, {}))
    for _ in range(2):
        with pytest.raises(DataGateError) as refusal:
            validate.fn(raw, contract(), None, store)
        assert refusal.value.facts["clean"] == ROWS
    assert len(list((tmp_path / "keys").iterdir())) == 1

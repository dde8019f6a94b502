"""Drafts of tables with a known truth: what is proposed and doubtful, and whether a clean half raises alarms."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.contract.parser import parse
from ml.contract.review import unreviewed
from ml.data.casting import TEXT_DTYPE, cast_columns
from ml.data.replacements import replace_values
from ml.drafting.draft import Draft
from ml.drafting.request import CaseKind, DraftRequest
from ml.drafting.review import drop, keep, open_points
from ml.drafting.table import draft_table
from ml.errors import UsageError
from tasks.validate import apply_contract

RISK = CaseKind("fintech-risk")


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table as a text file is read."""
    return pd.DataFrame({c: frame[c].map(str, na_action="ignore").astype(TEXT_DTYPE) for c in frame.columns})


def people(rows: int = 2_000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    income = rng.lognormal(8, 0.6, rows).round(2)
    late = rng.poisson(0.6, rows).astype(float)
    late[rng.random(rows) < 0.02] = 98
    risk = 1 / (1 + np.exp(-(late.clip(0, 5) - 1.5)))
    region = rng.choice(["north", "south", "east"], rows).astype(object)
    region[:3] = ["nrth", "North", "souht"]
    pressure = rng.normal(120, 15, rows).round()
    pressure[rng.random(rows) < 0.03] = 0
    return pd.DataFrame(
        {
            "loan_id": [f"L{n:05d}" for n in rng.permutation(rows)],
            "age": rng.integers(18, 80, rows),
            "income": income,
            "late_payments": late.astype(int),
            "blood_pressure": pressure.astype(int),
            "region": region,
            "product_version": "v1",
            "call_duration": (risk * 300 + rng.normal(0, 60, rows)).round(1),
            "defaulted": np.where(rng.random(rows) < risk, "yes", "no"),
        }
    )


def drafted(frame: pd.DataFrame, case: CaseKind = RISK, **given: object) -> Draft:
    request = DraftRequest(case, "loans", {"files": ["loans.csv"]}, **given)  # type: ignore[arg-type]
    return draft_table(cells(frame), request)


@pytest.fixture(scope="module")
def loans() -> Draft:
    return drafted(people())


def places(draft: Draft) -> list[str]:
    return [doubt.place for doubt in draft.doubts]


def test_roles_types_and_target(loans: Draft) -> None:
    roles, read = loans.contract.roles, loans.contract.read
    assert (roles.id, roles.target, roles.positive) == ("loan_id", "defaulted", ("yes",))
    assert roles.sensitive == ("age",)
    assert roles.ignored == ("product_version",)
    assert read.columns["age"] == "integer"
    assert read.columns["income"] == "number"
    assert read.columns["region"] == "category"


def test_codes_are_found_with_their_evidence(loans: Draft) -> None:
    assert loans.contract.sentinel_values == {"late_payments": (98.0,), "blood_pressure": (0.0,)}
    meanings = loans.source["meta"]["sentinel_values"]
    assert "98 in" in meanings["late_payments"]["98"]
    assert "99 % of the others are at least" in meanings["blood_pressure"]["0"]


def test_bounds_are_not_those_of_the_sample(loans: Draft) -> None:
    frame = people()
    ranges = [rule for rule in loans.rules if rule.type.endswith("to_be_between")]
    assert {rule.columns[0] for rule in ranges} == {
        "age", "income", "late_payments", "blood_pressure", "call_duration",
    }  # fmt: skip
    for rule in ranges:
        values = frame[rule.columns[0]]
        assert rule.kwargs["min_value"] < values[values != 0].min()
        assert rule.kwargs["max_value"] > values[values != 98].max()


def test_misspelt_categories_are_repaired_one_by_one_and_asked_about(loans: Draft) -> None:
    assert loans.contract.read.replace["region"] == {"North": "north", "nrth": "north", "souht": "south"}
    (rule,) = [rule for rule in loans.rules if rule.columns == ("region",) and "in_set" in rule.type]
    assert rule.kwargs["value_set"] == ["east", "north", "south"]
    points = {point.place: point for point in open_points(loans.source)}
    point = points["read.replace.region.nrth"]
    assert point.reason.startswith("'nrth' in 1 rows is probably 'north' with other letters, which ")
    assert parse(drop(loans.source, point)).read.replace == {"region": {"North": "north", "souht": "south"}}
    # The case of letters is a point of its own.
    left = parse(drop(loans.source, points["read.replace.region"])).read.replace
    assert left == {"region": {"nrth": "north", "souht": "south"}}


def test_a_column_that_may_be_known_only_after_the_outcome_is_asked_about(loans: Draft) -> None:
    assert any(
        place in ("roles.ignored.call_duration", "roles.features.call_duration") for place in places(loans)
    )
    leaking = people().assign(collected=lambda t: (t["defaulted"] == "yes") * 10.0 + 1.5)
    draft = drafted(leaking)
    assert "collected" in draft.contract.roles.ignored
    assert places(draft)[0] == "roles.ignored.collected"


def test_doubts_are_sorted_and_marked_in_the_contract(loans: Draft) -> None:
    doubts = [doubt.doubt for doubt in loans.doubts]
    assert doubts == sorted(doubts, reverse=True)
    marked = [p["place"] for p in loans.source["meta"]["proposals"] if p.get("review")]
    marked += [rule.name for rule in loans.rules if rule.review]
    assert sorted(marked) == sorted(places(loans))
    assert all(rule["meta"]["reason"] for rule in loans.source["expectations"])


def test_a_clean_second_half_passes_the_gate_and_the_forecast_holds(loans: Draft) -> None:
    result = apply_contract(cells(people(3_000, seed=1)), loans.contract)
    share = result.facts["quarantined"] / result.facts["rows"]
    assert share <= 0.02
    assert share <= 2 * loans.alarms.upper
    assert loans.alarms.refused == 0


def test_corruptions_are_quarantined(loans: Draft) -> None:
    frame = cells(people(3_000, seed=2))
    dirty = frame.copy()
    dirty.loc[10:19, "income"] = "-1"
    dirty.loc[20:29, "age"] = "999"
    dirty.loc[30:39, "region"] = "Femle"
    dirty.loc[40:49, "late_payments"] = "x?"
    result = apply_contract(dirty, loans.contract)
    assert {*range(10, 50)} <= {*result.quarantine["row"]}


def test_rules_find_the_same_rows_as_the_gate(loans: Draft) -> None:
    from ml.drafting.violations import violations

    frame = cells(people(1_000, seed=3))
    frame.loc[:20, "income"] = "1e9"
    frame.loc[30:40, "region"] = "moon"
    read = loans.contract.read
    repaired, _ = replace_values(frame, read, read.columns)
    typed, _ = cast_columns(repaired, read.columns)
    expected = {
        rule.name: set(np.flatnonzero(violations(rule, typed)))
        for rule in loans.rules
        if rule.action == "quarantine" and violations(rule, typed).any()
    }
    found = apply_contract(frame, loans.contract).quarantine.groupby("rule")["row"].agg(set).to_dict()
    assert {name: rows for name, rows in found.items() if name in expected} == expected
    assert len(expected) >= 2


def test_what_is_given_is_used_and_errors_name_what_is_there() -> None:
    frame = people(300)
    assert drafted(frame, target="region", positive=("north",)).contract.roles.positive == ("north",)
    with pytest.raises(UsageError, match=r"--target: 'loan_id', 'age', .*; got 'bad'"):
        drafted(frame, target="bad")
    with pytest.raises(UsageError, match=r"--positive: '(no|yes)' \(\d+\), '(no|yes)' \(\d+\); got '1'"):
        drafted(frame, target="defaulted", positive=("1",))
    with pytest.raises(UsageError, match="at least two values in 'product_version'"):
        drafted(frame, target="product_version")
    with pytest.raises(UsageError, match="classes in 'income'"):
        drafted(frame, target="income")
    with pytest.raises(UsageError, match="classes in 'loan_id'"):
        drafted(frame, replace(RISK, numbers=True), target="loan_id")
    with pytest.raises(UsageError, match="at least 40 rows; got 10 rows"):
        drafted(frame.head(10))


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (("0", "1"), "1"),
        (("no", "yes"), "yes"),
        (("good", "bad"), "bad"),
        (("notckd", "ckd"), "ckd"),
        # The rarer one, which is a doubtful point.
        (("1", "2"), "2"),
        (("<=50K", ">50K"), ">50K"),
    ],
)
def test_the_positive_class(labels: Sequence[str], positive: str) -> None:
    frame = people(400).drop(columns="defaulted").assign(outcome=[labels[i % 3 == 0] for i in range(400)])
    draft = drafted(frame)
    assert draft.contract.roles.positive == (positive,)
    assert ("roles.target.positive" in places(draft)) is (labels[0] in ("1", "<=50K"))


def test_grades_become_a_threshold_and_several_classes_labels() -> None:
    frame = people(400).drop(columns="defaulted").assign(num=[str((i * i) % 5) for i in range(400)])
    assert drafted(frame, target="num").contract.roles.above == 0
    several = CaseKind("symptom-triage", several_classes=True, reads_texts=True)
    assert drafted(frame, several, target="region", positive=()).contract.roles.labels[:2] == (
        "east",
        "north",
    )


def test_amounts_become_a_number_where_the_use_case_predicts_numbers() -> None:
    frame = people(400)
    noise = np.random.default_rng(0).normal(size=400)
    frame["spent"] = 100 + frame["age"].astype(float) + noise
    frame["spent_in_cents"] = 100 * frame["spent"] + noise
    draft = drafted(frame, replace(RISK, numbers=True), target="spent")
    roles = draft.contract.roles
    assert (roles.target_kind, draft.source["meta"]["roles"]["target"]["number"]) == ("numeric", True)
    assert draft.contract.split.by == "hash"
    (point,) = [p for p in draft.contract.proposals if p.place == "roles.target.number"]
    assert "400 values, 90 % of them from" in point.reason
    # Almost the target itself.
    assert "spent_in_cents" in roles.ignored
    assert apply_contract(cells(frame), draft.contract).facts["quarantined"] <= 8


def test_rows_whose_number_was_not_measured_are_left_out() -> None:
    frame = people(900)
    health = CaseKind("health-prediction", numbers=True)
    request = DraftRequest(health, "patients", {"files": ["a.csv"]}, target="blood_pressure")
    draft = draft_table(cells(frame), request)
    (rule,) = [rule for rule in draft.rules if rule.type == "expect_column_values_to_not_be_in_set"]
    assert (rule.kwargs["value_set"], rule.action) == ([0.0], "exclude")
    zeros = int((frame["blood_pressure"] == 0).sum())
    facts = apply_contract(cells(frame), draft.contract).facts
    assert (facts["excluded"], zeros > 10) == (zeros, True)


def test_rows_of_a_table_with_few_values_are_kept_though_they_are_equal() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({c: rng.integers(0, 3, 600) for c in "abc"}).assign(label=rng.integers(0, 2, 600))
    draft = drafted(frame)
    assert draft.source["meta"]["copies"]["action"] == "warn"
    assert "copies" in places(draft)
    assert apply_contract(cells(frame), draft.contract).facts["quarantined"] == 0


TEXTS = st.one_of(
    st.sampled_from(
        ["", "?", "0", "1", "-9", "999", "a", "A ", "2024-01-01", "1e308", "nan", "inf", "١٢", "x" * 300]
    ),
    st.floats(width=32).map(str),
    st.text(max_size=8),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_random_tables_are_drafted_or_refused_with_a_message(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.text(max_size=6), min_size=1, max_size=4, unique=True))
    pools = [data.draw(st.lists(TEXTS, min_size=1, max_size=6)) for _ in names]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    frame = pd.DataFrame(
        {n: pd.Series(rng.choice(p, 60), dtype=TEXT_DTYPE) for n, p in zip(names, pools, strict=True)}
    )
    try:
        draft = draft_table(frame, DraftRequest(RISK, "random", {"files": ["a.csv"]}))
    except UsageError:
        return
    assert parse(draft.source).name == "fintech-risk.random"


def test_an_order_of_times_and_codes_hold_in_the_gate() -> None:
    rng = np.random.default_rng(0)
    opened = pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**7, 900), "s")
    paid = rng.integers(10, 900, 900)
    frame = people(900).assign(
        opened_at=opened,
        closed_at=opened + pd.to_timedelta(rng.integers(0, 10**6, 900), "s"),
        owed=paid + rng.integers(0, 200, 900),
        paid=np.where(rng.random(900) < 0.05, -999, paid),
    )
    draft = drafted(frame)
    orders = {rule.columns: rule for rule in draft.rules if "greater_than" in rule.type}
    assert ("closed_at", "opened_at") in orders
    assert orders[("owed", "paid")].kwargs["row_condition"] == 'col("paid") not in (-999)'
    dirty = cells(frame)
    dirty.loc[5, "owed"] = "1"
    dirty.loc[7, "closed_at"] = "2001-01-01"
    result = apply_contract(dirty, draft.contract)
    assert {5, 7} <= {*result.quarantine["row"]}
    assert len({*result.quarantine["row"]}) <= 0.02 * 900


@pytest.mark.parametrize(("bad", "test"), [(130, 0.2), (96, 0.25), (75, 0.3), (32, 0.2)])
def test_a_small_table_has_enough_test_rows_of_the_rarer_class_where_that_is_possible(
    bad: int, test: float
) -> None:
    frame = people(400)
    frame["defaulted"] = np.where(np.arange(400) < bad, "yes", "no")
    assert drafted(frame).contract.split.test == test


def test_a_sum_is_checked_in_each_row_and_can_be_taken_back() -> None:
    frame = people(600)
    frame["fee"] = np.random.default_rng(1).integers(1, 500, 600)
    frame["owed"] = (frame["income"] + frame["fee"]).round(2)
    draft = drafted(frame)
    (rule,) = draft.contract.sums
    assert rule.name in ("sum(owed = income + fee)", "sum(owed = fee + income)")
    assert rule.name in unreviewed(draft.contract)
    dirty = frame.copy()
    dirty.loc[5:9, "owed"] += 100
    quarantine = apply_contract(cells(dirty), draft.contract).quarantine
    assert set(quarantine.loc[quarantine["rule"] == rule.name, "row"]) == {5, 6, 7, 8, 9}
    (point,) = [point for point in open_points(draft.source) if point.place == "sums.owed"]
    assert unreviewed(parse(keep(draft.source, point))).count(rule.name) == 0
    assert parse(drop(draft.source, point)).sums == ()


def test_a_number_with_the_name_of_a_target_in_the_last_column_is_the_target_where_numbers_are_predicted() -> (
    None
):
    frame = people(600).drop(columns="defaulted").assign(y=np.random.default_rng(2).normal(size=600))
    case = CaseKind("fintech-risk", numbers=True)
    assert drafted(frame, case).contract.roles.target == "y"
    # Two classes with the name of a target come first, wherever they are.
    frame.insert(3, "defaulted", people(600)["defaulted"])
    assert drafted(frame, case).contract.roles.target == "defaulted"


def test_spellings_in_another_case_are_repaired_also_those_of_the_target() -> None:
    frame = people(600)
    frame.loc[[3, 5], "defaulted"] = "Yes"
    frame.loc[[8, 9, 10], "region"] = "SOUTH"
    draft = drafted(frame)
    replaced = draft.contract.read.replace
    assert replaced["defaulted"] == {"Yes": "yes"}
    assert replaced["region"] == {"North": "north", "SOUTH": "south", "nrth": "north", "souht": "south"}
    assert draft.contract.roles.positive == ("yes",)
    point = next(p for p in open_points(draft.source) if p.place == "read.replace.region")
    assert "4 rows with 2 spellings" in point.reason
    assert parse(drop(draft.source, point)).read.replace == {
        "defaulted": {"Yes": "yes"},
        "region": {"nrth": "north", "souht": "south"},
    }


def test_a_class_that_was_named_is_no_misspelling() -> None:
    frame = people(600)
    frame.loc[:4, "region"] = "northe"
    assert "northe" in drafted(frame).contract.read.replace["region"]
    draft = drafted(frame, target="region", positive=("northe",))
    assert draft.contract.roles.positive == ("northe",)
    assert draft.contract.read.replace == {}


def test_long_values_make_a_contract_that_can_be_read() -> None:
    frame = people(400).drop(columns="defaulted")
    frame["verdict"] = np.where(np.arange(400) % 3 == 0, "guilty " * 400, "innocent " * 400)
    frame["clause"] = [f"{n % 7}" * 9_000 for n in range(400)]
    draft = drafted(frame, target="verdict")
    assert {"verdict"} == {rule.columns[0] for rule in draft.rules if "in_set" in rule.type} - {
        "region",
        "age",
    }
    reasons = [point["reason"] for point in draft.source["meta"]["proposals"]]
    assert max(map(len, reasons)) == 2_000
    frame["verdict"] = [f"{n % 150:03}{'x' * 20_000}" for n in range(400)]
    with pytest.raises(UsageError, match="whose contract has at most 4 MB"):
        drafted(frame, CaseKind("symptom-triage", several_classes=True, reads_texts=True), target="verdict")


def test_times_without_order_or_name_are_no_features_and_columns_without_a_name_have_no_rules() -> None:
    frame = people(400)
    frame["batch_day"] = np.where(np.arange(400) < 200, "2024-01-01", "2024-02-01")
    frame[""] = [f"2024-03-{1 + n % 28:02}" for n in range(400)]
    draft = drafted(frame)
    assert {"batch_day", ""} <= {*draft.contract.roles.ignored}
    renamed = frame.drop(columns="").rename(columns={"region": ""})
    draft = drafted(renamed)
    assert draft.contract.read.columns[""] == "category"
    assert not [rule for rule in draft.rules if "" in rule.columns]
    assert apply_contract(cells(renamed), draft.contract).facts["quarantined"] <= 8

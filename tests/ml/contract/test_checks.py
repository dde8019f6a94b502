"""Each mistake in the contract of a table is an error that names its place and the next step."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from ml.contract.parser import parse
from ml.errors import ContractError

EXAMPLES = Path(__file__).parent / "examples"
TABLE: dict[str, Any] = json.loads((EXAMPLES / "loans.json").read_text())
RULE = "expectations/0"
MISTAKES: list[tuple[str, Any, str]] = [
    # Unknown keys, at every level.
    ("notes", 1, "the contract"),
    ("meta/note", 1, "in meta; got 'note'"),
    ("meta/read/seperator", ";", "meta.read"),
    ("meta/roles/targets", "bad", "meta.roles"),
    ("meta/roles/positive", ["1"], "meta.roles"),
    ("meta/roles/target/negative", ["0"], "meta.roles.target"),
    ("meta/split/seed", 1, "meta.split"),
    ("meta/first_row_per/last", True, "meta.first_row_per"),
    (f"{RULE}/severity", "high", "expectations[0]"),
    (f"{RULE}/meta/why", "x", "expectations[0].meta"),
    # Keys that are missing.
    ("name", ..., "'name'"),
    ("expectations", ..., "'expectations'"),
    ("meta", ..., "'meta'"),
    ("meta/read", ..., "the key 'read' in meta"),
    ("meta/roles", ..., "the key 'roles' in meta"),
    ("meta/read/columns", ..., "meta.read"),
    ("meta/roles/target", ..., "meta.roles"),
    ("meta/roles/target/column", ..., "meta.roles.target"),
    ("meta/first_row_per/entity", ..., "meta.first_row_per"),
    ("meta/first_row_per/reason", ..., "meta.first_row_per"),
    (f"{RULE}/type", ..., "expectations[0]"),
    (f"{RULE}/kwargs", ..., "expectations[0]"),
    (f"{RULE}/meta", ..., "expectations[0]"),
    (f"{RULE}/meta/action", ..., "expectations[0].meta"),
    # Unknown columns.
    *(
        (f"meta/roles/{role}", "nowhere", "meta.roles")
        for role in ("id", "time", "group", "site", "event_weight", "segment")
    ),
    ("meta/roles/target/column", "nowhere", "meta.roles"),
    ("meta/roles/sensitive", ["nowhere"], "meta.roles"),
    ("meta/roles/ignored", ["note", "nowhere"], "meta.roles"),
    ("meta/roles/descriptions", {"nowhere": "x"}, "meta.roles"),
    (f"{RULE}/kwargs/column", "nowhere", "expectations[0]"),
    ("expectations/1/kwargs/column_list/1", "nowhere", "expectations[1]"),
    (f"{RULE}/kwargs", {"column_A": "age", "column_B": "nowhere"}, "expectations[0]"),
    ("meta/first_row_per/entity", "nowhere", "meta.first_row_per"),
    ("meta/first_row_per/order_by", "nowhere", "meta.first_row_per"),
    ("meta/leakage_exceptions", {"nowhere": "x"}, "meta.leakage_exceptions"),
    ("meta/sentinel_values", {"nowhere": {"0": "x"}}, "meta.sentinel_values"),
    # Unknown words.
    (f"{RULE}/meta/action", "quarantaine", "expectations[0].meta.action"),
    ("meta/read/columns/age", "int", "meta.read.columns['age']"),
    ("meta/read/format", "xlsx", "meta.read.format"),
    ("meta/split/by", "random", "meta.split.by"),
    # Reasons that are missing.
    (f"{RULE}/meta/reason", ..., "expectations[0].meta"),
    (f"{RULE}/meta/reason", "  ", "expectations[0].meta"),
    ("meta/first_row_per/reason", "", "meta.first_row_per"),
    ("meta/leakage_exceptions/amount", " ", "meta.leakage_exceptions['amount']"),
    ("meta/sentinel_values/age/98.0", " ", "meta.sentinel_values['age']['98.0']"),
    ("meta/never_recommend", {"x": "recalled"}, "meta.never_recommend"),
    # Codes are different numbers of numeric columns.
    ("meta/sentinel_values", {"region": {"0": "x"}}, "meta.sentinel_values['region']"),
    ("meta/sentinel_values", {"day": {"0": "x"}}, "meta.sentinel_values['day']"),
    ("meta/sentinel_values/age", {}, "meta.sentinel_values['age']"),
    ("meta/sentinel_values/age/98.00", "again", "meta.sentinel_values['age']"),
    *(
        (f"meta/sentinel_values/age/{code}", "x", "meta.sentinel_values['age']")
        for code in ("?", "", " 9", "+9", "1e3", "nan", "inf", "1_0")
    ),
    # Expectations about the whole table find no single rows.
    ("expectations/2/meta/action", "quarantine", "expectations[2].meta.action"),
    ("expectations/2/meta/action", "exclude", "expectations[2].meta.action"),
    (f"{RULE}/type", "expect_column_values_to_be_of_type", "expectations[0].meta.action"),
    # Files.
    *(("meta/read/folder", folder, "meta.read.folder") for folder in ("", "..", "a/b", "/tmp", " a")),
    ("meta/read/files", ..., "meta.read.files"),
    ("meta/read/files", [], "meta.read.files"),
    ("meta/read/simulator", "lender", "meta.read.simulator"),
    ("meta/read/source_column", ..., "meta.read.source_column"),
    ("meta/read/join", "loan", "meta.read.join"),
    # Targets and roles whose columns do not fit.
    ("meta/roles/target/above", 1, "meta.roles.target"),
    ("meta/roles/target/positive", [], "meta.roles.target.positive"),
    ("meta/roles/target/positive", [1.0], "meta.roles.target.positive"),
    ("meta/roles/target/positive", [True], "meta.roles.target.positive"),
    ("meta/roles/target", {"column": "bad"}, "meta.roles"),
    ("meta/roles/target", {"column": "age", "at_most": 1}, "at_most beside a smaller above"),
    ("meta/roles/target", {"column": "age", "above": 2, "at_most": 2}, "above 2 and at_most 2"),
    ("meta/copies", {"columns": ["nowhere"], "reason": "x"}, "meta.copies"),
    ("meta/sums", [{"total": "nowhere", "parts": ["age", "income"], "reason": "x"}], "meta.sums"),
    (
        "meta/sums",
        [{"total": "age", "parts": ["region", "income"], "reason": "x"}],
        "meta.sums; got ['region']",
    ),
    (
        "meta/sums",
        [{"total": "age", "parts": ["age", "income"], "reason": "x"}],
        "once in an object of meta.sums",
    ),
    (
        "meta/sums",
        [{"total": "age", "parts": ["income"], "reason": "x"}],
        "two or more columns in parts and subtracted in meta.sums",
    ),
    (
        "meta/sums",
        [{"total": "age", "parts": ["income"], "subtracted": ["income"], "reason": "x"}],
        "once in an object of meta.sums",
    ),
    ("meta/copies", {"action": "warn"}, "meta.copies"),
    ("meta/copies", {"action": "fail", "reason": "x"}, "quarantine, exclude, warn in meta.copies"),
    ("meta/wording", {"question": " "}, "meta.wording"),
    (
        "meta/roles/target",
        {"column": "bad", "positive": ["1"], "labels": ["0", "1"]},
        "positive, above, labels or number",
    ),
    (
        "meta/roles/target",
        {"column": "age", "above": 1, "number": True},
        "positive, above, labels or number",
    ),
    ("meta/roles/target", {"column": "bad", "number": True}, "the type number or integer for the target"),
    ("meta/roles/target", {"column": "bad", "labels": ["0", "0"]}, "each class once"),
    ("meta/roles/target", {"column": "bad", "labels": ["0"]}, "meta.roles.target.labels"),
    ("meta/roles/target", {"column": "bad", "positive": ["1"], "out_of_scope": ["2"]}, "labels beside"),
    (
        "meta/roles/target",
        {"column": "bad", "labels": ["0", "1"], "out_of_scope": ["1", "2"]},
        "other values in meta.roles.target.out_of_scope",
    ),
    ("meta/roles/text", ["age"], "the type category for the text"),
    ("meta/roles/target", {"column": "bad", "above": 1}, "meta.roles"),
    ("meta/roles/user", "client", "meta.roles"),
    ("meta/roles/time", "age", "meta.roles"),
    ("meta/roles/time", ..., "meta.roles"),
    ("meta/read/columns", {"loan": "category"}, "meta.roles"),
    # Names.
    *(("name", name, "a name such as") for name in ("loans", "Fintech.loans", "a.b.c", "a.b/c", "", " a.b")),
    # Shares.
    *((f"meta/split/{key}", share, f"meta.split.{key}") for key in ("test", "valid") for share in (-0.1, 1)),
    ("meta/split/test", float("nan"), "meta.split.test"),
    ("meta/split", {"test": 0.5, "valid": 0.5}, "meta.split"),
    ("meta/split", {"test": 0, "valid": 0}, "test + valid"),
    ("meta/max_quarantined_share", 1.5, "meta.max_quarantined_share"),
    ("meta/max_quarantined_share", True, "meta.max_quarantined_share"),
    # Splits without the columns that they need.
    ("meta/split/sites", ..., "meta.split.sites"),
    ("meta/split/sites", [], "meta.split.sites"),
    ("meta/roles/site", ..., "meta.roles.site"),
    # JSON of another type.
    ("name", 5, "a string in name"),
    ("expectations", {}, "expectations"),
    ("expectations", "none", "expectations"),
    ("expectations/0", [], "expectations[0]"),
    (f"{RULE}/type", 3, "expectations[0].type"),
    (f"{RULE}/kwargs", ["age"], "expectations[0].kwargs"),
    (f"{RULE}/kwargs/column", ["age"], "expectations[0].kwargs.column"),
    ("expectations/1/kwargs/column_list", "loan", "expectations[1].kwargs.column_list"),
    ("expectations/1/kwargs/column_list", [["loan"]], "expectations[1].kwargs.column_list"),
    (f"{RULE}/meta", "quarantine", "expectations[0].meta"),
    (f"{RULE}/meta/action", ["warn"], "expectations[0].meta.action"),
    (f"{RULE}/meta/reason", 7, "expectations[0].meta"),
    ("meta", [], "meta"),
    ("meta/read", [], "meta.read"),
    ("meta/read/columns", ["age"], "meta.read.columns"),
    ("meta/read/columns/age", ["integer"], "meta.read.columns"),
    ("meta/read/files", "a.csv", "meta.read.files"),
    ("meta/read/header", "no", "meta.read.header"),
    ("meta/read/missing", "?", "meta.read.missing"),
    ("meta/read/missing", [0], "meta.read.missing"),
    ("meta/read/strip", "yes", "meta.read.strip"),
    ("meta/read/folder", ["a"], "meta.read.folder"),
    ("meta/read/separator", None, "meta.read.separator"),
    ("meta/read/rows", "many", "meta.read.rows"),
    ("meta/roles", "bad", "meta.roles"),
    ("meta/roles/target", "bad", "meta.roles.target"),
    ("meta/roles/target", None, "meta.roles.target"),
    ("meta/roles/target/column", ["bad"], "meta.roles.target.column"),
    ("meta/roles/target/positive", "1", "meta.roles.target.positive"),
    ("meta/roles/target", {"column": "amount", "above": "1"}, "meta.roles.target.above"),
    ("meta/roles/id", 1, "meta.roles.id"),
    ("meta/roles/sensitive", "region", "meta.roles.sensitive"),
    ("meta/roles/ignored", {"note": 1}, "meta.roles.ignored"),
    ("meta/roles/descriptions", ["age"], "meta.roles.descriptions"),
    ("meta/roles/allow_repeat_recommendations", "false", "meta.roles.allow_repeat_recommendations"),
    ("meta/split", "hash", "meta.split"),
    ("meta/split/test", "0.2", "meta.split.test"),
    ("meta/split/sites", "b", "meta.split.sites"),
    ("meta/max_quarantined_share", "5 %", "meta.max_quarantined_share"),
    ("meta/first_row_per", "client", "meta.first_row_per"),
    ("meta/first_row_per/order_by", ["day"], "meta.first_row_per.order_by"),
    ("meta/leakage_exceptions", ["amount"], "meta.leakage_exceptions"),
    ("meta/leakage_exceptions/amount", True, "meta.leakage_exceptions['amount']"),
    ("meta/leakage_exceptions", None, "meta.leakage_exceptions"),
    ("meta/sentinel_values", ["age"], "meta.sentinel_values"),
    ("meta/sentinel_values", 0, "meta.sentinel_values"),
    ("meta/sentinel_values/age", None, "meta.sentinel_values['age']"),
    ("meta/sentinel_values/age", [98], "meta.sentinel_values['age']"),
    ("meta/sentinel_values/age/98.0", 98, "meta.sentinel_values['age']['98.0']"),
    # Rows of a table have no weights.
    ("meta/event_weight_by_value", {"north": 2}, "meta.event_weight_by_value"),
    ("meta/roles/event_weight", "amount", "the role event_weight in meta.roles of a log only"),
    ("meta/roles/segment", "region", "the role segment in meta.roles of a log only"),
    ("meta/sha256", "00", "meta.sha256"),
    ("meta/url", 3, "meta.url"),
]


def changed(source: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with another value at a path such as meta/read/columns; ... removes the key."""
    copy = deepcopy(source)
    *parents, last = (int(key) if key.isdigit() else key for key in path.split("/"))
    place: Any = copy
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return copy


@pytest.mark.parametrize(("path", "value", "place"), MISTAKES, ids=lambda v: str(v)[:40])
def test_mistake_is_named_with_its_place(path: str, value: Any, place: str) -> None:
    with pytest.raises(ContractError) as error:
        parse(changed(TABLE, path, value))
    assert place in str(error.value)
    assert error.value.next_step


@pytest.mark.parametrize("by", ["time", "site"])
def test_split_needs_its_role(by: str) -> None:
    without = changed(changed(TABLE, "meta/roles/time", ...), "meta/roles/site", ...)
    ignored = changed(without, "meta/roles/ignored", ["note", "day"])
    with pytest.raises(ContractError, match=rf"meta\.roles\.{by}"):
        parse(changed(ignored, "meta/split/by", by))


def test_only_classes_can_be_stratified() -> None:
    numeric = changed(TABLE, "meta/roles/target", {"column": "amount"})
    with pytest.raises(ContractError, match=r"meta\.split\.by"):
        parse(changed(numeric, "meta/split", {"by": "stratified"}))


def test_table_without_features_is_refused() -> None:
    nothing = changed(TABLE, "meta/roles/ignored", ["note", "age", "region", "amount"])
    with pytest.raises(ContractError, match="at least one feature"):
        parse(nothing)


def test_time_is_not_a_feature() -> None:
    with pytest.raises(ContractError, match=r"meta\.roles.*'day'"):
        parse(changed(TABLE, "meta/roles/time", ...))


def test_never_recommend_needs_a_reason() -> None:
    log = json.loads((EXAMPLES / "purchases.json").read_text())
    with pytest.raises(ContractError, match=r"a reason in meta\.never_recommend\['7'\]"):
        parse(changed(log, "meta/never_recommend", {"7": " "}))


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("meta/decay", 0.9, "meta.decay only with a role item"),
        ("meta/never_recommend", {"x": "recalled"}, "meta.never_recommend only with a role item"),
        (
            "meta/split",
            {"by": "last"},
            "one of hash, stratified, time, site, column in meta.split.by; got 'last'",
        ),
    ],
)
def test_table_has_no_settings_of_recommendations(path: str, value: Any, text: str) -> None:
    with pytest.raises(ContractError) as error:
        parse(changed(TABLE, path, value))
    assert text in str(error.value)

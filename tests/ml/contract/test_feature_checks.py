"""Features that a contract declares: valid ones change the columns of models and of predictions, others are refused."""

from typing import Any

import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.errors import ContractError

COLUMNS = {
    "id": "category",
    "patient": "category",
    "ward": "category",
    "y": "category",
    "debt": "number",
    "income": "integer",
    "at": "time",
    "sent": "epoch",
    "town": "category",
}
ROLES: dict[str, Any] = {
    "target": {"column": "y", "positive": ["1"]},
    "id": "id",
    "group": "patient",
    "site": "ward",
}


def contract(features: Any, roles: dict[str, Any] | None = None, **meta: Any) -> Contract:
    read = {"files": ["x.csv"], "columns": COLUMNS}
    given = {"schema_version": 2, "read": read, "roles": ROLES | (roles or {}), "features": features, **meta}
    return parse({"name": "fintech-risk.x", "expectations": [], "meta": given})


def feature(kind: str, *columns: str) -> dict[str, Any]:
    return {"kind": kind, "columns": list(columns)}


DAYS = {"days": feature("days_between", "at", "sent")}


def test_times_are_inputs_and_no_features() -> None:
    parsed = contract(DAYS)
    assert parsed.features == ("ward", "debt", "income", "town")
    assert parsed.inputs == ("ward", "debt", "income", "at", "sent", "town")


def test_ignored_columns_and_the_role_time_may_feed_a_feature() -> None:
    parsed = contract(
        DAYS | {"share": feature("ratio", "debt", "income")}, {"ignored": ["debt", "income"], "time": "at"}
    )
    assert parsed.features == ("ward", "town")
    assert parsed.inputs == ("ward", "debt", "income", "at", "sent", "town")


def test_declared_features_suffice() -> None:
    parsed = contract(DAYS, {"ignored": ["ward", "debt", "income", "town"]})
    assert parsed.features == ()
    assert parsed.inputs == ("at", "sent")


def test_a_leakage_exception_may_name_a_declared_feature() -> None:
    assert contract(DAYS, leakage_exceptions={"days": "known before"}).leakage_exceptions


def test_a_time_without_role_that_feeds_nothing_is_refused() -> None:
    with pytest.raises(ContractError, match=r"models take no times.*\['sent'\].*meta\.features"):
        contract({"hour": feature("hour", "at")})


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"r": feature("ration", "debt", "income")}, "'ration' is probably 'ratio'"),
        ({"r": {"kind": "ratio", "colums": []}}, "only the keys kind, columns in meta.features['r']"),
        ({"r": {"kind": "hour"}}, "the key 'columns' in meta.features['r']"),
        ({"r": 1}, "an object in meta.features['r']"),
        ([], "an object in meta.features"),
        ({"r": feature("ratio", "debt")}, "two different columns for the kind ratio in meta.features['r']"),
        ({"r": feature("ratio", "debt", "debt")}, "two different columns for the kind ratio"),
        ({"r": feature("month", "at", "sent")}, "one column for the kind month"),
        ({"r": feature("hour", "at", "sent", "at")}, "at most 2 values in meta.features['r'].columns"),
        (
            {"r": feature("hour", "nothing")},
            "columns of meta.read.columns in meta.features['r']; got ['nothing']",
        ),
        ({"r": feature("difference", "debt", "town")}, "the type number or integer for 'town'"),
        ({"r": feature("hour", "income")}, "the type time or epoch for 'income'"),
        ({"r": feature("missing", "y")}, "no column with the role target"),
        ({"r": feature("missing", "id")}, "no column with the role id"),
        ({"r": feature("missing", "patient")}, "no column with the role group"),
        ({"debt": feature("missing", "town")}, "a new name for meta.features['debt']"),
        ({" ": feature("missing", "town")}, "a new name for meta.features[' ']"),
    ],
)
def test_wrong_features_are_refused_with_their_place(features: Any, message: str) -> None:
    with pytest.raises(ContractError) as refused:
        contract(features, {"ignored": ["at", "sent"]})
    assert message in str(refused.value)


def test_a_site_that_is_held_out_is_refused() -> None:
    held_out = {"split": {"by": "site", "sites": ["a"]}}
    with pytest.raises(ContractError, match="no column with the role site"):
        contract(DAYS | {"r": feature("missing", "ward")}, **held_out)
    assert contract(DAYS | {"r": feature("missing", "ward")}).declared_features


def test_all_errors_are_named_at_once() -> None:
    with pytest.raises(ContractError, match="got 3 errors"):
        contract(
            DAYS | {"a": feature("missing", "y"), "b": feature("hour", "town"), "debt": feature("hour", "at")}
        )


def test_a_log_has_no_declared_features() -> None:
    read = {"files": ["x.csv"], "columns": {"u": "category", "i": "category", "t": "time"}}
    meta = {
        "schema_version": 2,
        "read": read,
        "roles": {"user": "u", "item": "i", "time": "t"},
        "features": {"hour": feature("hour", "t")},
    }
    with pytest.raises(ContractError, match=r"meta\.features of a table only"):
        parse({"name": "shop.x", "expectations": [], "meta": meta})

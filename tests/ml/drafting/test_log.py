"""Drafts of logs: who, what, when; the order of the rows is not taken for time where it is that of the items."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.contract.parser import parse
from ml.data.casting import TEXT_DTYPE
from ml.drafting.draft import Draft
from ml.drafting.log import draft_log, sorted_share
from ml.drafting.request import CaseKind, DraftRequest
from ml.errors import UsageError
from tasks.validate import apply_contract

SHOP = CaseKind("ecommerce-recommendation", is_log=True)


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({c: frame[c].map(str, na_action="ignore").astype(TEXT_DTYPE) for c in frame.columns})


def drafted(frame: pd.DataFrame, read: Mapping[str, Any] | None = None) -> Draft:
    return draft_log(cells(frame), DraftRequest(SHOP, "log", {"files": ["log.csv"], **(read or {})}))


def events(rows: int = 900, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "stars": rng.integers(1, 6, rows),
            "product_id": rng.integers(100, 180, rows),
            "customer": [f"c{n}" for n in rng.integers(0, 90, rows)],
            "bought_at": pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**7, rows), "s"),
            "price": rng.lognormal(3, 0.5, rows).round(2),
            "country": rng.choice(["de", "fr", "it"], rows),
        }
    )


def doubts(draft: Draft) -> dict[str, str]:
    return {doubt.place: doubt.reason for doubt in draft.doubts}


def test_roles_are_found_by_names_and_types() -> None:
    draft = drafted(events())
    roles = draft.contract.roles
    assert (roles.user, roles.item, roles.time, roles.segment) == (
        "customer",
        "product_id",
        "bought_at",
        "country",
    )
    assert roles.ignored == ("stars",)
    assert draft.contract.read.columns["product_id"] == "category"
    assert draft.contract.split.by == "time"
    assert [rule.columns[0] for rule in draft.rules if "between" in rule.type] == ["price"]


def test_without_names_the_places_count_and_are_asked_about() -> None:
    frame = events()[["customer", "product_id", "bought_at"]].set_axis(
        ["column_1", "column_2", "column_3"], axis=1
    )
    draft = drafted(frame, {"header": False})
    assert (draft.contract.roles.user, draft.contract.roles.item) == ("column_1", "column_2")
    assert {"roles.user", "roles.item"} <= {*doubts(draft)}


def test_of_a_user_that_is_mostly_missing_and_a_session_the_session_counts() -> None:
    frame = events().assign(session_id=lambda t: t.index // 4)
    frame.loc[frame.index % 3 > 0, "customer"] = None
    draft = drafted(frame)
    assert draft.contract.roles.user == "session_id"
    assert draft.contract.split.by == "session"


def test_row_order_that_follows_the_items_is_no_time() -> None:
    frame = events()[["customer", "product_id"]]
    by_item = drafted(frame.sort_values(["customer", "product_id"]))
    assert by_item.contract.roles.event_order is None
    assert by_item.contract.split.by == "random_last_out"
    assert "100% of" in doubts(by_item)["split.by"]
    as_it_came = drafted(frame)
    assert as_it_came.contract.read.row_column == as_it_came.contract.roles.event_order == "row"
    assert "without evidence" in doubts(as_it_came)["roles.event_order"]


def test_items_of_baskets_have_no_order() -> None:
    frame = events()[["customer", "product_id"]].set_axis(["basket", "item"], axis=1)
    draft = drafted(frame, {"format": "baskets", "header": False})
    assert draft.contract.split.by == "random_last_out"
    assert draft.contract.roles.event_order is None


def test_events_without_user_are_excluded_and_the_others_pass() -> None:
    frame = events(3_000)
    frame.loc[frame.index % 5 == 0, "customer"] = None
    draft = drafted(frame)
    result = apply_contract(cells(frame), draft.contract)
    assert result.facts["excluded"] == 600
    assert result.facts["quarantined"] <= 0.02 * 2_400
    assert "column_values_to_not_be_null(customer)" in doubts(draft)


def test_repeats_and_copies() -> None:
    frame = pd.concat([events()[["customer", "product_id", "bought_at"]]] * 2, ignore_index=True)
    draft = drafted(frame)
    assert draft.contract.roles.allow_repeat_recommendations
    assert draft.source["meta"]["copies"]["action"] == "warn"
    assert apply_contract(cells(frame), draft.contract).facts["quarantined"] == 0


def test_sorted_share() -> None:
    assert sorted_share(np.array(["a", "b", "a", "a"]), np.array(["1", "5", "2", "10"])) == (1.0, 2)
    assert sorted_share(np.array(["a", "a", "a"]), np.array(["x", "b", "b"])) == (0.0, 1)
    assert sorted_share(np.array(["a"]), np.array(["x"])) == (0.5, 0)


def test_tables_without_user_or_item_are_refused() -> None:
    with pytest.raises(UsageError, match="a column with the user and the item of each event"):
        drafted(pd.DataFrame({"x": np.linspace(0, 1, 60), "y": np.linspace(2, 3, 60)}))
    with pytest.raises(UsageError, match="a log with at least 40 rows"):
        drafted(events(10))


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.text(max_size=5), min_size=1, max_size=4, unique=True),
    st.lists(
        st.sampled_from(["", "?", "1", "2", "a", "-1", "2024-01-01", "1e9", "x y"]), min_size=1, max_size=7
    ),
    st.integers(0, 99),
)
def test_random_logs_are_drafted_or_refused(names: list[str], pool: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = [*pool, *(f"i{k}" for k in range(9))]
    frame = pd.DataFrame({name: pd.Series(rng.choice(values, 60), dtype=TEXT_DTYPE) for name in names})
    try:
        draft = draft_log(frame, DraftRequest(SHOP, "log", {"files": ["log.csv"]}))
    except UsageError:
        return
    assert parse(draft.source).roles.user in names
    assert set(draft.contract.read.columns) <= {*names, draft.contract.read.row_column}

"""Unsorted, duplicated and mixed logs: each is read as intended, or rejected with one message."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.errors import DataGateError
from ml.estimator import FitResources
from ml.recommenders.item_knn import ItemKNN
from ml.recommenders.popularity import Popularity
from tasks.score import model_inputs
from tasks.split import split_histories
from tasks.validate import apply_contract

USERS, EVENTS = 30, 8
COLUMNS = {"user": "category", "item": "category", "at": "time", "place": "integer", "pieces": "integer"}
POSITIVE = {
    "type": "expect_column_values_to_be_between",
    "kwargs": {"column": "pieces", "min_value": 1},
    "meta": {"action": "exclude", "reason": "a return is not a purchase"},
}


def make_contract(*rules: dict[str, Any], by: str = "time", kind: str = "time", **roles: Any) -> Contract:
    order = {"time": "at"} if by == "time" else {"event_order": "place"}
    roles = {"user": "user", "item": "item", **order, **roles}
    read = {"files": ["x.csv"], "columns": {**COLUMNS, "at": kind}}
    meta = {
        "schema_version": 2,
        "read": read,
        "roles": roles,
        "split": {"by": by},
        "max_quarantined_share": 0.05,
    }
    return parse({"name": "toy.shop", "expectations": list(rules), "meta": meta})


def shop() -> pd.DataFrame:
    """Return cells as text, oldest first: each user takes different items; events are an hour apart."""
    rng = np.random.default_rng(0)
    user = np.tile(np.arange(USERS), EVENTS)
    items = np.array([rng.permutation(20)[:EVENTS] for _ in range(USERS)]).T.ravel()
    cells = {
        "user": [f"U{n}" for n in user],
        "item": [f"I{n}" for n in items],
        "at": pd.date_range("2024-01-01", periods=len(user), freq="h").strftime("%Y-%m-%dT%H:%M:%S"),
        "place": np.repeat(np.arange(1, EVENTS + 1), USERS),
        "pieces": 1,
    }
    return pd.DataFrame({c: pd.Series(v).astype("str") for c, v in cells.items()})


def split_log(frame: pd.DataFrame, contract: Contract) -> tuple[dict[str, Dataset], dict[str, Any]]:
    clean, _, _, validation = apply_contract(frame, contract)
    datasets, division = split_histories(clean, contract)
    return datasets, {**validation, **division}


def events_by_user(datasets: dict[str, Dataset]) -> dict[str, dict[str, tuple[list[str], list[str]]]]:
    """Return the history and the target items, by dataset and user."""
    return {
        name: {
            user: (list(items), list(target))
            for user, items, target in zip(
                dataset.frame["user"], dataset.frame["items"], dataset.truth, strict=True
            )
        }
        for name, dataset in datasets.items()
    }


EACH_SPLIT = pytest.mark.parametrize("by", ["time", "last"])


@EACH_SPLIT
def test_the_order_of_rows_does_not_matter(by: str) -> None:
    contract = make_contract(by=by)
    shuffled = shop().sample(frac=1, random_state=1)
    assert events_by_user(split_log(shuffled, contract)[0]) == events_by_user(split_log(shop(), contract)[0])


@EACH_SPLIT
def test_duplicate_rows_are_one_event(by: str) -> None:
    contract = make_contract(by=by)
    doubled = pd.concat([shop(), shop().iloc[[3, 200]]], ignore_index=True)
    datasets, facts = split_log(doubled, contract)
    assert (facts["quarantined"], facts["clean"]) == (2, len(shop()))
    assert events_by_user(datasets) == events_by_user(split_log(shop(), contract)[0])


@EACH_SPLIT
def test_a_duplicated_log_exceeds_the_max_quarantined_share(by: str) -> None:
    with pytest.raises(
        DataGateError, match=r"max_quarantined_share: at most 5.00% of rows in quarantine; 50.00% are"
    ):
        apply_contract(pd.concat([shop(), shop()], ignore_index=True), make_contract(by=by))


def test_simultaneous_events_are_not_divided_and_keep_the_order_of_the_file() -> None:
    """The events of one instant are all history or all target."""
    days = shop().assign(at=lambda f: f["at"].str[:10])
    datasets, facts = split_log(days, make_contract())
    assert facts["simultaneous_events"] > 0.9
    for user, (items, target) in events_by_user(datasets)["test"].items():
        taken = shop().loc[shop()["user"] == user, "item"].tolist()
        assert [*items, *target] == taken
    assert all(cutoff.endswith("00:00:00") for cutoff in facts["cutoffs"])


def test_users_with_one_event_are_only_trained_on() -> None:
    """With the split `last` they have no target; with `time` a new user is evaluated without a history."""
    event = pd.DataFrame(
        {"user": ["new"], "item": ["I1"], "at": ["2024-01-10T23:30:00"], "place": "1", "pieces": "1"}
    )
    frame = pd.concat([shop(), event.astype("str")], ignore_index=True)
    by_last = events_by_user(split_log(frame, make_contract(by="last"))[0])
    assert by_last["train"]["new"] == by_last["train_valid"]["new"] == (["I1"], [])
    assert "new" not in {**by_last["valid"], **by_last["test"]}
    assert events_by_user(split_log(frame, make_contract())[0])["test"]["new"] == ([], ["I1"])


@EACH_SPLIT
def test_an_item_with_one_event_is_evaluated_as_not_recommended(by: str) -> None:
    """It is the target of its only user: no model can recommend it, and the user is still evaluated."""
    frame = shop()
    frame.loc[len(frame) - 1, "item"] = "unique"
    datasets, facts = split_log(frame, make_contract(by=by))
    assert facts["catalogue"] == 21
    owner = str(frame["user"].iat[-1])
    assert events_by_user(datasets)["test"][owner][1][-1] == "unique"
    for candidate in (Popularity(), ItemKNN()):
        model = candidate.fit(datasets["train_valid"], datasets["valid"], FitResources())
        recommended = model.predict(datasets["test"].frame)
        assert "unique" not in set(recommended["item"])
        assert owner in set(recommended["user"])


@EACH_SPLIT
def test_ids_are_text_whatever_their_type(by: str) -> None:
    """17850, 17850.0 beside a missing one and "17850" are one customer; "007" and "7" are two."""
    contract = make_contract(by=by)
    text = shop().assign(user=lambda f: f["user"].str[1:], item=lambda f: f["item"].str[1:])
    expected = events_by_user(split_log(text, contract)[0])
    integers = text.assign(user=text["user"].astype("int64"), item=text["item"].astype("int32"))
    floats = text.assign(user=text["user"].astype("float64"))
    mixed = text.assign(user=[int(u) if n % 2 else u for n, u in enumerate(text["user"])])
    for other in (integers, floats, mixed):
        assert events_by_user(split_log(other, contract)[0]) == expected
    padded = text.assign(user=text["user"].where(text["user"] != "7", "007"))
    assert "007" in events_by_user(split_log(padded, contract)[0])["train_valid"]
    assert "7" not in events_by_user(split_log(padded, contract)[0])["train_valid"]


@EACH_SPLIT
def test_an_event_without_user_or_item_is_quarantined(by: str) -> None:
    frame = shop()
    frame.loc[0, "user"], frame.loc[1, "item"] = None, None
    datasets, facts = split_log(frame, make_contract(by=by))
    assert facts["quarantined"] == 2
    assert {rule["rule"] for rule in facts["rules"] if rule["violations"]} == {
        "present(user)",
        "present(item)",
    }
    assert not {"nan", "None", ""} & set(events_by_user(datasets)["train_valid"])


TIME_FORMATS = {
    "with a blank": "%Y-%m-%d %H:%M:%S",
    "to the minute": "%Y-%m-%dT%H:%M",
    "in UTC": "%Y-%m-%dT%H:%M:%SZ",
    "to the microsecond": "%Y-%m-%dT%H:%M:%S.%f",
}


@pytest.mark.parametrize("form", TIME_FORMATS)
def test_instants_are_the_same_in_each_format(form: str) -> None:
    expected, facts = split_log(shop(), make_contract())
    times = pd.to_datetime(shop()["at"])
    datasets, others = split_log(shop().assign(at=times.dt.strftime(TIME_FORMATS[form])), make_contract())
    assert events_by_user(datasets) == events_by_user(expected)
    assert others["cutoffs"] == facts["cutoffs"]
    # Half of the rows in another format: the meaning of a cell depends on no other cell.
    half = shop()["at"].where(shop().index % 2 == 0, times.dt.strftime(TIME_FORMATS[form]))
    assert events_by_user(split_log(shop().assign(at=half), make_contract())[0]) == events_by_user(expected)


def test_seconds_since_1970_are_read_and_milliseconds_are_rejected() -> None:
    seconds = pd.to_datetime(shop()["at"]).astype("datetime64[s]").astype("int64")
    datasets, facts = split_log(shop().assign(at=seconds.astype("str")), make_contract(kind="epoch"))
    assert events_by_user(datasets) == events_by_user(split_log(shop(), make_contract())[0])
    assert facts["cutoffs"][0].startswith("2024-01-")
    with pytest.raises(DataGateError, match="max_quarantined_share"):
        apply_contract(shop().assign(at=(seconds * 1000).astype("str")), make_contract(kind="epoch"))


def test_dates_with_the_day_first_are_rejected() -> None:
    with pytest.raises(DataGateError, match="max_quarantined_share"):
        apply_contract(shop().assign(at="31/12/2023"), make_contract())


@EACH_SPLIT
def test_a_rule_excludes_returns_and_keeps_the_purchases(by: str) -> None:
    """Each user's first item is returned at the end of the log."""
    contract = make_contract(POSITIVE, by=by)
    returns = shop().iloc[:USERS].assign(pieces="-1", at="2024-02-01", place="99")
    datasets, facts = split_log(pd.concat([shop(), returns], ignore_index=True), contract)
    assert (facts["excluded"], facts["quarantined"]) == (USERS, 0)
    assert events_by_user(datasets) == events_by_user(split_log(shop(), contract)[0])


@pytest.mark.parametrize("place", ["1.5", "first", None])
def test_an_invalid_event_order_is_quarantined(place: str | None) -> None:
    frame = shop()
    frame.loc[5, "place"] = place
    datasets, facts = split_log(frame, make_contract(by="last"))
    assert facts["quarantined"] == 1
    assert len(events_by_user(datasets)["train_valid"]["U5"][0]) == EVENTS - 2


def test_equal_event_orders_are_reported() -> None:
    """The order of the file decides, and the facts have the share of such events."""
    datasets, facts = split_log(shop().assign(place="1"), make_contract(by="last"))
    assert facts["simultaneous_events"] == pytest.approx(1 - 1 / EVENTS)
    assert events_by_user(datasets) == events_by_user(split_log(shop(), make_contract(by="last"))[0])


@EACH_SPLIT
def test_scoring_needs_only_user_item_and_order(by: str) -> None:
    """The histories to predict from are in the order of the column."""
    contract = make_contract(by=by)
    order = "at" if by == "time" else "place"
    rows = shop()[["user", "item", order]].sample(frac=1, random_state=2)
    clean, _, _, _ = apply_contract(rows, contract, scoring=True)
    histories = model_inputs(clean, contract).set_index("user")
    assert histories.loc["U3", "items"] == shop().loc[shop()["user"] == "U3", "item"].tolist()
    assert np.isnan(histories.loc["U3", "times"]).all() == (by == "last")
    with pytest.raises(DataGateError, match=f"no column '{order}'"):
        apply_contract(rows.drop(columns=order), contract, scoring=True)

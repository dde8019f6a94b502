"""Logs as shops send them: unsorted, doubled, mixed. Each is read as meant, or refused with one message."""

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
from tasks.score import questions
from tasks.split import split_histories
from tasks.validate import examine

USERS, EVENTS = 30, 8
COLUMNS = {"user": "category", "item": "category", "at": "time", "place": "integer", "pieces": "integer"}
POSITIVE = {
    "type": "expect_column_values_to_be_between",
    "kwargs": {"column": "pieces", "min_value": 1},
    "meta": {"action": "exclude", "reason": "what came back is no purchase"},
}


def contract(*rules: dict[str, Any], by: str = "time", kind: str = "time", **roles: Any) -> Contract:
    order = {"time": "at"} if by == "time" else {"position": "place"}
    roles = {"user": "user", "item": "item", **order, **roles}
    read = {"files": ["x.csv"], "columns": {**COLUMNS, "at": kind}}
    meta = {"read": read, "roles": roles, "split": {"by": by}, "budget": 0.05}
    return parse({"name": "toy.shop", "expectations": list(rules), "meta": meta})


def shop() -> pd.DataFrame:
    """Cells as text, oldest first: every user takes other items one after another, an hour between any two events."""
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


def parts(frame: pd.DataFrame, its: Contract) -> tuple[dict[str, Dataset], dict[str, Any]]:
    clean, _, _, found = examine(frame, its)
    made, facts = split_histories(clean, its)
    return made, {**found, **facts}


def told(made: dict[str, Dataset]) -> dict[str, dict[str, tuple[list[str], list[str]]]]:
    """By part and user: the history and what comes next."""
    return {
        name: {
            user: (list(items), list(answer))
            for user, items, answer in zip(part.frame["user"], part.frame["items"], part.truth, strict=True)
        }
        for name, part in made.items()
    }


BY = pytest.mark.parametrize("by", ["time", "last"])


@BY
def test_rows_in_any_order_are_one_log(by: str) -> None:
    its = contract(by=by)
    shuffled = shop().sample(frac=1, random_state=1)
    assert told(parts(shuffled, its)[0]) == told(parts(shop(), its)[0])


@BY
def test_a_row_that_came_twice_is_one_event(by: str) -> None:
    its = contract(by=by)
    doubled = pd.concat([shop(), shop().iloc[[3, 200]]], ignore_index=True)
    made, facts = parts(doubled, its)
    assert (facts["quarantined"], facts["clean"]) == (2, len(shop()))
    assert told(made) == told(parts(shop(), its)[0])


@BY
def test_a_log_that_came_twice_is_over_its_budget(by: str) -> None:
    with pytest.raises(DataGateError, match=r"budget: at most 5.00% of rows in quarantine; 50.00% are"):
        examine(pd.concat([shop(), shop()], ignore_index=True), contract(by=by))


def test_simultaneous_events_are_on_one_side_in_the_order_of_the_file() -> None:
    """A basket at one instant is history or answer, never both."""
    days = shop().assign(at=lambda f: f["at"].str[:10])
    made, facts = parts(days, contract())
    assert facts["simultaneous_events"] > 0.9
    for user, (items, answer) in told(made)["test"].items():
        taken = shop().loc[shop()["user"] == user, "item"].tolist()
        assert [*items, *answer] == taken
    assert all(cut.endswith("00:00:00") for cut in facts["cuts"])


def test_users_with_one_event_teach_and_are_not_asked() -> None:
    """By last there is nothing to ask them; by time a newcomer is asked without a history, as in the shop."""
    one = pd.DataFrame(
        {"user": ["new"], "item": ["I1"], "at": ["2024-01-10T23:30:00"], "place": "1", "pieces": "1"}
    )
    frame = pd.concat([shop(), one.astype("str")], ignore_index=True)
    by_last = told(parts(frame, contract(by="last"))[0])
    assert by_last["train"]["new"] == by_last["refit"]["new"] == (["I1"], [])
    assert "new" not in {**by_last["valid"], **by_last["test"]}
    assert told(parts(frame, contract())[0])["test"]["new"] == ([], ["I1"])


@BY
def test_an_item_seen_once_counts_as_missed_and_breaks_nothing(by: str) -> None:
    """It is the answer of its only user: no model can list it, and the user is still asked."""
    frame = shop()
    frame.loc[len(frame) - 1, "item"] = "only here"
    made, facts = parts(frame, contract(by=by))
    assert facts["catalogue"] == 21
    owner = str(frame["user"].iat[-1])
    assert told(made)["test"][owner][1][-1] == "only here"
    for candidate in (Popularity(), ItemKNN()):
        model = candidate.fit(made["refit"], made["valid"], FitResources())
        listed = model.predict(made["test"].frame)
        assert "only here" not in set(listed["item"])
        assert owner in set(listed["user"])


@BY
def test_ids_are_names_however_they_are_typed(by: str) -> None:
    """17850, 17850.0 beside a missing one and "17850" are one customer; "007" and "7" are two."""
    its = contract(by=by)
    text = shop().assign(user=lambda f: f["user"].str[1:], item=lambda f: f["item"].str[1:])
    expected = told(parts(text, its)[0])
    whole = text.assign(user=text["user"].astype("int64"), item=text["item"].astype("int32"))
    floats = text.assign(user=text["user"].astype("float64"))
    mixed = text.assign(user=[int(u) if n % 2 else u for n, u in enumerate(text["user"])])
    for other in (whole, floats, mixed):
        assert told(parts(other, its)[0]) == expected
    padded = text.assign(user=text["user"].where(text["user"] != "7", "007"))
    assert "007" in told(parts(padded, its)[0])["refit"]
    assert "7" not in told(parts(padded, its)[0])["refit"]


@BY
def test_an_event_of_nobody_or_nothing_is_set_aside(by: str) -> None:
    frame = shop()
    frame.loc[0, "user"], frame.loc[1, "item"] = None, None
    made, facts = parts(frame, contract(by=by))
    assert facts["quarantined"] == 2
    assert {rule["rule"] for rule in facts["rules"] if rule["bad"]} == {"present(user)", "present(item)"}
    assert not {"nan", "None", ""} & set(told(made)["refit"])


FORMS = {
    "with a blank": "%Y-%m-%d %H:%M:%S",
    "to the minute": "%Y-%m-%dT%H:%M",
    "in UTC": "%Y-%m-%dT%H:%M:%SZ",
    "to the microsecond": "%Y-%m-%dT%H:%M:%S.%f",
}


@pytest.mark.parametrize("form", FORMS)
def test_instants_are_the_same_in_every_form(form: str) -> None:
    expected, facts = parts(shop(), contract())
    moments = pd.to_datetime(shop()["at"])
    made, others = parts(shop().assign(at=moments.dt.strftime(FORMS[form])), contract())
    assert told(made) == told(expected)
    assert others["cuts"] == facts["cuts"]
    # Half of the rows in another form: what a cell means hangs on no other cell.
    half = shop()["at"].where(shop().index % 2 == 0, moments.dt.strftime(FORMS[form]))
    assert told(parts(shop().assign(at=half), contract())[0]) == told(expected)


def test_seconds_since_1970_are_instants_and_milliseconds_are_refused() -> None:
    seconds = pd.to_datetime(shop()["at"]).astype("datetime64[s]").astype("int64")
    made, facts = parts(shop().assign(at=seconds.astype("str")), contract(kind="epoch"))
    assert told(made) == told(parts(shop(), contract())[0])
    assert facts["cuts"][0].startswith("2024-01-")
    with pytest.raises(DataGateError, match="budget"):
        examine(shop().assign(at=(seconds * 1000).astype("str")), contract(kind="epoch"))


def test_days_before_months_are_refused_and_not_guessed() -> None:
    with pytest.raises(DataGateError, match="budget"):
        examine(shop().assign(at="31/12/2023"), contract())


@BY
def test_what_came_back_is_no_purchase_and_what_was_bought_stays(by: str) -> None:
    """A return of each user's first item, at the end of the log."""
    its = contract(POSITIVE, by=by)
    back = shop().iloc[:USERS].assign(pieces="-1", at="2024-02-01", place="99")
    made, facts = parts(pd.concat([shop(), back], ignore_index=True), its)
    assert (facts["excluded"], facts["quarantined"]) == (USERS, 0)
    assert told(made) == told(parts(shop(), its)[0])


@pytest.mark.parametrize("place", ["1.5", "first", None])
def test_a_place_that_is_none_is_set_aside(place: str | None) -> None:
    frame = shop()
    frame.loc[5, "place"] = place
    made, facts = parts(frame, contract(by="last"))
    assert facts["quarantined"] == 1
    assert len(told(made)["refit"]["U5"][0]) == EVENTS - 2


def test_places_that_are_taken_twice_are_told() -> None:
    """Which came first is not known: the order of the file decides, and the facts say how often."""
    made, facts = parts(shop().assign(place="1"), contract(by="last"))
    assert facts["simultaneous_events"] == pytest.approx(1 - 1 / EVENTS)
    assert told(made) == told(parts(shop(), contract(by="last"))[0])


@BY
def test_a_question_has_the_history_in_its_order_and_needs_no_more(by: str) -> None:
    """To score: user, item and what orders them."""
    its = contract(by=by)
    order = "at" if by == "time" else "place"
    asked = shop()[["user", "item", order]].sample(frac=1, random_state=2)
    clean, _, _, _ = examine(asked, its, scoring=True)
    histories = questions(clean, its).set_index("user")
    assert histories.loc["U3", "items"] == shop().loc[shop()["user"] == "U3", "item"].tolist()
    assert np.isnan(histories.loc["U3", "times"]).all() == (by == "last")
    with pytest.raises(DataGateError, match=f"no column '{order}'"):
        examine(asked.drop(columns=order), its, scoring=True)

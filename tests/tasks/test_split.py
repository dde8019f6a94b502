"""The gate in front of the exam: the future, known entities and answers among the questions stop the run."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.errors import DataGateError, LeakageError
from ml.interactions import datasets, event_log
from tasks.split import Parts, SplitFunction, split, split_histories, split_rows
from tasks.storage.content_store import StageResult, Store, StoredResult

ROWS = 400
LAST = datetime(2024, 12, 31, tzinfo=UTC)
COLUMNS = {
    "id": "category",
    "who": "category",
    "day": "time",
    "x": "number",
    "town": "category",
    "y": "integer",
}


def contract(roles: dict[str, Any] | None = None, **meta: Any) -> Contract:
    all_roles = {"target": {"column": "y", "positive": ["1"]}, "id": "id", "time": "day", **(roles or {})}
    read = {"files": ["x.csv"], "columns": COLUMNS}
    return parse({"name": "toy.rows", "expectations": [], "meta": {"read": read, "roles": all_roles, **meta}})


def log_contract(**meta: Any) -> Contract:
    columns = {"user": "category", "item": "category", "at": "time", "band": "category"}
    roles = {"user": "user", "item": "item", "time": "at", "sensitive": ["band"]}
    read = {"files": ["x.csv"], "columns": columns}
    return parse({"name": "toy.log", "expectations": [], "meta": {"read": read, "roles": roles, **meta}})


def rows(**columns: Any) -> pd.DataFrame:
    """Clean rows up to midnight of the last day of 2024; two rows of each person `who`."""
    rng = np.random.default_rng(0)
    cells = {
        "id": pd.Series([f"C{n:03d}" for n in range(ROWS)], dtype="str"),
        "who": pd.Series([f"P{n // 2}" for n in range(ROWS)], dtype="str"),
        "day": pd.date_range(end=LAST.replace(tzinfo=None), periods=ROWS, freq="D").astype("datetime64[us]"),
        "x": rng.normal(size=ROWS),
        "town": pd.Series(rng.choice(["N", "S"], ROWS), dtype="str"),
        "y": rng.integers(0, 2, ROWS).astype(float),
    }
    return pd.DataFrame({**cells, **columns})


def log(events: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    users = rng.integers(0, 30, events)
    return pd.DataFrame(
        {
            "user": pd.Series(users).map("U{}".format).astype("str"),
            "item": pd.Series(rng.integers(0, 40, events)).map("I{}".format).astype("str"),
            "at": pd.date_range(end=LAST.replace(tzinfo=None), periods=events, freq="h").astype(
                "datetime64[us]"
            ),
            "band": pd.Series(np.where(users % 2, "young", "old"), dtype="str"),
        }
    )


def ordered() -> pd.DataFrame:
    """Sessions of five different items, one after another, each a day long."""
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.permutation(40)[:5] for _ in range(100)])
    return pd.DataFrame(
        {
            "user": pd.Series(np.repeat(np.arange(100), 5)).map("U{}".format).astype("str"),
            "item": pd.Series(items).map("I{}".format).astype("str"),
            "at": pd.date_range("2024-01-01", periods=500, freq="5h").astype("datetime64[us]"),
            "place": np.tile(np.arange(5.0), 100),
        }
    )


def ordered_contract(by: str, repeat: bool = False) -> Contract:
    columns = {"user": "category", "item": "category", "at": "time", "place": "integer"}
    order = {"last": {"position": "place"}, "session": {"time": "at"}, "any": {}}[by]
    roles = {"user": "user", "item": "item", "repeat": repeat, **order}
    meta = {"read": {"files": ["x.csv"], "columns": columns}, "roles": roles, "split": {"by": by}}
    return parse({"name": "toy.ordered", "expectations": [], "meta": meta})


class Run:
    """One store, and splits of tables through it."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)

    def __call__(
        self, clean: pd.DataFrame, its: Contract, how: SplitFunction = split_rows, now: datetime = LAST
    ) -> StoredResult:
        key = f"clean-{pd.util.hash_pandas_object(clean).sum():x}"
        stored = self.store.get_or_compute(key, lambda: StageResult({"clean": clean}, {}))
        return split.fn(stored, its, how, now, self.store)

    def refused(self, *arguments: Any, **named: Any) -> LeakageError:
        with pytest.raises(LeakageError) as refusal:
            self(*arguments, **named)
        assert isinstance(refusal.value, DataGateError)
        return refusal.value


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def parts_of(stored: StoredResult) -> dict[str, Dataset]:
    return {name: Dataset.from_table(stored.table(name)) for name in stored.table_names}


def test_the_codes_of_the_contract_go_with_the_parts(run: Run) -> None:
    coded = contract(special={"x": {"98": "refused to say", "-1": "not asked"}})
    assert run(rows(), coded).facts["special"] == {"x": [-1.0, 98.0]}
    assert run(rows(), contract()).facts["special"] == {}


def test_rows_are_divided_and_nothing_that_judges_is_shown(run: Run) -> None:
    its = contract({"sensitive": ["town"], "ignored": ["who", "town"], "site": "who"})
    stored = run(rows(), its)
    parts = parts_of(stored)
    assert list(parts) == ["train", "valid", "test"]
    assert sum(len(p.frame) for p in parts.values()) == ROWS
    for name, part in parts.items():
        assert list(part.frame.columns) == ["x"]
        assert list(part.metadata.columns) == ["town", "who", "id"]
        known = rows().set_index("id").loc[part.metadata["id"]]
        assert part.truth.tolist() == known["y"].tolist()
        assert part.frame["x"].tolist() == known["x"].tolist()
        sizes = stored.facts["parts"][name]
        assert sizes == {"rows": len(part.frame), "units": len(part.frame), "mean": part.truth.mean()}
    assert stored.facts["checks"] == {"shared_entities": {}, "foretelling": {}}
    assert stored.facts["purged"] == 0


def test_a_group_is_one_unit_on_one_side(run: Run) -> None:
    stored = run(rows(), contract({"group": "who", "ignored": ["who"]}))
    units = [set(part.units) for part in parts_of(stored).values()]
    assert sum(map(len, units)) == len(set().union(*units)) == ROWS // 2
    by_time = run(rows(), contract({"group": "who"}, split={"by": "time", "test": 0.2525, "valid": 0.25}))
    # A cut between the two rows of one person takes the earlier one out.
    assert by_time.facts["purged"] > 0
    assert by_time.facts["checks"]["shared_entities"] == {}


def test_a_log_is_divided_at_two_instants(run: Run) -> None:
    stored = run(log(), log_contract(), split_histories)
    parts = parts_of(stored)
    assert list(parts) == ["train", "valid", "test", "refit"]
    first, second = (pd.Timestamp(cut).timestamp() for cut in stored.facts["cuts"])
    for name, cut in (("train", first), ("valid", first), ("test", second), ("refit", second)):
        assert max(t for times in parts[name].frame["times"] for t in times) < cut
    events = log()
    refit = sum(map(len, parts["refit"].frame["items"]))
    assert refit == (events["at"].astype("int64") / 1e6 < second).sum()
    bands = parts["test"].metadata["band"].tolist()
    assert bands == ["young" if int(user[1:]) % 2 else "old" for user in parts["test"].frame["user"]]
    assert stored.facts["catalogue"] == events["item"].nunique()
    assert stored.facts["simultaneous_events"] == 0
    assert stored.facts["checks"] == {"histories_reaching_into_the_test": 0, "answers_in_their_histories": 0}
    assert not stored.facts["reaches_past_the_answers"]


@pytest.mark.parametrize("by", ["last", "any", "session"])
def test_weights_of_behaviours_go_with_the_histories(run: Run, by: str) -> None:
    its = ordered_contract(by)
    meta = its.source["meta"]
    columns = {**meta["read"]["columns"], "did": "category"}
    weighed = {
        **meta,
        "read": {**meta["read"], "columns": columns},
        "roles": {**meta["roles"], "weight": "did"},
        "weights": {"look": 0.5, "buy": 2},
    }
    # So that a weight tells its event: items of even numbers were bought.
    bought = ordered()["item"].str.removeprefix("I").astype(int) % 2 == 0
    events = ordered().assign(did=pd.Series(np.where(bought, "buy", "look"), dtype="str"))
    parts = parts_of(run(events, parse({**its.source, "meta": weighed}), split_histories))
    plain = parts_of(run(ordered(), its, split_histories))
    for name, part in parts.items():
        assert list(part.frame.columns) == ["user", "items", "times", "weights"]
        assert part.frame["items"].map(list).tolist() == plain[name].frame["items"].map(list).tolist()
        assert "weights" not in plain[name].frame
        for items, weights in zip(part.frame["items"], part.frame["weights"], strict=True):
            assert list(weights) == [0.5 if int(item[1:]) % 2 else 2.0 for item in items]


@pytest.mark.parametrize("by", ["last", "any", "session"])
def test_a_log_is_divided_as_its_contract_says(run: Run, by: str) -> None:
    stored = run(ordered(), ordered_contract(by), split_histories)
    facts, parts = stored.facts, parts_of(stored)
    assert list(parts) == ["train", "valid", "test", "refit"]
    assert facts["checks"] == {"histories_reaching_into_the_test": 0, "answers_in_their_histories": 0}
    # What others did later is known where one event a user is held back: the facts say so.
    assert facts["reaches_past_the_answers"] == (by != "session")
    assert len(facts["cuts"]) == (2 if by == "session" else 0)
    for name in ("valid", "test"):
        assert {len(answer) for answer in parts[name].truth} == {1}
        asked = len(parts[name].frame) + facts["nothing_new"][name]
        assert asked == 100 if by != "session" else 0 < asked < 100
    times = np.concatenate([np.asarray(t, dtype=float) for t in parts["refit"].frame["times"]])
    assert np.isnan(times).all() if by != "session" else not np.isnan(times).any()
    known = {user: set(items) for user, items in ordered().groupby("user")["item"]}
    for user, items, answer in zip(
        parts["test"].frame["user"], parts["test"].frame["items"], parts["test"].truth, strict=True
    ):
        assert {*items, *answer} <= known[user]


def test_who_takes_an_item_again_is_not_asked_where_items_do_not_return(run: Run) -> None:
    """The first 30 users end with the item that they began with."""
    events = ordered()
    first = events.drop_duplicates("user").set_index("user")["item"]
    last = ~events["user"].duplicated(keep="last") & events["user"].isin([f"U{n}" for n in range(30)])
    events.loc[last, "item"] = events["user"].map(first)[last]
    stored = run(events, ordered_contract("last"), split_histories)
    assert stored.facts["nothing_new"]["test"] == 30
    assert len(parts_of(stored)["test"].frame) == 70
    returning = run(events, ordered_contract("last", repeat=True), split_histories)
    assert returning.facts["nothing_new"]["test"] == 0
    assert len(parts_of(returning)["test"].frame) == 100


def test_a_split_is_reused_for_the_same_rows_contract_and_function(run: Run) -> None:
    def another(frame: pd.DataFrame, its: Contract) -> tuple[Parts, dict[str, Any]]:
        return split_rows(frame, its)

    first = run(rows(), contract())
    assert not first.reused
    assert run(rows(), contract()).reused
    assert not run(rows(), contract(split={"test": 0.3})).reused
    assert not run(rows(x=1.0), contract()).reused
    assert not run(rows(), contract(), another).reused


# --- the future ------------------------------------------------------------------------------------------------------


def test_rows_after_now_are_refused_and_at_now_are_not(run: Run) -> None:
    run(rows(), contract(), now=LAST)
    refusal = run.refused(rows(), contract(), now=LAST - timedelta(days=2))
    assert refusal.got == f"2 of {ROWS} rows"
    assert refusal.expected == "no day after now, 2024-12-29 00:00 UTC"


def test_the_future_is_asked_about_also_when_the_rest_is_reused(run: Run) -> None:
    run(rows(), contract())
    assert run(rows(), contract()).reused
    run.refused(rows(), contract(), now=LAST - timedelta(seconds=1))
    assert run(rows(), contract()).reused


def test_now_may_be_told_in_any_zone(run: Run) -> None:
    """Half past midnight in a zone an hour ahead is before midnight in UTC."""
    ahead = timezone(timedelta(hours=1))
    local = LAST.replace(tzinfo=None)
    run(rows(), contract(), now=local)
    run(rows(), contract(), now=(local + timedelta(hours=1)).replace(tzinfo=ahead))
    refusal = run.refused(rows(), contract(), now=(local + timedelta(minutes=30)).replace(tzinfo=ahead))
    assert refusal.expected == "no day after now, 2024-12-30 23:30 UTC"


def test_events_after_now_are_refused(run: Run) -> None:
    refusal = run.refused(log(), log_contract(), split_histories, LAST - timedelta(minutes=1))
    assert "after now" in refusal.expected


def test_without_times_there_is_no_future(run: Run) -> None:
    stored = run(rows(), contract({"time": None, "ignored": ["day"]}), now=datetime(1999, 1, 1, tzinfo=UTC))
    assert sum(len(part.frame) for part in parts_of(stored).values()) == ROWS


# --- parts that cannot judge -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "valid", "test"])
@pytest.mark.parametrize("kept", ["no row", "one answer"])
def test_a_part_that_is_empty_or_has_one_answer_is_refused(run: Run, name: str, kept: str) -> None:
    def thinned(frame: pd.DataFrame, its: Contract) -> tuple[Parts, dict[str, Any]]:
        parts, facts = split_rows(frame, its)
        left = parts[name].truth.to_numpy() == (1.0 if kept == "one answer" else 7.0)
        return {**parts, name: parts[name].take(np.flatnonzero(left))}, facts

    assert f"answers in {name}" in run.refused(rows(), contract(), thinned).expected


def test_a_log_without_next_items_is_refused(run: Run) -> None:
    """Everyone takes the one item that there is: it is no answer once it was seen."""
    events = log().assign(item="I1")
    assert "answers in valid" in run.refused(events, log_contract(), split_histories).expected


def test_a_number_to_predict_needs_two_values(run: Run) -> None:
    its = contract({"target": {"column": "y"}})
    assert parts_of(run(rows(y=np.arange(ROWS, dtype=float)), its))["test"].truth.nunique() > 1
    assert "answers in" in run.refused(rows(y=3.0), its).expected


# --- leaks -------------------------------------------------------------------------------------------------------


def test_a_function_that_divides_entities_is_refused_whatever_it_says(run: Run) -> None:
    """It finds nothing wrong with itself; the gate looks at the parts."""

    def overlapping(frame: pd.DataFrame, its: Contract) -> tuple[Parts, dict[str, Any]]:
        parts, facts = split_rows(frame, its)
        both = {"train": parts["train"].take(np.arange(50)), "valid": parts["train"].take(np.arange(45, 120))}
        return {**parts, **both}, {**facts, "checks": {"shared_entities": {}}}

    refusal = run.refused(rows(), contract(), overlapping)
    assert refusal.got == "{'train and valid': 5}"
    assert refusal.facts["checks"]["shared_entities"] == {"train and valid": 5}


ANSWER = rows()["y"]


@pytest.mark.parametrize(
    "column",
    [
        {"x": ANSWER * 3 - 1},
        {"x": -ANSWER},
        {"x": ANSWER.where(ANSWER == 1)},
        {"town": ANSWER.map({0.0: "N", 1.0: "S"}).astype("str")},
    ],
    ids=["a copy", "its opposite", "there only where yes", "in words"],
)
def test_a_column_that_tells_the_answer_is_refused(run: Run, column: dict[str, pd.Series]) -> None:
    (name,) = column
    refusal = run.refused(rows(**column), contract())
    assert f"{name} (AUC 1.0000)" in refusal.got
    assert "meta.foretelling" in refusal.next_step
    assert refusal.facts["checks"]["foretelling"] == {name: 1.0}


def test_a_column_may_tell_the_answer_for_a_reason(run: Run) -> None:
    its = contract(foretelling={"x": "the measurement that defines the diagnosis"})
    stored = run(rows(x=ANSWER), its)
    assert stored.facts["checks"]["foretelling"] == {}
    refusal = run.refused(rows(x=ANSWER, town=ANSWER.astype("str")), its)
    assert list(refusal.facts["checks"]["foretelling"]) == ["town"]


def test_a_leak_is_refused_again_when_it_is_reused(run: Run) -> None:
    first, again = (run.refused(rows(x=ANSWER), contract()) for _ in range(2))
    assert list(first.facts["checks"]["foretelling"]) == ["x"]
    assert str(again) == str(first)


def test_histories_that_reach_into_the_test_are_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault: histories of the judged users are not cut where the test begins."""
    judging_part = datasets.judging_part
    everything = event_log.log(log(), log_contract())

    def leaking(before: pd.DataFrame, after: pd.DataFrame, *rest: Any) -> Dataset:
        part = judging_part(before, after, *rest)
        whole = event_log.histories(everything, pd.Index(part.frame["user"]))
        return Dataset(whole, part.truth, part.units, part.metadata)

    monkeypatch.setattr("tasks.split.judging_part", leaking)
    refusal = run.refused(log(), log_contract(), split_histories)
    assert "histories that end before the test" in refusal.expected
    assert refusal.facts["checks"]["histories_reaching_into_the_test"] > 0


@pytest.mark.parametrize("by", ["last", "any", "session"])
def test_histories_that_hold_the_last_event_are_refused(
    run: Run, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault: the event that is held back stays in the history."""
    judging_part = datasets.judging_part
    its = ordered_contract(by, repeat=True)
    everything = event_log.log(ordered(), its)

    def leaking(before: pd.DataFrame, after: pd.DataFrame, *rest: Any) -> Dataset:
        part = judging_part(before, after, *rest)
        whole = event_log.histories(everything, pd.Index(part.frame["user"]))
        return Dataset(whole, part.truth, part.units, part.metadata)

    monkeypatch.setattr("tasks.split.judging_part", leaking)
    refusal = run.refused(ordered(), its, split_histories)
    assert "histories that end before the test" in refusal.expected


def test_answers_out_of_the_history_are_refused_whoever_divides(run: Run) -> None:
    """The gate looks at the parts; a function that finds nothing wrong with itself does not help."""

    def leaking(frame: pd.DataFrame, its: Contract) -> tuple[Parts, dict[str, Any]]:
        parts, facts = split_histories(frame, its)
        part = parts["valid"]
        items = [[*items, *answer] for items, answer in zip(part.frame["items"], part.truth, strict=True)]
        longer = Dataset(part.frame.assign(items=items), part.truth, part.units, part.metadata)
        return {**parts, "valid": longer}, facts

    refusal = run.refused(ordered(), ordered_contract("last"), leaking)
    assert "as items do not return" in refusal.expected
    assert refusal.facts["checks"]["answers_in_their_histories"] == 100
    run(ordered(), ordered_contract("last", repeat=True), leaking)

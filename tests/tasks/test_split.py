"""Splits by rows and by histories, and the leakage gate: future rows, shared entities, targets in histories."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.errors import ContractError, DataGateError, LeakageError
from ml.interactions import datasets as interaction_datasets
from ml.interactions import event_log
from tasks.facts import DivisionFacts
from tasks.split import Datasets, SplitFunction, split, split_histories, split_rows
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


def make_contract(roles: dict[str, Any] | None = None, **meta: Any) -> Contract:
    all_roles = {"target": {"column": "y", "positive": ["1"]}, "id": "id", "time": "day", **(roles or {})}
    read = {"files": ["x.csv"], "columns": COLUMNS}
    return parse(
        {
            "name": "toy.rows",
            "expectations": [],
            "meta": {"schema_version": 2, "read": read, "roles": all_roles, **meta},
        }
    )


def make_log_contract(**meta: Any) -> Contract:
    columns = {"user": "category", "item": "category", "at": "time", "band": "category"}
    roles = {"user": "user", "item": "item", "time": "at", "sensitive": ["band"]}
    read = {"files": ["x.csv"], "columns": columns}
    return parse(
        {
            "name": "toy.log",
            "expectations": [],
            "meta": {"schema_version": 2, "read": read, "roles": roles, **meta},
        }
    )


def rows(**columns: Any) -> pd.DataFrame:
    """Return clean rows up to midnight of the last day of 2024, two rows of each person `who`."""
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


def session_log() -> pd.DataFrame:
    """Return consecutive sessions of five different items, each about a day long."""
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


def make_session_contract(by: str, allow_repeats: bool = False) -> Contract:
    columns = {"user": "category", "item": "category", "at": "time", "place": "integer"}
    order = {"last": {"event_order": "place"}, "session": {"time": "at"}, "random_last_out": {}}[by]
    roles = {"user": "user", "item": "item", "allow_repeat_recommendations": allow_repeats, **order}
    read = {"files": ["x.csv"], "columns": columns}
    meta = {"schema_version": 2, "read": read, "roles": roles, "split": {"by": by}}
    return parse({"name": "toy.ordered", "expectations": [], "meta": meta})


class Splitter:
    """Split tables through one store."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)

    def __call__(
        self,
        clean: pd.DataFrame,
        contract: Contract,
        split_function: SplitFunction = split_rows,
        now: datetime = LAST,
    ) -> StoredResult:
        key = f"clean-{pd.util.hash_pandas_object(clean).sum():x}"
        stored = self.store.get_or_compute(key, lambda: StageResult({"clean": clean}, {}))
        return split.fn(stored, contract, split_function, now, self.store)

    def error(self, *arguments: Any, **named: Any) -> LeakageError:
        """Return the error that the split raises."""
        with pytest.raises(LeakageError) as error:
            self(*arguments, **named)
        assert isinstance(error.value, DataGateError)
        return error.value


@pytest.fixture
def split_table(tmp_path: Path) -> Splitter:
    return Splitter(tmp_path)


def datasets_of(stored: StoredResult) -> dict[str, Dataset]:
    return {name: Dataset.from_table(stored.table(name)) for name in stored.table_names}


def test_sentinel_values_of_the_contract_are_in_the_facts(split_table: Splitter) -> None:
    contract = make_contract(sentinel_values={"x": {"98": "refused to say", "-1": "not asked"}})
    assert split_table(rows(), contract).facts["sentinel_values"] == {"x": [-1.0, 98.0]}
    assert split_table(rows(), make_contract()).facts["sentinel_values"] == {}


def test_rows_are_divided_and_metadata_are_not_features(split_table: Splitter) -> None:
    contract = make_contract({"sensitive": ["town"], "ignored": ["who", "town"], "site": "who"})
    stored = split_table(rows(), contract)
    datasets = datasets_of(stored)
    assert list(datasets) == ["train", "valid", "test"]
    assert sum(len(dataset.frame) for dataset in datasets.values()) == ROWS
    for name, dataset in datasets.items():
        assert list(dataset.frame.columns) == ["x"]
        assert list(dataset.metadata.columns) == ["town", "who", "id"]
        expected = rows().set_index("id").loc[dataset.metadata["id"]]
        assert dataset.truth.tolist() == expected["y"].tolist()
        assert dataset.frame["x"].tolist() == expected["x"].tolist()
        sizes = stored.facts["datasets"][name]
        assert sizes == {
            "rows": len(dataset.frame),
            "units": len(dataset.frame),
            "mean": dataset.truth.mean(),
        }
    checks = stored.facts["checks"]
    assert (checks["shared_entities"], checks["single_feature_leaks"], checks["pair_leaks"]) == ({}, {}, [])
    assert (checks["warnings"], checks["copies"]["is_leak"]) == ([], False)
    assert [estimate["column"] for estimate in checks["columns"]] == ["x"]
    assert stored.facts["purged"] == 0


def test_groups_are_units_and_are_not_divided(split_table: Splitter) -> None:
    stored = split_table(rows(), make_contract({"group": "who", "ignored": ["who"]}))
    units = [set(dataset.units) for dataset in datasets_of(stored).values()]
    assert sum(map(len, units)) == len(set().union(*units)) == ROWS // 2
    by_time = split_table(
        rows(), make_contract({"group": "who"}, split={"by": "time", "test": 0.2525, "valid": 0.25})
    )
    # A cutoff between the two rows of a person purges the earlier one.
    assert by_time.facts["purged"] > 0
    assert by_time.facts["checks"]["shared_entities"] == {}


def test_a_log_is_divided_by_time_at_two_cutoffs(split_table: Splitter) -> None:
    stored = split_table(log(), make_log_contract(), split_histories)
    datasets = datasets_of(stored)
    assert list(datasets) == ["train", "valid", "test", "train_valid"]
    first, second = (pd.Timestamp(cutoff).timestamp() for cutoff in stored.facts["cutoffs"])
    for name, cutoff in (("train", first), ("valid", first), ("test", second), ("train_valid", second)):
        assert max(t for times in datasets[name].frame["times"] for t in times) < cutoff
    events = log()
    n_events = sum(map(len, datasets["train_valid"].frame["items"]))
    assert n_events == (events["at"].astype("int64") / 1e6 < second).sum()
    bands = datasets["test"].metadata["band"].tolist()
    assert bands == ["young" if int(user[1:]) % 2 else "old" for user in datasets["test"].frame["user"]]
    assert stored.facts["catalogue"] == events["item"].nunique()
    assert stored.facts["simultaneous_events"] == 0
    assert stored.facts["checks"] == {"histories_with_test_events": 0, "targets_in_history": 0}
    assert not stored.facts["train_includes_later_events"]


@pytest.mark.parametrize("by", ["last", "random_last_out", "session"])
def test_histories_have_the_event_weights(split_table: Splitter, by: str) -> None:
    contract = make_session_contract(by)
    meta = contract.source["meta"]
    columns = {**meta["read"]["columns"], "did": "category"}
    with_weights = {
        **meta,
        "read": {**meta["read"], "columns": columns},
        "roles": {**meta["roles"], "event_weight": "did"},
        "event_weight_by_value": {"look": 0.5, "buy": 2},
    }
    # Items of even numbers were bought, so that each weight can be checked.
    bought = session_log()["item"].str.removeprefix("I").astype(int) % 2 == 0
    events = session_log().assign(did=pd.Series(np.where(bought, "buy", "look"), dtype="str"))
    datasets = datasets_of(
        split_table(events, parse({**contract.source, "meta": with_weights}), split_histories)
    )
    unweighted = datasets_of(split_table(session_log(), contract, split_histories))
    for name, dataset in datasets.items():
        assert list(dataset.frame.columns) == ["user", "items", "times", "weights"]
        assert dataset.frame["items"].map(list).tolist() == unweighted[name].frame["items"].map(list).tolist()
        assert "weights" not in unweighted[name].frame
        for items, weights in zip(dataset.frame["items"], dataset.frame["weights"], strict=True):
            assert list(weights) == [0.5 if int(item[1:]) % 2 else 2.0 for item in items]


@pytest.mark.parametrize("by", ["last", "random_last_out", "session"])
def test_a_log_is_divided_by_the_policy_of_the_contract(split_table: Splitter, by: str) -> None:
    stored = split_table(session_log(), make_session_contract(by), split_histories)
    facts, datasets = stored.facts, datasets_of(stored)
    assert list(datasets) == ["train", "valid", "test", "train_valid"]
    assert facts["checks"] == {"histories_with_test_events": 0, "targets_in_history": 0}
    # Leave-one-out splits train on events of other users after the targets: the facts say so.
    assert facts["train_includes_later_events"] == (by != "session")
    assert len(facts["cutoffs"]) == (2 if by == "session" else 0)
    for name in ("valid", "test"):
        assert {len(target) for target in datasets[name].truth} == {1}
        users = len(datasets[name].frame) + facts["users_without_new_items"][name]
        assert users == 100 if by != "session" else 0 < users < 100
    times = np.concatenate([np.asarray(t, dtype=float) for t in datasets["train_valid"].frame["times"]])
    assert np.isnan(times).all() if by != "session" else not np.isnan(times).any()
    items_of = {user: set(items) for user, items in session_log().groupby("user")["item"]}
    for user, items, target in zip(
        datasets["test"].frame["user"], datasets["test"].frame["items"], datasets["test"].truth, strict=True
    ):
        assert {*items, *target} <= items_of[user]


def test_users_whose_target_is_in_their_history_are_left_out_unless_items_may_repeat(
    split_table: Splitter,
) -> None:
    """The last item of the first 30 users is their first one."""
    events = session_log()
    first = events.drop_duplicates("user").set_index("user")["item"]
    last = ~events["user"].duplicated(keep="last") & events["user"].isin([f"U{n}" for n in range(30)])
    events.loc[last, "item"] = events["user"].map(first)[last]
    stored = split_table(events, make_session_contract("last"), split_histories)
    assert stored.facts["users_without_new_items"]["test"] == 30
    assert len(datasets_of(stored)["test"].frame) == 70
    repeating = split_table(events, make_session_contract("last", allow_repeats=True), split_histories)
    assert repeating.facts["users_without_new_items"]["test"] == 0
    assert len(datasets_of(repeating)["test"].frame) == 100


def test_a_split_is_reused_for_equal_rows_contract_and_function(split_table: Splitter) -> None:
    def another(frame: pd.DataFrame, contract: Contract) -> tuple[Datasets, DivisionFacts]:
        return split_rows(frame, contract)

    first = split_table(rows(), make_contract())
    assert not first.reused
    assert split_table(rows(), make_contract()).reused
    assert not split_table(rows(), make_contract(split={"test": 0.3})).reused
    assert not split_table(rows(x=1.0), make_contract()).reused
    assert not split_table(rows(), make_contract(), another).reused


# --- future rows -----------------------------------------------------------------------------------------------------


def test_rows_after_now_are_an_error_and_at_now_are_not(split_table: Splitter) -> None:
    split_table(rows(), make_contract(), now=LAST)
    error = split_table.error(rows(), make_contract(), now=LAST - timedelta(days=2))
    assert error.got == f"2 of {ROWS} rows"
    assert error.expected == "no day after now, 2024-12-29 00:00 UTC"


def test_future_rows_are_looked_for_also_when_the_split_is_reused(split_table: Splitter) -> None:
    split_table(rows(), make_contract())
    assert split_table(rows(), make_contract()).reused
    split_table.error(rows(), make_contract(), now=LAST - timedelta(seconds=1))
    assert split_table(rows(), make_contract()).reused


def test_now_may_have_any_time_zone(split_table: Splitter) -> None:
    """Half past midnight in a time zone one hour ahead is before midnight in UTC."""
    ahead = timezone(timedelta(hours=1))
    local = LAST.replace(tzinfo=None)
    split_table(rows(), make_contract(), now=local)
    split_table(rows(), make_contract(), now=(local + timedelta(hours=1)).replace(tzinfo=ahead))
    error = split_table.error(
        rows(), make_contract(), now=(local + timedelta(minutes=30)).replace(tzinfo=ahead)
    )
    assert error.expected == "no day after now, 2024-12-30 23:30 UTC"


def test_events_after_now_are_an_error(split_table: Splitter) -> None:
    error = split_table.error(log(), make_log_contract(), split_histories, LAST - timedelta(minutes=1))
    assert "after now" in error.expected


def test_without_a_time_column_no_row_is_in_the_future(split_table: Splitter) -> None:
    stored = split_table(
        rows(), make_contract({"time": None, "ignored": ["day"]}), now=datetime(1999, 1, 1, tzinfo=UTC)
    )
    assert sum(len(dataset.frame) for dataset in datasets_of(stored).values()) == ROWS


# --- datasets without enough target values ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "valid", "test"])
@pytest.mark.parametrize("kept", ["no row", "one target value"])
def test_a_dataset_that_is_empty_or_has_one_target_value_is_an_error(
    split_table: Splitter, name: str, kept: str
) -> None:
    def thinned(frame: pd.DataFrame, contract: Contract) -> tuple[Datasets, DivisionFacts]:
        datasets, facts = split_rows(frame, contract)
        rows_kept = datasets[name].truth.to_numpy() == (1.0 if kept == "one target value" else 7.0)
        return {**datasets, name: datasets[name].take(np.flatnonzero(rows_kept))}, facts

    assert f"target values in {name}" in split_table.error(rows(), make_contract(), thinned).expected


def test_a_log_without_target_items_is_an_error(split_table: Splitter) -> None:
    """All events are of one item, which is no target once it is in the history."""
    events = log().assign(item="I1")
    assert (
        "target values in valid" in split_table.error(events, make_log_contract(), split_histories).expected
    )


def test_a_number_with_two_values_is_refused_as_two_classes(split_table: Splitter) -> None:
    contract = make_contract({"target": {"column": "y", "number": True}})
    with pytest.raises(ContractError, match=r"more than two values in y.*positive"):
        split_table(rows(y=np.arange(ROWS, dtype=float) % 2), contract)


def test_a_numeric_target_needs_two_values(split_table: Splitter) -> None:
    contract = make_contract({"target": {"column": "y"}})
    assert (
        datasets_of(split_table(rows(y=np.arange(ROWS, dtype=float)), contract))["test"].truth.nunique() > 1
    )
    assert "target values in" in split_table.error(rows(y=3.0), contract).expected


# --- leaks -------------------------------------------------------------------------------------------------------


def test_shared_entities_are_found_whatever_the_split_function_reports(split_table: Splitter) -> None:
    def overlapping(frame: pd.DataFrame, contract: Contract) -> tuple[Datasets, DivisionFacts]:
        datasets, facts = split_rows(frame, contract)
        both = {
            "train": datasets["train"].take(np.arange(50)),
            "valid": datasets["train"].take(np.arange(45, 120)),
        }
        return {**datasets, **both}, {**facts, "checks": {"shared_entities": {}}}

    error = split_table.error(rows(), make_contract(), overlapping)
    assert error.got == "{'train and valid': 5}"
    assert error.facts["checks"]["shared_entities"] == {"train and valid": 5}


TARGET = rows()["y"]


@pytest.mark.parametrize(
    "column",
    [
        {"x": TARGET * 3 - 1},
        {"x": -TARGET},
        {"x": TARGET.where(TARGET == 1)},
        {"town": TARGET.map({0.0: "N", 1.0: "S"}).astype("str")},
    ],
    ids=["linear function", "negative", "missing for one class", "as category"],
)
def test_a_single_feature_that_predicts_the_target_is_an_error(
    split_table: Splitter, column: dict[str, pd.Series]
) -> None:
    (name,) = column
    error = split_table.error(rows(**column), make_contract())
    assert f"{name} (AUC 1.0000)" in error.got
    assert "meta.leakage_exceptions" in error.next_step
    assert error.facts["checks"]["single_feature_leaks"] == {name: 1.0}


def test_the_contract_may_allow_a_leaking_feature(split_table: Splitter) -> None:
    contract = make_contract(leakage_exceptions={"x": "the measurement that defines the diagnosis"})
    stored = split_table(rows(x=TARGET), contract)
    assert stored.facts["checks"]["single_feature_leaks"] == {}
    error = split_table.error(rows(x=TARGET, town=TARGET.astype("str")), contract)
    assert list(error.facts["checks"]["single_feature_leaks"]) == ["town"]


def test_a_leak_in_a_reused_split_is_an_error_again(split_table: Splitter) -> None:
    first, again = (split_table.error(rows(x=TARGET), make_contract()) for _ in range(2))
    assert list(first.facts["checks"]["single_feature_leaks"]) == ["x"]
    assert str(again) == str(first)


def test_histories_with_events_after_the_cutoff_are_an_error(
    split_table: Splitter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The injected fault: histories of test users are not cut at the test cutoff."""
    evaluation_dataset = interaction_datasets.evaluation_dataset
    all_events = event_log.to_event_log(log(), make_log_contract())

    def leaking(before: pd.DataFrame, after: pd.DataFrame, *rest: Any) -> Dataset:
        dataset = evaluation_dataset(before, after, *rest)
        whole = event_log.histories_by_user(all_events, pd.Index(dataset.frame["user"]))
        return Dataset(whole, dataset.truth, dataset.units, dataset.metadata)

    monkeypatch.setattr("tasks.split.evaluation_dataset", leaking)
    error = split_table.error(log(), make_log_contract(), split_histories)
    assert "no test events in the histories" in error.expected
    assert error.facts["checks"]["histories_with_test_events"] > 0


@pytest.mark.parametrize("by", ["last", "random_last_out", "session"])
def test_histories_with_the_target_event_are_an_error(
    split_table: Splitter, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The injected fault: the target event stays in the history."""
    evaluation_dataset = interaction_datasets.evaluation_dataset
    contract = make_session_contract(by, allow_repeats=True)
    all_events = event_log.to_event_log(session_log(), contract)

    def leaking(before: pd.DataFrame, after: pd.DataFrame, *rest: Any) -> Dataset:
        dataset = evaluation_dataset(before, after, *rest)
        whole = event_log.histories_by_user(all_events, pd.Index(dataset.frame["user"]))
        return Dataset(whole, dataset.truth, dataset.units, dataset.metadata)

    monkeypatch.setattr("tasks.split.evaluation_dataset", leaking)
    error = split_table.error(session_log(), contract, split_histories)
    assert "no test events in the histories" in error.expected


def test_targets_in_the_history_are_found_whatever_the_split_function_reports(split_table: Splitter) -> None:
    def leaking(frame: pd.DataFrame, contract: Contract) -> tuple[Datasets, DivisionFacts]:
        datasets, facts = split_histories(frame, contract)
        dataset = datasets["valid"]
        items = [
            [*items, *target] for items, target in zip(dataset.frame["items"], dataset.truth, strict=True)
        ]
        longer = Dataset(dataset.frame.assign(items=items), dataset.truth, dataset.units, dataset.metadata)
        return {**datasets, "valid": longer}, facts

    error = split_table.error(session_log(), make_session_contract("last"), leaking)
    assert "not already in the user's history" in error.expected
    assert error.facts["checks"]["targets_in_history"] == 100
    split_table(session_log(), make_session_contract("last", allow_repeats=True), leaking)


def test_one_unit_of_a_class_cannot_evaluate(split_table: Splitter) -> None:
    """Two rows of one person are one unit; the last fifth of the days is the test dataset."""
    contract = make_contract({"group": "who"}, split={"by": "time", "test": 0.2, "valid": 0.2})
    target = np.arange(ROWS) % 2.0
    target[-90:] = 0.0
    target[-2:] = 1.0
    error = split_table.error(rows(y=target), contract)
    assert error.expected == "2 units of each class in test, for a metric to have an interval"
    assert error.got == "1 of the rarer one"
    target[-10] = 1.0
    split_table(rows(y=target), contract)


NUMBERS = [f"x{number}" for number in range(6)]


def doubled() -> pd.DataFrame:
    """Return each row twice, the second time with noise in its numbers, under another id."""
    table, rng = rows(), np.random.default_rng(1)
    table[NUMBERS] = rng.normal(size=(ROWS, 6))
    noisy = table.assign(id=table["id"] + "b")
    noisy[NUMBERS] += 0.02 * rng.normal(size=(ROWS, 6))
    return pd.concat([table, noisy], ignore_index=True)


def make_copy_contract(grouped: bool, **roles: str) -> Contract:
    columns = {"id": "category", "who": "category", "town": "category", "y": "integer"}
    columns |= dict.fromkeys(NUMBERS, "number")
    used = {"target": {"column": "y", "positive": [1]}, "id": "id", **roles}
    ignored = [] if "group" in roles else ["who"]
    meta = {
        "schema_version": 2,
        "read": {"files": ["x.csv"], "columns": columns},
        "roles": {**used, "ignored": ignored},
        "split": {"group_near_copies": grouped},
    }
    return parse({"name": "toy.copies", "expectations": [], "meta": meta})


def test_near_copies_stay_in_one_dataset_where_the_contract_says_so() -> None:
    crossing = []
    for grouped in (False, True):
        datasets, facts = split_rows(doubled(), make_copy_contract(grouped))
        ids = {name: {i[:4] for i in dataset.metadata["id"]} for name, dataset in datasets.items()}
        crossing.append(len(ids["test"] & (ids["train"] | ids["valid"])))
        assert ("near_copies" in facts) == grouped
    assert crossing[0] > 50
    assert crossing[1] <= 5


def test_a_table_whose_rows_are_all_connected_is_one_clear_message(split_table: Splitter) -> None:
    """The copy of a row is of the group of the next row."""
    numbers = np.arange(2 * ROWS)
    who = pd.Series([f"P{n}" for n in np.where(numbers < ROWS, numbers, numbers - ROWS + 1)], dtype="str")
    error = split_table.error(doubled().assign(who=who), make_copy_contract(True, group="who"))
    assert error.got.startswith("one group of ")
    assert error.next_step == "remove the copies, or set meta.split.group_near_copies of toy.copies to false"


def test_identifiers_in_two_spellings_are_warned_about(split_table: Splitter) -> None:
    table = rows()
    table.loc[0, "id"] = "c001 "
    warnings = split_table(table, make_contract()).facts["checks"]["warnings"]
    assert [w for w in warnings if "white space" in w] == [
        "2 values of id differ from another one in case or white space only: they count as different"
    ]

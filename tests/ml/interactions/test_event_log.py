"""Event logs, histories and datasets: by hand, and in agreement with plain loops on random logs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.data.digest import entity_hashes
from ml.errors import DataGateError
from ml.interactions.datasets import evaluation_dataset, training_dataset, user_metadata
from ml.interactions.event_log import cutoffs, histories_by_user, to_event_log

Event = tuple[str, str, int]  # user, item, seconds


def contract(**roles: Any) -> Contract:
    columns = {"customer": "category", "product": "category", "second": "time", "age_band": "category"}
    roles = {"user": "customer", "item": "product", "time": "second", "ignored": ["age_band"], **roles}
    meta = {"schema_version": 2, "read": {"files": ["x.csv"], "columns": columns}, "roles": roles}
    return parse({"name": "toy.log", "expectations": [], "meta": meta})


def rows(events: list[Event]) -> pd.DataFrame:
    """Return the events as a source table has them, in this order."""
    users, items, seconds = zip(*events, strict=True) if events else ((), (), ())
    return pd.DataFrame(
        {
            "customer": pd.Series(users, dtype="str"),
            "product": pd.Series(items, dtype="str"),
            "second": pd.to_datetime(pd.Series(seconds, dtype="int64"), unit="s").astype("datetime64[us]"),
        }
    )


def periods(events: pd.DataFrame, cutoff: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    return events[events["seconds"] < cutoff], events[events["seconds"] >= cutoff]


def by_user(dataset: Dataset) -> dict[str, tuple[list[str], list[float], list[str]]]:
    """Return the items, the times and the targets of each user."""
    columns = zip(*(dataset.frame[c] for c in ("user", "items", "times")), dataset.truth, strict=True)
    return {user: (items, times, targets) for user, items, times, targets in columns}


LOG = rows(
    [
        ("ann", "tea", 50),
        ("bob", "jam", 10),
        ("ann", "jam", 10),
        ("ann", "tea", 10),
        ("cat", "tea", 40),
        ("bob", "jam", 40),
        ("ann", "rye", 60),
        ("bob", "tea", 60),
        ("ann", "rye", 70),
        ("cat", "tea", 55),
    ]
)


def test_events_are_sorted_and_simultaneous_ones_stay_in_source_order() -> None:
    events = to_event_log(LOG, contract())
    assert list(events.columns) == ["user", "item", "seconds"]
    assert events["seconds"].tolist() == [10, 10, 10, 40, 40, 50, 55, 60, 60, 70]
    assert events["user"].tolist() == ["bob", "ann", "ann", "cat", "bob", "ann", "cat", "ann", "bob", "ann"]
    assert events["item"].tolist() == ["jam", "jam", "tea", "tea", "jam", "tea", "tea", "rye", "tea", "rye"]
    assert events.index.tolist() == list(range(10))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_seconds_do_not_depend_on_the_unit_of_the_time_column(unit: str) -> None:
    times = pd.Series(np.array(["1969-12-31T23:59:59", "2024-02-29T12:00:00.250"], f"datetime64[{unit}]"))
    source = pd.DataFrame({"customer": ["u", "u"], "product": ["a", "b"], "second": times})
    seconds = to_event_log(source, contract())["seconds"]
    assert seconds.tolist() == [-1.0, 1709208000.0 + 0.25 * (unit != "s")]


def test_training_and_evaluation_datasets_by_hand() -> None:
    """The cutoff is 50; an event at that instant is a target."""
    before, after = periods(to_event_log(LOG, contract()), 50)
    train = training_dataset(before, contract())
    assert by_user(train) == {
        "bob": (["jam", "jam"], [10, 40], []),
        "ann": (["jam", "tea"], [10, 10], []),
        "cat": (["tea"], [40], []),
    }
    # Tea of ann is a repeat, hence no target; rye counts once. Cat has repeats only.
    test = evaluation_dataset(before, after, user_metadata(LOG, contract()), contract())
    assert by_user(test) == {
        "ann": (["jam", "tea"], [10, 10], ["rye"]),
        "bob": (["jam", "jam"], [10, 40], ["tea"]),
    }


def test_repeats_are_targets_where_the_contract_allows_them() -> None:
    before, after = periods(to_event_log(LOG, contract()), 50)
    repeats = contract(allow_repeat_recommendations=True)
    test = evaluation_dataset(before, after, user_metadata(LOG, contract()), repeats)
    assert {user: targets for user, (_, _, targets) in by_user(test).items()} == {
        "ann": ["tea", "rye"],
        "bob": ["tea"],
        "cat": ["tea"],
    }


def test_blocked_items_are_no_targets_and_stay_in_histories() -> None:
    blocking = replace(contract(allow_repeat_recommendations=True), never_recommend={"tea": "recalled"})
    before, after = periods(to_event_log(LOG, blocking), 50)
    test = evaluation_dataset(before, after, user_metadata(LOG, blocking), blocking)
    assert by_user(test) == {"ann": (["jam", "tea"], [10, 10], ["rye"])}


def test_new_users_have_empty_histories() -> None:
    before, after = periods(to_event_log(LOG, contract()), 20)
    test = evaluation_dataset(before, after, user_metadata(LOG, contract()), contract())
    assert by_user(test)["cat"] == ([], [], ["tea"])
    all_new = evaluation_dataset(before.iloc[:0], after, user_metadata(LOG, contract()), contract())
    assert by_user(all_new)["ann"] == ([], [], ["tea", "rye"])


def test_histories_follow_the_order_of_the_given_users() -> None:
    events = to_event_log(LOG, contract())
    histories = histories_by_user(events, pd.Index(["cat", "nobody", "bob"]))
    assert histories["user"].tolist() == ["cat", "nobody", "bob"]
    assert histories["items"].tolist() == [["tea", "tea"], [], ["jam", "jam", "tea"]]
    assert histories["times"].tolist() == [[40, 55], [], [10, 40, 60]]


def contract_with_action(kind: str, **meta: Any) -> Contract:
    """Return a contract with the column `action`, of the role event_weight unless `meta` has other roles."""
    columns = {"customer": "category", "product": "category", "second": "time", "action": kind}
    roles = {"user": "customer", "item": "product", "time": "second", "event_weight": "action"}
    read = {"files": ["x.csv"], "columns": columns}
    meta = {"schema_version": 2, "read": read, "roles": roles} | meta
    return parse({"name": "toy.log", "expectations": [], "meta": meta})


ACTIONS = contract_with_action("category", event_weight_by_value={"look": 0.25, "buy": 2})


def with_actions(*cells: Any) -> pd.DataFrame:
    """Return five events of ann and bob, latest first, with the column `action`."""
    events = [
        ("ann", "rye", 60),
        ("bob", "tea", 50),
        ("ann", "tea", 40),
        ("bob", "jam", 20),
        ("ann", "jam", 10),
    ]
    return rows(events).assign(action=pd.Series(cells))


def test_weights_by_value_stay_with_their_events() -> None:
    source = with_actions("buy", "look", "look", "look", "buy")
    events = to_event_log(source, ACTIONS)
    assert list(events.columns) == ["user", "item", "seconds", "weight"]
    assert events["weight"].tolist() == [2, 0.25, 0.25, 0.25, 2]
    histories = histories_by_user(events, pd.Index(["ann", "nobody", "bob"]))
    assert list(histories.columns) == ["user", "items", "times", "weights"]
    assert histories["weights"].tolist() == [[2, 0.25, 2], [], [0.25, 0.25]]
    before, after = periods(events, 50)
    assert training_dataset(before, ACTIONS).frame["weights"].tolist() == [[2, 0.25], [0.25]]
    test = evaluation_dataset(before, after, user_metadata(source, ACTIONS), ACTIONS)
    assert test.frame["weights"].tolist() == [[2, 0.25], [0.25]]
    assert test.truth.tolist() == [["rye"], ["tea"]]


def test_numeric_weights_grow_with_the_logarithm_of_the_number() -> None:
    events = to_event_log(with_actions(1.0, 3.0, 7.0, 0.5, 1023.0), contract_with_action("number"))
    assert events["weight"].tolist() == pytest.approx([10, np.log2(1.5), 3, 2, 1])
    assert events["weight"].iloc[-1] == 1


def test_a_table_without_the_weight_column_gives_no_weights() -> None:
    """Scoring input may lack the column."""
    source = with_actions("buy", "look", "look", "look", "buy").drop(columns="action")
    assert list(to_event_log(source, ACTIONS).columns) == ["user", "item", "seconds"]


def test_the_segment_of_a_user_is_the_first_known_one_and_that_of_a_new_user_is_used() -> None:
    roles = {"user": "customer", "item": "product", "time": "second", "segment": "action"}
    segments = contract_with_action("category", roles=roles)
    source = with_actions("GB", "FR", "FR", None, "DE")
    events = to_event_log(source, segments)
    assert list(events.columns) == ["user", "item", "seconds", "segment"]
    histories = histories_by_user(events, pd.Index(["ann", "nobody", "bob"]))
    assert histories["segment"].tolist() == ["DE", None, "FR"]
    before, after = periods(events, 50)
    # The segment of bob is known from his target event only, which is early enough for evaluation.
    assert training_dataset(before, segments).frame["segment"].tolist() == ["DE", None]
    test = evaluation_dataset(before, after, user_metadata(source, segments), segments)
    assert test.frame["segment"].tolist() == ["DE", "FR"]
    assert "segment" not in to_event_log(source.drop(columns="action"), segments)


@pytest.mark.parametrize(
    ("cells", "weighted", "message"),
    [
        (("buy", "steal", "look", "look", None), ACTIONS, "from 'action' for each row; got 2 of 5 rows"),
        ((1.0, 0.0, -1.0, np.nan, np.inf), contract_with_action("number"), "got 4 of 5 rows without"),
    ],
    ids=str,
)
def test_rows_without_a_weight_are_rejected_and_the_error_shows_no_cells(
    cells: tuple[Any, ...], weighted: Contract, message: str
) -> None:
    with pytest.raises(DataGateError) as raised:
        to_event_log(with_actions(*cells), weighted)
    assert message in str(raised.value)
    assert "toy.log" in raised.value.next_step
    assert "steal" not in str(raised.value)


def test_metadata_is_aligned_with_users_and_not_part_of_the_features() -> None:
    bands = {"ann": "young", "bob": "old", "cat": None}
    source = LOG.assign(age_band=LOG["customer"].map(bands))
    sensitive = contract(sensitive=["age_band"])
    before, after = periods(to_event_log(source, sensitive), 20)
    metadata = user_metadata(source, sensitive)
    test = evaluation_dataset(before, after, metadata.iloc[::-1], sensitive)
    assert test.frame["user"].tolist() == ["ann", "bob", "cat"]
    assert test.metadata["age_band"].fillna("?").tolist() == ["young", "old", "?"]
    assert list(test.frame.columns) == ["user", "items", "times"]


def test_without_sensitive_columns_there_is_no_metadata() -> None:
    metadata = user_metadata(LOG, contract())
    assert sorted(metadata.index) == ["ann", "bob", "cat"]
    assert metadata.shape == (3, 0)


def test_the_unit_of_a_user_is_the_same_in_every_dataset_and_differs_between_contracts() -> None:
    before, after = periods(to_event_log(LOG, contract()), 50)
    train = training_dataset(before, contract())
    test = evaluation_dataset(before, after, user_metadata(LOG, contract()), contract())
    unit_of = dict(zip(train.frame["user"], train.units, strict=True))
    assert [unit_of[user] for user in test.frame["user"]] == test.units.tolist()
    other = entity_hashes(train.frame["user"], "another.log")
    assert not set(other) & set(train.units)


def test_empty_logs_give_empty_datasets() -> None:
    events, metadata = to_event_log(LOG, contract()), user_metadata(LOG, contract())
    assert not len(evaluation_dataset(events, events.iloc[:0], metadata, contract()).frame)
    empty = training_dataset(events.iloc[:0], contract())
    assert (len(empty.frame), len(empty.truth), empty.units.dtype) == (0, 0, np.uint64)
    assert to_event_log(LOG.iloc[:0], contract()).empty


def test_cutoffs_by_hand() -> None:
    """Of ten events, a fifth is two events."""
    events = pd.DataFrame({"seconds": np.arange(10.0) * 100})
    assert cutoffs(events, valid=0.2, test=0.2) == (600, 800)
    assert cutoffs(events, valid=0.5, test=0.1) == (400, 900)
    # All events at one instant are on one side of it.
    assert cutoffs(pd.DataFrame({"seconds": [1.0] * 8 + [2.0, 3.0]}), valid=0.2, test=0.2) == (1, 2)


shares = st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda pair: (pair[0] / 20, pair[1] / 20))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-5, 10**9), min_size=2, max_size=60, unique=True), shares)
def test_cutoffs_leave_the_shares_of_events(seconds: list[int], share: tuple[float, float]) -> None:
    valid, test = share
    events = pd.DataFrame({"seconds": np.sort(np.array(seconds, dtype=float))})
    first, second = cutoffs(events, valid, test)
    for cutoff, share_after in ((first, valid + test), (second, test)):
        assert cutoff in seconds
        assert abs((events["seconds"] >= cutoff).sum() - share_after * len(seconds)) <= 1 + 1e-9


logs = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from("abcde"), st.integers(0, 9)), min_size=1, max_size=40
)


@settings(max_examples=100, deadline=None)
@given(logs, st.integers(-1, 11), st.booleans())
def test_datasets_agree_with_loops_over_the_events(events: list[Event], cutoff: int, repeat: bool) -> None:
    loop_contract = contract(allow_repeat_recommendations=repeat)
    before, after = periods(to_event_log(rows(events), loop_contract), cutoff)
    histories: dict[str, list[tuple[str, float]]] = {}
    targets: dict[str, list[str]] = {}
    for user, item, second in sorted(events, key=lambda event: event[2]):
        history = histories.setdefault(user, []) if second < cutoff else histories.get(user, [])
        if second < cutoff:
            history.append((item, second))
        elif (repeat or item not in [name for name, _ in history]) and item not in targets.get(user, []):
            targets.setdefault(user, []).append(item)

    def items_and_times(user: str) -> tuple[list[str], list[float]]:
        events_of_user = histories.get(user, [])
        return [item for item, _ in events_of_user], [second for _, second in events_of_user]

    train = by_user(training_dataset(before, loop_contract))
    metadata = user_metadata(rows(events), loop_contract)
    test = by_user(evaluation_dataset(before, after, metadata, loop_contract))
    assert train == {user: (*items_and_times(user), []) for user in histories}
    assert test == {user: (*items_and_times(user), items) for user, items in targets.items()}
    assert list(test) == sorted(test)


@settings(max_examples=60, deadline=None)
@given(logs, st.integers(-1, 11), st.booleans())
def test_histories_do_not_depend_on_events_after_the_cutoff(
    events: list[Event], cutoff: int, repeat: bool
) -> None:
    loop_contract = contract(allow_repeat_recommendations=repeat)
    before, after = periods(to_event_log(rows(events), loop_contract), cutoff)
    metadata = user_metadata(rows(events), loop_contract)
    test = evaluation_dataset(before, after, metadata, loop_contract)
    assert all(second < cutoff for times in test.frame["times"] for second in times)
    assert [len(t) for t in test.frame["times"]] == [len(i) for i in test.frame["items"]]
    changed = after.assign(item="other " + after["item"], seconds=after["seconds"] + 5)
    again = by_user(evaluation_dataset(before, changed, metadata, loop_contract))
    for user, (items, times, _) in by_user(test).items():
        assert again[user][:2] == (items, times)
    if not repeat:
        assert not any(set(items) & set(targets) for items, _, targets in by_user(test).values())

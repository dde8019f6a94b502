"""Membership hangs on the entity, the instant or the site alone: never on a seed, the order or the number of rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.contract.parser import parse
from ml.contract.schema import SPLITS, Contract
from ml.data.row_split import PURGED, TEST, TRAIN, VALID, answers, divide, entities

ORDER = {TRAIN: 0, VALID: 1, TEST: 2}
QUARTERS = {"test": 0.25, "valid": 0.25}


def agreed(roles: dict[str, Any], types: dict[str, str], name: str = "toy.table", **split: Any) -> Contract:
    """A contract about columns of these types, divided so."""
    meta = {"read": {"files": ["t.csv"], "columns": types}, "roles": roles, "split": split}
    return parse({"name": name, "expectations": [], "meta": meta})


# --- answers -------------------------------------------------------------------------------------------------------


def answered(cells: Any, dtype: Any = None, kind: str = "category", **target: Any) -> list[float]:
    its = agreed({"target": {"column": "y", **target}}, {"y": kind, "x": "number"})
    found = answers(pd.DataFrame({"y": pd.Series(cells, dtype=dtype)}), its)
    assert found.dtype == np.float64
    return found.tolist()


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        (["1", "0", "2", "1"], "str"),
        (["1", "0", "2", "1"], "category"),
        ([1.0, 0.0, 2.0, 1.0], "float64"),
        ([1.0, -0.0, 1.5, 1.0], "float64"),
        ([1, 0, 2, 1], "int64"),
        (["1", "1.0", "01", "1"], "str"),
    ],
)
@pytest.mark.parametrize("positive", [["1"], [1], ["1", "never seen"]])
def test_the_number_one_is_the_class_1(cells: list[Any], dtype: str, positive: list[Any]) -> None:
    assert answered(cells, dtype, positive=positive) == [1.0, 0.0, 0.0, 1.0]


def test_several_classes_may_be_positive() -> None:
    assert answered(["a", "b", "c", "B", None], "str", positive=["a", "c"]) == [1.0, 0.0, 1.0, 0.0, 0.0]
    assert answered([1.0, 2.0, 3.0, np.inf, np.nan], positive=["1", "3"]) == [1.0, 0.0, 1.0, 0.0, 0.0]


def test_above_is_strictly_above_and_a_number_is_itself() -> None:
    cells = [-1.0, 2.5, np.nextafter(2.5, 3), 9.0]
    assert answered(cells, kind="number", above=2.5) == [0.0, 0.0, 1.0, 1.0]
    assert answered(cells, kind="number") == cells
    assert answered([3, -4], "int64", kind="integer") == [3.0, -4.0]


# --- entities ------------------------------------------------------------------------------------------------------

TYPES = {
    "id": "category",
    "who": "category",
    "x": "number",
    "s": "category",
    "note": "category",
    "y": "integer",
}
TARGET = {"target": {"column": "y", "positive": ["1"]}}
PEOPLE = pd.DataFrame(
    {
        "id": ["1", "2", "3", "4", "5", "6"],
        "who": ["p", "p", "q", "q", "p", "r"],
        "x": [1.0, 1.0, 1.0, 2.0, np.nan, np.nan],
        "s": ["a", "a", "b", "b", None, None],
        "note": ["u", "v", "w", "x", "y", "z"],
        "y": [0.0, 1.0, 0.0, 1.0, 0.0, 1.0],
    }
)


def same(roles: dict[str, Any], types: dict[str, str] = TYPES) -> list[int]:
    """Rows numbered by their entity, in order of appearance."""
    hashes = entities(PEOPLE, agreed(roles, types))
    assert hashes.dtype == np.uint64
    return pd.factorize(hashes)[0].tolist()


def test_an_entity_is_its_group_else_its_id_else_what_its_features_say() -> None:
    assert same({**TARGET, "id": "id", "group": "who"}) == [0, 0, 1, 1, 0, 2]
    assert same({**TARGET, "id": "id"}) == [0, 1, 2, 3, 4, 5]
    # Neither the answer nor what is ignored makes another case of a copy.
    assert same({**TARGET, "ignored": ["id", "who", "note"]}) == [0, 0, 1, 2, 3, 3]
    assert same({"user": "who", "item": "s", "time": "note", "id": "id"}, {**TYPES, "note": "time"}) == [
        0,
        0,
        1,
        1,
        0,
        2,
    ]


def test_the_name_of_the_contract_is_the_salt() -> None:
    roles = {**TARGET, "group": "who"}
    one, again, other = (entities(PEOPLE, agreed(roles, TYPES, name)) for name in ("a.b", "a.b", "a.c"))
    np.testing.assert_array_equal(one, again)
    assert not np.isin(one, other).any()


# --- all policies --------------------------------------------------------------------------------------------------


class Table:
    """Rows and what divides them; a row is an entity, an answer, a day and a site."""

    def __init__(self, rows: list[tuple[int, int, int, int]], by: str, **shares: float) -> None:
        who, y, day, site = (np.array(column) for column in zip(*rows, strict=True))
        self.rows = pd.DataFrame(
            {
                "who": pd.Series(who).map("P{}".format),
                "y": y.astype(float),
                "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(day, "D"),
                "site": site.astype(float),
                "x": 0.0,
            }
        )
        types = {"who": "category", "y": "integer", "day": "time", "site": "integer", "x": "number"}
        roles = {**TARGET, "group": "who", "time": "day", "site": "site"}
        sites = {"sites": [0, 1]} if by == "site" else {}
        self.contract = agreed(roles, types, by=by, **{**QUARTERS, **shares}, **sites)
        self.entity = entities(self.rows, self.contract)
        self.day, self.site, self.truth = day, site, answers(self.rows, self.contract).to_numpy()

    def labels(self, rows: Any = slice(None)) -> np.ndarray:
        """The labels of these rows, divided as if there were no others."""
        return divide(self.rows.iloc[rows], self.truth[rows], self.entity[rows], self.contract)


ROW = st.tuples(st.integers(0, 12), st.integers(0, 1), st.integers(0, 9), st.integers(0, 5))
TABLES = st.lists(ROW, min_size=1, max_size=40)
by_every_policy = pytest.mark.parametrize("by", SPLITS)


@by_every_policy
@given(TABLES)
@settings(deadline=None, max_examples=30)
def test_no_entity_is_in_two_parts(by: str, rows: list[tuple[int, int, int, int]]) -> None:
    table = Table(rows, by)
    labels = table.labels()
    assert set(labels) <= {TRAIN, VALID, TEST, PURGED}
    kept = labels != PURGED
    parts = pd.Series(labels[kept]).groupby(table.entity[kept]).nunique()
    assert (parts == 1).all()
    if by in ("hash", "stratified"):
        assert kept.all()


@by_every_policy
@given(TABLES, st.data())
@settings(deadline=None, max_examples=20)
def test_the_order_of_rows_is_no_matter(
    by: str, rows: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    table = Table(rows, by)
    order = np.array(data.draw(st.permutations(range(len(rows)))))
    np.testing.assert_array_equal(table.labels(order), table.labels()[order])


@pytest.mark.parametrize("by", ["hash", "site"])
@given(TABLES, st.integers(1, 40))
@settings(deadline=None, max_examples=30)
def test_who_is_once_in_the_test_stays_there_while_data_grow(
    by: str, rows: list[tuple[int, int, int, int]], before: int
) -> None:
    table = Table(rows, by)
    earlier = table.labels(slice(before))
    later = table.labels()[:before]
    np.testing.assert_array_equal(earlier == TEST, later == TEST)
    # What was known may only leave, as a person turns up in a site that is left out.
    assert set(later[later != earlier]) <= ({PURGED} if by == "site" else set())


def test_the_test_is_no_larger_where_the_valid_part_is() -> None:
    rows = [(who, who % 2, 0, 5) for who in range(500)]
    for by in ("hash", "stratified"):
        small, large = (Table(rows, by, valid=valid).labels() for valid in (0.1, 0.5))
        np.testing.assert_array_equal(small == TEST, large == TEST)
        assert set(large[small == VALID]) == {VALID}


# --- by hash -------------------------------------------------------------------------------------------------------


def test_shares_of_entities_are_those_of_the_contract() -> None:
    """Of 4000 entities, within five standard deviations."""
    labels = Table([(who, 0, 0, 5) for who in range(4000)], "hash", test=0.1, valid=0.3).labels()
    for name, share in ((TEST, 0.1), (VALID, 0.3), (TRAIN, 0.6)):
        assert abs((labels == name).sum() - 4000 * share) < 5 * np.sqrt(4000 * share * (1 - share))


def test_the_borders_of_a_part() -> None:
    """Hashes are spread over 0 to 2^64; a part holds its lower border, not its upper one."""
    quarter = 2**62
    hashes = np.array(
        [0, quarter - 2**20, quarter, 2 * quarter - 2**20, 2 * quarter, 4 * quarter - 1], dtype=np.uint64
    )
    table = Table([(0, 0, 0, 5)] * 6, "hash")
    labels = divide(table.rows, table.truth, hashes, table.contract)
    assert labels.tolist() == [TEST, TEST, VALID, VALID, TRAIN, TRAIN]


# --- within classes ------------------------------------------------------------------------------------------------


TENTHS = st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda shares: 0 < sum(shares) < 10)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 3), TENTHS)
@settings(deadline=None, max_examples=50)
def test_parts_have_the_shares_of_every_class(
    negative: int, positive: int, size: int, tenths: tuple[int, int]
) -> None:
    """Of each class a part has its share, less than a row off, and then all rows of its last entity."""
    test, valid = tenths
    rows = [(who, int(who < positive), 0, 5) for who in range(negative + positive)] * size
    table = Table(rows, "stratified", test=test / 10, valid=valid / 10)
    labels = table.labels()
    for kind, count in ((0, negative), (1, positive)):
        mine = labels[table.truth == kind]
        # In whole numbers, where no share is rounded.
        assert (mine == TEST).sum() == -(-(count * size * test // 10) // size) * size
        assert (mine != TRAIN).sum() == -(-(count * size * (test + valid) // 10) // size) * size


def test_an_entity_with_both_answers_counts_as_positive() -> None:
    rows = [(who, who % 2, 0, 5) for who in range(40)] + [(who, 1 - who % 2, 0, 5) for who in range(0, 40, 4)]
    mixed = Table(rows, "stratified")
    renamed = Table([(who, max(y, int(who % 4 == 0)), day, site) for who, y, day, site in rows], "stratified")
    np.testing.assert_array_equal(mixed.labels(), renamed.labels())


# --- by time -------------------------------------------------------------------------------------------------------


def later_part(labels: np.ndarray, entity: np.ndarray) -> np.ndarray:
    """Rows whose entity a later part holds, asked pair by pair."""
    return np.array(
        [
            any(e == f and ORDER[b] > ORDER[a] for f, b in zip(entity, labels, strict=True))
            for e, a in zip(entity, labels, strict=True)
        ]
    )


@given(TABLES)
@settings(deadline=None, max_examples=50)
def test_the_latest_rows_judge_and_an_instant_is_on_one_side(rows: list[tuple[int, int, int, int]]) -> None:
    alone = Table([(n, *row[1:]) for n, row in enumerate(rows)], "time")
    labels = alone.labels()
    ranks = np.array([ORDER[label] for label in labels])
    assert (np.diff(ranks[np.argsort(alone.day, kind="stable")]) >= 0).all()
    assert (pd.Series(labels).groupby(alone.day).nunique() == 1).all()
    # With entities, the same rows less those that a later part knows.
    grouped = Table(rows, "time")
    expected = np.where(later_part(labels, grouped.entity), PURGED, labels)
    np.testing.assert_array_equal(grouped.labels(), expected)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60, unique=True))
@settings(deadline=None, max_examples=50)
def test_of_different_instants_each_part_has_its_share(days: list[int]) -> None:
    """At most one row off."""
    labels = Table([(n, 0, day, 5) for n, day in enumerate(days)], "time", test=0.25, valid=0.5).labels()
    assert abs((labels == TEST).sum() - len(days) / 4) <= 1
    assert abs((labels == TRAIN).sum() - len(days) / 4) <= 1


def test_rows_of_a_known_entity_leave_the_earlier_parts() -> None:
    who = [0, 1, 2, 3, 4, 2, 1, 5, 1]
    labels = Table([(one, 0, day, 5) for day, one in enumerate(who)], "time").labels()
    # Two cuts, before the fifth and the seventh day: person 2 leaves train, person 1 leaves train.
    assert labels.tolist() == [TRAIN, PURGED, PURGED, TRAIN, VALID, VALID, TEST, TEST, TEST]


# --- by site -------------------------------------------------------------------------------------------------------


@given(TABLES)
@settings(deadline=None, max_examples=30)
def test_sites_that_are_left_out_judge_and_no_others(rows: list[tuple[int, int, int, int]]) -> None:
    table = Table(rows, "site")
    left_out, labels = np.isin(table.site, [0, 1]), table.labels()
    np.testing.assert_array_equal(labels == TEST, left_out)
    known = np.isin(table.entity, table.entity[left_out])
    np.testing.assert_array_equal(labels == PURGED, known & ~left_out)
    # The others are divided by their hash, whatever the share of the test.
    larger = Table(rows, "site", test=0.7).labels()
    np.testing.assert_array_equal(labels, larger)
    shares = table.entity / 2.0**64
    np.testing.assert_array_equal(labels == VALID, (shares < 0.25) & ~known)


@pytest.mark.parametrize(
    "named",
    [
        lambda site: site.astype(float),
        lambda site: site,
        lambda site: site.astype(str),
        lambda site: site + 0.5,
    ],
    ids=["float", "int", "text", "half"],
)
def test_the_number_one_is_the_site_1(named: Callable[[np.ndarray], np.ndarray]) -> None:
    table = Table([(n, 0, 0, n % 6) for n in range(60)], "site")
    table.rows["site"] = named(table.site)
    expected = np.zeros(60, dtype=bool) if table.rows["site"].iloc[0] == 0.5 else table.site < 2
    np.testing.assert_array_equal(table.labels() == TEST, expected)

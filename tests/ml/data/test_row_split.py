"""Row split: depends on entity, time or site only, never on a seed, the order or the number of rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.contract.parser import parse
from ml.contract.schema import Contract
from ml.contract.split_policy import ROW_SPLITS
from ml.data.row_split import PURGED, TEST, TRAIN, VALID, assign_rows, row_entities, targets
from ml.errors import ContractError

ORDER = {TRAIN: 0, VALID: 1, TEST: 2}
QUARTERS = {"test": 0.25, "valid": 0.25}


def contract_of(
    roles: dict[str, Any], types: dict[str, str], name: str = "toy.table", **split: Any
) -> Contract:
    """Parse a contract with columns of these types and this split policy."""
    read = {"files": ["t.csv"], "columns": types}
    meta = {"schema_version": 2, "read": read, "roles": roles, "split": split}
    return parse({"name": name, "expectations": [], "meta": meta})


# --- targets -------------------------------------------------------------------------------------------------------


def target_values(cells: Any, dtype: Any = None, kind: str = "category", **target: Any) -> list[float]:
    contract = contract_of({"target": {"column": "y", **target}}, {"y": kind, "x": "number"})
    found = targets(pd.DataFrame({"y": pd.Series(cells, dtype=dtype)}), contract)
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
def test_number_one_is_the_class_1(cells: list[Any], dtype: str, positive: list[Any]) -> None:
    assert target_values(cells, dtype, positive=positive) == [1.0, 0.0, 0.0, 1.0]


def test_several_positive_classes() -> None:
    assert target_values(["a", "b", "c", "B", None], "str", positive=["a", "c"]) == [1.0, 0.0, 1.0, 0.0, 0.0]
    assert target_values([1.0, 2.0, 3.0, np.inf, np.nan], positive=["1", "3"]) == [1.0, 0.0, 1.0, 0.0, 0.0]


def test_class_of_several_is_its_position_among_the_labels() -> None:
    labels = ["refund", "delivery", "7"]
    assert target_values(["7", "refund", "delivery"], "str", labels=labels) == [2.0, 0.0, 1.0]
    assert target_values([7.0, 7.0], "float64", kind="integer", labels=["6", 7]) == [1.0, 1.0]
    with pytest.raises(ContractError, match="2 of 3 rows with another value, or none"):
        target_values(["refund", "Refund", None], "str", labels=labels)


def test_what_is_out_of_scope_has_no_class() -> None:
    values = target_values(["b", "?", "a"], "str", labels=["a", "b"], out_of_scope=["?"])
    np.testing.assert_array_equal(values, [1.0, np.nan, 0.0])
    with pytest.raises(ContractError, match="1 of 2 rows"):
        target_values(["?", None], "str", labels=["a", "b"], out_of_scope=["?"])


def test_class_with_one_row_is_trained_on_in_a_stratified_split() -> None:
    roles = {"target": {"column": "y", "labels": ["a", "b", "rare"]}, "id": "id"}
    types = {"id": "category", "y": "category", "x": "number"}
    rows = pd.DataFrame({"id": [str(i) for i in range(101)], "y": ["a", "b"] * 50 + ["rare"], "x": 1.0})
    contract = contract_of(roles, types, by="stratified")
    labels = assign_rows(rows, targets(rows, contract).to_numpy(), row_entities(rows, contract), contract)
    assert labels[100] == TRAIN
    assert pd.Series(labels[:100]).groupby(rows["y"][:100]).value_counts().tolist() == [30, 10, 10] * 2


def test_above_is_strict_and_numeric_target_is_unchanged() -> None:
    cells = [-1.0, 2.5, np.nextafter(2.5, 3), 9.0]
    assert target_values(cells, kind="number", above=2.5) == [0.0, 0.0, 1.0, 1.0]
    assert target_values(cells, kind="number") == cells
    assert target_values([3, -4], "int64", kind="integer") == [3.0, -4.0]


def test_numbers_beyond_a_horizon_are_negative_again() -> None:
    """Deaths after ten years, and negative times of people who live, are no deaths within ten years."""
    cells = [-12.5, 0.5, 10.0, 10.1]
    assert target_values(cells, kind="number", above=0, at_most=10) == [0.0, 1.0, 1.0, 0.0]


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


def entity_numbers(roles: dict[str, Any], types: dict[str, str] = TYPES) -> list[int]:
    """Number the entity of each row, in order of appearance."""
    hashes = row_entities(PEOPLE, contract_of(roles, types))
    assert hashes.dtype == np.uint64
    return pd.factorize(hashes)[0].tolist()


def test_entity_is_group_else_id_else_features() -> None:
    assert entity_numbers({**TARGET, "id": "id", "group": "who"}) == [0, 0, 1, 1, 0, 2]
    assert entity_numbers({**TARGET, "id": "id"}) == [0, 1, 2, 3, 4, 5]
    # Rows that differ only in the target or in ignored columns are one entity.
    assert entity_numbers({**TARGET, "ignored": ["id", "who", "note"]}) == [0, 0, 1, 2, 3, 3]
    assert entity_numbers(
        {"user": "who", "item": "s", "time": "note", "id": "id"}, {**TYPES, "note": "time"}
    ) == [
        0,
        0,
        1,
        1,
        0,
        2,
    ]


def test_contract_name_salts_entity_hashes() -> None:
    roles = {**TARGET, "group": "who"}
    first, again, other = (
        row_entities(PEOPLE, contract_of(roles, TYPES, name)) for name in ("a.b", "a.b", "a.c")
    )
    np.testing.assert_array_equal(first, again)
    assert not np.isin(first, other).any()


# --- all policies --------------------------------------------------------------------------------------------------


class Table:
    """Rows of entity, target, day and site, with a contract that splits them."""

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
        sites |= {"column": "site", "test_values": [0, 1]} if by == "column" else {}
        self.contract = contract_of(roles, types, by=by, **{**QUARTERS, **shares}, **sites)
        self.entity = row_entities(self.rows, self.contract)
        self.day, self.site, self.truth = day, site, targets(self.rows, self.contract).to_numpy()

    def labels(self, rows: Any = slice(None)) -> np.ndarray:
        """Split these rows as if there were no others."""
        return assign_rows(self.rows.iloc[rows], self.truth[rows], self.entity[rows], self.contract)


ROW = st.tuples(st.integers(0, 12), st.integers(0, 1), st.integers(0, 9), st.integers(0, 5))
TABLES = st.lists(ROW, min_size=1, max_size=40)
by_every_policy = pytest.mark.parametrize("by", ROW_SPLITS)


@by_every_policy
@given(TABLES)
@settings(deadline=None, max_examples=30)
def test_rows_of_an_entity_stay_in_one_dataset(by: str, rows: list[tuple[int, int, int, int]]) -> None:
    table = Table(rows, by)
    labels = table.labels()
    assert set(labels) <= {TRAIN, VALID, TEST, PURGED}
    kept = labels != PURGED
    datasets_of_entity = pd.Series(labels[kept]).groupby(table.entity[kept]).nunique()
    assert (datasets_of_entity == 1).all()
    if by in ("hash", "stratified"):
        assert kept.all()


@by_every_policy
@given(TABLES, st.data())
@settings(deadline=None, max_examples=20)
def test_order_of_rows_does_not_change_the_split(
    by: str, rows: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    table = Table(rows, by)
    order = np.array(data.draw(st.permutations(range(len(rows)))))
    np.testing.assert_array_equal(table.labels(order), table.labels()[order])


@pytest.mark.parametrize("by", ["hash", "site"])
@given(TABLES, st.integers(1, 40))
@settings(deadline=None, max_examples=30)
def test_test_rows_stay_in_test_when_data_are_added(
    by: str, rows: list[tuple[int, int, int, int]], before: int
) -> None:
    table = Table(rows, by)
    earlier = table.labels(slice(before))
    later = table.labels()[:before]
    np.testing.assert_array_equal(earlier == TEST, later == TEST)
    # A row can only become purged, when its person appears in a test site.
    assert set(later[later != earlier]) <= ({PURGED} if by == "site" else set())


def test_share_of_valid_does_not_change_test() -> None:
    rows = [(who, who % 2, 0, 5) for who in range(500)]
    for by in ("hash", "stratified"):
        small, large = (Table(rows, by, valid=valid).labels() for valid in (0.1, 0.5))
        np.testing.assert_array_equal(small == TEST, large == TEST)
        assert set(large[small == VALID]) == {VALID}


# --- by hash -------------------------------------------------------------------------------------------------------


def test_hash_split_has_the_shares_of_the_contract() -> None:
    """Of 4000 entities, within five standard deviations."""
    labels = Table([(who, 0, 0, 5) for who in range(4000)], "hash", test=0.1, valid=0.3).labels()
    for name, share in ((TEST, 0.1), (VALID, 0.3), (TRAIN, 0.6)):
        assert abs((labels == name).sum() - 4000 * share) < 5 * np.sqrt(4000 * share * (1 - share))


def test_boundaries_of_the_hash_split() -> None:
    """Hashes range from 0 to 2^64; a dataset includes its lower boundary, not its upper one."""
    quarter = 2**62
    hashes = np.array(
        [0, quarter - 2**20, quarter, 2 * quarter - 2**20, 2 * quarter, 4 * quarter - 1], dtype=np.uint64
    )
    table = Table([(0, 0, 0, 5)] * 6, "hash")
    labels = assign_rows(table.rows, table.truth, hashes, table.contract)
    assert labels.tolist() == [TEST, TEST, VALID, VALID, TRAIN, TRAIN]


# --- stratified ----------------------------------------------------------------------------------------------------


TENTHS = st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda shares: 0 < sum(shares) < 10)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 3), TENTHS)
@settings(deadline=None, max_examples=50)
def test_stratified_split_has_the_shares_of_every_class(
    negative: int, positive: int, size: int, tenths: tuple[int, int]
) -> None:
    """Each dataset has its share of each class, rounded up to whole entities."""
    test, valid = tenths
    rows = [(who, int(who < positive), 0, 5) for who in range(negative + positive)] * size
    table = Table(rows, "stratified", test=test / 10, valid=valid / 10)
    labels = table.labels()
    for label, count in ((0, negative), (1, positive)):
        class_labels = labels[table.truth == label]
        # In whole numbers, to avoid rounding of shares.
        assert (class_labels == TEST).sum() == -(-(count * size * test // 10) // size) * size
        assert (class_labels != TRAIN).sum() == -(-(count * size * (test + valid) // 10) // size) * size


def test_entity_with_both_classes_counts_as_positive() -> None:
    rows = [(who, who % 2, 0, 5) for who in range(40)] + [(who, 1 - who % 2, 0, 5) for who in range(0, 40, 4)]
    mixed = Table(rows, "stratified")
    renamed = Table([(who, max(y, int(who % 4 == 0)), day, site) for who, y, day, site in rows], "stratified")
    np.testing.assert_array_equal(mixed.labels(), renamed.labels())


# --- by time -------------------------------------------------------------------------------------------------------


def in_later_dataset(labels: np.ndarray, entity: np.ndarray) -> np.ndarray:
    """Mark rows whose entity is also in a later dataset, by comparing all pairs."""
    return np.array(
        [
            any(e == f and ORDER[b] > ORDER[a] for f, b in zip(entity, labels, strict=True))
            for e, a in zip(entity, labels, strict=True)
        ]
    )


@given(TABLES)
@settings(deadline=None, max_examples=50)
def test_latest_rows_are_test_and_equal_times_stay_together(rows: list[tuple[int, int, int, int]]) -> None:
    distinct_entities = Table([(n, *row[1:]) for n, row in enumerate(rows)], "time")
    labels = distinct_entities.labels()
    ranks = np.array([ORDER[label] for label in labels])
    assert (np.diff(ranks[np.argsort(distinct_entities.day, kind="stable")]) >= 0).all()
    assert (pd.Series(labels).groupby(distinct_entities.day).nunique() == 1).all()
    # With repeated entities, rows whose entity is in a later dataset are purged.
    grouped = Table(rows, "time")
    expected = np.where(in_later_dataset(labels, grouped.entity), PURGED, labels)
    np.testing.assert_array_equal(grouped.labels(), expected)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60, unique=True))
@settings(deadline=None, max_examples=50)
def test_time_split_of_distinct_times_has_the_shares_of_the_contract(days: list[int]) -> None:
    """Shares are exact up to one row."""
    labels = Table([(n, 0, day, 5) for n, day in enumerate(days)], "time", test=0.25, valid=0.5).labels()
    assert abs((labels == TEST).sum() - len(days) / 4) <= 1
    assert abs((labels == TRAIN).sum() - len(days) / 4) <= 1


def test_rows_of_entities_in_later_datasets_are_purged() -> None:
    who = [0, 1, 2, 3, 4, 2, 1, 5, 1]
    labels = Table([(entity, 0, day, 5) for day, entity in enumerate(who)], "time").labels()
    # The cutoffs are before the fifth and the seventh day: persons 1 and 2 are purged from train.
    assert labels.tolist() == [TRAIN, PURGED, PURGED, TRAIN, VALID, VALID, TEST, TEST, TEST]


# --- by site -------------------------------------------------------------------------------------------------------


@given(TABLES)
@settings(deadline=None, max_examples=30)
def test_named_sites_are_the_test_set(rows: list[tuple[int, int, int, int]]) -> None:
    table = Table(rows, "site")
    in_test_site, labels = np.isin(table.site, [0, 1]), table.labels()
    np.testing.assert_array_equal(labels == TEST, in_test_site)
    in_test = np.isin(table.entity, table.entity[in_test_site])
    np.testing.assert_array_equal(labels == PURGED, in_test & ~in_test_site)
    # Other rows are split by hash, for any share of the test set.
    larger = Table(rows, "site", test=0.7).labels()
    np.testing.assert_array_equal(labels, larger)
    shares = table.entity / 2.0**64
    np.testing.assert_array_equal(labels == VALID, (shares < 0.25) & ~in_test)


@pytest.mark.parametrize(
    "write_site",
    [
        lambda site: site.astype(float),
        lambda site: site,
        lambda site: site.astype(str),
        lambda site: site + 0.5,
    ],
    ids=["float", "int", "text", "half"],
)
def test_number_one_is_the_site_1(write_site: Callable[[np.ndarray], np.ndarray]) -> None:
    table = Table([(n, 0, 0, n % 6) for n in range(60)], "site")
    table.rows["site"] = write_site(table.site)
    expected = np.zeros(60, dtype=bool) if table.rows["site"].iloc[0] == 0.5 else table.site < 2
    np.testing.assert_array_equal(table.labels() == TEST, expected)


def test_rows_that_are_divided_already_stay_so() -> None:
    """As in a training and a test file: validation is a share of the first, or has values of its own."""
    rows = pd.DataFrame({"y": 0.0, "x": range(400), "file": ["train", "train", "test", "extra"] * 100})
    types = {"y": "integer", "x": "number", "file": "category"}
    roles = {**TARGET, "ignored": ["file"]}
    truth = np.zeros(len(rows))

    def labels(**split: Any) -> np.ndarray:
        contract = contract_of(roles, types, by="column", column="file", test_values=["test"], **split)
        return assign_rows(rows, truth, row_entities(rows, contract), contract)

    given = labels(valid_values=["extra"])
    assert given.tolist() == [TRAIN, TRAIN, TEST, VALID] * 100
    shared = labels(valid=0.3)
    np.testing.assert_array_equal(shared == TEST, given == TEST)
    assert 0.2 < (shared[given != TEST] == VALID).mean() < 0.4


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"by": "column"}, "meta.split.column and meta.split.test_values"),
        ({"by": "column", "column": "x", "test_values": ["1"]}, "among meta.roles.ignored"),
        ({"by": "hash", "column": "x"}, "set meta.split.by to column"),
        (
            {"by": "column", "column": "file", "test_values": ["a"], "valid_values": ["a"]},
            "other values in meta.split.valid_values",
        ),
        ({"by": "column", "column": "file", "test_values": ["a"], "valid": 0.0}, "valid above 0"),
        ({"by": "column", "column": "nowhere", "test_values": ["a"]}, "meta.read.columns in meta.split"),
    ],
)
def test_incomplete_splits_by_a_column_are_refused(split: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        contract_of(
            {**TARGET, "ignored": ["file"]}, {"y": "integer", "x": "number", "file": "category"}, **split
        )

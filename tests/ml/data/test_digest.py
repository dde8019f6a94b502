"""Digests: equal for equal content in every representation, different for any change of content."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.data.digest import entity_hashes, json_digest, row_hashes, table_digest
from ml.errors import DataGateError


def column_digest(values: Any, dtype: Any = None) -> str:
    """Compute the digest of a table of one column; Arrow arrays are not converted."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        values = pd.Series(pd.arrays.ArrowExtensionArray(values))
    return table_digest(pd.DataFrame({"c": pd.Series(values, dtype=dtype)}))


# --- equal content in other representations ---------------------------------------------------------------------------

WORDS = ["a", "", None, "bc", "a"]
NUMBERS = [1.5, None, -2.0, 0.0, 1.5]
INTEGERS = [1, None, 2**62 + 1, -3, 0]
BOOLEANS = [True, None, False, True, True]
LISTS = [["a", None], None, [], ["", "bc"], ["a"]]
NUMBER_LISTS = [[1.0, None], None, [], [2.5], [1.0]]
TIMES = [datetime(2020, 1, 1, 12), None, datetime(1969, 12, 31, 23, 59, 59), *[datetime(1, 1, 1)] * 2]

TYPES: dict[str, tuple[list[Any], pa.DataType]] = {
    "words": (WORDS, pa.string()),
    "bytes": ([None if word is None else word.encode() for word in WORDS], pa.binary()),
    "numbers": (NUMBERS, pa.float64()),
    "integers": (INTEGERS, pa.int64()),
    "booleans": (BOOLEANS, pa.bool_()),
    "times": (TIMES, pa.timestamp("us")),
    "lists": (LISTS, pa.list_(pa.string())),
    "lists of numbers": (NUMBER_LISTS, pa.list_(pa.float64())),
    "lists of lists": ([[LISTS[0], LISTS[3]], None, [], [None], [[]]], pa.list_(pa.list_(pa.string()))),
}


@pytest.mark.parametrize("name", TYPES)
def test_chunks_slices_and_buffers_of_missing_cells_do_not_change_the_digest(name: str) -> None:
    cells, kind = TYPES[name]
    plain = pa.array(cells, kind)
    long = pa.array([cells[3], *cells, cells[0]], kind)
    chunked = pa.chunked_array([plain[:2], plain[2:2], long[3:6]])
    filled = pa.array([cells[0] if cell is None else cell for cell in cells], kind)
    masked = pc.if_else(plain.is_null(), pa.scalar(None, kind), filled)
    found = {column_digest(array) for array in (plain, long[1:6], chunked, chunked[0:5], masked)}
    assert len(found) == 1
    assert found != {column_digest(long)}
    # Arrow copies less if nothing is missing.
    long = pa.concat_arrays([filled[3:], filled, filled[:2]])
    assert column_digest(long[2:7]) == column_digest(filled) != column_digest(long[1:6])


def test_buffer_content_of_missing_cells_is_ignored() -> None:
    offsets, bits = pa.array([0, 1, 3], pa.int32()).buffers()[1], pa.array([True, False]).buffers()[1]
    hidden = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"aXY"), bits)
    assert column_digest(hidden) == column_digest(["a", None], "str")
    numbers = pa.Array.from_buffers(pa.int64(), 2, [bits, pa.py_buffer(np.array([7, 9]))])
    assert column_digest(numbers) == column_digest([7, None], "Int64") != column_digest([7, 9])


@pytest.mark.parametrize(
    "other",
    [
        lambda: column_digest(WORDS, object),
        lambda: column_digest(WORDS, pd.StringDtype("python", na_value=np.nan)),
        lambda: column_digest(WORDS, "string"),
        lambda: column_digest(WORDS, "category"),
        lambda: column_digest(pd.Categorical(WORDS, categories=["unused", "bc", "", "a"], ordered=True)),
        lambda: column_digest(pa.array(WORDS, pa.large_string())),
        lambda: column_digest(pa.array(WORDS).dictionary_encode()),
        lambda: column_digest(pa.DictionaryArray.from_arrays([0, 1, 2, 3, 0], ["a", "", None, "bc"])),
        lambda: column_digest(
            pa.chunked_array(
                [pa.array(WORDS[:2]).dictionary_encode(), pa.array(WORDS[2:]).dictionary_encode()]
            )
        ),
    ],
)
def test_text_representations_have_one_digest(other: Callable[[], str]) -> None:
    assert other() == column_digest(WORDS, "str")


@pytest.mark.parametrize(
    "other",
    [
        lambda: column_digest(NUMBERS, "Float64"),
        lambda: column_digest(NUMBERS, object),
        lambda: column_digest(pa.array([1.5, float("nan"), -2.0, 0.0, 1.5])),
        lambda: column_digest(pa.array([1.5, np.float64("nan"), None, 0.0, 1.5]).fill_null(-2.0)),
        lambda: column_digest(np.array([1.5, np.uint64(0xFFF8000000000001).view("f8"), -2.0, 0.0, 1.5])),
        lambda: column_digest(NUMBERS, "category"),
    ],
)
def test_nan_and_null_have_one_digest(other: Callable[[], str]) -> None:
    assert other() == column_digest(NUMBERS, "float64")


# Arrow uses a pandas conversion of timestamps with a time zone that pandas has deprecated.
ignore_zone_warning = pytest.mark.filterwarnings(
    "ignore:Series.values returning an ndarray:DeprecationWarning"
)


@ignore_zone_warning
@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_timestamp_units_have_one_digest(unit: str, zone: str | None) -> None:
    fraction = timedelta(seconds=0 if unit == "s" else 0.25)
    cells = [None if cell is None else max(cell, datetime(1700, 1, 1)) + fraction for cell in TIMES]
    column = pd.Series(cells, dtype="datetime64[us]").dt.tz_localize(zone)
    assert column_digest(column.dt.as_unit(unit)) == column_digest(column)


@ignore_zone_warning
def test_time_zone_changes_the_digest() -> None:
    instants = pd.Series(pd.to_datetime(["2020-01-01"], utc=True))
    zones = [instants, instants.dt.tz_convert("Europe/Rome"), instants.dt.tz_convert(None)]
    assert len({column_digest(column) for column in zones}) == 3


@pytest.mark.parametrize(
    "other",
    [
        lambda: column_digest(
            [np.array([1.0, np.nan]), None, np.array([]), np.array([2.5]), np.array([1.0])]
        ),
        lambda: column_digest([[1.0, np.nan], np.nan, [], (2.5,), [1.0]]),
        lambda: column_digest(pa.array(NUMBER_LISTS, pa.large_list(pa.float64()))),
        lambda: column_digest(pa.array([[1.0, float("nan")], *NUMBER_LISTS[1:]])),
    ],
)
def test_list_representations_have_one_digest(other: Callable[[], str]) -> None:
    assert other() == column_digest(NUMBER_LISTS, object)


def test_empty_lists_of_any_type_have_one_digest() -> None:
    kinds = [pa.list_(pa.string()), pa.list_(pa.null()), pa.large_list(pa.float64())]
    assert len({column_digest(pa.array([[], None, []], kind)) for kind in kinds}) == 1


def test_types_change_the_digest() -> None:
    """The same cells with another type have another digest."""
    columns = [
        column_digest([1, 0], kind)
        for kind in ("int64", "int32", "uint8", "float64", "float32", "bool", "str")
    ]
    columns += [
        column_digest([b"1", b"0"]),
        column_digest([[1], [0]]),
        column_digest([1, 0], "datetime64[s]"),
        column_digest([None, None], object),
    ]
    columns += [
        column_digest([None, None], "str"),
        column_digest([None, None], "float64"),
        column_digest([date(1970, 1, 2), date(1970, 1, 1)]),
    ]
    columns += [column_digest([time(0), time(1)]), column_digest([timedelta(1), timedelta(0)])]
    assert len(set(columns)) == len(columns)


def test_index_does_not_change_the_digest() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": ["x", "yy", "z"]})
    assert table_digest(frame.set_axis(["p", "q", "p"])) == table_digest(frame)
    assert table_digest(frame.iloc[1:]) == table_digest(pd.DataFrame({"a": [2.0, 3.0], "b": ["yy", "z"]}))
    assert table_digest(frame.iloc[[2, 0]]) == table_digest(pd.DataFrame({"a": [3.0, 1.0], "b": ["z", "x"]}))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"row_group_size": 2, "use_dictionary": False},
        {"version": "1.0", "store_schema": False, "compression": "gzip"},
        {"data_page_version": "2.0", "use_dictionary": ["words"], "coerce_timestamps": "ms"},
    ],
)
def test_parquet_files_of_any_writer_have_one_digest(tmp_path: Path, options: dict[str, Any]) -> None:
    columns = {"words": WORDS, "numbers": NUMBERS, "times": TIMES, "booleans": BOOLEANS, "lists": LISTS}
    frame = pd.DataFrame(
        {"words": pd.Series(WORDS, dtype="category"), **{c: columns[c] for c in [*columns][1:]}}
    )
    path = tmp_path / "table.parquet"
    table = pa.table({name: pa.array(cells) for name, cells in columns.items()})
    pq.write_table(table, path, **options)
    assert table_digest(pd.read_parquet(path)) == table_digest(frame)
    assert table_digest(pq.read_table(path).to_pandas(types_mapper=pd.ArrowDtype)) == table_digest(frame)
    frame.to_parquet(path)
    assert table_digest(pd.read_parquet(path)) == table_digest(frame)


def test_digest_is_stable_across_releases() -> None:
    """Existing stores, ledgers and champions contain digests, so their algorithm must not change."""
    frame = pd.DataFrame(
        {
            "words": pd.Series(WORDS, dtype="str"),
            "numbers": pd.Series(NUMBERS, dtype="float64"),
            "instants": pd.Series(TIMES, dtype="datetime64[us]"),
            "truths": pd.Series(BOOLEANS, dtype=object),
            "lists": pd.Series(LISTS, dtype=object),
            "days": pd.Series([date(2020, 2, 29), None] * 2 + [None], dtype=object),
        }
    )
    assert table_digest(frame) == "d554322e041742e69f35ddc6c5bf75009b3c59ea2a37b0a38a72c6535f26b58d"


# --- changed content --------------------------------------------------------------------------

CELLS: dict[str, st.SearchStrategy[Any]] = {
    "str": st.none() | st.text("ab", max_size=3) | st.text(max_size=2),
    # -0.0 equals 0.0 and has other bits: left out here.
    "float64": st.none() | st.floats(allow_nan=False).map(lambda x: x + 0.0) | st.integers(0, 2).map(float),
    "Int64": st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2),
    "boolean": st.none() | st.booleans(),
    "datetime64[us]": st.none()
    | st.datetimes().map(pd.Timestamp)
    | st.integers(0, 2).map(lambda s: pd.Timestamp(s, unit="s")),
    "object": st.none() | st.lists(st.none() | st.text("ab", max_size=2), max_size=3),
}
Column = tuple[str, str, list[Any]]


@st.composite
def tables(draw: st.DrawFn) -> list[Column]:
    """Draw columns as name, dtype, cells."""
    rows = draw(st.integers(1, 10))
    names = draw(st.lists(st.text("ab1", max_size=2), min_size=1, max_size=3, unique=True))
    kinds = [draw(st.sampled_from(sorted(CELLS))) for _ in names]
    return [
        (name, kind, draw(st.lists(CELLS[kind], min_size=rows, max_size=rows)))
        for name, kind in zip(names, kinds, strict=True)
    ]


def frame_of(table: list[Column]) -> pd.DataFrame:
    def series(kind: str, cells: list[Any]) -> pd.Series:
        if kind == "object":  # empty lists alone would leave the element type open
            return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(cells, pa.list_(pa.string()))))
        return pd.Series(cells, dtype=kind)

    return pd.DataFrame({name: series(kind, cells) for name, kind, cells in table})


@given(tables(), st.data())
@settings(deadline=None, max_examples=120)
def test_any_change_of_content_changes_the_digest(table: list[Column], data: st.DataObject) -> None:
    """Change a cell, a name, the order of columns or rows, or the number of rows: digests differ if content does."""
    changed = [(name, kind, list(cells)) for name, kind, cells in table]
    rows = len(table[0][2])
    place = data.draw(st.integers(0, len(table) - 1))
    row, other = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, rows - 1))
    _, kind, cells = changed[place]
    change = data.draw(st.sampled_from(["cell", "name", "columns", "rows", "fewer", "more", "cells"]))
    if change == "cell":
        cells[row] = data.draw(CELLS[kind])
    elif change == "cells":
        cells[row], cells[other] = cells[other], cells[row]
    elif change == "name":
        changed[place] = (data.draw(st.text("ab1", max_size=2)), kind, cells)
    elif change == "columns":
        changed.append(changed.pop(place))
    else:
        for _, _, column in changed:
            if change == "fewer":
                del column[row]
            elif change == "more":
                column.insert(row, column[other])
            else:
                column[row], column[other] = column[other], column[row]
    if len({name for name, _, _ in changed}) == len(changed):
        assert (table_digest(frame_of(table)) == table_digest(frame_of(changed))) == (table == changed)


def test_moving_content_between_neighbours_changes_the_digest() -> None:
    """The same letters in sequence, divided differently between cells, columns or lists."""
    texts = [["ab", "c"], ["a", "bc"], ["abc", ""], ["", "abc"], ["abc", None], [None, "abc"]]
    assert len({column_digest(cells, "str") for cells in texts}) == len(texts)
    lists = [
        [["a", "b"], ["c"]],
        [["a"], ["b", "c"]],
        [["ab"], ["c"]],
        [["a", "b", "c"], []],
        [["a", "b", "c"], None],
    ]
    assert len({column_digest(cells) for cells in lists}) == len(lists)
    columns = [
        {"a": ["b"], "c": [""]},
        {"a": [""], "bc": [""]},
        {"a": [""], "c": ["b"]},
        {"ab": [""], "c": [""]},
    ]
    assert len({table_digest(pd.DataFrame(cells)) for cells in columns}) == len(columns)
    instants = ["2020-01-01T00:00:00", "2020-01-01T00:00:00.000000001", "2020-01-01T00:00:01"]
    assert len({column_digest([instant], "datetime64[ns]") for instant in instants}) == len(instants)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([Decimal("4711.5")], object),
        ([{"name": 4711}], object),
        ([[{"name": 4711}]], object),
        (pd.period_range("4711", periods=1, freq="D"), None),
        (pd.interval_range(4711, 4712), None),
        ([4711, "4711"], object),
        (["4711", 4711.5], object),
        ([[4711], ["4711"]], object),
        ([[4711], 4711], object),
        ([4711j], object),
        ([4711j], complex),
        ([Path("4711")], object),
        ([4711 * 10**20], object),
        (["4711\ud800"], object),
    ],
    ids=str,
)
def test_unsupported_types_are_rejected_by_column_without_quoting_cells(values: Any, dtype: Any) -> None:
    frame = pd.DataFrame({"supported": [1.0] * len(values), "odd": pd.Series(values, dtype=dtype)})
    with pytest.raises(
        DataGateError, match=r"^expected columns of numbers, .* in 'odd'; write the file again"
    ) as caught:
        table_digest(frame)
    assert "4711" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


# --- entities ------------------------------------------------------------------------------------------------------


def blake2_hash(value: str, salt: str) -> int:
    key = hashlib.blake2b(salt.encode(), digest_size=16).digest()
    return int.from_bytes(hashlib.blake2b(value.encode(), key=key, digest_size=8).digest(), "little")


def test_entity_hashes_are_stable_across_releases() -> None:
    """Models contain the hashes of their training entities; with other hashes they would be evaluated on these."""
    hashes = entity_hashes(pd.Series(["a", "Ä", "a", "", "1"], dtype="str"), "toy.rows")
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == [
        4682448631752518899,
        14011170809207158090,
        4682448631752518899,
        1068777430942395581,
        7503559726903468822,
    ]
    assert hashes.tolist() == [blake2_hash(value, "toy.rows") for value in ("a", "Ä", "a", "", "1")]


@given(st.lists(st.text(max_size=3)), st.lists(st.text(max_size=3)), st.data())
@settings(deadline=None, max_examples=50)
def test_entity_hash_is_independent_of_other_rows_and_dtype(
    values: list[str], others: list[str], data: st.DataObject
) -> None:
    alone = dict(zip(values, entity_hashes(pd.Series(values, dtype="str"), "salt").tolist(), strict=True))
    mixed = data.draw(st.permutations([*values, *others]))
    for dtype in ("str", "category", object):
        hashes = entity_hashes(pd.Series(mixed, dtype=dtype), "salt").tolist()
        found = dict(zip(mixed, hashes, strict=True))
        assert {value: found[value] for value in values} == alone
    assert len(set(hashes)) == len(set(mixed))


ENTITIES: list[pd.Series] = [
    pd.Series([3.0, 0.5, np.nan, 1e20]),
    pd.Series([3, 2**60 + 1, -1, 0]),
    pd.Series([True, False]),
    pd.Series(pd.to_datetime(["2020-01-01", "2020-01-01 12:00:00.5", None, "2020-01-02"], format="ISO8601")),
    pd.Series(pd.to_timedelta(["1D", "1s", None])),
    pd.Series([date(2020, 1, 1), None], dtype=object),
]


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: str(entity.dtype))
def test_entities_of_every_type_have_distinct_hashes(entity: pd.Series) -> None:
    hashes = entity_hashes(entity, "salt").tolist()
    assert hashes == [entity_hashes(entity.iloc[[row]], "salt")[0] for row in range(len(entity))]
    assert len(set(hashes)) == len(entity)


def test_salt_changes_every_hash() -> None:
    entity = pd.Series([f"P{n}" for n in range(200)])
    salts = ["", "toy.rows", "toy.rows2", "toy.row"]
    hashes = np.concatenate([entity_hashes(entity, salt) for salt in salts])
    assert len(np.unique(hashes)) == 800


def test_entity_hashes_are_uniform() -> None:
    """Of 4000 entities, each tenth of the range has a tenth of the hashes, within five standard deviations."""
    hashes = entity_hashes(pd.Series(range(4000)), "toy.rows").astype(float) / 2.0**64
    counts, _ = np.histogram(hashes, bins=10, range=(0, 1))
    assert np.abs(counts - 400).max() < 5 * np.sqrt(4000 * 0.1 * 0.9)


# --- rows ----------------------------------------------------------------------------------------------------------

ROWS = st.lists(
    st.tuples(
        st.sampled_from([0.0, -0.0, 1.0, np.nan, 0.1]),
        st.sampled_from(["a", "", "1", None]),
        st.sampled_from([pd.Timestamp(0), pd.Timestamp(1), None]),
    ),
    min_size=1,
)


@given(ROWS)
@settings(deadline=None, max_examples=50)
def test_row_hashes_are_equal_for_equal_rows_only(rows: list[tuple[Any, ...]]) -> None:
    frame = pd.DataFrame(rows, columns=["x", "s", "t"]).astype({"s": "str", "t": "datetime64[ns]"})
    hashes = row_hashes(frame)
    assert hashes.dtype == np.uint64
    np.testing.assert_array_equal(pd.Series(hashes).duplicated(keep=False), frame.duplicated(keep=False))
    np.testing.assert_array_equal(
        row_hashes(frame.iloc[::-1].set_axis(range(9, len(frame) + 9))), hashes[::-1]
    )
    np.testing.assert_array_equal(row_hashes(frame.astype({"s": "category"})), hashes)


def test_moving_content_between_columns_changes_the_row_hash() -> None:
    rows = pd.DataFrame({"a": ["x", "y", "xy", "", "x"], "b": ["y", "x", "", "xy", None]}, dtype="str")
    assert len(set(row_hashes(rows))) == len(rows)


# --- mappings ------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(element) for element in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(max_size=2), JSON, max_size=4), st.text(max_size=2), JSON)
@settings(deadline=None, max_examples=50)
def test_json_digest_ignores_the_order_of_keys(mapping: dict[str, Any], key: str, value: Any) -> None:
    digest = json_digest(mapping)
    assert json_digest(reversed_keys(mapping)) == digest == json_digest(json.loads(json.dumps(mapping)))
    changed = {**mapping, key: value}
    same = json.dumps(changed, sort_keys=True) == json.dumps(mapping, sort_keys=True)
    assert (json_digest(changed) == digest) == same


def test_json_digest_is_the_sha256_of_sorted_json() -> None:
    text = '{"a": [1, null, "\\u00c4"], "b": {"c": 0.5, "d": "2020-01-01 00:00:00+00:00"}}'
    mapping = {"b": {"d": datetime(2020, 1, 1, tzinfo=UTC), "c": 0.5}, "a": (1, None, "Ä")}
    assert json_digest(mapping) == hashlib.sha256(text.encode()).hexdigest()

"""Equal content has an equal digest in every representation; any change of content has another one."""

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

from ml.data.digest import digest_of, entity_hashes, row_hashes, table_digest
from ml.errors import DataGateError


def of(values: Any, dtype: Any = None) -> str:
    """The digest of a table of one column; arrays of Arrow stay as they are."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        values = pd.Series(pd.arrays.ArrowExtensionArray(values))
    return table_digest(pd.DataFrame({"c": pd.Series(values, dtype=dtype)}))


# --- one content, many representations ------------------------------------------------------------------------------

WORDS = ["a", "", None, "bc", "a"]
NUMBERS = [1.5, None, -2.0, 0.0, 1.5]
INTEGERS = [1, None, 2**62 + 1, -3, 0]
TRUTHS = [True, None, False, True, True]
LISTS = [["a", None], None, [], ["", "bc"], ["a"]]
NUMBER_LISTS = [[1.0, None], None, [], [2.5], [1.0]]
INSTANTS = [datetime(2020, 1, 1, 12), None, datetime(1969, 12, 31, 23, 59, 59), *[datetime(1, 1, 1)] * 2]

TYPES: dict[str, tuple[list[Any], pa.DataType]] = {
    "words": (WORDS, pa.string()),
    "bytes": ([None if word is None else word.encode() for word in WORDS], pa.binary()),
    "numbers": (NUMBERS, pa.float64()),
    "integers": (INTEGERS, pa.int64()),
    "truths": (TRUTHS, pa.bool_()),
    "instants": (INSTANTS, pa.timestamp("us")),
    "lists": (LISTS, pa.list_(pa.string())),
    "lists of numbers": (NUMBER_LISTS, pa.list_(pa.float64())),
    "lists of lists": ([[LISTS[0], LISTS[3]], None, [], [None], [[]]], pa.list_(pa.list_(pa.string()))),
}


@pytest.mark.parametrize("name", TYPES)
def test_chunks_slices_and_what_lies_beneath_missing_cells_are_not_content(name: str) -> None:
    cells, kind = TYPES[name]
    plain = pa.array(cells, kind)
    long = pa.array([cells[3], *cells, cells[0]], kind)
    chunked = pa.chunked_array([plain[:2], plain[2:2], long[3:6]])
    filled = pa.array([cells[0] if cell is None else cell for cell in cells], kind)
    masked = pc.if_else(plain.is_null(), pa.scalar(None, kind), filled)
    found = {of(array) for array in (plain, long[1:6], chunked, chunked[0:5], masked)}
    assert len(found) == 1
    assert found != {of(long)}
    # Arrow copies less where nothing is missing.
    long = pa.concat_arrays([filled[3:], filled, filled[:2]])
    assert of(long[2:7]) == of(filled) != of(long[1:6])


def test_a_missing_cell_is_missing_whatever_its_buffer_holds() -> None:
    offsets, bits = pa.array([0, 1, 3], pa.int32()).buffers()[1], pa.array([True, False]).buffers()[1]
    hidden = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"aXY"), bits)
    assert of(hidden) == of(["a", None], "str")
    numbers = pa.Array.from_buffers(pa.int64(), 2, [bits, pa.py_buffer(np.array([7, 9]))])
    assert of(numbers) == of([7, None], "Int64") != of([7, 9])


@pytest.mark.parametrize(
    "other",
    [
        lambda: of(WORDS, object),
        lambda: of(WORDS, pd.StringDtype("python", na_value=np.nan)),
        lambda: of(WORDS, "string"),
        lambda: of(WORDS, "category"),
        lambda: of(pd.Categorical(WORDS, categories=["unused", "bc", "", "a"], ordered=True)),
        lambda: of(pa.array(WORDS, pa.large_string())),
        lambda: of(pa.array(WORDS).dictionary_encode()),
        lambda: of(pa.DictionaryArray.from_arrays([0, 1, 2, 3, 0], ["a", "", None, "bc"])),
        lambda: of(
            pa.chunked_array(
                [pa.array(WORDS[:2]).dictionary_encode(), pa.array(WORDS[2:]).dictionary_encode()]
            )
        ),
    ],
)
def test_text_is_text(other: Callable[[], str]) -> None:
    assert other() == of(WORDS, "str")


@pytest.mark.parametrize(
    "other",
    [
        lambda: of(NUMBERS, "Float64"),
        lambda: of(NUMBERS, object),
        lambda: of(pa.array([1.5, float("nan"), -2.0, 0.0, 1.5])),
        lambda: of(pa.array([1.5, np.float64("nan"), None, 0.0, 1.5]).fill_null(-2.0)),
        lambda: of(np.array([1.5, np.uint64(0xFFF8000000000001).view("f8"), -2.0, 0.0, 1.5])),
        lambda: of(NUMBERS, "category"),
    ],
)
def test_nan_and_null_are_one_missing_number(other: Callable[[], str]) -> None:
    assert other() == of(NUMBERS, "float64")


# Arrow asks pandas for an instant of a zone in a way that pandas will answer differently one day.
of_a_zone = pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning")


@of_a_zone
@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_an_instant_is_one_in_every_unit(unit: str, zone: str | None) -> None:
    fraction = timedelta(seconds=0 if unit == "s" else 0.25)
    cells = [None if cell is None else max(cell, datetime(1700, 1, 1)) + fraction for cell in INSTANTS]
    column = pd.Series(cells, dtype="datetime64[us]").dt.tz_localize(zone)
    assert of(column.dt.as_unit(unit)) == of(column)


@of_a_zone
def test_the_zone_is_content() -> None:
    instants = pd.Series(pd.to_datetime(["2020-01-01"], utc=True))
    zones = [instants, instants.dt.tz_convert("Europe/Rome"), instants.dt.tz_convert(None)]
    assert len({of(column) for column in zones}) == 3


@pytest.mark.parametrize(
    "other",
    [
        lambda: of([np.array([1.0, np.nan]), None, np.array([]), np.array([2.5]), np.array([1.0])]),
        lambda: of([[1.0, np.nan], np.nan, [], (2.5,), [1.0]]),
        lambda: of(pa.array(NUMBER_LISTS, pa.large_list(pa.float64()))),
        lambda: of(pa.array([[1.0, float("nan")], *NUMBER_LISTS[1:]])),
    ],
)
def test_a_list_is_a_list(other: Callable[[], str]) -> None:
    assert other() == of(NUMBER_LISTS, object)


def test_empty_lists_have_no_type() -> None:
    kinds = [pa.list_(pa.string()), pa.list_(pa.null()), pa.large_list(pa.float64())]
    assert len({of(pa.array([[], None, []], kind)) for kind in kinds}) == 1


def test_types_are_content() -> None:
    """The same cells as another type are another table."""
    columns = [of([1, 0], kind) for kind in ("int64", "int32", "uint8", "float64", "float32", "bool", "str")]
    columns += [of([b"1", b"0"]), of([[1], [0]]), of([1, 0], "datetime64[s]"), of([None, None], object)]
    columns += [
        of([None, None], "str"),
        of([None, None], "float64"),
        of([date(1970, 1, 2), date(1970, 1, 1)]),
    ]
    columns += [of([time(0), time(1)]), of([timedelta(1), timedelta(0)])]
    assert len(set(columns)) == len(columns)


def test_the_index_is_not_content() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": ["x", "yy", "z"]})
    assert table_digest(frame.set_axis(["p", "q", "p"])) == table_digest(frame)
    assert table_digest(frame.iloc[1:]) == table_digest(pd.DataFrame({"a": [2.0, 3.0], "b": ["yy", "z"]}))
    assert table_digest(frame.iloc[[2, 0]]) == table_digest(pd.DataFrame({"a": [3.0, 1.0], "b": ["z", "x"]}))


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"row_group_size": 2, "use_dictionary": False},
        {"version": "1.0", "store_schema": False, "compression": "gzip"},
        {"data_page_version": "2.0", "use_dictionary": ["words"], "coerce_timestamps": "ms"},
    ],
)
def test_parquet_is_read_back_to_one_digest_whoever_wrote_it(tmp_path: Path, how: dict[str, Any]) -> None:
    columns = {"words": WORDS, "numbers": NUMBERS, "instants": INSTANTS, "truths": TRUTHS, "lists": LISTS}
    frame = pd.DataFrame(
        {"words": pd.Series(WORDS, dtype="category"), **{c: columns[c] for c in [*columns][1:]}}
    )
    path = tmp_path / "table.parquet"
    table = pa.table({name: pa.array(cells) for name, cells in columns.items()})
    pq.write_table(table, path, **how)
    assert table_digest(pd.read_parquet(path)) == table_digest(frame)
    assert table_digest(pq.read_table(path).to_pandas(types_mapper=pd.ArrowDtype)) == table_digest(frame)
    frame.to_parquet(path)
    assert table_digest(pd.read_parquet(path)) == table_digest(frame)


def test_a_digest_of_today_is_one_of_tomorrow() -> None:
    """Stores, ledgers and champions of other days hold digests: another way to take them needs a new key there."""
    frame = pd.DataFrame(
        {
            "words": pd.Series(WORDS, dtype="str"),
            "numbers": pd.Series(NUMBERS, dtype="float64"),
            "instants": pd.Series(INSTANTS, dtype="datetime64[us]"),
            "truths": pd.Series(TRUTHS, dtype=object),
            "lists": pd.Series(LISTS, dtype=object),
            "days": pd.Series([date(2020, 2, 29), None] * 2 + [None], dtype=object),
        }
    )
    assert table_digest(frame) == "d554322e041742e69f35ddc6c5bf75009b3c59ea2a37b0a38a72c6535f26b58d"


# --- any other content, another digest -----------------------------------------------------------------------------

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
    """Columns as name, dtype, cells."""
    rows = draw(st.integers(1, 10))
    names = draw(st.lists(st.text("ab1", max_size=2), min_size=1, max_size=3, unique=True))
    kinds = [draw(st.sampled_from(sorted(CELLS))) for _ in names]
    return [
        (name, kind, draw(st.lists(CELLS[kind], min_size=rows, max_size=rows)))
        for name, kind in zip(names, kinds, strict=True)
    ]


def frame_of(table: list[Column]) -> pd.DataFrame:
    def series(kind: str, cells: list[Any]) -> pd.Series:
        if kind == "object":  # a type that all cells leave open is no matter of single cells
            return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(cells, pa.list_(pa.string()))))
        return pd.Series(cells, dtype=kind)

    return pd.DataFrame({name: series(kind, cells) for name, kind, cells in table})


@given(tables(), st.data())
@settings(deadline=None, max_examples=120)
def test_any_change_gives_another_digest(table: list[Column], data: st.DataObject) -> None:
    """A cell, a name, two columns, two rows, a row more or less, a type: digests are equal where content is."""
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
        for _, _, mine in changed:
            if change == "fewer":
                del mine[row]
            elif change == "more":
                mine.insert(row, mine[other])
            else:
                mine[row], mine[other] = mine[other], mine[row]
    if len({name for name, _, _ in changed}) == len(changed):
        assert (table_digest(frame_of(table)) == table_digest(frame_of(changed))) == (table == changed)


def test_what_moves_between_neighbours_is_seen() -> None:
    """The same letters in a row, cut elsewhere."""
    texts = [["ab", "c"], ["a", "bc"], ["abc", ""], ["", "abc"], ["abc", None], [None, "abc"]]
    assert len({of(cells, "str") for cells in texts}) == len(texts)
    lists = [
        [["a", "b"], ["c"]],
        [["a"], ["b", "c"]],
        [["ab"], ["c"]],
        [["a", "b", "c"], []],
        [["a", "b", "c"], None],
    ]
    assert len({of(cells) for cells in lists}) == len(lists)
    columns = [
        {"a": ["b"], "c": [""]},
        {"a": [""], "bc": [""]},
        {"a": [""], "c": ["b"]},
        {"ab": [""], "c": [""]},
    ]
    assert len({table_digest(pd.DataFrame(one)) for one in columns}) == len(columns)
    instants = ["2020-01-01T00:00:00", "2020-01-01T00:00:00.000000001", "2020-01-01T00:00:01"]
    assert len({of([instant], "datetime64[ns]") for instant in instants}) == len(instants)


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
def test_other_types_are_refused_by_column_and_no_cell_is_quoted(values: Any, dtype: Any) -> None:
    frame = pd.DataFrame({"fine": [1.0] * len(values), "odd": pd.Series(values, dtype=dtype)})
    with pytest.raises(
        DataGateError, match=r"^expected columns of numbers, .* in 'odd'; write the file anew"
    ) as refusal:
        table_digest(frame)
    assert "4711" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


# --- entities ------------------------------------------------------------------------------------------------------


def by_hand(value: str, salt: str) -> int:
    key = hashlib.blake2b(salt.encode(), digest_size=16).digest()
    return int.from_bytes(hashlib.blake2b(value.encode(), key=key, digest_size=8).digest(), "little")


def test_hashes_of_entities_are_those_of_other_days() -> None:
    """Models carry them: another hash would let them be judged on rows that they have learned from."""
    hashes = entity_hashes(pd.Series(["a", "Ä", "a", "", "1"], dtype="str"), "toy.rows")
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == [
        4682448631752518899,
        14011170809207158090,
        4682448631752518899,
        1068777430942395581,
        7503559726903468822,
    ]
    assert hashes.tolist() == [by_hand(value, "toy.rows") for value in ("a", "Ä", "a", "", "1")]


@given(st.lists(st.text(max_size=3)), st.lists(st.text(max_size=3)), st.data())
@settings(deadline=None, max_examples=50)
def test_the_hash_of_an_entity_hangs_on_nothing_else(
    mine: list[str], others: list[str], data: st.DataObject
) -> None:
    alone = dict(zip(mine, entity_hashes(pd.Series(mine, dtype="str"), "salt").tolist(), strict=True))
    mixed = data.draw(st.permutations([*mine, *others]))
    for dtype in ("str", "category", object):
        hashes = entity_hashes(pd.Series(mixed, dtype=dtype), "salt").tolist()
        found = dict(zip(mixed, hashes, strict=True))
        assert {value: found[value] for value in mine} == alone
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
def test_entities_of_every_type_have_a_hash_of_their_own(entity: pd.Series) -> None:
    hashes = entity_hashes(entity, "salt").tolist()
    assert hashes == [entity_hashes(entity.iloc[[row]], "salt")[0] for row in range(len(entity))]
    assert len(set(hashes)) == len(entity)


def test_the_salt_changes_every_hash() -> None:
    entity = pd.Series([f"P{n}" for n in range(200)])
    salts = ["", "toy.rows", "toy.rows2", "toy.row"]
    hashes = np.concatenate([entity_hashes(entity, salt) for salt in salts])
    assert len(np.unique(hashes)) == 800


def test_hashes_of_entities_are_evenly_spread() -> None:
    """Of 4000 numbered ones, a tenth lies in each tenth, within five standard deviations."""
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
def test_rows_are_equal_where_their_hashes_are(rows: list[tuple[Any, ...]]) -> None:
    frame = pd.DataFrame(rows, columns=["x", "s", "t"]).astype({"s": "str", "t": "datetime64[ns]"})
    hashes = row_hashes(frame)
    assert hashes.dtype == np.uint64
    np.testing.assert_array_equal(pd.Series(hashes).duplicated(keep=False), frame.duplicated(keep=False))
    np.testing.assert_array_equal(
        row_hashes(frame.iloc[::-1].set_axis(range(9, len(frame) + 9))), hashes[::-1]
    )
    np.testing.assert_array_equal(row_hashes(frame.astype({"s": "category"})), hashes)


def test_what_moves_between_columns_is_another_row() -> None:
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
    return [reversed_keys(one) for one in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(max_size=2), JSON, max_size=4), st.text(max_size=2), JSON)
@settings(deadline=None, max_examples=50)
def test_a_mapping_is_what_it_says_not_in_which_order(mapping: dict[str, Any], key: str, value: Any) -> None:
    digest = digest_of(mapping)
    assert digest_of(reversed_keys(mapping)) == digest == digest_of(json.loads(json.dumps(mapping)))
    changed = {**mapping, key: value}
    same = json.dumps(changed, sort_keys=True) == json.dumps(mapping, sort_keys=True)
    assert (digest_of(changed) == digest) == same


def test_the_digest_of_a_mapping_is_that_of_its_json() -> None:
    text = '{"a": [1, null, "\\u00c4"], "b": {"c": 0.5, "d": "2020-01-01 00:00:00+00:00"}}'
    mapping = {"b": {"d": datetime(2020, 1, 1, tzinfo=UTC), "c": 0.5}, "a": (1, None, "Ä")}
    assert digest_of(mapping) == hashlib.sha256(text.encode()).hexdigest()

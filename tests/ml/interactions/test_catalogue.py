"""Histories as matrices, and scores as lists."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ml.interactions import catalogue as histories
from ml.interactions.catalogue import LIST_LENGTH, PRIOR, Catalogue
from ml.interactions.histories import SECONDS_PER_DAY, Histories
from ml.interactions.sparse_matrices import blocks, from_npy, to_npy, top

lists_of_items = st.lists(st.lists(st.sampled_from(["a", "b", "c", "é", "10", "9"])), max_size=8)


def frame_of(lists: list[list[str]]) -> pd.DataFrame:
    users = pd.Series([f"u{row}" for row in range(len(lists))], dtype="str")
    times = pd.Series([[float(t) for t in range(len(items))] for items in lists], dtype=object)
    return pd.DataFrame({"user": users, "items": pd.Series(lists, dtype=object), "times": times})


@given(lists_of_items.filter(any))
def test_catalogue_is_sorted_and_counts_users(lists: list[list[str]]) -> None:
    catalogue = Catalogue.of(frame_of(lists))
    expected = Counter(item for items in lists for item in set(items))
    assert list(catalogue.items) == sorted(expected)
    assert dict(zip(catalogue.items, catalogue.popularity, strict=True)) == expected


@given(lists_of_items)
def test_counts_and_unknown_account_for_every_event(lists: list[list[str]]) -> None:
    catalogue = Catalogue(("10", "b", "é"), (3, 2, 1))
    frame = frame_of(lists)
    expected = np.array([[items.count(item) for item in catalogue.items] for items in lists]).reshape(-1, 3)
    counts = catalogue.counts(frame)
    np.testing.assert_array_equal(counts.toarray(), expected)
    assert counts.nnz == np.count_nonzero(expected)
    assert catalogue.unknown(frame) == sum(map(len, lists)) - expected.sum()


@given(lists_of_items.filter(any), st.integers(1, 4))
def test_sequences_say_who_had_what_and_when(lists: list[list[str]], n: int) -> None:
    catalogue = Catalogue.of(frame_of(lists))
    found = catalogue.sequences(frame_of([*lists, ["unknown", lists[0][0] if lists[0] else "unknown"]]))
    codes = [[catalogue.items.index(item) for item in items] for items in lists]
    assert [found.items[a:b].tolist() for a, b in zip(found.start, found.start[1:], strict=False)][
        :-1
    ] == codes
    assert found.since.tolist()[: sum(map(len, codes))] == [k for c in codes for k in range(len(c))[::-1]]
    latest = [(c[::-1] + [-1] * n)[:n] for c in codes]
    assert found.last(n)[:-1].tolist() == latest
    rows = slice(1, len(lists))
    block = found.block(rows)
    np.testing.assert_array_equal(block.counts().toarray(), found.counts().toarray()[rows])
    np.testing.assert_array_equal(block.times, [t for c in codes[1:] for t in range(len(c))])


def test_recent_popularity_counts_the_last_days_of_the_whole_log() -> None:
    day = SECONDS_PER_DAY
    frame = pd.DataFrame(
        {
            "user": ["u", "v"],
            "items": [["a", "b", "b"], ["a", "c"]],
            "times": [[0.0, 8.5 * day, 9.0 * day], [8.0 * day, 10.0 * day]],
        }
    )
    assert Catalogue.of(frame).popularity == (2, 1, 1)
    assert Catalogue.of(frame, days=2.5) == Catalogue(("a", "b", "c"), (1, 1, 1))
    assert Catalogue.of(frame, days=2.0).popularity == (0, 1, 1)  # exactly two days ago is too long ago


def test_what_few_users_of_a_segment_took_is_nobodys_business() -> None:
    lists = [["a", f"own {n}"] for n in range(19)]
    frame = frame_of(lists).assign(segment=["big"] * 10 + ["small"] * 9)
    catalogue = Catalogue.of(frame)
    assert list(catalogue.segments) == ["big", "small"]
    assert len(catalogue.segments["big"][0]) == 11
    assert catalogue.segments["small"] == ((), ())
    # Nor what few of many took lately.
    times = [[0.0, 9e9 if n < 9 else 0.0] for n in range(19)]
    recent = Catalogue.of(frame.assign(times=pd.Series(times, dtype=object)), days=1)
    assert recent.segments == {"big": ((), ()), "small": ((), ())}


def test_what_is_popular_in_a_segment_leans_on_all_the_more_the_less_is_known_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(histories, "FEWEST_IN_SEGMENT", 1)
    frame = frame_of([["a", "b"], ["a"], ["b", "c"], ["c"]]).assign(segment=["x", "x", "y", None])
    catalogue = Catalogue.of(frame)
    assert catalogue.segments == {"x": ((0, 1), (2, 1)), "y": ((1, 2), (1, 1))}
    assert Catalogue.from_json(catalogue.to_json()) == catalogue
    found = catalogue.sequences(frame.assign(segment=["y", "x", None, "elsewhere"]))
    assert found.segment is not None
    assert found.segment.tolist() == [1, 0, -1, -1]
    share = PRIOR / 3  # each item was had by two of six
    expected = np.array(
        [[share + 2, share + 1, share], [2, 2, 2], [2, 2, 2], [share, share + 1, share + 1]], np.float32
    )
    np.testing.assert_allclose(catalogue.common(found, np.array([1, 2, 3, 0])), expected, rtol=1e-6)
    block = found.block(slice(1, 3)).where(np.zeros(3, bool))
    np.testing.assert_allclose(catalogue.common(block, np.array([0])), expected[:1], rtol=1e-6)
    # Of a wider catalogue the codes are others, and nobody had what is new.
    wider = catalogue.wider(["aa", "d"])
    assert wider.segments == {"x": ((0, 2), (2, 1)), "y": ((2, 3), (1, 1))}
    some = wider.sequences(frame.iloc[:1])
    np.testing.assert_allclose(
        wider.common(some, np.array([0]))[0], [share + 2, 0, share + 1, share, 0], rtol=1e-6
    )
    # A segment of which nothing is recent is known all the same.
    recent = Catalogue.of(frame.assign(times=[[0.0] * 2, [0.0], [9e9] * 2, [9e9]]), days=1)
    assert recent.segments == {"x": ((), ()), "y": ((1, 2), (1, 1))}


def test_histories_may_be_arrays_as_parquet_gives_them() -> None:
    frame = frame_of([["b", "a"], []])
    arrays = frame.assign(items=[np.array(items, dtype=object) for items in frame["items"]])
    assert Catalogue.of(arrays) == Catalogue.of(frame)


def test_refuses_what_is_not_a_frame_of_histories() -> None:
    with pytest.raises(ValueError, match="at least one event"):
        Catalogue.of(frame_of([[], []]))
    with pytest.raises(ValueError, match=r"none of \['items'\]"):
        Catalogue(("a",), (1,)).counts(pd.DataFrame({"user": ["u"]}))


@given(
    hnp.arrays(np.float32, st.integers(1, 30), elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 1.0])),
    st.integers(1, 35),
)
def test_top_is_the_start_of_a_stable_sort(scores: np.ndarray, n: int) -> None:
    ordered = sorted(np.flatnonzero(np.isfinite(scores)), key=lambda position: -scores[position])
    assert top(scores, n).tolist() == ordered[:n]


@given(st.integers(0, 10_000), st.integers(0, 2**26))
def test_blocks_cover_each_row_once_within_bounds(rows: int, columns: int) -> None:
    some = list(blocks(rows, columns)) if columns < 2**16 else list(blocks(min(rows, 50), columns))
    covered = [row for block in some for row in range(block.start, block.stop)]
    assert covered == list(range(len(covered)))
    assert len(covered) == (rows if columns < 2**16 else min(rows, 50))
    sizes = [block.stop - block.start for block in some]
    assert all(size == 1 or (size <= 2048 and size * columns <= 2**24) for size in sizes)


def test_the_size_of_blocks_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue(tuple("abcd"), (4, 3, 2, 1))
    frame = frame_of([["a"], [], ["d", "b"], ["a", "b", "c", "d"], ["unknown"]])

    def score(histories: Histories) -> np.ndarray:
        scores: np.ndarray = histories.counts().toarray() @ np.arange(16.0).reshape(4, 4)
        return scores

    whole = catalogue.recommend(frame, score, repeat=False)
    monkeypatch.setattr(histories, "BLOCK_ROWS", 2)
    pd.testing.assert_frame_equal(catalogue.recommend(frame, score, repeat=False), whole)
    assert whole.groupby("user").size().to_dict() == {"u0": 3, "u1": 4, "u2": 2, "u4": 4}


def test_sums_in_another_order_are_ties() -> None:
    catalogue = Catalogue(("a", "b", "c"), (1, 1, 1))
    scores = np.array([[0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1, 0.7]])
    assert scores[0, 0] != scores[0, 1]
    listed = catalogue.recommend(frame_of([["a"]]), lambda _: scores, repeat=True)
    assert listed["item"].tolist() == ["c", "a", "b"]
    assert listed["score"].nunique() == 2


def test_lists_are_cut_to_their_length() -> None:
    items = tuple(f"{number:03}" for number in range(3 * LIST_LENGTH))
    catalogue = Catalogue(items, tuple(range(len(items))))
    listed = catalogue.recommend(
        frame_of([[]]), lambda histories: np.zeros((len(histories), histories.catalogue)), repeat=False
    )
    assert listed["item"].tolist() == list(items[: -LIST_LENGTH - 1 : -1])
    assert listed["rank"].tolist() == list(range(1, LIST_LENGTH + 1))


@given(hnp.arrays(st.sampled_from([np.float32, np.int64]), hnp.array_shapes(max_dims=2)))
def test_arrays_round_trip(array: np.ndarray) -> None:
    back = from_npy({"x.npy": to_npy(array)}, "x.npy")
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype


def test_catalogue_round_trips() -> None:
    catalogue = Catalogue(("", "a", "日本"), (0, 2, 1))
    assert Catalogue.from_json(catalogue.to_json()) == catalogue


def test_where_only_the_order_is_known_no_event_is_old() -> None:
    frame = frame_of([["a", "b"], ["b"]])
    frame["times"] = frame["times"].map(lambda times: [np.nan] * len(times))
    assert Catalogue.of(frame, days=1.0) == Catalogue.of(frame)


@settings(deadline=None)
@given(
    scores=st.lists(st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, 2.0, np.inf]), max_size=30),
    n=st.integers(1, 40),
)
def test_top_agrees_with_a_full_sort(scores: list[float], n: int) -> None:
    row = np.array(scores, dtype=np.float32)
    expected = np.argsort(-row, kind="stable")
    assert top(row, n).tolist() == expected[row[expected] > -np.inf][:n].tolist()

"""Catalogues: encoding of histories, popularity, and ranked lists from scores."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ml.interactions import catalogue as catalogue_module
from ml.interactions import sparse_matrices
from ml.interactions.catalogue import LIST_LENGTH, SEGMENT_PRIOR_STRENGTH, Catalogue
from ml.interactions.histories import SECONDS_PER_DAY, Histories
from ml.interactions.sparse_matrices import from_npy, row_blocks, to_npy, top_positions

lists_of_items = st.lists(st.lists(st.sampled_from(["a", "b", "c", "é", "10", "9"])), max_size=8)


def frame_of(lists: list[list[str]]) -> pd.DataFrame:
    """Return histories of the users u0, u1, ...; the n-th event of each is at second n."""
    users = pd.Series([f"u{row}" for row in range(len(lists))], dtype="str")
    times = pd.Series([[float(t) for t in range(len(items))] for items in lists], dtype=object)
    return pd.DataFrame({"user": users, "items": pd.Series(lists, dtype=object), "times": times})


@given(lists_of_items.filter(any))
def test_catalogue_is_sorted_and_counts_users(lists: list[list[str]]) -> None:
    catalogue = Catalogue.from_frame(frame_of(lists))
    expected = Counter(item for items in lists for item in set(items))
    assert list(catalogue.items) == sorted(expected)
    assert dict(zip(catalogue.items, catalogue.popularity, strict=True)) == expected


@given(lists_of_items)
def test_counts_and_unknown_events_account_for_every_event(lists: list[list[str]]) -> None:
    catalogue = Catalogue(("10", "b", "é"), (3, 2, 1))
    frame = frame_of(lists)
    expected = np.array([[items.count(item) for item in catalogue.items] for items in lists]).reshape(-1, 3)
    counts = catalogue.encode(frame).count_matrix()
    np.testing.assert_array_equal(counts.toarray(), expected)
    assert counts.nnz == np.count_nonzero(expected)
    assert catalogue.count_unknown_events(frame) == sum(map(len, lists)) - expected.sum()


@given(lists_of_items.filter(any), st.integers(1, 4))
def test_encoded_histories_have_the_items_and_times_of_each_user(lists: list[list[str]], n: int) -> None:
    catalogue = Catalogue.from_frame(frame_of(lists))
    with_unknown = [*lists, ["unknown", lists[0][0] if lists[0] else "unknown"]]
    histories = catalogue.encode(frame_of(with_unknown))
    codes = [[catalogue.items.index(item) for item in items] for items in lists]
    offsets = zip(histories.offsets, histories.offsets[1:], strict=False)
    assert [histories.items[start:end].tolist() for start, end in offsets][:-1] == codes
    events_after = [k for items in codes for k in range(len(items))[::-1]]
    assert histories.events_after.tolist()[: len(events_after)] == events_after
    latest = [(items[::-1] + [-1] * n)[:n] for items in codes]
    assert histories.last_items(n)[:-1].tolist() == latest
    users = slice(1, len(lists))
    block = histories.slice_users(users)
    expected = histories.count_matrix().toarray()[users]
    np.testing.assert_array_equal(block.count_matrix().toarray(), expected)
    np.testing.assert_array_equal(block.times, [t for items in codes[1:] for t in range(len(items))])


def test_popularity_days_are_counted_back_from_the_end_of_the_log() -> None:
    day = SECONDS_PER_DAY
    frame = pd.DataFrame(
        {
            "user": ["u", "v"],
            "items": [["a", "b", "b"], ["a", "c"]],
            "times": [[0.0, 8.5 * day, 9.0 * day], [8.0 * day, 10.0 * day]],
        }
    )
    assert Catalogue.from_frame(frame).popularity == (2, 1, 1)
    assert Catalogue.from_frame(frame, popularity_days=2.5) == Catalogue(("a", "b", "c"), (1, 1, 1))
    # An event exactly two days before the last one is too old.
    assert Catalogue.from_frame(frame, popularity_days=2.0).popularity == (0, 1, 1)


def test_small_segments_have_no_popularity() -> None:
    lists = [["a", f"own {n}"] for n in range(19)]
    frame = frame_of(lists).assign(segment=["big"] * 10 + ["small"] * 9)
    catalogue = Catalogue.from_frame(frame)
    assert list(catalogue.segments) == ["big", "small"]
    assert len(catalogue.segments["big"][0]) == 11
    assert catalogue.segments["small"] == ((), ())
    # The same holds for large segments with few users in the last days.
    times = [[0.0, 9e9 if n < 9 else 0.0] for n in range(19)]
    recent = Catalogue.from_frame(frame.assign(times=pd.Series(times, dtype=object)), popularity_days=1)
    assert recent.segments == {"big": ((), ()), "small": ((), ())}


def test_popularity_scores_of_segments_are_shrunk_to_those_of_all_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogue_module, "MIN_SEGMENT_USERS", 1)
    frame = frame_of([["a", "b"], ["a"], ["b", "c"], ["c"]]).assign(segment=["x", "x", "y", None])
    catalogue = Catalogue.from_frame(frame)
    assert catalogue.segments == {"x": ((0, 1), (2, 1)), "y": ((1, 2), (1, 1))}
    assert Catalogue.from_json(catalogue.to_json()) == catalogue
    histories = catalogue.encode(frame.assign(segment=["y", "x", None, "elsewhere"]))
    assert histories.user_segments is not None
    assert histories.user_segments.tolist() == [1, 0, -1, -1]
    prior = SEGMENT_PRIOR_STRENGTH / 3  # each item was had by two of six
    expected = np.array(
        [[prior + 2, prior + 1, prior], [2, 2, 2], [2, 2, 2], [prior, prior + 1, prior + 1]], np.float32
    )
    scores = catalogue.popularity_scores(histories, np.array([1, 2, 3, 0]))
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    block = histories.slice_users(slice(1, 3)).filter_events(np.zeros(3, bool))
    np.testing.assert_allclose(catalogue.popularity_scores(block, np.array([0])), expected[:1], rtol=1e-6)
    # An extended catalogue has other codes, and popularity 0 for the new items.
    extended = catalogue.extended(["aa", "d"])
    assert extended.segments == {"x": ((0, 2), (2, 1)), "y": ((2, 3), (1, 1))}
    np.testing.assert_allclose(
        extended.popularity_scores(extended.encode(frame.iloc[:1]), np.array([0]))[0],
        [prior + 2, 0, prior + 1, prior, 0],
        rtol=1e-6,
    )
    # A segment without recent events is still known.
    times = [[0.0] * 2, [0.0], [9e9] * 2, [9e9]]
    recent = Catalogue.from_frame(frame.assign(times=times), popularity_days=1)
    assert recent.segments == {"x": ((), ()), "y": ((1, 2), (1, 1))}


def test_histories_may_be_arrays_as_parquet_returns_them() -> None:
    frame = frame_of([["b", "a"], []])
    arrays = frame.assign(items=[np.array(items, dtype=object) for items in frame["items"]])
    assert Catalogue.from_frame(arrays) == Catalogue.from_frame(frame)


def test_frames_without_events_or_columns_are_rejected() -> None:
    with pytest.raises(ValueError, match="at least one event"):
        Catalogue.from_frame(frame_of([[], []]))
    with pytest.raises(ValueError, match=r"none of \['items'\]"):
        Catalogue(("a",), (1,)).encode(pd.DataFrame({"user": ["u"]}))


@given(
    hnp.arrays(np.float32, st.integers(1, 30), elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 1.0])),
    st.integers(1, 35),
)
def test_top_positions_are_the_start_of_a_stable_sort(scores: np.ndarray, n: int) -> None:
    ordered = sorted(np.flatnonzero(np.isfinite(scores)), key=lambda position: -scores[position])
    assert top_positions(scores, n).tolist() == ordered[:n]


@given(st.integers(0, 10_000), st.integers(0, 2**26))
def test_row_blocks_cover_each_row_once_within_bounds(rows: int, columns: int) -> None:
    n_rows = rows if columns < 2**16 else min(rows, 50)
    blocks = list(row_blocks(n_rows, columns))
    covered = [row for block in blocks for row in range(block.start, block.stop)]
    assert covered == list(range(n_rows))
    sizes = [block.stop - block.start for block in blocks]
    assert all(size == 1 or (size <= 2048 and size * columns <= 2**24) for size in sizes)


def test_recommendations_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue(tuple("abcd"), (4, 3, 2, 1))
    frame = frame_of([["a"], [], ["d", "b"], ["a", "b", "c", "d"], ["unknown"]])

    def score(histories: Histories) -> np.ndarray:
        scores: np.ndarray = histories.count_matrix().toarray() @ np.arange(16.0).reshape(4, 4)
        return scores

    whole = catalogue.recommend(frame, score, allow_repeats=False)
    monkeypatch.setattr(sparse_matrices, "MAX_BLOCK_ROWS", 2)
    pd.testing.assert_frame_equal(catalogue.recommend(frame, score, allow_repeats=False), whole)
    assert whole.groupby("user").size().to_dict() == {"u0": 3, "u1": 4, "u2": 2, "u4": 4}


def test_sums_in_another_order_are_ties() -> None:
    catalogue = Catalogue(("a", "b", "c"), (1, 1, 1))
    scores = np.array([[0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1, 0.7]])
    assert scores[0, 0] != scores[0, 1]
    listed = catalogue.recommend(frame_of([["a"]]), lambda _: scores, allow_repeats=True)
    assert listed["item"].tolist() == ["c", "a", "b"]
    assert listed["score"].nunique() == 2


def test_lists_have_at_most_the_list_length() -> None:
    items = tuple(f"{number:03}" for number in range(3 * LIST_LENGTH))
    catalogue = Catalogue(items, tuple(range(len(items))))
    listed = catalogue.recommend(
        frame_of([[]]),
        lambda histories: np.zeros((len(histories), histories.n_items)),
        allow_repeats=False,
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


def test_no_event_is_old_where_only_the_order_is_known() -> None:
    frame = frame_of([["a", "b"], ["b"]])
    frame["times"] = frame["times"].map(lambda times: [np.nan] * len(times))
    assert Catalogue.from_frame(frame, popularity_days=1.0) == Catalogue.from_frame(frame)


@settings(deadline=None)
@given(
    scores=st.lists(st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, 2.0, np.inf]), max_size=30),
    n=st.integers(1, 40),
)
def test_top_positions_agree_with_a_full_sort(scores: list[float], n: int) -> None:
    row = np.array(scores, dtype=np.float32)
    expected = np.argsort(-row, kind="stable")
    assert top_positions(row, n).tolist() == expected[row[expected] > -np.inf][:n].tolist()

"""Windows and batches of histories."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml.interactions.histories import Histories
from ml.recommenders.transformer.batches import batches, tails, windows

lengths = st.lists(st.integers(0, 30), min_size=1, max_size=12)


def histories(of: list[int]) -> Histories:
    """Each event has an item of its own, its number."""
    events = sum(of)
    start = np.concatenate([[0], np.cumsum(of, dtype=np.int64)])
    return Histories(start, np.arange(events), np.zeros(events), max(events, 1))


@given(lengths, st.integers(1, 9), st.integers(1, 40), st.integers(0, 5))
def test_every_event_but_the_first_of_a_user_is_a_target_once(
    of: list[int], longest: int, tokens: int, seed: int
) -> None:
    some = histories(of)
    targets = list[int]()
    for batch in batches(some, longest, tokens, np.random.default_rng(seed)):
        assert batch.items.shape == batch.targets.shape
        assert batch.items.shape[1] <= longest
        assert batch.items.size <= tokens or len(batch.items) == 1
        known = batch.targets >= 0
        # What came before an item is the item before it, in the same history.
        np.testing.assert_array_equal(batch.items[known] + 1, batch.targets[known])
        # Filler is at the end.
        assert (np.diff(known.astype(int), axis=1) <= 0).all()
        targets += batch.targets[known].tolist()
    assert sorted(targets) == sorted(set(range(sum(of))) - set(some.start[:-1][some.lengths > 0].tolist()))


def test_windows_begin_elsewhere_each_time() -> None:
    some, rng = histories([101]), np.random.default_rng(0)
    begun = {int(windows(some, 10, rng)[0][1]) for _ in range(100)}
    assert begun == set(range(2, 12))


@given(lengths, st.integers(1, 9), st.integers(1, 40))
def test_tails_are_the_last_events_of_all_who_have_any(of: list[int], longest: int, tokens: int) -> None:
    some, seen = histories(of), list[int]()
    for users, items, last in tails(some, longest, tokens):
        assert items.size <= tokens or len(users) == 1
        for user, row, end in zip(users, items, last, strict=True):
            history = some.items[some.start[user] : some.start[user + 1]]
            assert row[: end + 1].tolist() == history[-longest:].tolist()
            assert not row[end + 1 :].any()
        seen += users.tolist()
    assert sorted(seen) == np.flatnonzero(some.lengths).tolist()

"""Windows and batches of histories."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml.interactions.histories import Histories
from ml.recommenders.transformer.batches import last_windows, training_batches, training_windows

history_lengths = st.lists(st.integers(0, 30), min_size=1, max_size=12)


def histories_of(lengths: list[int]) -> Histories:
    """Histories of these lengths; the item of each event is its number."""
    events = sum(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return Histories(offsets, np.arange(events), np.zeros(events), max(events, 1))


@given(history_lengths, st.integers(1, 9), st.integers(1, 40), st.integers(0, 5))
def test_every_event_but_the_first_of_a_user_is_a_target_once(
    lengths: list[int], max_length: int, max_tokens: int, seed: int
) -> None:
    histories = histories_of(lengths)
    targets = list[int]()
    for batch in training_batches(histories, max_length, max_tokens, np.random.default_rng(seed)):
        assert batch.items.shape == batch.targets.shape
        assert batch.items.shape[1] <= max_length
        assert batch.items.size <= max_tokens or len(batch.items) == 1
        is_event = batch.targets >= 0
        # The input at a target is the event before it, of the same user.
        np.testing.assert_array_equal(batch.items[is_event] + 1, batch.targets[is_event])
        # Padding is at the end.
        assert (np.diff(is_event.astype(int), axis=1) <= 0).all()
        targets += batch.targets[is_event].tolist()
    first_events = histories.offsets[:-1][histories.lengths > 0].tolist()
    assert sorted(targets) == sorted(set(range(sum(lengths))) - set(first_events))


def test_windows_begin_at_random_positions() -> None:
    histories, rng = histories_of([101]), np.random.default_rng(0)
    starts = {int(training_windows(histories, 10, rng)[0][1]) for _ in range(100)}
    assert starts == set(range(2, 12))


@given(history_lengths, st.integers(1, 9), st.integers(1, 40))
def test_last_windows_have_the_last_events_of_all_users_with_any(
    lengths: list[int], max_length: int, max_tokens: int
) -> None:
    histories, seen_users = histories_of(lengths), list[int]()
    for users, items, last in last_windows(histories, max_length, max_tokens):
        assert items.size <= max_tokens or len(users) == 1
        for user, row, end in zip(users, items, last, strict=True):
            history = histories.items[histories.offsets[user] : histories.offsets[user + 1]]
            assert row[: end + 1].tolist() == history[-max_length:].tolist()
            assert not row[end + 1 :].any()
        seen_users += users.tolist()
    assert sorted(seen_users) == np.flatnonzero(histories.lengths).tolist()

"""Histories cut into windows, and windows of similar length put into batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ml.interactions.histories import Histories

# Users whose last event is held out for early stopping.
MAX_HELD_OUT_USERS = 2000


@dataclass(frozen=True, eq=False)
class Batch:
    """Events and the event after each: `items` and `targets` are int64, shape (windows, positions).

    Windows are padded at the end: with 0 in `items` and -1 in `targets`.
    """

    items: np.ndarray
    targets: np.ndarray


def sorted_by_content(histories: Histories) -> Histories:
    """Sort users by their items, so that the order in which they came does not matter."""
    items = np.split(histories.items, histories.offsets[1:-1])
    order = sorted(range(len(items)), key=lambda user: items[user].tobytes())
    times = np.split(histories.times, histories.offsets[1:-1])
    weights = np.split(histories.weights, histories.offsets[1:-1])
    return Histories(
        np.concatenate([[0], np.cumsum(histories.lengths[order])]),
        np.concatenate([items[user] for user in order]),
        np.concatenate([times[user] for user in order]),
        histories.n_items,
        np.concatenate([weights[user] for user in order]),
    )


def leave_last_out(histories: Histories, rng: np.random.Generator) -> tuple[Histories, Histories, np.ndarray]:
    """Hold out the last event of some users: a quarter, at most `MAX_HELD_OUT_USERS`, of those with three events.

    Returns the histories without these events, the same histories of the held-out users only, and the item held out of
    each user, (users,), -1 for none.
    """
    eligible = np.flatnonzero(histories.lengths >= 3)
    held_out_users = np.sort(rng.permutation(eligible)[: min(MAX_HELD_OUT_USERS, len(eligible) // 4)])
    last = histories.offsets[held_out_users + 1] - 1
    kept = np.ones(len(histories.items), bool)
    kept[last] = False
    train = histories.filter_events(kept)
    targets = np.full(len(histories), -1)
    targets[held_out_users] = histories.items[last]
    return train, train.filter_events(np.isin(train.users, held_out_users)), targets


def training_batches(
    histories: Histories, max_length: int, max_tokens: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """Yield batches in random order, each of at most `max_tokens` positions, or of one window.

    Every event but the first one of its user is a target exactly once.
    """
    first, length = training_windows(histories, max_length, rng)
    order = rng.permutation(len(first))
    order = order[np.argsort(-length[order], kind="stable")]
    starts, start = list[int](), 0
    while start < len(order):
        starts.append(start)
        start += max(1, max_tokens // int(length[order[start]]))
    ends = [*starts[1:], len(order)]
    for number in rng.permutation(len(starts)):
        rows = order[starts[number] : ends[number]]
        yield _batch(histories.items, first[rows], length[rows])


def training_windows(
    histories: Histories, max_length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut histories into windows, each given by the position of its first target in `histories.items` and its length.

    Users with more than `max_length` targets get windows of that many. Where they begin is random, so that no event is
    always the first one of its window.
    """
    targets = np.maximum(histories.lengths - 1, 0)
    # Targets of the first window: all, or a random number that leaves the others to windows of full length.
    head = np.where(targets > max_length, rng.integers(1, max_length + 1, len(targets)), targets)
    full_windows = -(-(targets - head) // max_length)
    windows = full_windows + (targets > 0)
    user = np.repeat(np.arange(len(targets)), windows)
    number = np.arange(len(user)) - np.repeat(np.cumsum(windows) - windows, windows)
    start = np.where(number == 0, 0, head[user] + (number - 1) * max_length)
    end = np.minimum(head[user] + number * max_length, targets[user])
    return histories.offsets[user] + 1 + start, end - start


def last_windows(
    histories: Histories, max_length: int, max_tokens: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield batches of the last `max_length` events of users that have any.

    A batch has users, items (users, positions) and the position of each user's last event, (users,).
    """
    length = np.minimum(histories.lengths, max_length)
    order = np.argsort(-length, kind="stable")
    order = order[length[order] > 0]
    start = 0
    while start < len(order):
        users = order[start : start + max(1, max_tokens // int(length[order[start]]))]
        start += len(users)
        items, _ = _gather(histories.items, histories.offsets[users + 1] - length[users], length[users])
        yield users, items, length[users] - 1


def _batch(items: np.ndarray, first: np.ndarray, length: np.ndarray) -> Batch:
    inputs, _ = _gather(items, first - 1, length)
    targets, is_event = _gather(items, first, length)
    return Batch(inputs, np.where(is_event, targets, -1))


def _gather(items: np.ndarray, first: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read `length` items from `first` on, one row each, padded with 0; and a mask of the events."""
    position = np.arange(int(length.max()))
    is_event = position < length[:, None]
    return np.where(is_event, items[np.where(is_event, first[:, None] + position, 0)], 0), is_event

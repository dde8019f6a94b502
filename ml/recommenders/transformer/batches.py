"""Histories cut into windows, and windows of like length put into batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ml.interactions.histories import Histories

# Users at most whose last event says when to stop.
HELD_OUT = 2000


@dataclass(frozen=True, eq=False)
class Batch:
    """Events and what came after each: `items` and `targets` are int64, shape (windows, longest).

    A window ends in filler, which is 0 in `items` and -1 in `targets`.
    """

    items: np.ndarray
    targets: np.ndarray


def in_own_order(histories: Histories) -> Histories:
    """The same histories, sorted by what is in them, so that it does not matter in what order they came."""
    pieces = np.split(histories.items, histories.start[1:-1])
    order = sorted(range(len(pieces)), key=lambda user: pieces[user].tobytes())
    times = np.split(histories.times, histories.start[1:-1])
    weights = np.split(histories.weights, histories.start[1:-1])
    return Histories(
        np.concatenate([[0], np.cumsum(histories.lengths[order])]),
        np.concatenate([pieces[user] for user in order]),
        np.concatenate([times[user] for user in order]),
        histories.catalogue,
        np.concatenate([weights[user] for user in order]),
    )


def hold_out(histories: Histories, rng: np.random.Generator) -> tuple[Histories, Histories, np.ndarray]:
    """The histories without the last event of some users; of these users alone; and those events, (users,), or -1.

    These users are a quarter, and at most `HELD_OUT`, of the users with three events or more.
    """
    able = np.flatnonzero(histories.lengths >= 3)
    chosen = np.sort(rng.permutation(able)[: min(HELD_OUT, len(able) // 4)])
    last = histories.start[chosen + 1] - 1
    kept = np.ones(len(histories.items), bool)
    kept[last] = False
    rest = histories.where(kept)
    wanted = np.full(len(histories), -1)
    wanted[chosen] = histories.items[last]
    return rest, rest.where(np.isin(rest.users, chosen)), wanted


def batches(histories: Histories, longest: int, tokens: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Batches in random order, each with every window's places at most `tokens` in all (one window at least).

    Every event but the first of its user is a target once.
    """
    first, length = windows(histories, longest, rng)
    order = rng.permutation(len(first))
    order = order[np.argsort(-length[order], kind="stable")]
    starts, at = list[int](), 0
    while at < len(order):
        starts.append(at)
        at += max(1, tokens // int(length[order[at]]))
    for which in rng.permutation(len(starts)):
        end = starts[which + 1] if which + 1 < len(starts) else len(order)
        rows = order[starts[which] : end]
        yield _batch(histories.items, first[rows], length[rows])


def windows(histories: Histories, longest: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The place of the first target of each window in `histories.items`, and the number of its targets.

    Who has more than `longest` targets gets windows of that many; where they begin is chance, so that no event
    is always the first of its window.
    """
    targets = np.maximum(histories.lengths - 1, 0)
    # The targets of the first window: all, or a part that leaves the rest to windows of full length.
    head = np.where(targets > longest, rng.integers(1, longest + 1, len(targets)), targets)
    more = -(-(targets - head) // longest)
    user = np.repeat(np.arange(len(targets)), more + (targets > 0))
    nth = np.arange(len(user)) - np.repeat(
        np.cumsum(more + (targets > 0)) - more - (targets > 0), more + (targets > 0)
    )
    begin = np.where(nth == 0, 0, head[user] + (nth - 1) * longest)
    end = np.minimum(head[user] + nth * longest, targets[user])
    return histories.start[user] + 1 + begin, end - begin


def tails(
    histories: Histories, longest: int, tokens: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The last `longest` events of users that have any: users, items (users, most), and where each ends, (users,)."""
    length = np.minimum(histories.lengths, longest)
    order = np.argsort(-length, kind="stable")
    order = order[length[order] > 0]
    at = 0
    while at < len(order):
        most = int(length[order[at]])
        users = order[at : at + max(1, tokens // most)]
        at += len(users)
        items, _ = _gather(histories.items, histories.start[users + 1] - length[users], length[users])
        yield users, items, length[users] - 1


def _batch(items: np.ndarray, first: np.ndarray, length: np.ndarray) -> Batch:
    before, _ = _gather(items, first - 1, length)
    after, known = _gather(items, first, length)
    return Batch(before, np.where(known, after, -1))


def _gather(items: np.ndarray, first: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`length` items from `first` on, one row each, filled up with 0, and what is no filler."""
    place = np.arange(int(length.max()))
    known = place < length[:, None]
    return np.where(known, items[np.where(known, first[:, None] + place, 0)], 0), known

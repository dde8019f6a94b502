"""histories."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from ml.interactions.sparse_matrices import narrow

SECONDS_PER_DAY = 86_400.0


# So many last events of a user make pairs of items. Pairs grow with the square, and whoever has more is a program.
PAIRED = 10_000


@dataclass(frozen=True, eq=False)
class Histories:
    """Histories in the codes of a catalogue of `catalogue` items, those that it lacks left out.

    User u had `items[start[u]:start[u + 1]]` (int64) at `times` (float64, seconds; NaN where none are known), oldest
    first; `start` is int64, shape (users + 1,). `told` (float64, above 0) is what each event counts, if known;
    `segment` (int64, -1 for none) which of the catalogue's segments each user is of, if it has any.
    """

    start: np.ndarray
    items: np.ndarray
    times: np.ndarray
    catalogue: int
    told: np.ndarray | None = None
    segment: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Events of each user, shape (users,)."""
        return np.diff(self.start)

    @cached_property
    def users(self) -> np.ndarray:
        """The user of each event, shape (events,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @cached_property
    def since(self) -> np.ndarray:
        """How many events of the same user came after each event, shape (events,): 0 for the last one."""
        return np.asarray(self.start[1:][self.users] - 1 - np.arange(len(self.items)))

    @cached_property
    def weights(self) -> np.ndarray:
        """What each event counts, float64, shape (events,): 1 where nothing was told."""
        return np.ones(len(self.items)) if self.told is None else self.told

    def aged(self, decay: float) -> np.ndarray:
        """The weight of each event times `decay` for each one of the same user that came after it, shape (events,)."""
        return np.asarray(decay**self.since * self.weights)

    def heaviest(self, weight: np.ndarray) -> np.ndarray:
        """Which events have the most `weight` (events,) of those of their user with their item: of equals the last."""
        pair = self.users * np.int64(self.catalogue) + self.items
        order = np.lexsort((weight, pair))
        marks = np.zeros(len(pair), dtype=bool)
        marks[order[np.r_[np.diff(pair[order]) != 0, True][: len(pair)]]] = True
        return marks

    def block(self, rows: slice) -> "Histories":
        """The users of a slice of step 1."""
        start = self.start[rows.start : rows.stop + 1]
        events = slice(start[0], start[-1])
        return replace(
            self,
            start=start - start[0],
            items=self.items[events],
            times=self.times[events],
            told=None if self.told is None else self.told[events],
            segment=None if self.segment is None else self.segment[rows],
        )

    def where(self, kept: np.ndarray) -> "Histories":
        """The same users with the events that `kept`, shape (events,), is true of."""
        start = np.concatenate([[0], np.cumsum(np.bincount(self.users[kept], minlength=len(self)))])
        told = None if self.told is None else self.told[kept]
        return replace(self, start=start, items=self.items[kept], times=self.times[kept], told=told)

    def counts(self) -> sparse.csr_array:
        """How often each user had each item, float64, shape (users, items)."""
        return self.weighted(np.ones(len(self.items)))

    def paired(self) -> sparse.csr_array:
        """1 where a user had an item among the last `PAIRED` events, float64, shape (users, items)."""
        return self.where(self.since < PAIRED).counts().sign()

    def weighted(self, weight: np.ndarray) -> sparse.csr_array:
        """The sum of the `weight` (events,) of each user's events with each item, float64, shape (users, items)."""
        triplets = (np.asarray(weight, np.float64), (self.users, self.items))
        matrix = sparse.coo_array(triplets, (len(self), self.catalogue)).tocsr()
        matrix.sum_duplicates()
        return narrow(matrix)

    def last(self, n: int) -> np.ndarray:
        """The last `n` items of each user, the latest first, shape (users, n), -1 where there are fewer."""
        at = self.start[1:, None] - 1 - np.arange(n)
        known = at >= self.start[:-1, None]
        if not len(self.items):
            return np.full(at.shape, -1)
        return np.where(known, self.items[np.where(known, at, 0)], -1)

"""Histories of users in the item codes of a catalogue, as flat arrays."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from ml.interactions.sparse_matrices import with_int32_indices

SECONDS_PER_DAY = 86_400.0
# Item pairs grow with the square of a history's length, and a user with more events than this is a program.
MAX_PAIR_EVENTS = 10_000


@dataclass(frozen=True, eq=False)
class Histories:
    """Histories of users in the codes of a catalogue of `n_items` items, without events of unknown items.

    The events of user u are `items[offsets[u]:offsets[u + 1]]` (int64) at `times` (float64, seconds since 1970; NaN
    where unknown), oldest first; `offsets` is int64, shape (users + 1,). `event_weights` (float64, above 0) and
    `user_segments` (int64, positions in the catalogue's segments, -1 for unknown) are None where the data has none.
    """

    offsets: np.ndarray
    items: np.ndarray
    times: np.ndarray
    n_items: int
    event_weights: np.ndarray | None = None
    user_segments: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Number of events of each user, shape (users,)."""
        return np.diff(self.offsets)

    @cached_property
    def users(self) -> np.ndarray:
        """Position of the user of each event, shape (events,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @cached_property
    def events_after(self) -> np.ndarray:
        """Number of later events of the same user for each event, shape (events,); 0 for the last one."""
        return np.asarray(self.offsets[1:][self.users] - 1 - np.arange(len(self.items)))

    @cached_property
    def weights(self) -> np.ndarray:
        """Weight of each event, float64, shape (events,): `event_weights`, or 1 without them."""
        return np.ones(len(self.items)) if self.event_weights is None else self.event_weights

    def decayed_weights(self, decay: float) -> np.ndarray:
        """Multiply the weight of each event by `decay` once for each later event of its user, shape (events,)."""
        return np.asarray(decay**self.events_after * self.weights)

    def max_weight_mask(self, weights: np.ndarray) -> np.ndarray:
        """Mark, for each pair of user and item, the event of the highest of `weights` (events,); the last of ties."""
        pair = self.users * np.int64(self.n_items) + self.items
        order = np.lexsort((weights, pair))
        mask = np.zeros(len(pair), dtype=bool)
        mask[order[np.r_[np.diff(pair[order]) != 0, True][: len(pair)]]] = True
        return mask

    def slice_users(self, users: slice) -> "Histories":
        """Return the histories of a slice of users, of step 1."""
        offsets = self.offsets[users.start : users.stop + 1]
        events = slice(offsets[0], offsets[-1])
        return replace(
            self,
            offsets=offsets - offsets[0],
            items=self.items[events],
            times=self.times[events],
            event_weights=None if self.event_weights is None else self.event_weights[events],
            user_segments=None if self.user_segments is None else self.user_segments[users],
        )

    def filter_events(self, mask: np.ndarray) -> "Histories":
        """Return the same users with the events where `mask`, shape (events,), is true."""
        offsets = np.concatenate([[0], np.cumsum(np.bincount(self.users[mask], minlength=len(self)))])
        weights = None if self.event_weights is None else self.event_weights[mask]
        return replace(
            self, offsets=offsets, items=self.items[mask], times=self.times[mask], event_weights=weights
        )

    def count_matrix(self) -> sparse.csr_array:
        """Count the events of each user and item, float64, shape (users, items)."""
        return self.weighted_matrix(np.ones(len(self.items)))

    def binary_matrix(self) -> sparse.csr_array:
        """Mark with 1 the items of each user's last `MAX_PAIR_EVENTS` events, float64, shape (users, items)."""
        return self.filter_events(self.events_after < MAX_PAIR_EVENTS).count_matrix().sign()

    def weighted_matrix(self, weights: np.ndarray) -> sparse.csr_array:
        """Sum `weights` (events,) over the events of each user and item, float64, shape (users, items)."""
        triplets = (np.asarray(weights, np.float64), (self.users, self.items))
        matrix = sparse.coo_array(triplets, (len(self), self.n_items)).tocsr()
        matrix.sum_duplicates()
        return with_int32_indices(matrix)

    def last_items(self, n: int) -> np.ndarray:
        """Return the last `n` items of each user, latest first, shape (users, n), -1 where there are fewer."""
        positions = self.offsets[1:, None] - 1 - np.arange(n)
        exists = positions >= self.offsets[:-1, None]
        if not len(self.items):
            return np.full(positions.shape, -1)
        return np.where(exists, self.items[np.where(exists, positions, 0)], -1)

"""Features of pairs of a user's history and a candidate item, for the reranker."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from scipy import sparse

from ml.interactions.histories import Histories
from ml.interactions.sparse_matrices import (
    csr_from_files,
    csr_to_files,
    from_npy,
    row_blocks,
    to_npy,
    top_entries_sparse,
    with_int32_indices,
)
from ml.recommenders.markov import transition_counts

# The last share of all events, which counts as recent.
RECENT_SHARE = 0.1
# Entries per item in the matrices of transitions and of similarities.
MAX_NEIGHBOURS = 200
# Items at the end of a history that are compared with a candidate one by one.
MAX_LAST_ITEMS = 3


@dataclass(frozen=True, eq=False)
class PairFeatures:
    """Statistics of items and of pairs of items, from which the features of pairs of user and item are computed.

    item_statistics: float32, shape (6, items): log counts of all and of recent events, trend, first and last time
    (0..1), mean position in histories (0..1).
    transition_shares: how often an item is followed by another, (items, items), at most `MAX_NEIGHBOURS` per row.
    user_similarity: cosine of the users of two items, of the same shape and size.
    attributes: attribute vectors of unit length, (items, attributes); None without item attributes.
    """

    item_statistics: np.ndarray
    transition_shares: sparse.csr_array
    user_similarity: sparse.csr_array
    attributes: sparse.csr_array | None = None

    @classmethod
    def from_histories(cls, histories: Histories, attributes: sparse.csr_array | None = None) -> Self:
        """Compute the statistics of histories; where times are unknown, positions in histories stand in for them."""
        n_items, item = histories.n_items, histories.items
        count = np.bincount(item, minlength=n_items)
        time = _relative_times(histories)
        lengths = histories.lengths[histories.users]
        position = (lengths - histories.events_after) / lengths
        first, last = np.full(n_items, 1.0), np.zeros(n_items)
        np.minimum.at(first, item, time)
        np.maximum.at(last, item, time)
        recent = np.bincount(item, time > 1.0 - RECENT_SHARE, minlength=n_items)
        at_least_one = np.maximum(count, 1)
        statistics = [
            np.log1p(count),
            np.log1p(recent),
            (recent + 1.0) / (at_least_one + 10.0),
            first,
            last,
            np.bincount(item, position, minlength=n_items) / at_least_one,
        ]
        transitions = transition_counts(histories, 1, 1.0)
        transition_shares = sparse.diags_array(1.0 / (transitions.sum(axis=1) + 2.0)) @ transitions
        return cls(
            np.array(statistics, dtype=np.float32),
            top_entries_sparse(transition_shares.tocsr(), MAX_NEIGHBOURS),
            _user_similarity(histories.binary_matrix(), np.sqrt(at_least_one)),
            attributes if attributes is None else attributes.astype(np.float32),
        )

    def features(self, histories: Histories, user: np.ndarray, code: np.ndarray) -> np.ndarray:
        """Compute the features of pairs of a user (a position in `histories`) and an item, float32.

        `user` and `code` are of shape (rows,), the result is of shape (rows, features). All users are independent of
        one another.
        """
        columns = [*self.item_statistics[:, code]]
        last_items = histories.last_items(MAX_LAST_ITEMS)
        forward: list[np.ndarray] = []
        backward: list[np.ndarray] = []
        similarity: list[np.ndarray] = []
        for k in range(MAX_LAST_ITEMS):
            last_item = last_items[user, k]
            exists = last_item >= 0
            for values, matrix, (row, column) in (
                (forward, self.transition_shares, (last_item, code)),
                (backward, self.transition_shares, (code, last_item)),
                (similarity, self.user_similarity, (last_item, code)),
            ):
                entries = np.zeros(len(code), np.float32)
                entries[exists] = _entries(matrix, row[exists], column[exists])
                values.append(entries)
        columns += [forward[0], np.sum(forward[1:], axis=0), backward[0], *similarity]
        length = histories.lengths[user]
        log_counts = self.item_statistics[0]
        total = np.bincount(histories.users, log_counts[histories.items], minlength=len(histories))
        mean = total / np.maximum(histories.lengths, 1)
        columns += [np.log1p(length), log_counts[code] - mean[user]]
        columns += _repeat_features(histories, user, code)
        if self.attributes is not None:
            columns += _attribute_similarity(self.attributes, last_items[user], code)
        return np.column_stack(columns).astype(np.float32)

    def files(self) -> dict[str, bytes]:
        """Serialise the statistics as `item_statistics.npy` and the arrays of the sparse matrices."""
        return {
            "item_statistics.npy": to_npy(self.item_statistics),
            **csr_to_files("transition_shares", self.transition_shares),
            **csr_to_files("user_similarity", self.user_similarity),
            **({} if self.attributes is None else csr_to_files("attributes", self.attributes)),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` returned."""
        item_statistics = from_npy(files, "item_statistics.npy")
        n_items = item_statistics.shape[1]
        attributes = None
        if "attributes.indices.npy" in files:
            n_attributes = int(from_npy(files, "attributes.indices.npy").max(initial=-1)) + 1
            attributes = csr_from_files("attributes", files, (n_items, n_attributes))
        return cls(
            item_statistics,
            csr_from_files("transition_shares", files, (n_items, n_items)),
            csr_from_files("user_similarity", files, (n_items, n_items)),
            attributes,
        )


def _user_similarity(user_items: sparse.csr_array, norms: np.ndarray) -> sparse.csr_array:
    """Return the shrunk cosine of the columns of a binary matrix (users, items) with these norms (items,)."""
    item_users = user_items.T.tocsr()
    blocks = []
    for rows in row_blocks(len(norms), len(norms)):
        products = (item_users[rows] @ user_items).tocoo()
        products.data = products.data / (norms[rows.start + products.row] * norms[products.col] + 2.0)
        blocks.append(top_entries_sparse(products.tocsr(), MAX_NEIGHBOURS))
    return with_int32_indices(sparse.vstack(blocks, format="csr"))


def _relative_times(histories: Histories) -> np.ndarray:
    """Return the time of each event, 0 to 1: its rank in the log, or where times are unknown in its history."""
    if len(histories.times) and not np.isnan(histories.times).any():
        return np.asarray(pd.Series(histories.times).rank(pct=True))
    length = histories.lengths[histories.users]
    return np.asarray((length - histories.events_after) / np.maximum(length, 1))


def _entries(matrix: sparse.csr_array, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.asarray(matrix[rows, columns]).ravel() if len(rows) else np.empty(0, np.float32)


def _repeat_features(histories: Histories, user: np.ndarray, code: np.ndarray) -> list[np.ndarray]:
    """Return the total weight of the user's events with the item, and the number of events since the last of them.

    Without such an event the latter is the length of the history.
    """
    pair = histories.users * np.int64(histories.n_items) + histories.items
    pairs, last_event, pair_of_event = np.unique(pair[::-1], return_index=True, return_inverse=True)
    weight = np.bincount(pair_of_event, histories.weights[::-1], minlength=len(pairs))
    requested = user * np.int64(histories.n_items) + code
    if not len(pairs):
        return [np.zeros(len(requested)), histories.lengths[user]]
    position = np.minimum(np.searchsorted(pairs, requested), len(pairs) - 1)
    is_repeat = pairs[position] == requested
    events_since = histories.events_after[::-1][last_event[position]]
    return [
        np.where(is_repeat, weight[position], 0.0),
        np.where(is_repeat, events_since, histories.lengths[user]),
    ]


def _attribute_similarity(
    attributes: sparse.csr_array, last_items: np.ndarray, code: np.ndarray
) -> list[np.ndarray]:
    """Return the cosine of the attributes of items with those of the last item, and its mean over the last items.

    `last_items` is (rows, `MAX_LAST_ITEMS`), -1 for none. Items without attributes have a similarity of 0 and are left
    out of the mean.
    """
    has_attributes = np.diff(attributes.indptr) > 0
    comparable = (last_items >= 0) & has_attributes[last_items]
    cosine = np.zeros(comparable.shape)
    for k in range(MAX_LAST_ITEMS):
        rows = np.flatnonzero(comparable[:, k] & has_attributes[code])
        if len(rows):
            products = attributes[code[rows]].multiply(attributes[last_items[rows, k]])
            cosine[rows, k] = np.asarray(products.sum(axis=1)).ravel()
    return [cosine[:, 0], cosine.sum(axis=1) / np.maximum(comparable.sum(axis=1), 1)]

"""pair_features."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from scipy import sparse

from ml.interactions.histories import Histories
from ml.interactions.sparse_matrices import (
    blocks,
    from_files,
    from_npy,
    narrow,
    pruned,
    to_files,
    to_npy,
)
from ml.recommenders.markov import transitions

# The latest share of all events, for what is popular now.
RECENT = 0.1


# Of each item, so many others are remembered.
NEIGHBOURS = 200


# Items of a history that are compared with a candidate one by one.
LATEST = 3


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a log tells of items and of pairs of items, all sparse or of one number an item.

    `items` is float32, shape (facts, items); `follows` holds the shares of what came next, `together` the cosine of
    the users of two items. Where items have attributes, `about` has their rows of unit length, (items, attributes).
    """

    items: np.ndarray
    follows: sparse.csr_array
    together: sparse.csr_array
    about: sparse.csr_array | None = None

    @classmethod
    def of(cls, histories: Histories, about: sparse.csr_array | None = None) -> Self:
        """Learned from the histories; times may be NaN, where age and recency are those of positions."""
        catalogue, item = histories.catalogue, histories.items
        count = np.bincount(item, minlength=catalogue)
        when = _when(histories)
        position = (histories.lengths[histories.users] - histories.since) / histories.lengths[histories.users]
        first, last = np.full(catalogue, 1.0), np.zeros(catalogue)
        np.minimum.at(first, item, when)
        np.maximum.at(last, item, when)
        recent = np.bincount(item, when > 1.0 - RECENT, minlength=catalogue)
        many = np.maximum(count, 1)
        facts = [
            np.log1p(count),
            np.log1p(recent),
            (recent + 1.0) / (many + 10.0),
            first,
            last,
            np.bincount(item, position, minlength=catalogue) / many,
        ]
        counts = transitions(histories, 1, 1.0)
        follows = sparse.diags_array(1.0 / (counts.sum(axis=1) + 2.0)) @ counts
        return cls(
            np.array(facts, dtype=np.float32),
            pruned(follows.tocsr(), NEIGHBOURS),
            _together(histories.paired(), np.sqrt(many)),
            about if about is None else about.astype(np.float32),
        )

    def features(self, histories: Histories, user: np.ndarray, code: np.ndarray) -> np.ndarray:
        """Shape (rows, features), float32, of pairs of a user (a position in `histories`) and an item."""
        columns = [*self.items[:, code]]
        latest = histories.last(LATEST)
        follows: list[np.ndarray] = []
        back: list[np.ndarray] = []
        together: list[np.ndarray] = []
        for k in range(LATEST):
            before = latest[user, k]
            known = before >= 0
            for found, matrix, pair in (
                (follows, self.follows, (before, code)),
                (back, self.follows, (code, before)),
                (together, self.together, (before, code)),
            ):
                values = np.zeros(len(code), np.float32)
                values[known] = _cells(matrix, pair[0][known], pair[1][known])
                found.append(values)
        columns += [follows[0], np.sum(follows[1:], axis=0), back[0], *together]
        length = histories.lengths[user]
        liked = self.items[0][histories.items]
        mean = np.bincount(histories.users, liked, minlength=len(histories)) / np.maximum(
            histories.lengths, 1
        )
        columns += [np.log1p(length), self.items[0][code] - mean[user]]
        columns += _own(histories, user, code)
        if self.about is not None:
            columns += self._likeness(self.about, latest[user], code)
        return np.column_stack(columns).astype(np.float32)

    def _likeness(self, about: sparse.csr_array, latest: np.ndarray, code: np.ndarray) -> list[np.ndarray]:
        """The cosine of the attributes with those of the last item, and the mean of those with the `LATEST`.

        Items without attributes are like nothing, and no part of the mean.
        """
        some = np.diff(about.indptr) > 0
        told = (latest >= 0) & some[latest]
        cosine = np.zeros(told.shape)
        for k in range(LATEST):
            rows = np.flatnonzero(told[:, k] & some[code])
            if len(rows):
                both = about[code[rows]].multiply(about[latest[rows, k]])
                cosine[rows, k] = np.asarray(both.sum(axis=1)).ravel()
        return [cosine[:, 0], cosine.sum(axis=1) / np.maximum(told.sum(axis=1), 1)]

    def files(self) -> dict[str, bytes]:
        """`items.npy` and the arrays of the CSR matrices."""
        return {
            "items.npy": to_npy(self.items),
            **to_files("follows", self.follows),
            **to_files("together", self.together),
            **({} if self.about is None else to_files("about", self.about)),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        items = from_npy(files, "items.npy")
        shape = (items.shape[1], items.shape[1])
        about = None
        if "about.indices.npy" in files:
            attributes = int(from_npy(files, "about.indices.npy").max(initial=-1)) + 1
            about = from_files("about", files, (items.shape[1], attributes))
        return cls(items, from_files("follows", files, shape), from_files("together", files, shape), about)


def _together(had: sparse.csr_array, root: np.ndarray) -> sparse.csr_array:
    """The cosine of the users of two items, `NEIGHBOURS` of each item, shape (items, items), from (users, items)."""
    by_item = had.T.tocsr()
    found = []
    for rows in blocks(len(root), len(root)):
        both = (by_item[rows] @ had).tocoo()
        both.data = both.data / (root[rows.start + both.row] * root[both.col] + 2.0)
        found.append(pruned(both.tocsr(), NEIGHBOURS))
    return narrow(sparse.vstack(found, format="csr"))


def _when(histories: Histories) -> np.ndarray:
    """When each event was, 0 to 1: its rank in time, or where times are unknown in its history."""
    if len(histories.times) and not np.isnan(histories.times).any():
        return np.asarray(pd.Series(histories.times).rank(pct=True))
    length = histories.lengths[histories.users]
    return np.asarray((length - histories.since) / np.maximum(length, 1))


def _cells(matrix: sparse.csr_array, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.asarray(matrix[rows, columns]).ravel() if len(rows) else np.empty(0, np.float32)


def _own(histories: Histories, user: np.ndarray, code: np.ndarray) -> list[np.ndarray]:
    """What the user's events with the item weigh, and how many events ago (the length of the history where never)."""
    pair = histories.users * np.int64(histories.catalogue) + histories.items
    known, at, which = np.unique(pair[::-1], return_index=True, return_inverse=True)
    weight = np.bincount(which, histories.weights[::-1], minlength=len(known))
    asked = user * np.int64(histories.catalogue) + code
    found = np.minimum(np.searchsorted(known, asked), max(len(known) - 1, 0))
    had = known[found] == asked if len(known) else np.zeros(len(asked), bool)
    since = histories.since[::-1][at[found]] if len(known) else np.zeros(len(asked))
    return [
        np.where(had, weight[found] if len(known) else 0.0, 0.0),
        np.where(had, since, histories.lengths[user]),
    ]

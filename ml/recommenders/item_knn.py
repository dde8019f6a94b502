"""Neighbours of items: what those who had this also had (Deshpande and Karypis, 2004)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pandas as pd
from scipy import sparse

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.interactions.sparse_matrices import blocks, from_files, narrow, to_files, top
from ml.recommenders.time_decay import settled


@dataclass(frozen=True, eq=False)
class ItemKNNModel:
    """`similarity` is sparse, float32, (items, items): the row of an item holds its nearest neighbours."""

    catalogue: Catalogue = field(repr=False)
    similarity: sparse.csr_array = field(repr=False)
    decay: float
    repeat: bool

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The score is the sum of the similarities to the items of the history, by the weight of an event with each.

        Who has no neighbour of a known item is scored by popularity. Lists and errors are as in
        `Catalogue.recommend`.
        """
        return self.catalogue.recommend(frame, self.scores, self.repeat)

    def unknown(self, frame: pd.DataFrame) -> int:
        """The number of events of `frame` that were skipped, their item not being in the catalogue."""
        return self.catalogue.unknown(frame)

    def files(self) -> dict[str, bytes]:
        """`model.json`, `catalogue.json` and the three arrays of a CSR matrix."""
        return {
            "model.json": json.dumps({"decay": self.decay, "repeat": self.repeat}).encode(),
            "catalogue.json": self.catalogue.to_json(),
            **to_files("similarity", self.similarity),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        catalogue = Catalogue.from_json(files["catalogue.json"])
        items = len(catalogue.items)
        similarity = from_files("similarity", files, (items, items))
        return cls(catalogue, similarity, **json.loads(files["model.json"]))

    def scores(self, histories: Histories) -> np.ndarray:
        """The sum of similarities to the history, shape (users, items)."""
        found = histories.weighted(self._weight(histories)) @ self.similarity
        scores: np.ndarray = found.toarray()
        unknown = np.flatnonzero(np.diff(found.indptr) == 0)
        scores[unknown] = self.catalogue.common(histories, unknown)
        return scores

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """What each event of one user adds to the score of item `code`, shape (events,).

        An item that was had several times counts once, by the event that weighs most at its age. The sum is the score,
        or 0 for who is scored by popularity.
        """
        similar = self.similarity[history.items][:, [code]].toarray()[:, 0].astype(np.float64)
        return np.asarray(self._weight(history) * similar)

    def _weight(self, histories: Histories) -> np.ndarray:
        # Not the last event with an item: whoever looks at it once more has bought it no less.
        weight = histories.aged(self.decay)
        return np.where(histories.heaviest(weight), weight, 0.0)


@dataclass(frozen=True)
class ItemKNN:
    """Cosine between items, the nearest `neighbours` kept for each.

    With n_ij the number of users who had both items, the similarity is n_ij / (sqrt(n_i n_j) + shrink), where
    `shrink`, in users, tells against pairs that few have had (Ferrari Dacrema, Cremonesi and Jannach, 2019).
    An item is a neighbour of itself only where items may `repeat`.

    An item of a history counts once, by the event with it that weighs most at its age: `decay` times as much for each
    event that came after it. A decay of None is chosen (`ml.recommenders.time_decay`). Similarities count
    users, whatever events weigh.

    Users without a history are given what was popular in the last `days`, or at all times.
    """

    neighbours: int = 100
    shrink: float = 10.0
    decay: float | None = 1.0
    days: float | None = None

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> ItemKNNModel:
        """Compare all pairs of items that share a user, on one thread; errors as in `Catalogue.of`."""
        if self.decay is None:
            own: Self = settled(self, train, resources)
            return own.fit(train, valid, resources)
        catalogue = Catalogue.of(train.frame, self.days, train.never_recommend)
        had = catalogue.sequences(train.frame).paired()
        by_item = had.T.tocsr()
        root = np.sqrt(np.diff(by_item.indptr))
        nearest = [
            self._nearest(by_item[rows] @ had, root, rows.start, train.allow_repeats)
            for rows in blocks(len(root), len(root))
        ]
        return ItemKNNModel(
            catalogue, narrow(sparse.vstack(nearest, format="csr")), self.decay, train.allow_repeats
        )

    def _nearest(
        self, both: sparse.csr_array, root: np.ndarray, start: int, repeat: bool
    ) -> sparse.csr_array:
        """The similarities of items `start` and on, from the number of users who had both."""
        if not repeat:
            both.setdiag(0.0, k=start)
            both.eliminate_zeros()
        both.sort_indices()
        row = np.repeat(np.arange(both.shape[0]), np.diff(both.indptr))
        both.data /= root[start + row] * root[both.indices] + self.shrink
        spans = zip(both.indptr[:-1], both.indptr[1:], strict=True)
        kept = np.concatenate([first + top(both.data[first:end], self.neighbours) for first, end in spans])
        triplets = (both.data[kept].astype(np.float32), (row[kept], both.indices[kept]))
        return sparse.csr_array(triplets, shape=both.shape)

"""Transitions between items: what follows what, over several steps (a mixed-order Markov chain)."""

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
from ml.interactions.sparse_matrices import from_files, narrow, to_files


def transitions(histories: Histories, lags: int, lag_decay: float) -> sparse.csr_array:
    """How often one item (row) came before another (column), float64, shape (items, items).

    A pair `k` events apart, k = 1 to `lags`, counts `lag_decay` ** (k - 1).
    """
    first, second, weight = [], [], []
    for lag in range(1, lags + 1):
        together = histories.since[:-lag] >= lag
        first.append(histories.items[:-lag][together])
        second.append(histories.items[lag:][together])
        weight.append(np.full(together.sum(), lag_decay ** (lag - 1)))
    pairs = (np.concatenate(weight), (np.concatenate(first), np.concatenate(second)))
    counts = sparse.coo_array(pairs, (histories.catalogue, histories.catalogue)).tocsr()
    counts.sum_duplicates()
    return narrow(counts)


@dataclass(frozen=True, eq=False)
class MarkovModel:
    """`follows` is sparse, float32, (items, items): the row of an item holds the shares of what came after it."""

    catalogue: Catalogue = field(repr=False)
    follows: sparse.csr_array = field(repr=False)
    last: int
    decay: float
    repeat: bool

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Lists and errors as in `Catalogue.recommend`."""
        return self.catalogue.recommend(frame, self.scores, self.repeat)

    def scores(self, histories: Histories) -> np.ndarray:
        """What follows the last items, by weight, each `decay` times the one after it, shape (users, items)."""
        scores: np.ndarray = (
            histories.weighted(self._weight(histories)).astype(np.float32) @ self.follows
        ).toarray()
        return scores

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """What each event of one user's history adds to the score of item `code`, shape (events,)."""
        column = self.follows[:, [code]].toarray().ravel()
        return np.asarray(self._weight(history) * column[history.items])

    def _weight(self, histories: Histories) -> np.ndarray:
        return np.where(histories.since < self.last, histories.aged(self.decay), 0.0)

    def unknown(self, frame: pd.DataFrame) -> int:
        """The number of events of `frame` that were skipped, their item not being in the catalogue."""
        return self.catalogue.unknown(frame)

    def files(self) -> dict[str, bytes]:
        """`model.json`, `catalogue.json` and the three arrays of a CSR matrix."""
        own = {"last": self.last, "decay": self.decay, "repeat": self.repeat}
        return {
            "model.json": json.dumps(own).encode(),
            "catalogue.json": self.catalogue.to_json(),
            **to_files("follows", self.follows),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        catalogue = Catalogue.from_json(files["catalogue.json"])
        items = len(catalogue.items)
        return cls(catalogue, from_files("follows", files, (items, items)), **json.loads(files["model.json"]))


@dataclass(frozen=True)
class Markov:
    """Counts of what came up to `lags` events later, a lag of k counting `lag_decay` ** (k - 1).

    The row of an item is divided by its sum and `shrink` more, which tells against items that few have had. An answer
    adds up the rows of the `last` events of a history by their weight, each one `decay` times the one after it.

    Users without a history are given what was popular in the last `days`, or at all times.
    """

    lags: int = 10
    lag_decay: float = 0.8
    shrink: float = 2.0
    last: int = 5
    decay: float = 0.7
    days: float | None = None

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> MarkovModel:
        """Count; errors as in `Catalogue.of`."""
        catalogue = Catalogue.of(train.frame, self.days, train.never_recommend)
        counts = transitions(catalogue.sequences(train.frame), self.lags, self.lag_decay)
        if not train.allow_repeats:
            counts.setdiag(0.0)
            counts.eliminate_zeros()
        share = sparse.diags_array(1.0 / (counts.sum(axis=1) + self.shrink)) @ counts
        return MarkovModel(
            catalogue, narrow(share.tocsr().astype(np.float32)), self.last, self.decay, train.allow_repeats
        )

"""Shallow autoencoder in closed form (Steck, 2019): each item as a linear function of all others."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pandas as pd
from scipy import sparse

from ml.data.dataset import Dataset
from ml.errors import CandidateSkipped
from ml.estimator import FitResources
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.interactions.sparse_matrices import blocks, from_files, largest, narrow, to_files
from ml.recommenders.time_decay import settled

# A matrix of so many items squared, in float32, takes 2.5 GB, and half as much again while it is inverted.
MOST_ITEMS = 25_000
# What did best on the validation items of Amazon toys (histories of 9 items) and of MovieLens 1M (166 items).
LONG_HISTORY = 50
SHORT, LONG = 200.0, 600.0


@dataclass(frozen=True, eq=False)
class EASEModel:
    """`weights` is sparse, float32, (items, items): the row of an item says what it tells of others."""

    catalogue: Catalogue = field(repr=False)
    weights: sparse.csr_array = field(repr=False)
    decay: float
    repeat: bool

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Lists and errors as in `Catalogue.recommend`."""
        return self.catalogue.recommend(frame, self.scores, self.repeat)

    def scores(self, histories: Histories) -> np.ndarray:
        """What the history's events tell, by weight, each `decay` times the one after it, shape (users, items)."""
        scores: np.ndarray = (self._decayed(histories) @ self.weights).toarray()
        return scores

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """What each event of one user's history adds to the score of item `code`, shape (events,)."""
        column = self.weights[:, [code]].toarray().ravel()
        return np.asarray(history.aged(self.decay) * column[history.items])

    def _decayed(self, histories: Histories) -> sparse.csr_array:
        return histories.weighted(histories.aged(self.decay)).astype(np.float32)

    def unknown(self, frame: pd.DataFrame) -> int:
        """The number of events of `frame` that were skipped, their item not being in the catalogue."""
        return self.catalogue.unknown(frame)

    def files(self) -> dict[str, bytes]:
        """`model.json`, `catalogue.json` and the three arrays of a CSR matrix."""
        return {
            "model.json": json.dumps({"decay": self.decay, "repeat": self.repeat}).encode(),
            "catalogue.json": self.catalogue.to_json(),
            **to_files("weights", self.weights),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        catalogue = Catalogue.from_json(files["catalogue.json"])
        items = len(catalogue.items)
        return cls(catalogue, from_files("weights", files, (items, items)), **json.loads(files["model.json"]))


@dataclass(frozen=True)
class EASE:
    """`penalty` is the L2 penalty in users; of each item the `neighbours` largest weights are kept.

    With G = X'X, the items that users share, and P = (G + penalty I)^-1, the weights are -P_ij / P_jj and 0 on the
    diagonal (equation 8 of Steck, 2019). An answer takes the events of a history by weight and age: the last one counts
    its weight, each one before it `decay` times as much. By default the penalty is `SHORT` or `LONG`, by the mean
    length of histories, and the decay is chosen (`ml.recommenders.time_decay`).

    Users without a history are given what was popular in the last `days`, or at all times.
    """

    penalty: float | None = None
    decay: float | None = None
    neighbours: int = 300
    days: float | None = None

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> EASEModel:
        """Invert one matrix, on one thread: any number would give other last bits. Errors as in `Catalogue.of`.

        Raises CandidateSkipped for a catalogue of more than `MOST_ITEMS`, whose matrix does not fit.
        """
        catalogue = Catalogue.of(train.frame, self.days, train.never_recommend)
        if len(catalogue.items) > MOST_ITEMS:
            raise CandidateSkipped(
                f"a catalogue of at most {MOST_ITEMS:,} items for EASE",
                f"{len(catalogue.items):,}",
                "use item-kNN or ALS, whose matrices are sparse or narrow",
            )
        if self.decay is None:
            own: Self = settled(self, train, resources)
            return own.fit(train, valid, resources)
        histories = catalogue.sequences(train.frame)
        usual = LONG if histories.lengths.mean() > LONG_HISTORY else SHORT
        penalty = usual if self.penalty is None else self.penalty
        weights = self._weights(histories.paired().astype(np.float32), penalty)
        return EASEModel(catalogue, weights, self.decay, train.allow_repeats)

    def _weights(self, had: sparse.csr_array, penalty: float) -> sparse.csr_array:
        # Imported before the limit, which holds for the libraries that are loaded.
        from scipy.linalg import lapack
        from threadpoolctl import threadpool_limits

        # In single precision and in place: LAPACK works in column-major order.
        gram = np.asfortranarray((had.T @ had).toarray(order="F"), dtype=np.float32)
        np.fill_diagonal(gram, gram.diagonal() + np.float32(penalty))
        # Blocks of several threads would be summed in another order.
        with threadpool_limits(1):
            factor, _ = lapack.spotrf(gram, lower=1, overwrite_a=1, clean=0)
            inverse, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
        diagonal = inverse.diagonal().copy()
        found = []
        for rows in blocks(len(inverse), len(inverse)):
            # Only the lower triangle is filled in: what is above it stands mirrored.
            band = np.empty((rows.stop - rows.start, len(inverse)), np.float32)
            band[:, : rows.start] = inverse[rows, : rows.start]
            band[:, rows.stop :] = inverse[rows.stop :, rows].T
            square = np.tril(inverse[rows, rows])
            band[:, rows] = square + np.tril(square, -1).T
            band /= -diagonal
            band[np.arange(len(band)), np.arange(rows.start, rows.stop)] = 0.0
            found.append(largest(band, self.neighbours))
        return narrow(sparse.vstack(found, format="csr"))

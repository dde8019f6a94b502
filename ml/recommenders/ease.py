"""EASE: a shallow autoencoder in closed form, each item a linear function of all others (Steck, 2019)."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from scipy import sparse

from ml.data.dataset import Dataset
from ml.errors import CandidateSkipped
from ml.estimator import FitResources
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.interactions.sparse_matrices import row_blocks, top_entries_dense, with_int32_indices
from ml.recommenders.costs import PAIR_SECONDS, log_size, with_tuning
from ml.recommenders.recommender_model import RecommenderModel
from ml.recommenders.time_decay import with_tuned_decay
from ml.time_budget import FREE, FitCost

# The matrix of so many items squared takes 2.5 GB in float32, and half as much again while it is inverted.
MAX_ITEMS = 25_000
# The default penalty by the mean length of histories. Both were best on validation items: 200 on Amazon toys
# (9 items per history), 600 on MovieLens 1M (166 items per history).
LONG_HISTORY_EVENTS = 50
SHORT_HISTORY_PENALTY, LONG_HISTORY_PENALTY = 200.0, 600.0
# Seconds of one core to invert the matrix, and to keep the top weights of its rows, per item cubed and squared.
CUBIC_SECONDS, SQUARE_SECONDS = 1.2e-11, 4e-8


@dataclass(frozen=True, eq=False)
class EASEModel(RecommenderModel):
    """`item_weights` is sparse, float32, shape (items, items): row i has what item i adds to the scores of others."""

    item_weights: sparse.csr_array = field(repr=False)
    decay: float

    def scores(self, histories: Histories) -> np.ndarray:
        """Sum the rows of each history's items by decayed event weight, shape (users, items)."""
        weights = histories.weighted_matrix(histories.decayed_weights(self.decay)).astype(np.float32)
        scores: np.ndarray = (weights @ self.item_weights).toarray()
        return scores

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """Return what each event of one user adds to the score of item `code`, shape (events,)."""
        column = self.item_weights[:, [code]].toarray().ravel()
        return np.asarray(history.decayed_weights(self.decay) * column[history.items])


@dataclass(frozen=True)
class EASE:
    """A linear model of each item with the L2 penalty `penalty`, in users; rows keep their `neighbours` top weights.

    With G = X'X, the users that items share, and P = (G + penalty I)^-1, the weights are -P_ij / P_jj, and 0 on the
    diagonal (equation 8 of Steck, 2019). Events of a history count their weight, times `decay` per later event of the
    user. By default the penalty depends on the mean length of histories (`SHORT_HISTORY_PENALTY`,
    `LONG_HISTORY_PENALTY`), and the decay is tuned (`ml.recommenders.time_decay`).

    Users without a history get the most popular items of the last `popularity_days`, or of all time.
    """

    penalty: float | None = None
    decay: float | None = None
    neighbours: int = 300
    popularity_days: float | None = None

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> EASEModel:
        """Invert the penalised item-item matrix; errors as in `Catalogue.from_frame`.

        One thread is used, because the last bits depend on the number of threads. Raises CandidateSkipped for a
        catalogue of more than `MAX_ITEMS`, whose matrix does not fit in memory.
        """
        catalogue = Catalogue.from_frame(train.frame, self.popularity_days, train.never_recommend)
        if len(catalogue.items) > MAX_ITEMS:
            raise CandidateSkipped(
                f"a catalogue of at most {MAX_ITEMS:,} items for EASE",
                f"{len(catalogue.items):,}",
                "use item-kNN or ALS, whose matrices are sparse or narrow",
            )
        if self.decay is None:
            tuned: Self = with_tuned_decay(self, train, resources)
            return tuned.fit(train, valid, resources)
        histories = catalogue.encode(train.frame)
        penalty = self.penalty
        if penalty is None:
            is_long = histories.lengths.mean() > LONG_HISTORY_EVENTS
            penalty = LONG_HISTORY_PENALTY if is_long else SHORT_HISTORY_PENALTY
        item_weights = self._item_weights(histories.binary_matrix().astype(np.float32), penalty)
        return EASEModel(catalogue, train.allow_repeats, item_weights, self.decay)

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of a fit, which a time limit cannot cut short; free where it is skipped anyway."""
        size = log_size(train)
        if size.items > MAX_ITEMS:
            return FREE
        inversion = CUBIC_SECONDS * float(size.items) ** 3 + SQUARE_SECONDS * float(size.items) ** 2
        seconds = with_tuning(inversion + PAIR_SECONDS * size.pairs, size, train, self.decay)
        return FitCost(seconds, seconds)

    def _item_weights(self, interactions: sparse.csr_array, penalty: float) -> sparse.csr_array:
        # Imported before the limit on threads, which holds for the libraries that are loaded.
        from scipy.linalg import lapack
        from threadpoolctl import threadpool_limits

        # In single precision and in place: LAPACK works in column-major order.
        gram = np.asfortranarray((interactions.T @ interactions).toarray(order="F"), dtype=np.float32)
        np.fill_diagonal(gram, gram.diagonal() + np.float32(penalty))
        # Several threads would sum blocks in another order.
        with threadpool_limits(1):
            factor, _ = lapack.spotrf(gram, lower=1, overwrite_a=1, clean=0)
            inverse, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
        diagonal = inverse.diagonal().copy()
        blocks = []
        for rows in row_blocks(len(inverse), len(inverse)):
            # LAPACK fills only the lower triangle: the upper one is read from its mirror image.
            block = np.empty((rows.stop - rows.start, len(inverse)), np.float32)
            block[:, : rows.start] = inverse[rows, : rows.start]
            block[:, rows.stop :] = inverse[rows.stop :, rows].T
            square = np.tril(inverse[rows, rows])
            block[:, rows] = square + np.tril(square, -1).T
            block /= -diagonal
            block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = 0.0
            blocks.append(top_entries_dense(block, self.neighbours))
        return with_int32_indices(sparse.vstack(blocks, format="csr"))

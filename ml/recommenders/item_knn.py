"""Item-based nearest neighbours: items that share users with those of the history (Deshpande and Karypis, 2004)."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from scipy import sparse

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.interactions.sparse_matrices import row_blocks, top_positions, with_int32_indices
from ml.recommenders.costs import PAIR_SECONDS, log_size, with_tuning
from ml.recommenders.recommender_model import RecommenderModel
from ml.recommenders.time_decay import with_tuned_decay
from ml.time_budget import FitCost


@dataclass(frozen=True, eq=False)
class ItemKNNModel(RecommenderModel):
    """`similarity` is sparse, float32, shape (items, items): row i has the nearest neighbours of item i.

    Users whose known items have no neighbours get the most popular items.
    """

    similarity: sparse.csr_array = field(repr=False)
    decay: float

    def scores(self, histories: Histories) -> np.ndarray:
        """Sum the similarities to the items of each history by event weight, shape (users, items)."""
        sums = histories.weighted_matrix(self._event_weights(histories)) @ self.similarity
        scores: np.ndarray = sums.toarray()
        without_neighbours = np.flatnonzero(np.diff(sums.indptr) == 0)
        scores[without_neighbours] = self.catalogue.popularity_scores(histories, without_neighbours)
        return scores

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """Return what each event of one user adds to the score of item `code`, shape (events,).

        Of several events with one item, only the one with the highest decayed weight counts. The sum is the score, or
        0 for users who are scored by popularity.
        """
        similarities = self.similarity[history.items][:, [code]].toarray()[:, 0].astype(np.float64)
        return np.asarray(self._event_weights(history) * similarities)

    def _event_weights(self, histories: Histories) -> np.ndarray:
        # The heaviest event with an item, not its last one: a view after a purchase does not undo the purchase.
        weights = histories.decayed_weights(self.decay)
        return np.where(histories.max_weight_mask(weights), weights, 0.0)


@dataclass(frozen=True)
class ItemKNN:
    """Cosine similarity between items; the nearest `neighbours` of each are kept.

    With n_ij the number of users who had both items, the similarity is n_ij / (sqrt(n_i n_j) + shrinkage): the
    shrinkage, in users, lowers the similarity of rare pairs (Ferrari Dacrema, Cremonesi and Jannach, 2019). Event
    weights do not change similarities. An item is its own neighbour only where items may repeat.

    An item of a history counts once: by its event with the highest weight after decay, which is `decay` per later
    event of the user. A decay of None is tuned (`ml.recommenders.time_decay`).

    Users without a history get the most popular items of the last `popularity_days`, or of all time.
    """

    neighbours: int = 100
    shrinkage: float = 10.0
    decay: float | None = 1.0
    popularity_days: float | None = None

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> ItemKNNModel:
        """Compare all pairs of items that share a user, on one thread; errors as in `Catalogue.from_frame`."""
        if self.decay is None:
            tuned: Self = with_tuned_decay(self, train, resources)
            return tuned.fit(train, valid, resources)
        catalogue = Catalogue.from_frame(train.frame, self.popularity_days, train.never_recommend)
        interactions = catalogue.encode(train.frame).binary_matrix()
        users_by_item = interactions.T.tocsr()
        norms = np.sqrt(np.diff(users_by_item.indptr))
        neighbours = [
            self._nearest(users_by_item[rows] @ interactions, norms, rows.start, train.allow_repeats)
            for rows in row_blocks(len(norms), len(norms))
        ]
        similarity = with_int32_indices(sparse.vstack(neighbours, format="csr"))
        return ItemKNNModel(catalogue, train.allow_repeats, similarity, self.decay)

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of a fit, which a time limit cannot cut short."""
        size = log_size(train)
        seconds = with_tuning(PAIR_SECONDS * size.pairs, size, train, self.decay)
        return FitCost(seconds, seconds)

    def _nearest(
        self, shared_users: sparse.csr_array, norms: np.ndarray, first_item: int, allow_repeats: bool
    ) -> sparse.csr_array:
        """Return the similarities of a block of items; `shared_users` is (items of the block, items)."""
        if not allow_repeats:
            shared_users.setdiag(0.0, k=first_item)
            shared_users.eliminate_zeros()
        shared_users.sort_indices()
        row = np.repeat(np.arange(shared_users.shape[0]), np.diff(shared_users.indptr))
        similarity = shared_users
        similarity.data /= norms[first_item + row] * norms[similarity.indices] + self.shrinkage
        spans = zip(similarity.indptr[:-1], similarity.indptr[1:], strict=True)
        kept = np.concatenate(
            [start + top_positions(similarity.data[start:end], self.neighbours) for start, end in spans]
        )
        triplets = (similarity.data[kept].astype(np.float32), (row[kept], similarity.indices[kept]))
        return sparse.csr_array(triplets, shape=similarity.shape)

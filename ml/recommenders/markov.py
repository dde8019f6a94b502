"""Item-to-item transitions over several steps: a mixed-order Markov chain."""

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.interactions.sparse_matrices import with_int32_indices
from ml.recommenders.costs import counting_cost
from ml.recommenders.recommender_model import RecommenderModel
from ml.time_budget import FitCost


def transition_counts(histories: Histories, max_lag: int, lag_decay: float) -> sparse.csr_array:
    """Count how often one item (row) came before another (column), float64, shape (items, items).

    A pair of events that are k apart, k from 1 to `max_lag`, counts `lag_decay` ** (k - 1).
    """
    earlier, later, weights = [], [], []
    for lag in range(1, max_lag + 1):
        same_user = histories.events_after[:-lag] >= lag
        earlier.append(histories.items[:-lag][same_user])
        later.append(histories.items[lag:][same_user])
        weights.append(np.full(same_user.sum(), lag_decay ** (lag - 1)))
    triplets = (np.concatenate(weights), (np.concatenate(earlier), np.concatenate(later)))
    counts = sparse.coo_array(triplets, (histories.n_items, histories.n_items)).tocsr()
    counts.sum_duplicates()
    return with_int32_indices(counts)


@dataclass(frozen=True, eq=False)
class MarkovModel(RecommenderModel):
    """`transition_shares` is sparse, float32, shape (items, items): row i has the shares of what came after item i."""

    transition_shares: sparse.csr_array = field(repr=False)
    last_events: int
    decay: float

    def scores(self, histories: Histories) -> np.ndarray:
        """Sum the transition shares of each user's last items by decayed event weight, shape (users, items)."""
        weights = histories.weighted_matrix(self._event_weights(histories)).astype(np.float32)
        scores: np.ndarray = (weights @ self.transition_shares).toarray()
        return scores

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """Return what each event of one user adds to the score of item `code`, shape (events,)."""
        shares = self.transition_shares[:, [code]].toarray().ravel()
        return np.asarray(self._event_weights(history) * shares[history.items])

    def _event_weights(self, histories: Histories) -> np.ndarray:
        is_recent = histories.events_after < self.last_events
        return np.where(is_recent, histories.decayed_weights(self.decay), 0.0)


@dataclass(frozen=True)
class Markov:
    """Counts of what came up to `max_lag` events later; a lag of k counts `lag_decay` ** (k - 1).

    The counts of an item are divided by their sum plus `shrinkage`, which lowers the scores of rare items. A
    prediction sums the rows of the user's `last_events` last events by their weight, each times `decay` per later
    event.

    Users without a history get the most popular items of the last `popularity_days`, or of all time.
    """

    max_lag: int = 10
    lag_decay: float = 0.8
    shrinkage: float = 2.0
    last_events: int = 5
    decay: float = 0.7
    popularity_days: float | None = None

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> MarkovModel:
        """Count transitions; errors as in `Catalogue.from_frame`."""
        catalogue = Catalogue.from_frame(train.frame, self.popularity_days, train.never_recommend)
        counts = transition_counts(catalogue.encode(train.frame), self.max_lag, self.lag_decay)
        if not train.allow_repeats:
            counts.setdiag(0.0)
            counts.eliminate_zeros()
        shares = sparse.diags_array(1.0 / (counts.sum(axis=1) + self.shrinkage)) @ counts
        return MarkovModel(
            catalogue,
            train.allow_repeats,
            with_int32_indices(shares.tocsr().astype(np.float32)),
            self.last_events,
            self.decay,
        )

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of counting, which a time limit cannot cut short."""
        return counting_cost(train)

"""Content-based recommendation: items with attributes like those of the history; reaches items that nobody had."""

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
from ml.interactions.sparse_matrices import with_int32_indices
from ml.recommenders.costs import log_size, with_tuning
from ml.recommenders.recommender_model import RecommenderModel
from ml.recommenders.time_decay import with_tuned_decay
from ml.time_budget import FREE, FitCost

# From a longer table of attributes, items that nobody had are left out of the catalogue: scores are dense, and such
# items would take most of the memory and time (Diginetica lists 184,047 products, of which 11,244 were bought).
MAX_ITEMS = 50_000


def tfidf(items: tuple[str, ...], attributes: Mapping[str, tuple[str, ...]]) -> sparse.csr_array:
    """Compute TF-IDF vectors of items from their attributes, float64, shape (items, attributes), rows of unit length.

    The weight of an attribute is log(items / items with it), which is 0 for an attribute of all items. Items without
    any weighted attribute have rows of 0. Columns are attributes in alphabetical order.
    """
    item_attributes = [attributes.get(item, ()) for item in items]
    row = np.repeat(np.arange(len(items)), [len(names) for names in item_attributes])
    flat = pd.Index([name for names in item_attributes for name in names], dtype=object)
    columns = flat.unique().sort_values()
    binary = sparse.csr_array(
        (np.ones(len(row)), (row, columns.get_indexer(flat))), shape=(len(items), len(columns))
    )
    item_counts = np.bincount(binary.indices, minlength=len(columns))
    vectors = (binary @ sparse.diags_array(np.log(len(items) / item_counts))).tocsr()
    length = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
    vectors.data /= np.repeat(np.where(length > 0, length, 1.0), np.diff(vectors.indptr))
    vectors.eliminate_zeros()
    vectors.sort_indices()
    return with_int32_indices(vectors)


@dataclass(frozen=True, eq=False)
class ContentBasedModel(RecommenderModel):
    """`item_vectors` is sparse, float64, shape (items, attributes), rows of unit length or 0 (`tfidf`).

    Users without a known item that has attributes get the most popular items.
    """

    item_vectors: sparse.csr_array = field(repr=False)
    decay: float

    def scores(self, histories: Histories) -> np.ndarray:
        """Multiply item vectors with the sum of those of each history by decayed event weight, shape (users, items)."""
        profiles = histories.weighted_matrix(histories.decayed_weights(self.decay)) @ self.item_vectors
        scores: np.ndarray = np.ascontiguousarray((self.item_vectors @ profiles.T.toarray()).T)
        without_profile = np.flatnonzero(np.diff(profiles.indptr) == 0)
        scores[without_profile] = self.catalogue.popularity_scores(histories, without_profile)
        return scores

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """Return what each event of one user adds to the score of item `code`, shape (events,).

        The sum is the score, or 0 for users who are scored by popularity.
        """
        similarities = self.item_vectors[history.items] @ self.item_vectors[[code]].toarray().ravel()
        return np.asarray(history.decayed_weights(self.decay) * similarities)


@dataclass(frozen=True)
class ContentBased:
    """Similarity between TF-IDF vectors of item attributes (`ml.data.dataset.Dataset.item_attributes`).

    The profile of a user is the sum of the vectors of the history: each event counts its weight, times `decay` per
    later event of the user; a decay of None is tuned (`ml.recommenders.time_decay`). The catalogue includes items that
    have attributes and that nobody had, unless more than `MAX_ITEMS` items have attributes.

    Users without a history get the most popular items of the last `popularity_days`, or of all time.
    """

    decay: float | None = 1.0
    popularity_days: float | None = None

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> ContentBasedModel:
        """Compute item vectors; errors as in `Catalogue.from_frame`.

        Raises CandidateSkipped if no item of the log has attributes.
        """
        if self.decay is None:
            tuned: Self = with_tuned_decay(self, train, resources)
            return tuned.fit(train, valid, resources)
        catalogue = Catalogue.from_frame(train.frame, self.popularity_days, train.never_recommend)
        if not any(train.item_attributes.get(item) for item in catalogue.items):
            raise CandidateSkipped(
                "attributes of items", "none", "name a side table of items in meta.item_attributes"
            )
        with_attributes = [item for item, names in train.item_attributes.items() if names]
        if len(with_attributes) <= MAX_ITEMS:
            catalogue = catalogue.extended(with_attributes, train.never_recommend)
        item_vectors = tfidf(catalogue.items, train.item_attributes)
        return ContentBasedModel(catalogue, train.allow_repeats, item_vectors, self.decay)

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of tuning the decay, which a time limit cannot cut short."""
        if not train.item_attributes:
            return FREE
        size = log_size(train)
        seconds = with_tuning(0.0, size, train, self.decay)
        return FitCost(seconds, seconds)

"""Repeat consumption: recommend again what a user had often and recently."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.recommenders.costs import counting_cost
from ml.recommenders.recommender_model import RecommenderModel
from ml.time_budget import FitCost

# Popularity ranks the items that a user never had. One event of weight 1 adds more, also if more than 1,800 events of
# the user follow it (0.995^1,800 is above 1e-4).
MAX_POPULARITY_SCORE = 1e-4


@dataclass(frozen=True, eq=False)
class RepeatConsumptionModel(RecommenderModel):
    """Scores by the decayed event weights in the user's own history, then by popularity."""

    decay: float

    def scores(self, histories: Histories) -> np.ndarray:
        """Sum the decayed weights of each user's events with each item, plus a small popularity score."""
        own_weights = histories.weighted_matrix(histories.decayed_weights(self.decay)).toarray()
        return np.asarray(own_weights + self._popularity_scores)

    @cached_property
    def _popularity_scores(self) -> np.ndarray:
        popularity = np.array(self.catalogue.popularity, np.float64)
        return np.asarray(MAX_POPULARITY_SCORE * popularity / max(popularity.max(), 1.0))

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """Return what each event of one user adds to the score of item `code`, shape (events,)."""
        return np.where(history.items == code, history.decayed_weights(self.decay), 0.0)


@dataclass(frozen=True)
class RepeatConsumption:
    """Each event counts its weight times `decay` per later event of its user. Useful only where items may repeat.

    Items that the user never had follow in order of their popularity over the last `popularity_days`, or over all
    time.
    """

    decay: float = 0.995
    popularity_days: float | None = None

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> RepeatConsumptionModel:
        """Count users per item; errors as in `Catalogue.from_frame`."""
        catalogue = Catalogue.from_frame(train.frame, self.popularity_days, train.never_recommend)
        return RepeatConsumptionModel(catalogue, train.allow_repeats, self.decay)

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of counting, which a time limit cannot cut short."""
        return counting_cost(train)

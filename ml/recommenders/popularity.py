"""Popularity baseline: the same ranking for every user, or for every user of a segment."""

from dataclasses import dataclass

import numpy as np

from ml.data.dataset import Dataset
from ml.errors import CandidateSkipped
from ml.estimator import FitResources
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.recommenders.costs import counting_cost
from ml.recommenders.recommender_model import RecommenderModel
from ml.time_budget import FitCost


@dataclass(frozen=True, eq=False)
class PopularityModel(RecommenderModel):
    """Scores by the user counts in the catalogue, with `by_segment` by those of the user's segment."""

    by_segment: bool = False

    def scores(self, histories: Histories) -> np.ndarray:
        """Score by the number of users who had each item, float32, shape (users, items).

        With `by_segment`, scores are as in `Catalogue.popularity_scores`.
        """
        if self.by_segment:
            return self.catalogue.popularity_scores(histories, np.arange(len(histories)))
        return np.tile(self.catalogue.popularity_array, (len(histories), 1))

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """Return 0 for each event of one user, shape (events,): scores do not depend on the history."""
        return np.zeros(len(history.items))


@dataclass(frozen=True)
class Popularity:
    """Counts the users of each item, over all time or over the last `popularity_days` before the last event.

    Event weights are ignored: each user counts once. With `by_segment`, users of the same segment are counted, plus
    the counts of all users scaled to `ml.interactions.catalogue.PRIOR` events.
    """

    popularity_days: float | None = None
    by_segment: bool = False

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> PopularityModel:
        """Count users per item; errors as in `Catalogue.from_frame`.

        Raises CandidateSkipped with `by_segment` if no user has a segment.
        """
        catalogue = Catalogue.from_frame(train.frame, self.popularity_days, train.never_recommend)
        if self.by_segment and not catalogue.segments:
            raise CandidateSkipped(
                "segments of users", "none", "name a column of the log in meta.roles.segment"
            )
        return PopularityModel(catalogue, train.allow_repeats, self.by_segment)

    def cost(self, train: Dataset, resources: FitResources) -> FitCost:
        """Estimate the cost of counting, which a time limit cannot cut short."""
        return counting_cost(train)

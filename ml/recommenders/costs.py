"""Estimate what fits of recommenders cost from the size of the log, in processor seconds of one core.

The constants are rounded from fits to MovieLens 100K, online retail and Amazon toys; estimates are within a factor of
about two. They decide which fits a time budget suffices for, so they must not depend on the machine.
"""

from dataclasses import dataclass
from itertools import chain

import numpy as np

from ml.data.dataset import Dataset
from ml.recommenders.time_decay import DECAYS, MAX_USERS
from ml.time_budget import FitCost

# One score of an item for a user, and its place among the highest.
SCORE_SECONDS = 2.2e-8
# One pair of events of a user, and one event.
PAIR_SECONDS, EVENT_SECONDS = 2.7e-8, 2e-6


@dataclass(frozen=True)
class LogSize:
    """Users, distinct items and events of a log, and `pairs`, the sum of squared lengths of histories."""

    users: int
    items: int
    events: int
    pairs: float

    @property
    def tuning_seconds(self) -> float:
        """Seconds to evaluate every decay on a holdout."""
        return len(DECAYS) * min(self.users, MAX_USERS) * self.items * SCORE_SECONDS


def log_size(train: Dataset) -> LogSize:
    """Measure a log."""
    histories = train.frame["items"]
    lengths = histories.map(len).to_numpy(np.float64)
    items = len(set(chain.from_iterable(histories)))
    return LogSize(len(lengths), items, int(lengths.sum()), float((lengths**2).sum()))


def counting_cost(train: Dataset) -> FitCost:
    """Return the cost of a fit that goes through the log once."""
    seconds = EVENT_SECONDS * log_size(train).events
    return FitCost(seconds, seconds)


def with_tuning(fit_seconds: float, size: LogSize, train: Dataset, decay: float | None) -> float:
    """Return the seconds of a fit whose decay is tuned if it is None: a fit to the rest of the log, and evaluations."""
    if decay is not None or train.decay is not None:
        return fit_seconds
    return 2.0 * fit_seconds + size.tuning_seconds

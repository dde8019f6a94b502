"""What a user takes again and again: the items of the own history, by how often and how lately they were had."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.estimator import FitResources
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories


@dataclass(frozen=True, eq=False)
class HabitModel:
    """Nothing is kept but the catalogue."""

    catalogue: Catalogue = field(repr=False)
    decay: float
    repeat: bool

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Lists and errors as in `Catalogue.recommend`."""
        return self.catalogue.recommend(frame, self.scores, self.repeat)

    def scores(self, histories: Histories) -> np.ndarray:
        """The weights of the own events with each item, then popularity, which decides among items never had."""
        own = histories.weighted(histories.aged(self.decay)).toarray()
        return np.asarray(own + self._trend)

    @cached_property
    def _trend(self) -> np.ndarray:
        """Below what an event of weight 1 counts in a history of thousands."""
        popularity = np.array(self.catalogue.popularity, np.float64)
        return np.asarray(1e-4 * popularity / max(popularity.max(), 1.0))

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """What each event of one user's history adds to the score of item `code`, shape (events,)."""
        return np.where(history.items == code, history.aged(self.decay), 0.0)

    def unknown(self, frame: pd.DataFrame) -> int:
        """The number of events of `frame` that were skipped, their item not being in the catalogue."""
        return self.catalogue.unknown(frame)

    def files(self) -> dict[str, bytes]:
        """`model.json` and `catalogue.json`."""
        return {
            "model.json": json.dumps({"decay": self.decay, "repeat": self.repeat}).encode(),
            "catalogue.json": self.catalogue.to_json(),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        return cls(Catalogue.from_json(files["catalogue.json"]), **json.loads(files["model.json"]))


@dataclass(frozen=True)
class Habit:
    """Each event of a history counts its weight, `decay` times that of the one after it. Of use where items may repeat.

    Items never had come after those, by what was popular in the last `days`, or at all times.
    """

    decay: float = 0.995
    days: float | None = None

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> HabitModel:
        """Learn what is popular; errors as in `Catalogue.of`."""
        return HabitModel(
            Catalogue.of(train.frame, self.days, train.never_recommend), self.decay, train.allow_repeats
        )

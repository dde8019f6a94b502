"""The baseline of recommendation: the same items for everyone, or all of a segment, by how many users had them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pandas as pd

from ml.data.dataset import Dataset
from ml.errors import CandidateSkipped
from ml.estimator import FitResources
from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories


@dataclass(frozen=True)
class PopularityModel:
    """The counts are in the catalogue."""

    catalogue: Catalogue = field(repr=False)
    repeat: bool
    by_segment: bool = False

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Lists and errors as in `Catalogue.recommend`."""
        return self.catalogue.recommend(frame, self.scores, self.repeat)

    def unknown(self, frame: pd.DataFrame) -> int:
        """The number of events of `frame` that were skipped, their item not being in the catalogue."""
        return self.catalogue.unknown(frame)

    def files(self) -> dict[str, bytes]:
        """`model.json` and `catalogue.json`."""
        return {
            "model.json": json.dumps({"repeat": self.repeat, "by_segment": self.by_segment}).encode(),
            "catalogue.json": self.catalogue.to_json(),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        return cls(Catalogue.from_json(files["catalogue.json"]), **json.loads(files["model.json"]))

    def scores(self, histories: Histories) -> np.ndarray:
        """The number of users who had each item, or by segment `Catalogue.common`, float32, shape (users, items)."""
        if self.by_segment:
            return self.catalogue.common(histories, np.arange(len(histories)))
        return np.tile(self.catalogue.popular, (len(histories), 1))

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """Nothing for each event of one user, shape (events,): the score does not hang on the history."""
        return np.zeros(len(history.items))


@dataclass(frozen=True)
class Popularity:
    """Counts the users of each item: of all time or, with `days`, of so many days before the last event.

    What their events weigh changes nothing: one user is one user. With `by_segment`, those of the own segment count,
    and all others for as many events as `ml.interactions.catalogue.PRIOR`.
    """

    days: float | None = None
    by_segment: bool = False

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> PopularityModel:
        """Count; errors as in `Catalogue.of`. CandidateSkipped by segment where no user has one."""
        catalogue = Catalogue.of(train.frame, self.days, train.never_recommend)
        if self.by_segment and not catalogue.segments:
            raise CandidateSkipped(
                "segments of users", "none", "name a column of the log in meta.roles.segment"
            )
        return PopularityModel(catalogue, train.allow_repeats, self.by_segment)

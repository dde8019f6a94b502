"""The baseline of recommendation: the same items for everyone, by how many users had them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pandas as pd

from ml.histories import Catalogue, Sequences
from ml.model import Part, Resources


@dataclass(frozen=True)
class PopularityModel:
    """The counts are in the catalogue."""

    catalogue: Catalogue = field(repr=False)
    repeat: bool

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The score is the number of users who had the item; lists and errors as in `Catalogue.recommend`."""
        return self.catalogue.recommend(frame, self.scores, self.repeat)

    def unknown(self, frame: pd.DataFrame) -> int:
        """The number of events of `frame` that were skipped, their item not being in the catalogue."""
        return self.catalogue.unknown(frame)

    def files(self) -> dict[str, bytes]:
        """`model.json` and `catalogue.json`."""
        return {
            "model.json": json.dumps({"repeat": self.repeat}).encode(),
            "catalogue.json": self.catalogue.to_json(),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        return cls(Catalogue.from_json(files["catalogue.json"]), **json.loads(files["model.json"]))

    def scores(self, histories: Sequences) -> np.ndarray:
        """The number of users who had each item, for all users alike, shape (users, items)."""
        return np.tile(self.catalogue.popular, (len(histories), 1))

    def contributions(self, history: Sequences, code: int) -> np.ndarray:
        """Nothing for each event of one user, shape (events,): the score is the same for everybody."""
        return np.zeros(len(history.items))


@dataclass(frozen=True)
class Popularity:
    """Counts the users of each item: of all time or, with `days`, of so many days before the last event.

    What their events weigh changes nothing: one user is one user.
    """

    days: float | None = None

    def fit(self, train: Part, valid: Part, resources: Resources) -> PopularityModel:
        """Count; errors as in `Catalogue.of`."""
        return PopularityModel(Catalogue.of(train.frame, self.days, train.blocked), train.repeat)

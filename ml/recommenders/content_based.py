"""Content: items that are like those of the history, by what is known of them; so new ones can be reached."""

import json
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
from ml.interactions.sparse_matrices import from_files, narrow, to_files
from ml.recommenders.time_decay import settled

# A side table of more items is no shop window but an archive: scores are dense, and what nobody had would take the most
# memory and time (Diginetica lists 184,047 products, of which 11,244 were bought). Its new items are left out.
MOST_ITEMS = 50_000


def tfidf(items: tuple[str, ...], attributes: Mapping[str, tuple[str, ...]]) -> sparse.csr_array:
    """Rows of unit length, float64, shape (items, attributes): what is said of few items counts for more.

    The weight of an attribute is log(items / items with it), so what is said of all counts nothing. Items without any
    attribute that tells have rows of 0. Attributes are in alphabetical order.
    """
    known = [attributes.get(item, ()) for item in items]
    row = np.repeat(np.arange(len(items)), [len(names) for names in known])
    flat = pd.Index([name for names in known for name in names], dtype=object)
    named = flat.unique().sort_values()
    had = sparse.csr_array(
        (np.ones(len(row)), (row, named.get_indexer(flat))), shape=(len(items), len(named))
    )
    weighted = had @ sparse.diags_array(np.log(len(items) / np.bincount(had.indices, minlength=len(named))))
    weighted = weighted.tocsr()
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    weighted.data /= np.repeat(np.where(length > 0, length, 1.0), np.diff(weighted.indptr))
    weighted.eliminate_zeros()
    weighted.sort_indices()
    return narrow(weighted)


@dataclass(frozen=True, eq=False)
class ContentModel:
    """`rows` is sparse, float64, (items, attributes): the row of an item is of unit length, or 0."""

    catalogue: Catalogue = field(repr=False)
    rows: sparse.csr_array = field(repr=False)
    decay: float
    repeat: bool

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The score is the product of an item's row with the sum of those of the history, by the age of each event.

        Who has no known item with attributes is scored by popularity. Lists and errors are as in
        `Catalogue.recommend`.
        """
        return self.catalogue.recommend(frame, self.scores, self.repeat)

    def unknown(self, frame: pd.DataFrame) -> int:
        """The number of events of `frame` that were skipped, their item not being in the catalogue."""
        return self.catalogue.unknown(frame)

    def scores(self, histories: Histories) -> np.ndarray:
        """The products with the profiles, shape (users, items)."""
        profiles = histories.weighted(self._weight(histories)) @ self.rows
        scores: np.ndarray = np.ascontiguousarray((self.rows @ profiles.T.toarray()).T)
        unknown = np.flatnonzero(np.diff(profiles.indptr) == 0)
        scores[unknown] = self.catalogue.common(histories, unknown)
        return scores

    def contributions(self, history: Histories, code: int) -> np.ndarray:
        """What each event of one user adds to the score of item `code`, shape (events,).

        The sum is the score, or 0 for who is scored by popularity.
        """
        alike = self.rows[history.items] @ self.rows[[code]].toarray().ravel()
        return np.asarray(self._weight(history) * alike)

    def _weight(self, histories: Histories) -> np.ndarray:
        return histories.aged(self.decay)

    def files(self) -> dict[str, bytes]:
        """`model.json`, `catalogue.json` and the three arrays of a CSR matrix."""
        own = {"decay": self.decay, "repeat": self.repeat, "attributes": self.rows.shape[1]}
        return {
            "model.json": json.dumps(own).encode(),
            "catalogue.json": self.catalogue.to_json(),
            **to_files("rows", self.rows),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        catalogue = Catalogue.from_json(files["catalogue.json"])
        own = json.loads(files["model.json"])
        shape = (len(catalogue.items), own.pop("attributes"))
        return cls(catalogue, from_files("rows", files, shape), **own)


@dataclass(frozen=True)
class Content:
    """Items as rows of a TF-IDF matrix of their attributes (`ml.estimator.Part.attributes`).

    The taste of a user is the sum of the rows of the history, each event by its weight, and `decay` times for each one
    after it; None is chosen (`ml.recommenders.time_decay`). The catalogue has also those items that have
    attributes and that nobody
    had, unless more than `MOST_ITEMS` have attributes.

    Users without a history are given what was popular in the last `days`, or at all times.
    """

    decay: float | None = 1.0
    days: float | None = None

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> ContentModel:
        """Count the attributes; errors as in `Catalogue.of`. CandidateSkipped where no item of the log has
        attributes."""
        if self.decay is None:
            own: Self = settled(self, train, resources)
            return own.fit(train, valid, resources)
        had = Catalogue.of(train.frame, self.days, train.never_recommend)
        if not any(train.item_attributes.get(item) for item in had.items):
            raise CandidateSkipped("attributes of items", "none", "name a side table of items in meta.items")
        listed = [item for item, names in train.item_attributes.items() if names]
        catalogue = had.wider(listed, train.never_recommend) if len(listed) <= MOST_ITEMS else had
        return ContentModel(
            catalogue, tfidf(catalogue.items, train.item_attributes), self.decay, train.allow_repeats
        )

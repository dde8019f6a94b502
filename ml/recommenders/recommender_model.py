"""The base of fitted recommenders: ranked lists from scores, and files from fields."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import sparse

from ml.interactions.catalogue import Catalogue
from ml.interactions.histories import Histories
from ml.interactions.sparse_matrices import CSR_ARRAYS, csr_from_files, csr_to_files, from_npy, to_npy
from ml.serialization import from_safetensors, to_safetensors


@dataclass(frozen=True, eq=False)
class RecommenderModel(ABC):
    """A fitted recommender: it scores all items of its catalogue from a user's history and keeps nothing of users.

    A subclass is a frozen dataclass with `scores` and further fields. Fields are saved by type: a `scipy` CSR matrix
    and a numpy array as `.npy`, a mapping of arrays by name as `.safetensors`, any other value as JSON.
    """

    catalogue: Catalogue = field(repr=False)
    allow_repeats: bool

    @abstractmethod
    def scores(self, histories: Histories) -> np.ndarray:
        """Score every item of the catalogue for every user, shape (users, items)."""

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Recommend the items with the highest `scores`; lists and errors as in `Catalogue.recommend`."""
        return self.catalogue.recommend(frame, self.scores, self.allow_repeats)

    def count_unknown_events(self, frame: pd.DataFrame) -> int:
        """Count the events of `frame` that predictions ignore because the catalogue lacks their item."""
        return self.catalogue.count_unknown_events(frame)

    def files(self) -> dict[str, bytes]:
        """Write `catalogue.json`, `model.json` (plain values, shapes of sparse matrices) and files of arrays."""
        settings: dict[str, Any] = {}
        files: dict[str, bytes] = {}
        for name in self._field_names():
            value = getattr(self, name)
            if isinstance(value, sparse.csr_array):
                settings[name] = value.shape
                files |= csr_to_files(name, value)
            elif isinstance(value, np.ndarray):
                files[f"{name}.npy"] = to_npy(value)
            elif isinstance(value, Mapping):
                files[f"{name}.safetensors"] = to_safetensors(value)
            else:
                settings[name] = value
        header = {"model.json": json.dumps(settings).encode(), "catalogue.json": self.catalogue.to_json()}
        return header | files

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` wrote."""
        values: dict[str, Any] = json.loads(files["model.json"])
        for name in cls._field_names():
            # One array of a matrix is enough to expect all: a package without one of them must not load.
            if any(f"{name}.{array}.npy" in files for array in CSR_ARRAYS):
                values[name] = csr_from_files(name, files, tuple(values[name]))
            elif f"{name}.npy" in files:
                values[name] = from_npy(files, f"{name}.npy")
            elif f"{name}.safetensors" in files:
                values[name] = from_safetensors(files[f"{name}.safetensors"])
        return cls(catalogue=Catalogue.from_json(files["catalogue.json"]), **values)

    @classmethod
    def _field_names(cls) -> list[str]:
        return [field.name for field in fields(cls) if field.name != "catalogue"]

"""The features of a table as they were fitted on train: what models see instead of the columns of the contract."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from ml.contract.declared_features import DeclaredFeature, DeclaredFeatures
from ml.contract.schema import Contract
from ml.data.dataset import Dataset
from ml.errors import FeatureError
from ml.features.declared import compute_declared
from ml.features.text_topics import TextTopics
from ml.serialization import from_safetensors, to_safetensors

STATE_FILE, ARRAYS_FILE = "features.json", "features.safetensors"


@dataclass(frozen=True)
class FittedFeatures:
    """Columns that are `kept` as they are, declared features, and the topics of columns with texts.

    `sentinel_values` are those of the columns that declared features are computed from.
    """

    kept: tuple[str, ...]
    declared: DeclaredFeatures
    sentinel_values: Mapping[str, tuple[float, ...]]
    topics: tuple[TextTopics, ...]

    @classmethod
    def fit(cls, train: Dataset, contract: Contract, texts: Collection[str]) -> Self:
        """Fit to train; the columns `texts` are replaced by their topics and lengths.

        Raises FeatureError for a feature without any value in train, and for two columns with one name.
        """
        sources = {c for feature in contract.declared_features.values() for c in feature.columns}
        fitted = cls(
            tuple(c for c in contract.features if c not in texts),
            contract.declared_features,
            {c: codes for c, codes in contract.sentinel_values.items() if c in sources},
            tuple(TextTopics.fit(train.frame[c], train.units) for c in contract.features if c in texts),
        )
        fitted._require_different_names()
        computed = compute_declared(train.frame, fitted.declared, fitted.sentinel_values)
        if empty := [name for name in computed if not computed[name].notna().any()]:
            raise FeatureError(
                "a value of each declared feature in at least one row of train",
                f"none of {', '.join(map(repr, empty))}",
                "correct meta.features, or the columns that they name",
            )
        return fitted

    def _require_different_names(self) -> None:
        names = self.names
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise FeatureError(
                "different names of all features",
                f"{', '.join(map(repr, repeated))} more than once",
                "name the columns of the contract otherwise",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """List the columns that models see."""
        return (*self.kept, *self.declared, *(name for topics in self.topics for name in topics.names))

    @property
    def requirements(self) -> tuple[str, ...]:
        """List the distributions that the features need besides those of every package."""
        return ("safetensors",) if self.topics else ()

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the columns `names` of each row, same index. Each row depends on its own cells only.

        Raises ValueError for missing columns.
        """
        texts = [topics.column for topics in self.topics]
        if missing := [c for c in (*self.kept, *texts) if c not in frame.columns]:
            raise ValueError(
                f"expected the input columns of the model, got a table without {missing};"
                " give every one, filled with NaN where it is unknown"
            )
        computed = compute_declared(frame, self.declared, self.sentinel_values)
        parts = [frame[list(self.kept)], computed, *(t.transform(frame[t.column]) for t in self.topics)]
        return pd.concat(parts, axis=1)

    def files(self) -> dict[str, bytes]:
        """Serialise the features, as file contents by file name."""
        state = {
            "kept": self.kept,
            "declared": {name: feature.model_dump() for name, feature in self.declared.items()},
            "sentinel_values": self.sentinel_values,
            "topics": [topics.to_json() for topics in self.topics],
        }
        files = {STATE_FILE: json.dumps(state, indent=1).encode()}
        if self.topics:
            arrays = {
                f"{number} {name}": array
                for number, topics in enumerate(self.topics)
                for name, array in topics.arrays().items()
            }
            files[ARRAYS_FILE] = to_safetensors(arrays)
        return files

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load what `files` serialised; its columns are bit-identical."""
        state = json.loads(files[STATE_FILE])
        arrays = from_safetensors(files[ARRAYS_FILE]) if state["topics"] else {}
        return cls(
            tuple(state["kept"]),
            {name: DeclaredFeature.model_validate(feature) for name, feature in state["declared"].items()},
            {column: tuple(codes) for column, codes in state["sentinel_values"].items()},
            tuple(
                TextTopics.from_json(topics, _arrays_of(number, arrays))
                for number, topics in enumerate(state["topics"])
            ),
        )


def _arrays_of(number: int, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    prefix = f"{number} "
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}

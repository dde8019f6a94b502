"""The baseline that reads no message: the share of each class in the training rows."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import pandas as pd

from ml.data.class_target import ClassTarget
from ml.data.dataset import Dataset
from ml.encoding.columns import FeatureColumns, RowValues
from ml.estimator import FitResources


@dataclass(frozen=True)
class ClassPriorModel:
    """The shares of the classes. It requires its feature columns, as all other models do."""

    target: ClassTarget
    columns: FeatureColumns

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict the shares for every row. Raises ValueError for missing columns."""
        self.columns.check_present(frame)
        shares = np.array(self.target.shares)[self.target.seen_classes]
        return self.target.predictions(np.tile(shares / shares.sum(), (len(frame), 1)), frame.index)

    def predict_row(self, values: RowValues) -> float:
        """Predict one row of a binary target; errors as in `FeatureColumns.parse_row` and `row_probability`."""
        self.columns.parse_row(values)
        frame = pd.DataFrame({name: [values[name]] for name in self.columns.names})
        return self.target.row_probability(self.predict(frame))

    def importance(self) -> pd.Series:
        """Return 0 for each column."""
        return pd.Series(0.0, index=list(self.columns.names))

    def files(self) -> dict[str, bytes]:
        """Serialise to `model.json`."""
        return {"model.json": json.dumps(asdict(self)).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Load a model that `files` serialised."""
        state = json.loads(files["model.json"])
        return cls(ClassTarget.from_json(state["target"]), FeatureColumns.from_json(state["columns"]))


@dataclass(frozen=True)
class ClassPrior:
    """Predict the share of each class in the training rows, for several classes or two."""

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> ClassPriorModel:
        """Count the classes of `train`; errors as in `ClassTarget.codes` and `FeatureColumns.from_frame`."""
        others = FeatureColumns.from_frame(train.frame.drop(columns=list(train.text_columns)))
        categorical = tuple(sorted((*others.categorical, *train.text_columns)))
        return ClassPriorModel(ClassTarget.fit(train), FeatureColumns(others.numeric, categorical))

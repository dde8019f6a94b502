"""The baseline that knows no features: the same prediction for everyone."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

import pandas as pd

from ml.data.dataset import Dataset
from ml.data.target import PREDICTION, Target, checked_truth
from ml.encoding.columns import Columns, Row
from ml.estimator import FitResources


@dataclass(frozen=True)
class PriorModel:
    """A constant; it still asks for its columns, so that it can stand in for any other model."""

    target: Target
    columns: Columns
    mean: float

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The training rate or mean in every row; ValueError where a column is missing."""
        self.columns.check(frame)
        return pd.DataFrame({PREDICTION[self.target]: self.mean}, index=frame.index, dtype="float64")

    def predict_row(self, values: Row) -> float:
        """The prediction of one row; errors as in `Columns.row`."""
        self.columns.row(values)
        return self.mean

    def importance(self) -> pd.Series:
        """0 for each column."""
        return pd.Series(0.0, index=list(self.columns.names))

    def files(self) -> dict[str, bytes]:
        """`model.json`."""
        return {"model.json": json.dumps(asdict(self)).encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Read what `files` gave."""
        state = json.loads(files["model.json"])
        return cls(state["target"], Columns.from_json(state["columns"]), state["mean"])


@dataclass(frozen=True)
class Prior:
    """Predicts the training rate (binary) or mean (numeric)."""

    target: Target = "binary"

    def fit(self, train: Dataset, valid: Dataset, resources: FitResources) -> PriorModel:
        """Average the truth of `train`; errors as in `checked_truth` and `Columns.of`."""
        truth = checked_truth(train.truth, self.target)
        return PriorModel(self.target, Columns.of(train.frame), float(truth.mean()))
